//! News of runs at work, as a trait: the executor says that a run's files have grown, and whoever shows them looks.

use super::ids::RunId;

/// Is told whenever there is more to read of a run.
pub trait Progress: Send + Sync {
    /// The log or the points of this run have grown. Called for each piece of output, so it has to cost next to nothing.
    fn grew(&self, run: RunId);
}

/// Nobody looks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unwatched;

impl Progress for Unwatched {
    fn grew(&self, _run: RunId) {}
}
