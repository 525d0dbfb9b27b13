//! `trainyard guard`: the helper that outlives a server just long enough to kill its children.

use super::Outcome;
use crate::executor::guard;
use clap::Args;

/// What the server says when it starts the helper.
#[derive(Debug, Args)]
pub struct GuardArgs {
    /// What the server's children carry in their environment
    mark: String,
}

/// Runs the helper.
pub fn run(arguments: &GuardArgs) -> Outcome {
    guard::run_helper(&arguments.mark)?;
    Ok(())
}
