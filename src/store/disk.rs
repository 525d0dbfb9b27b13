//! How a batch gets to the disk and before readers' eyes: written, synced, shown, checkpointed.
//!
//! *Written* is in the write-ahead log's file, which outlives this process; later transactions build on it. *Synced*
//! outlives a power cut; only then sled gets it, and with it every reader. A *checkpoint* makes sled durable and begins
//! the log anew: sled's own `flush` does not survive a power cut (it never syncs the file), so its file is synced as
//! well. Knows keys and bytes.

use super::open::Mark;
use super::tx::{Base, Gate, Tx, Writes};
use super::wal::Wal;
use std::fs::File;
use std::io;
use std::sync::Arc;

/// The files of a store, and what is on its way to sled.
pub(super) struct Disk {
    db: sled::Db,
    /// sled's file, opened a second time so that we can sync it.
    log: File,
    wal: Wal,
    mark: Mark,
    gate: Gate,
    base: Base,
    /// The number of the last change that is written.
    last_event: u64,
}

/// What was written and waits to be synced.
pub(super) struct Unsynced {
    wal: Arc<File>,
    writes: Arc<Writes>,
    tree: sled::Tree,
    gate: Gate,
    last_event: u64,
}

impl Unsynced {
    /// Makes it durable, then visible.
    ///
    /// # Errors
    /// What the disk said; nothing is visible then, or not all.
    pub fn sync(&self) -> io::Result<()> {
        self.wal.sync_data()?;
        self.gate.apply(&self.tree, &self.writes).map_err(io_error)
    }
}

impl Disk {
    /// The files of an opened store whose last change is `last_event`.
    pub fn new(db: sled::Db, log: File, wal: Wal, mark: Mark, last_event: u64) -> Self {
        let base = Base::new((*db).clone());
        Self { db, log, wal, mark, gate: Gate::default(), base, last_event }
    }

    /// What keeps readers from seeing half of a batch.
    pub fn gate(&self) -> Gate {
        self.gate.clone()
    }

    /// What readers see.
    pub fn tree(&self) -> sled::Tree {
        (*self.db).clone()
    }

    /// A transaction on everything that is written.
    pub fn begin(&self) -> Tx<'_> {
        Tx::new(&self.base, self.last_event)
    }

    /// Writes a transaction's outcome: from now on it outlives this process.
    ///
    /// # Errors
    /// What the disk said.
    pub fn write(&mut self, writes: Writes, last_event: u64) -> io::Result<()> {
        self.wal.append(writes.iter().map(|(key, value)| (key.as_slice(), value.as_deref())))?;
        self.last_event = last_event;
        Arc::make_mut(&mut self.base.written).extend(writes);
        Ok(())
    }

    /// Hands out what is to be synced. Transactions go on seeing it; [`synced`](Self::synced) ends that.
    pub fn unsynced(&mut self) -> Option<Unsynced> {
        if self.base.written.is_empty() {
            return None;
        }
        let writes = std::mem::take(&mut self.base.written);
        self.base.syncing = Arc::clone(&writes);
        let (wal, last_event) = (self.wal.file(), self.last_event);
        Some(Unsynced { wal, writes, tree: self.tree(), gate: self.gate(), last_event })
    }

    /// Notes that what was handed out is with sled.
    ///
    /// # Errors
    /// What the disk said.
    pub fn synced(&mut self, done: &Unsynced) -> io::Result<()> {
        self.base.syncing = Arc::default();
        self.mark.write(done.last_event)
    }

    /// True while something is written and not handed out.
    pub fn has_unsynced(&self) -> bool {
        !self.base.written.is_empty()
    }

    /// True while there is something that sled may not have durably.
    pub fn is_dirty(&self) -> bool {
        self.wal.is_dirty()
    }

    /// True when a checkpoint should come before much more is written.
    pub fn is_due(&self) -> bool {
        self.wal.is_due()
    }

    /// Makes sled durable and begins the write-ahead log anew. Nothing may be handed out.
    ///
    /// # Errors
    /// What the disk said; everything that is synced is in the log still.
    pub fn checkpoint(&mut self) -> io::Result<()> {
        if let Some(left) = self.unsynced() {
            left.sync()?;
            self.synced(&left)?;
        }
        self.db.flush().map_err(io_error)?;
        self.log.sync_data()?;
        self.wal.reset(self.last_event)
    }
}

fn io_error(error: sled::Error) -> io::Error {
    match error {
        sled::Error::Io(error) => error,
        other => io::Error::other(other.to_string()),
    }
}
