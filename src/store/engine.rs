//! Opening sled: its settings, its leftovers, and what its errors mean.
//!
//! Knows sled's files; nothing of what is in them.

use super::disk::Trouble;
use super::open::{Options, replay};
use super::space::{Reserve, is_full};
use super::wal::Wal;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long sled may take to let go of its file after its last handle is gone.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where sled keeps its files, and how.
#[derive(Debug, Clone)]
pub(super) struct Engine {
    /// The folder.
    pub folder: PathBuf,
    /// The settings.
    pub options: Options,
}

/// Why sled does not open.
#[derive(Debug)]
pub(super) enum EngineError {
    /// The disk is full.
    Full(io::Error),
    /// The disk answered with an error: what is on it may be whole.
    Failed(io::Error),
    /// Anything else.
    Damaged(String),
}

fn config(folder: &Path, cache_bytes: u64) -> sled::Config {
    sled::Config::new()
        .path(folder)
        .cache_capacity(cache_bytes)
        .mode(sled::Mode::LowSpace)
        .use_compression(false)
        // The committer flushes; a timer would only wake an idle machine.
        .flush_every_ms(None)
}

/// A database that goes when its last handle does.
///
/// # Errors
/// What sled says.
pub(super) fn scratch(folder: &Path) -> Result<sled::Db, sled::Error> {
    config(folder, 1 << 20).temporary(true).open()
}

impl Engine {
    /// Opens or makes the database.
    ///
    /// # Errors
    /// [`EngineError`].
    pub fn open(&self) -> Result<sled::Db, EngineError> {
        let config = config(&self.folder, self.options.cache_bytes);
        // sled asserts on some kinds of damage; that is an error here like any other.
        match catch_unwind(AssertUnwindSafe(|| config.open())) {
            Ok(Ok(db)) => Ok(db),
            Ok(Err(sled::Error::Io(error))) if is_full(&error) => Err(EngineError::Full(error)),
            Ok(Err(sled::Error::Io(error))) if error.raw_os_error().is_some() => Err(EngineError::Failed(error)),
            Ok(Err(error)) => Err(EngineError::Damaged(error.to_string())),
            Err(_) => Err(EngineError::Damaged("its files contradict each other".to_owned())),
        }
    }

    /// sled's file, to be synced.
    ///
    /// # Errors
    /// What the file system says.
    pub fn log(&self) -> io::Result<File> {
        OpenOptions::new().write(true).open(self.folder.join("db"))
    }

    /// Opens the database again in the process that closed it, with what the write-ahead log has, and makes it durable.
    /// `last_event` is the last change that it has to have then.
    ///
    /// # Errors
    /// What sled or the disk said.
    pub fn open_again(&self, last_event: u64) -> Result<(sled::Db, File), Trouble> {
        let failed = |cause: String| Trouble::Failed(io::Error::other(cause));
        self.mend().map_err(Trouble::Failed)?;
        let db = self.open_patiently()?;
        let found = Wal::read(&self.folder).map_err(Trouble::Failed)?;
        let last = replay(&db, found).map_err(failed)?;
        if last != last_event {
            return Err(failed(format!(
                "the store ends at change {last} after it was opened again, not at {last_event}"
            )));
        }
        db.flush().map_err(Trouble::of_sled)?;
        let log = self.log().map_err(Trouble::Failed)?;
        log.sync_data().map_err(Trouble::Failed)?;
        Ok((db, log))
    }

    /// Opens; another thread of sled's may hold the file a moment longer.
    fn open_patiently(&self) -> Result<sled::Db, Trouble> {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.open() {
                Ok(db) => return Ok(db),
                Err(EngineError::Full(error)) => return Err(Trouble::Behind(error)),
                Err(EngineError::Failed(error)) => return Err(Trouble::Failed(error)),
                Err(EngineError::Damaged(cause)) if cause.contains("acquire lock") && Instant::now() < until => {
                    std::thread::sleep(PATIENCE / 500);
                }
                Err(EngineError::Damaged(cause)) => return Err(Trouble::Failed(io::Error::other(cause))),
            }
        }
    }

    /// Lets others, and sled's other files, use what is set aside behind its file.
    ///
    /// # Errors
    /// What the file system says.
    pub fn give_up_reserve(&self) -> io::Result<()> {
        self.mend()?;
        match self.log() {
            Ok(log) => Reserve::give_up(&log),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Removes snapshots that were being written when the machine went down: sled refuses to open over a damaged one,
    /// and needs none.
    ///
    /// # Errors
    /// What the file system says.
    pub fn mend(&self) -> io::Result<()> {
        for file in self.snapshots()? {
            if file.extension().is_some_and(|ending| ending == "generating") {
                tracing::warn!(file = %file.display(), "removing a snapshot that was never finished");
                fs::remove_file(file)?;
            }
        }
        Ok(())
    }

    /// Removes all snapshots; sled makes them anew from its log.
    ///
    /// # Errors
    /// What the file system says.
    pub fn drop_snapshots(&self) -> io::Result<()> {
        self.snapshots()?.into_iter().try_for_each(fs::remove_file)
    }

    fn snapshots(&self) -> io::Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with("snap.") {
                found.push(entry.path());
            }
        }
        Ok(found)
    }
}
