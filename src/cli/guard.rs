//! `trainyard guard`: the helper that outlives a server just long enough to kill its children.

use super::Outcome;
use crate::executor::guard;
use clap::Args;
use std::path::PathBuf;

/// What the server says when it starts the helper.
#[derive(Debug, Args)]
pub struct GuardArgs {
    /// What the server's children carry in their environment
    mark: String,
    /// The control group of its runs
    runs: Option<PathBuf>,
}

/// Runs the helper.
pub fn run(arguments: &GuardArgs) -> Outcome {
    guard::run_helper(&arguments.mark, arguments.runs.as_deref())?;
    Ok(())
}
