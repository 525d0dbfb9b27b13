//! How the server is: the queue, and whether it can serve.

use super::Services;
use crate::domain::account::{Permit, View};
use crate::domain::error::{Code, Error, Result};
use crate::domain::job::MemoryWait;
use crate::store::{Failure, Store, queue, runs};
use std::sync::atomic::Ordering;

/// The queue at a glance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueStatus {
    /// Runs that wait.
    pub queued: u64,
    /// Runs that have a slot.
    pub running: u64,
    /// Slots.
    pub concurrency: u64,
    /// True while nothing is started.
    pub paused: bool,
    /// What the next job waits for, where it could have a slot but the machine has no memory for it.
    pub waits_for_memory: Option<MemoryWait>,
}

impl Services {
    /// The queue at a glance.
    ///
    /// # Errors
    /// `internal` where the store cannot be read.
    pub fn queue_status(&self, _permit: Permit<View>) -> Result<QueueStatus> {
        Ok(QueueStatus {
            queued: runs::queued(&self.parts.store)?,
            running: runs::running(&self.parts.store)?,
            concurrency: self.parts.limits.concurrency as u64,
            paused: queue::is_paused(&self.parts.store)?,
            waits_for_memory: self.parts.scheduler.waits_for_memory(),
        })
    }

    /// Whether new work is accepted.
    ///
    /// # Errors
    /// `unavailable` or `disk_full`, saying why not.
    pub fn readiness(&self) -> Result<()> {
        if self.stopping.load(Ordering::Acquire) {
            return Err(Error::new(Code::Unavailable, "the server is stopping"));
        }
        match &*self.parts.store.health().borrow() {
            Some(Failure::Full) => return Err(Store::disk_full()),
            Some(Failure::Broken(cause)) => {
                return Err(Error::new(Code::Unavailable, "the server cannot write to its disk").because(cause));
            }
            None => {}
        }
        if self.parts.store.has_room() { Ok(()) } else { Err(Store::disk_full()) }
    }
}
