//! How a batch gets to the disk and before readers' eyes: written, synced, shown, checkpointed.
//!
//! *Written* is in the write-ahead log's file, which outlives this process; later transactions build on it. *Synced*
//! outlives a power cut; only then it is *shown*, and `drain` brings it into sled meanwhile. A *checkpoint* waits for
//! that, makes sled durable and begins the log anew: sled's own `flush` does not survive a power cut (it never syncs the file), so its file is synced as
//! well. Both files keep room ahead that nobody else can take, so that a full disk meets us before it meets sled; where
//! it meets sled all the same, sled is *behind* until it is opened again. Knows keys and bytes.

use super::drain::{Bell, Drain};
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
    /// Who writes to sled; `None` where it could not be opened again.
    drain: Option<Drain>,
    /// How to open it.
    engine: Engine,
    /// sled's file, in which room is set aside.
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
    bell: Option<Arc<Bell>>,
    last_event: u64,
}

impl Unsynced {
    /// Makes it durable, then visible.
    ///
    /// # Errors
    /// What the disk said; nothing of it is visible then.
    pub fn sync(&self) -> io::Result<()> {
        self.wal.sync_data()?;
        self.gate.show(&self.writes);
        if let Some(bell) = &self.bell {
            bell.ring();
        }
        self.gate.tell();
        Ok(())
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
        let gate = Gate::new((*db).clone());
        let base = Base::new(gate.clone());
        let (log, reserve) = (engine.log()?, Reserve::new(engine.options.reserve_bytes));
        let drain = Some(Drain::start(db, engine.log()?, gate.clone())?);
        Ok(Self { drain, engine, log, wal, mark, gate, base, last_event, reserve })
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
        let (wal, bell, last_event) = (self.wal.file(), self.drain.as_ref().map(Drain::bell), self.last_event);
        Some(Unsynced { wal, writes, gate: self.gate(), bell, last_event })
    }

    /// Why sled takes no more, where that is news. All that was synced is shown and in the log still.
    pub fn trouble(&self) -> Option<Trouble> {
        // Else nothing is wrong, and whoever writes to sled need not be waited for.
        self.drain.as_ref().filter(|_| self.gate.is_behind()).and_then(Drain::trouble)
    }

    /// Notes that what was handed out is synced and shown.
    ///
    /// # Errors
    /// What the disk said.
    pub fn synced(&mut self, done: &Unsynced) -> io::Result<()> {
        self.base.syncing = Arc::default();
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
        let Some(drain) = &self.drain else { return Err(Trouble::Behind(io::ErrorKind::StorageFull.into())) };
        drain.finish()?;
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
        self.drain = None;
        let (engine, last_event) = (&self.engine, self.last_event);
        let mut opened = None;
        self.gate.replace(|| {
            let (db, log) = engine.open_again(last_event)?;
            let tree = (*db).clone();
            opened = Some((db, log));
            Ok(tree)
        })?;
        let Some((db, log)) = opened else { return Ok(()) };
        self.log = log;
        let log = self.engine.log().map_err(Trouble::Failed)?;
        self.drain = Some(Drain::start(db, log, self.gate()).map_err(Trouble::Failed)?);
        self.wal.reset(self.last_event).map_err(Trouble::Failed)?;
        self.reserve = Reserve::new(self.engine.options.reserve_bytes);
        self.reserve.keep(&self.log);
        Ok(())
    }
}
