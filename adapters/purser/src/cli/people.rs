//! What is asked about people.

use std::path::PathBuf;

use clap::Args;

use super::json;

#[derive(Debug, Args)]
pub struct PrincipalInvite {
    /// The person.
    pub name: String,
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    #[arg(long, default_value = "main")]
    pub tenant: String,
    /// How long the code is good for.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=1_440))]
    pub minutes: u32,
}

#[derive(Debug, Args)]
pub struct PrincipalReport {
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// All of them where nothing is said.
    #[arg(long)]
    pub tenant: Option<String>,
    /// One JSON object a line.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct PrincipalPasskeys {
    /// The person.
    pub name: String,
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    #[arg(long, default_value = "main")]
    pub tenant: String,
    /// The id of the one that is to go, as it is listed.
    #[arg(long, value_name = "ID")]
    pub end: Option<String>,
}

#[derive(Debug, Args)]
pub struct AskArgs {
    /// The person who is to decide.
    #[arg(long, default_value = "user")]
    pub user: String,
    /// What it is for, in the agent's own words.
    #[arg(long)]
    pub description: String,
    /// Of all payments together, in major units.
    #[arg(long)]
    pub total: String,
    #[arg(long, default_value = "USD")]
    pub currency: String,
    #[arg(long)]
    pub per_payment: Option<String>,
    /// How many payments; one where nothing is said.
    #[arg(long)]
    pub payments: Option<u64>,
    /// How far apart they lie: DAILY, WEEKLY, BIWEEKLY, MONTHLY, QUARTERLY or ANNUALLY; at any time where nothing is said.
    #[arg(long)]
    pub frequency: Option<String>,
    /// So much a period, as the API takes it: '{"period":"day","zone":"Europe/Berlin","amount":"20.00"}'. May be repeated.
    #[arg(long = "limit", value_name = "JSON", value_parser = json)]
    pub limits: Vec<serde_json::Value>,
    /// When anything may be paid: '{"zone":"Europe/Berlin","from":"08:00","to":"20:00"}'.
    #[arg(long, value_name = "JSON", value_parser = json)]
    pub hours: Option<serde_json::Value>,
    /// Whose expense it is, for the exports.
    #[arg(long, value_name = "NAME")]
    pub cost_centre: Option<String>,
    #[arg(long, default_value_t = 3_600)]
    pub expires_in_seconds: u64,
    /// Wait so many seconds for the answer, and print the mandate's id.
    #[arg(long, value_name = "SECONDS")]
    pub wait: Option<u64>,
    /// As for `pay`.
    #[arg(long, value_name = "FILE")]
    pub service: Option<PathBuf>,
}
