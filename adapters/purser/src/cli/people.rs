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
