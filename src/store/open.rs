//! Opening a data folder: the lock, the format, what an unclean end left behind.
//!
//! A folder that cannot be opened stays as it was, and an empty store never takes a damaged one's place. Knows the
//! folder, not the records in it.

use super::before::Before;
use super::disk::Disk;
use super::engine::{Engine, EngineError};
use super::migrate::{self, FORMAT};
use super::wal::{Found, Wal};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Why a data folder was not opened, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder cannot be used at all.
    #[error(
        "the data folder {folder} cannot be {what}: {source}; check that it exists, is writable and belongs to this user"
    )]
    Folder {
        /// Which folder.
        folder: PathBuf,
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has it.
    #[error("the data folder {0} is in use by another trainyard; stop that one, or give this one another --data-dir")]
    Locked(PathBuf),
    /// A newer release wrote it.
    #[error(
        "the data folder {folder} has format {found}, and this release reads formats up to {FORMAT}; use a newer trainyard"
    )]
    Newer {
        /// Which folder.
        folder: PathBuf,
        /// What it says.
        found: String,
    },
    /// There is nothing there.
    #[error("{0} is no data folder of trainyard: it has no file named format; give the right one as --data-dir")]
    Missing(PathBuf),
    /// A restore into it has not come to its end.
    #[error(
        "a restore into {0} was cut short, so what is there is not whole; run trainyard restore again, or remove the folder"
    )]
    Unfinished(PathBuf),
    /// The disk is so full that it cannot be opened.
    #[error(
        "the disk that holds the data folder {folder} is full, and the store cannot be opened without some room \
         ({source}); free 16 MiB on it and start again"
    )]
    Full {
        /// Which folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is damaged.
    #[error(
        "the store in {folder} cannot be opened: {cause}; restore a backup, or keep the folder for a repair and start \
         with another --data-dir"
    )]
    Damaged {
        /// Which folder.
        folder: PathBuf,
        /// What sled said.
        cause: String,
    },
}

/// What a folder has to be to be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Anything: a store is made where there is none.
    Serve,
    /// There is a store in it.
    Examine,
    /// A restore is under way in it.
    Restore,
}

/// The settings of the store.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// What sled may keep in memory, in bytes; real use is a multiple.
    pub cache_bytes: u64,
    /// Bytes that are to stay free on the disk.
    pub min_free_bytes: u64,
    /// Bytes that are set aside behind sled's file, where the file system can do that.
    pub reserve_bytes: u64,
    /// What the folder has to be.
    pub purpose: Purpose,
}

impl Default for Options {
    fn default() -> Self {
        Self { cache_bytes: 4 << 20, min_free_bytes: 64 << 20, reserve_bytes: 8 << 20, purpose: Purpose::Serve }
    }
}

/// Stands in a folder while a restore is under way in it.
pub const RESTORING: &str = "restoring";

/// An opened store folder.
pub(super) struct Opened {
    pub disk: Disk,
    /// Held for as long as the store is open.
    pub lock: File,
}

/// How many changes have been made durable, kept beside the store: sled takes a damaged log for one that ends early, and
/// this tells the difference. It is written after each commit and needs no sync: after a power cut it may lag behind the
/// store, never run ahead of it.
#[derive(Debug)]
pub(super) struct Mark(File);

impl Mark {
    fn open(folder: &Path) -> io::Result<Self> {
        let file = folder.join("mark");
        let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(file)?;
        if file.metadata()?.len() == 0 {
            // From here on it has its place on the disk, however full that gets.
            file.write_all_at(&[0; 8], 0)?;
        }
        Ok(Self(file))
    }

    /// The last change that was noted; nought where none was.
    fn read(&self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        match self.0.read_exact_at(&mut bytes, 0) {
            Ok(()) => Ok(u64::from_le_bytes(bytes)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Notes the last change.
    pub fn write(&self, change: u64) -> io::Result<()> {
        self.0.write_all_at(&change.to_le_bytes(), 0)
    }
}

/// Opens the store in `folder`, making it where there is none.
pub(super) fn open(folder: &Path, options: Options) -> Result<Opened, OpenError> {
    let failed = |what| move |source| OpenError::Folder { folder: folder.to_owned(), what, source };
    let is_there = |name: &str| folder.join(name).exists();
    if options.purpose == Purpose::Examine && !is_there("format") && !is_there(RESTORING) {
        return Err(OpenError::Missing(folder.to_owned()));
    }
    fs::create_dir_all(folder).map_err(failed("made"))?;
    let lock = lock(folder)?;
    if options.purpose != Purpose::Restore && is_there(RESTORING) {
        return Err(OpenError::Unfinished(folder.to_owned()));
    }
    let format = migrate::format_of(folder)?;
    let engine = Engine { folder: folder.join("store"), options };
    let mark = Mark::open(folder).map_err(failed("opened"))?;
    match format {
        None => clear_unfinished(folder, &engine.folder, &mark)?,
        Some(_) => check_files(folder, &engine.folder)?,
    }
    engine.mend().map_err(failed("read"))?;
    let before = Before::keep(folder, &engine.folder, format.is_none()).map_err(failed("copied"))?;
    let db = match open_or_rescue(folder, &engine) {
        Ok(db) => db,
        Err(error) => {
            before.drop_copy();
            return Err(error);
        }
    };
    let (wal, found) = Wal::open(&engine.folder).map_err(failed("opened"))?;
    if format.is_none() {
        settle_new(folder, &engine.folder, &db).map_err(failed("written"))?;
    }
    let whole = replay(&db, found).and_then(|last| loss(&db, &mark, last));
    let whole = whole.and_then(|last| Ok((last, migrate::migrate(&db, format.unwrap_or(FORMAT))?)));
    let (last_event, migrated) = match whole {
        Ok(whole) => whole,
        Err(cause) => {
            drop(db);
            before.put_back(&engine.folder).map_err(failed("put back"))?;
            return Err(OpenError::Damaged { folder: folder.to_owned(), cause });
        }
    };
    let mut disk = Disk::new(db, engine, wal, mark, last_event).map_err(failed("opened"))?;
    disk.checkpoint().map_err(|trouble| trouble.on_opening(folder))?;
    if migrated {
        migrate::write_format(folder).map_err(failed("written"))?;
    }
    before.drop_copy();
    Ok(Opened { disk, lock })
}

/// Applies what the write-ahead log has and returns the number of the last change. Says what the store has lost where
/// that is more than the log can mend.
pub(super) fn replay(db: &sled::Db, log: Found) -> Result<u64, String> {
    let words = |error: sled::Error| error.to_string();
    let found = super::events::last_in(db).map_err(words)?;
    if found < log.base {
        return Err(format!("it ends at change {found}, but had {} when it was last synced", log.base));
    }
    for (key, value) in log.writes {
        match value {
            Some(value) => db.insert(key, value).map(drop),
            None => db.remove(key).map(drop),
        }
        .map_err(words)?;
    }
    super::events::last_in(db).map_err(words)
}

/// What the store has lost though sled opened it; else the last change again.
fn loss(db: &sled::Db, mark: &Mark, last: u64) -> Result<u64, String> {
    if !db.contains_key(WITNESS).unwrap_or(false) {
        return Err("its first record is missing".to_owned());
    }
    match mark.read().unwrap_or(0) {
        noted if last < noted => Err(format!("it ends at change {last}, but {noted} were acknowledged")),
        _ => Ok(last),
    }
}

/// How long to try for the lock: a child that a killed server had just begun to start holds it for a moment longer.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);

fn lock(folder: &Path) -> Result<File, OpenError> {
    let failed = |source| OpenError::Folder { folder: folder.to_owned(), what: "locked", source };
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(folder.join("lock")).map_err(failed)?;
    let until = Instant::now() + LOCK_PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(fs::TryLockError::WouldBlock) if Instant::now() < until => std::thread::sleep(LOCK_PATIENCE / 50),
            Err(fs::TryLockError::WouldBlock) => return Err(OpenError::Locked(folder.to_owned())),
            Err(fs::TryLockError::Error(source)) => return Err(failed(source)),
        }
    }
}

/// The first record of every store: one without it has lost its beginning.
const WITNESS: &[u8] = b"\x01created\0";

/// Sees to it that sled does not begin a new store in the place of one whose files are gone.
fn check_files(folder: &Path, store: &Path) -> Result<(), OpenError> {
    let is_empty = |name: &str| store.join(name).metadata().map_or(true, |file| file.len() == 0);
    match ["db", "conf"].into_iter().find(|name| is_empty(name)) {
        None => Ok(()),
        Some(name) => {
            let cause = format!("store/{name} is missing or empty");
            Err(OpenError::Damaged { folder: folder.to_owned(), cause })
        }
    }
}

/// Removes a store whose making was cut short: the format file is written last, and nothing was stored before it.
fn clear_unfinished(folder: &Path, store: &Path, mark: &Mark) -> Result<(), OpenError> {
    if mark.read().unwrap_or(1) > 0 {
        let cause = "its format file is missing; write `1` into it".to_owned();
        return Err(OpenError::Damaged { folder: folder.to_owned(), cause });
    }
    match fs::remove_dir_all(store) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(OpenError::Folder { folder: folder.to_owned(), what: "cleared", source: error })
        }
        _ => Ok(()),
    }
}

/// Opens; on damage keeps a copy and tries again without snapshots, which sled can make anew from its log. On a full disk
/// gives up what is set aside and tries again.
fn open_or_rescue(folder: &Path, engine: &Engine) -> Result<sled::Db, OpenError> {
    let had_files = engine.folder.join("db").exists();
    let failed = |what| move |source| OpenError::Folder { folder: folder.to_owned(), what, source };
    let full = |source| OpenError::Full { folder: folder.to_owned(), source };
    let damaged = |cause: String| OpenError::Damaged { folder: folder.to_owned(), cause };
    let first = match engine.open() {
        Ok(db) => return Ok(db),
        Err(EngineError::Full(_)) => {
            engine.give_up_reserve().map_err(failed("written"))?;
            return engine.open().map_err(|error| match error {
                EngineError::Full(source) => full(source),
                EngineError::Failed(source) => failed("read")(source),
                EngineError::Damaged(cause) => damaged(cause),
            });
        }
        Err(EngineError::Failed(source)) => return Err(failed("read")(source)),
        Err(EngineError::Damaged(cause)) => cause,
    };
    if !had_files {
        return Err(damaged(first));
    }
    tracing::error!(cause = first, "the store does not open; trying again without its snapshots");
    // Never the copy of an earlier rescue: what is put back has to be this store.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let copy = folder.join(format!("store.damaged-{}", now.as_millis()));
    super::before::copy_folder(&engine.folder, &copy, true).map_err(failed("copied"))?;
    engine.drop_snapshots().map_err(failed("written"))?;
    match engine.open() {
        Ok(db) => {
            tracing::warn!(copy = %copy.display(), "the store was opened without its snapshots; a copy of what it was is kept");
            Ok(db)
        }
        Err(error) => {
            fs::remove_dir_all(&engine.folder).map_err(failed("put back"))?;
            fs::rename(&copy, &engine.folder).map_err(failed("put back"))?;
            Err(match error {
                EngineError::Full(source) => full(source),
                EngineError::Failed(source) => failed("read")(source),
                EngineError::Damaged(_) => damaged(first),
            })
        }
    }
}

/// Makes a new store's files and names durable: sled syncs neither its `conf` nor its folders.
fn settle_new(folder: &Path, store: &Path, db: &sled::Db) -> io::Result<()> {
    let record = super::codec::encode(1, &1_u64).map_err(io::Error::other)?;
    db.insert(WITNESS, record).and_then(|_| db.flush()).map_err(io::Error::other)?;
    for entry in fs::read_dir(store)? {
        let entry = entry?;
        File::open(entry.path())?.sync_all()?;
        if entry.file_type()?.is_dir() {
            for inner in fs::read_dir(entry.path())? {
                File::open(inner?.path())?.sync_all()?;
            }
        }
    }
    File::open(store)?.sync_all()?;
    migrate::write_format(folder)?;
    // The folder itself may be new as well.
    if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}
