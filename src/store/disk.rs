//! How a batch gets to the disk and before readers' eyes: written, synced, shown, checkpointed.
//!
//! *Written* is in the write-ahead log's file, which outlives this process; later transactions build on it. *Synced*
//! outlives a power cut; only then sled gets it, and with it every reader. A *checkpoint* makes sled durable and begins
//! the log anew: sled's own `flush` does not survive a power cut (it never syncs the file), so its file is synced as
//! well. Both files keep room ahead that nobody else can take, so that a full disk meets us before it meets sled; where
//! it meets sled all the same, sled is *behind* until it is opened again. Knows keys and bytes.

use super::engine::Engine;
use super::gate::Gate;
use super::open::{Mark, OpenError};
use super::space::{Reserve, is_full};
use super::tx::{Base, Tx, Writes};
use super::wal::Wal;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Why a batch did not get where it should.
#[derive(Debug)]
pub(super) enum Trouble {
    /// There is no room; nothing was written.
    NoRoom(io::Error),
    /// sled met a full disk and refuses to write; the write-ahead log has everything.
    Behind(io::Error),
    /// The disk failed.
    Failed(io::Error),
}

/// The files of a store, and what is on its way to sled.
pub(super) struct Disk {
    /// `None` where it could not be opened again.
    db: Option<sled::Db>,
    /// How to open it.
    engine: Engine,
    /// sled's file, opened a second time so that we can sync it.
    log: File,
    wal: Wal,
    mark: Mark,
    gate: Gate,
    base: Base,
    /// The number of the last change that is written.
    last_event: u64,
    reserve: Reserve,
}

/// What was written and waits to be synced.
pub(super) struct Unsynced {
    wal: Arc<File>,
    writes: Arc<Writes>,
    gate: Gate,
    last_event: u64,
}

impl Unsynced {
    /// Makes it durable, then visible. Returns what sled said where it refused: then it is durable and visible as well.
    ///
    /// # Errors
    /// What the disk said; nothing of it is visible then.
    pub fn sync(&self) -> io::Result<Option<Trouble>> {
        self.wal.sync_data()?;
        let trouble = self.gate.apply(&self.writes).err().map(Trouble::of_sled);
        self.gate.tell();
        Ok(trouble)
    }
}

impl Trouble {
    /// What an error of sled's means.
    pub fn of_sled(error: sled::Error) -> Self {
        match error {
            sled::Error::Io(error) if is_full(&error) => Self::Behind(error),
            sled::Error::Io(error) => Self::Failed(error),
            other => Self::Failed(io::Error::other(other.to_string())),
        }
    }

    /// What it means to whoever opens `folder`.
    pub fn on_opening(self, folder: &Path) -> OpenError {
        let folder = folder.to_owned();
        match self {
            Self::NoRoom(source) | Self::Behind(source) => OpenError::Full { folder, source },
            Self::Failed(source) => OpenError::Folder { folder, what: "written", source },
        }
    }
}

impl Disk {
    /// The files of an opened store whose last change is `last_event`.
    ///
    /// # Errors
    /// Where sled's file cannot be opened.
    pub fn new(db: sled::Db, engine: Engine, wal: Wal, mark: Mark, last_event: u64) -> io::Result<Self> {
        let tree: sled::Tree = (*db).clone();
        let (gate, base) = (Gate::new(tree.clone()), Base::new(tree));
        let (log, reserve) = (engine.log()?, Reserve::new(engine.options.reserve_bytes));
        Ok(Self { db: Some(db), engine, log, wal, mark, gate, base, last_event, reserve })
    }

    /// What readers see.
    pub fn gate(&self) -> Gate {
        self.gate.clone()
    }

    /// A transaction on everything that is written.
    pub fn begin(&self) -> Tx<'_> {
        Tx::new(&self.base, self.last_event)
    }

    /// Writes a transaction's outcome: from now on it outlives this process.
    ///
    /// # Errors
    /// What the disk said; nothing was written then.
    pub fn write(&mut self, writes: Writes, last_event: u64) -> Result<(), Trouble> {
        // While sled is behind, the log cannot begin anew, and what readers see of it is in memory.
        if self.gate.is_behind() && self.wal.is_full() {
            return Err(Trouble::NoRoom(io::ErrorKind::StorageFull.into()));
        }
        let written = self.wal.append(writes.iter().map(|(key, value)| (key.as_slice(), value.as_deref())));
        written.map_err(|error| if is_full(&error) { Trouble::NoRoom(error) } else { Trouble::Failed(error) })?;
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
        Some(Unsynced { wal, writes, gate: self.gate(), last_event })
    }

    /// Notes that what was handed out is synced and shown.
    ///
    /// # Errors
    /// What the disk said.
    pub fn synced(&mut self, done: &Unsynced) -> io::Result<()> {
        self.base.syncing = Arc::default();
        if self.gate.is_behind() {
            let again = done.writes.iter().map(|(key, write)| (key.clone(), write.clone()));
            Arc::make_mut(&mut self.base.refused).extend(again);
        }
        match self.mark.write(done.last_event) {
            // It may lag behind.
            Err(error) if is_full(&error) => Ok(()),
            written => written,
        }
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

    /// Makes sled durable and begins the write-ahead log anew. Nothing may be unsynced.
    ///
    /// # Errors
    /// What the disk said; everything that is synced is in the log still.
    pub fn checkpoint(&mut self) -> Result<(), Trouble> {
        let flushed = self.db.as_ref().map_or(Ok(0), |db| db.flush());
        if let Err(error) = flushed {
            self.gate.fall_behind();
            return Err(Trouble::of_sled(error));
        }
        self.log.sync_data().map_err(Trouble::Failed)?;
        self.wal.reset(self.last_event).map_err(Trouble::Failed)?;
        self.reserve.keep(&self.log);
        Ok(())
    }

    /// True while sled has room ahead that nobody else can take.
    pub fn has_reserve(&mut self) -> bool {
        self.reserve.is_there() || self.reserve.keep(&self.log)
    }

    /// Opens sled again after it met a full disk, with all that it missed. Readers wait. Nothing may be unsynced.
    ///
    /// # Errors
    /// What sled or the disk said; the write-ahead log has everything still.
    pub fn reopen(&mut self) -> Result<(), Trouble> {
        // Only the last handle lets go of sled's file.
        self.base.let_go();
        self.db = None;
        let (engine, last_event) = (&self.engine, self.last_event);
        let mut opened = None;
        self.gate.replace(|| {
            let (db, log) = engine.open_again(last_event)?;
            let tree = (*db).clone();
            opened = Some((db, log));
            Ok(tree)
        })?;
        let Some((db, log)) = opened else { return Ok(()) };
        self.base = Base::new((*db).clone());
        (self.db, self.log) = (Some(db), log);
        self.wal.reset(self.last_event).map_err(Trouble::Failed)?;
        self.reserve = Reserve::new(self.engine.options.reserve_bytes);
        self.reserve.keep(&self.log);
        Ok(())
    }
}
