//! What every record carries: whose it is, which edition it is, when it changed.

use super::account::Actor;
use super::ids::{AccountId, ProjectId};

/// Milliseconds since the Unix epoch, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Timestamp(pub u64);

/// Tells the time. Passed in wherever it is needed, so that tests can turn it.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// Ownership and history of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// Who made it.
    pub owner: AccountId,
    /// What it belongs to.
    pub project: ProjectId,
    /// Counts changes, from 1.
    pub revision: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it was put into the trash, where it was.
    pub trashed_at: Option<Timestamp>,
}

impl Stamp {
    /// The stamp of a record that `actor` makes at `now`.
    pub fn new(actor: Actor, now: Timestamp) -> Self {
        Self {
            owner: actor.account,
            project: actor.project,
            revision: 1,
            created_at: now,
            updated_at: now,
            trashed_at: None,
        }
    }

    /// Records a change at `now`.
    pub fn touch(&mut self, now: Timestamp) {
        self.revision += 1;
        self.updated_at = now;
    }
}
