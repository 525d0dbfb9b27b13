//! What becomes of a batch: written, refused for want of room, or the end of all writing.
//!
//! A full disk is no failure for good. What needs room is refused; what ends earlier work goes into the write-ahead log,
//! which has its room already. Where sled itself met the full disk it repeats that error for ever, so it is opened again
//! as soon as there is room. Any other error of the disk is final: the kernel may have dropped what it could not write.
//! Knows nothing of who waits, and leaves files to `disk`.

use super::committer::{Answer, Request, Until, Urgency};
use super::disk::{Disk, Trouble, Unsynced};
use super::space::Space;
use super::tx::Writes;
use crate::domain::error::{Code, Error, Result};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The most writers in one group, and the keys after which a group is closed: sled holds every page that a batch
/// changes until the batch is done, several KiB a key.
const MAX_GROUP: usize = 512;
const MAX_KEYS: usize = 1_000;

/// How long after the last batch a checkpoint is made.
const QUIET: Duration = Duration::from_millis(250);

/// How long after one sync that nobody waits for the next one is made: in a burst, others join it.
const PACE: Duration = Duration::from_millis(5);

/// How often to look whether a full disk has room again.
const RETRY: Duration = Duration::from_secs(1);

/// What keeps the store from being written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The disk was full when sled had to write; reads go on, and it ends by itself once there is room.
    Full,
    /// The disk failed; nothing that follows can be trusted.
    Broken(String),
}

impl Failure {
    fn error(&self) -> Error {
        match self {
            Self::Full => disk_full(),
            Self::Broken(cause) => {
                Error::new(Code::Unavailable, "the server cannot write to its disk; its log says why").because(cause)
            }
        }
    }
}

/// The failure of what found no room.
pub fn disk_full() -> Error {
    Error::new(
        Code::DiskFull,
        "the disk that holds the data folder is nearly full; make room on it, or move data_dir to a larger one",
    )
}

pub(super) struct Worker {
    disk: Disk,
    space: Arc<Space>,
    health: watch::Sender<Option<Failure>>,
    failure: Option<Failure>,
    /// The answers of what is written and not synced.
    waiting: Vec<Answer>,
    /// When there was a sync last that nobody waited for.
    last_sync: Instant,
    /// When to look for room again.
    retry_at: Instant,
}

impl Worker {
    pub fn new(disk: Disk, space: Arc<Space>, health: watch::Sender<Option<Failure>>) -> Self {
        let now = Instant::now();
        Self { disk, space, health, failure: None, waiting: Vec::new(), last_sync: now, retry_at: now }
    }

    /// Drops those who wait: they are told that the server is stopping.
    pub fn abandon(&mut self) {
        self.waiting.clear();
    }

    pub fn write_all(&mut self, requests: Vec<Request>) {
        let has_room = requests.iter().all(|request| request.urgency == Urgency::Settle) || self.has_room();
        let mut left = requests.into_iter().peekable();
        while left.peek().is_some() {
            let mut tx = self.disk.begin();
            let mut answers = Vec::new();
            while answers.len() < MAX_GROUP
                && tx.len() < MAX_KEYS
                && let Some(Request { urgency, until, writer }) = left.next()
            {
                answers.push((until, writer(&mut tx, self.allowed(urgency, has_room))));
            }
            let (writes, last_event) = tx.finish();
            let written = self.write(writes, last_event);
            for (until, answer) in answers {
                match (until, &written) {
                    (Until::Synced, Ok(())) => self.waiting.push(answer),
                    _ => answer(written.clone()),
                }
            }
        }
    }

    fn has_room(&mut self) -> bool {
        self.space.has_room() && self.disk.has_reserve()
    }

    fn broken(&self) -> Option<&Failure> {
        self.failure.as_ref().filter(|failure| **failure != Failure::Full)
    }

    fn allowed(&self, urgency: Urgency, has_room: bool) -> Result<(), Error> {
        match &self.failure {
            Some(Failure::Full) if urgency == Urgency::Settle => Ok(()),
            Some(failure) => Err(failure.error()),
            None if urgency == Urgency::Growth && !has_room => Err(disk_full()),
            None => Ok(()),
        }
    }

    fn write(&mut self, writes: Writes, last_event: u64) -> Result<(), Error> {
        match self.broken() {
            Some(failure) => Err(failure.error()),
            None if writes.is_empty() => Ok(()),
            None => self.disk.write(writes, last_event).map_err(|trouble| self.fail(trouble)),
        }
    }

    /// When a sync and a checkpoint are wanted.
    pub fn wants(&self) -> (Option<Instant>, Option<Instant>) {
        let now = Instant::now();
        let sync_at = match () {
            () if !self.waiting.is_empty() => Some(now),
            () => (self.broken().is_none() && self.disk.has_unsynced()).then(|| self.last_sync + PACE),
        };
        let checkpoint_at = match &self.failure {
            None if self.disk.is_due() => Some(now),
            None => self.disk.is_dirty().then(|| now + QUIET),
            Some(Failure::Full) => Some(self.retry_at),
            Some(Failure::Broken(_)) => None,
        };
        (sync_at, checkpoint_at)
    }

    /// What is to be synced, with the answers that wait for it.
    pub fn hand_out(&mut self) -> (Option<Unsynced>, Vec<Answer>) {
        let unsynced = if self.broken().is_none() { self.disk.unsynced() } else { None };
        if self.waiting.is_empty() {
            self.last_sync = Instant::now();
        }
        (unsynced, std::mem::take(&mut self.waiting))
    }

    /// Takes note of a sync that went like this.
    pub fn synced(&mut self, unsynced: Option<&Unsynced>, synced: io::Result<()>) -> Result<(), Error> {
        if let Some(failure) = self.broken() {
            return Err(failure.error());
        }
        let Some(done) = unsynced else { return Ok(()) };
        if let Err(error) = synced.and_then(|()| self.disk.synced(done)) {
            return Err(self.fail(Trouble::Failed(error)));
        }
        match self.disk.trouble() {
            None => Ok(()),
            // It is durable and shown, whatever sled says.
            Some(full @ Trouble::Behind(_)) => {
                self.fail(full);
                Ok(())
            }
            Some(trouble) => Err(self.fail(trouble)),
        }
    }

    /// Syncs what is left and makes sled durable, or opens it again. Returns how the sync went, and who waits for that.
    pub fn checkpoint(&mut self) -> (Result<(), Error>, Vec<Answer>) {
        let (unsynced, waiting) = self.hand_out();
        let synced = unsynced.as_ref().map_or(Ok(()), Unsynced::sync);
        let outcome = self.synced(unsynced.as_ref(), synced);
        match &self.failure {
            None if self.disk.is_dirty() => {
                // What is answered is in the write-ahead log, whatever comes of this.
                if let Err(trouble) = self.disk.checkpoint() {
                    self.fail(trouble);
                }
            }
            Some(Failure::Full) => self.mend(),
            _ => {}
        }
        (outcome, waiting)
    }

    /// Opens sled again, if there is room for it.
    fn mend(&mut self) {
        self.retry_at = Instant::now() + RETRY;
        if !self.space.has_room_to_open() {
            return;
        }
        match self.disk.reopen() {
            Ok(()) => {
                self.space.keep_ballast();
                tracing::warn!("the disk has room again: the store was opened anew and takes writes");
                self.failure = None;
                self.health.send_replace(None);
            }
            Err(trouble) => {
                self.fail(trouble);
            }
        }
    }

    /// Notes what keeps the store from being written; returns what to answer.
    fn fail(&mut self, trouble: Trouble) -> Error {
        let (failure, error) = match trouble {
            Trouble::NoRoom(error) => return disk_full().because(error),
            Trouble::Behind(error) => (Failure::Full, error),
            Trouble::Failed(error) => (Failure::Broken(error.to_string()), error),
        };
        tracing::error!(%error, "the store cannot be written");
        let answer = failure.error().because(error);
        self.retry_at = Instant::now() + RETRY;
        self.failure = Some(failure.clone());
        self.health.send_replace(Some(failure));
        answer
    }
}
