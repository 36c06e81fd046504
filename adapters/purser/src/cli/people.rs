//! What is asked about people.

use std::path::PathBuf;

use clap::Args;

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
