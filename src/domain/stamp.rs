//! What every record carries: whose it is, which edition it is, when it changed.

use super::account::Actor;
use super::error::{Code, Error, Result};
use super::ids::{AccountId, ProjectId};

/// Milliseconds since the Unix epoch, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Timestamp(pub u64);

/// Tells the time. Passed in wherever it is needed, so that tests can turn it.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// The revisions that a client takes a record to have; nothing where it does not care.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen(pub Option<Vec<u64>>);

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

    /// Refuses a change of an edition that the client has not seen.
    ///
    /// # Errors
    /// `stale`.
    pub fn check(&self, seen: &Seen) -> Result<()> {
        match &seen.0 {
            Some(revisions) if !revisions.contains(&self.revision) => {
                let message = format!("this has changed since: it has revision {} now; read it again", self.revision);
                Err(Error::new(Code::Stale, message))
            }
            _ => Ok(()),
        }
    }

    /// Records a change at `now`.
    pub fn touch(&mut self, now: Timestamp) {
        self.revision += 1;
        self.updated_at = now;
    }
}
