//! Figures for those who watch the server: the queue, the disk, and the runs that ended since somebody last asked.
//!
//! Everything comes from counters, from a few files and from the newest events, however much is stored.

use super::Services;
use super::status::QueueStatus;
use crate::domain::account::{Permit, View};
use crate::domain::error::Result;
use crate::domain::event::EventKind;
use crate::domain::ids::RunId;
use crate::domain::run::{Outcome, Run, RunState};
use crate::store::{events, runs};

/// The most events that one look goes through; the next look goes on behind them.
const MOST_EVENTS: usize = 20_000;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RunEnded {
    /// `succeeded`, `failed` or `cancelled`.
    pub outcome: &'static str,
    /// How long its last attempt took; `None` for one that never began.
    pub seconds: Option<f64>,
}

/// Bytes on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskFigures {
    /// Of records and their log.
    pub store: u64,
    /// That are left.
    pub free: u64,
    /// Below which nothing new is accepted.
    pub kept_free: u64,
}

/// The figures of one moment.
#[derive(Debug, Clone)]
pub struct Figures {
    /// The queue.
    pub queue: QueueStatus,
    /// Whether new work is accepted.
    pub ready: bool,
    /// The disk, where the file system says.
    pub disk: Option<DiskFigures>,
    /// Resident bytes of all children, where somebody watches them.
    pub children_resident: Option<u64>,
    /// The runs that ended.
    pub ended: Vec<RunEnded>,
    /// Where the next look begins.
    pub seen: u64,
}

impl Services {
    /// Where to begin for those who do not care what was before.
    ///
    /// # Errors
    /// `internal` where the store cannot be read.
    pub fn newest_event(&self) -> Result<u64> {
        self.parts.store.last_event()
    }

    /// The figures, with the runs that ended after the event `seen`. Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// `internal` where the store cannot be read.
    pub fn figures(&self, permit: Permit<View>, mut seen: u64) -> Result<Figures> {
        let store = &self.parts.store;
        let mut ended = Vec::new();
        for event in events::page(store, seen, MOST_EVENTS)? {
            seen = event.sequence;
            if matches!(event.kind, EventKind::RunSucceeded | EventKind::RunFailed | EventKind::RunCancelled) {
                ended.extend(runs::get(store, RunId(event.subject))?.as_ref().and_then(run_ended));
            }
        }
        let disk = store
            .usage()
            .inspect_err(|error| tracing::warn!(%error, "the disk could not be looked at"))
            .map(|usage| DiskFigures { store: usage.store, free: usage.disk_free, kept_free: usage.kept_free })
            .ok();
        Ok(Figures {
            queue: self.queue_status(permit)?,
            ready: self.readiness().is_ok(),
            disk,
            children_resident: (self.parts.children_resident)(),
            ended,
            seen,
        })
    }
}

fn run_ended(run: &Run) -> Option<RunEnded> {
    let RunState::Done { outcome, finished_at } = &run.state else { return None };
    let outcome = match outcome {
        Outcome::Succeeded { .. } => "succeeded",
        Outcome::Failed { .. } => "failed",
        Outcome::Cancelled => "cancelled",
    };
    let seconds = run.last_started_at.map(|began| finished_at.0.saturating_sub(began.0) as f64 / 1000.0);
    Some(RunEnded { outcome, seconds })
}
