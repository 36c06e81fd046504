//! Logs: one JSON object a line on standard error, so that standard output stays what a command prints.

use tracing_subscriber::EnvFilter;

/// `RUST_LOG` chooses; `info` where it says nothing (`warn` for commands that tell a story). A seller's MCP server that is
/// not there is told to whoever asked, and is no error of ours: the library would log it as one, with its address.
pub fn init(default: &str) {
    let ours = || EnvFilter::new(format!("{default},rmcp::transport::worker=off"));
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| ours());
    // A second initialisation (tests) keeps the first.
    let _ = tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr).try_init();
}
