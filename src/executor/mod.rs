//! Carries out jobs: a bounded pool of slots, each running one child at a time.
//!
//! Takes jobs and reports [`RunEvent`]s; knows nothing of the store or of what becomes of a result.

pub mod admission;
mod companion;
pub mod custody;
pub mod guard;
pub mod local;
mod log;
mod pass;
mod points;
pub mod predictor;
pub mod process;
mod record;
pub mod run_folder;
pub mod sieve;
pub mod thumbnailer;
mod view;
pub mod warm;

use crate::domain::ids::RunId;
use crate::domain::job::{Job, Room, RunEvent};
use std::sync::Arc;

/// Where a worker's messages go. It may start the next job before it returns.
pub type EventSink = Arc<dyn Fn(Vec<RunEvent>) + Send + Sync>;

/// Whoever carries out jobs.
pub trait Executor: Send + Sync {
    /// Starts a job; never waits. Each of its runs is reported, then the slot.
    fn start(&self, job: Job);

    /// How many more jobs the machine can hold now, `most` at the most. What was started counts from then on.
    fn room(&self, most: usize) -> Room {
        let _ = most;
        Room::ANY
    }

    /// Asks a running run to end; it is reported like any other end.
    fn cancel(&self, run: RunId);

    /// Asks everything to end, because the server stops.
    fn stop(&self);
}
