//! Logs: to standard error, at the level that `RUST_LOG` says, `info` unless it does.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Sets the log up; a second call changes nothing.
pub fn start(default_level: &str) {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new(format!("{default_level},actix_server=warn,sled=warn")));
    let is_terminal = std::io::stderr().is_terminal();
    // A second subscriber is refused, which is what a test that starts two servers wants.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(is_terminal)
        .with_target(false)
        .try_init();
}
