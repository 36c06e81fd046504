//! Logs: one JSON object a line on standard error, so that standard output stays what a command prints.

use tracing_subscriber::EnvFilter;

/// `RUST_LOG` chooses; `info` where it says nothing (`warn` for commands that tell a story).
pub fn init(default: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    // A second initialisation (tests) keeps the first.
    let _ = tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr).try_init();
}
