//! Opening a data folder: the lock, the format, what an unclean end left behind.
//!
//! A folder that cannot be opened stays as it was, and an empty store never takes a damaged one's place. Knows the
//! folder, not the records in it.

use super::disk::Disk;
use super::wal::{Found, Wal};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The format that this release writes.
pub const FORMAT: u32 = 1;

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

/// The settings of the store.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// What sled may keep in memory, in bytes; real use is a multiple.
    pub cache_bytes: u64,
    /// Bytes that are to stay free on the disk.
    pub min_free_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { cache_bytes: 4 << 20, min_free_bytes: 64 << 20 }
    }
}

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
        Ok(Self(OpenOptions::new().create(true).truncate(false).read(true).write(true).open(file)?))
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

/// A store up to this size is copied before it is opened, in bytes; copying a larger one would take too long.
const COPIED: u64 = 32 << 20;

/// Opens the store in `folder`, making it where there is none.
pub(super) fn open(folder: &Path, options: Options) -> Result<Opened, OpenError> {
    let failed = |what| move |source| OpenError::Folder { folder: folder.to_owned(), what, source };
    fs::create_dir_all(folder).map_err(failed("made"))?;
    let lock = lock(folder)?;
    let is_new = !has_format(folder)?;
    let store = folder.join("store");
    let mark = Mark::open(folder).map_err(failed("opened"))?;
    if is_new {
        clear_unfinished(folder, &store, &mark)?;
    } else {
        check_files(folder, &store)?;
    }
    mend(&store).map_err(failed("read"))?;
    let before = Before::keep(folder, &store, is_new).map_err(failed("copied"))?;
    let db = match open_or_rescue(folder, &store, options) {
        Ok(db) => db,
        Err(error) => {
            before.drop_copy();
            return Err(error);
        }
    };
    let log = OpenOptions::new().write(true).open(store.join("db")).map_err(failed("opened"))?;
    let (wal, found) = Wal::open(&store).map_err(failed("opened"))?;
    if is_new {
        settle_new(folder, &store, &db).map_err(failed("written"))?;
    }
    let last_event = match replay(&db, found).and_then(|last| loss(&db, &mark, last)) {
        Ok(last) => last,
        Err(cause) => {
            drop(db);
            before.put_back(&store).map_err(failed("put back"))?;
            return Err(OpenError::Damaged { folder: folder.to_owned(), cause });
        }
    };
    let mut disk = Disk::new(db, log, wal, mark, last_event);
    disk.checkpoint().map_err(failed("written"))?;
    before.drop_copy();
    Ok(Opened { disk, lock })
}

/// Applies what the write-ahead log has and returns the number of the last change. Says what the store has lost where
/// that is more than the log can mend.
fn replay(db: &sled::Db, log: Found) -> Result<u64, String> {
    let words = |error: sled::Error| error.to_string();
    let found = super::tx::last_event(db).map_err(words)?;
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
    super::tx::last_event(db).map_err(words)
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

/// The store as it was before sled opened it, which may change its files.
struct Before(Option<PathBuf>);

impl Before {
    fn keep(folder: &Path, store: &Path, is_new: bool) -> io::Result<Self> {
        let copy = folder.join("store.before");
        if copy.exists() {
            fs::remove_dir_all(&copy)?;
        }
        if is_new || store.join("db").metadata()?.len() > COPIED {
            return Ok(Self(None));
        }
        copy_folder(store, &copy, false)?;
        Ok(Self(Some(copy)))
    }

    fn put_back(self, store: &Path) -> io::Result<()> {
        let Some(copy) = self.0 else { return Ok(()) };
        fs::remove_dir_all(store)?;
        fs::rename(copy, store)
    }

    fn drop_copy(self) {
        if let Some(Err(error)) = self.0.map(fs::remove_dir_all) {
            tracing::warn!(%error, "a copy of the store is left behind");
        }
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

/// True where a store was made in `folder` before, which the format file says: it is written last.
fn has_format(folder: &Path) -> Result<bool, OpenError> {
    match fs::read_to_string(folder.join("format")) {
        Ok(text) if text.trim() == FORMAT.to_string() => Ok(true),
        Ok(text) => {
            let found: String = text.trim().chars().take(40).collect();
            Err(OpenError::Newer { folder: folder.to_owned(), found })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(OpenError::Folder { folder: folder.to_owned(), what: "read", source }),
    }
}

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

/// Removes snapshots that were being written when the machine went down: sled refuses to open over a damaged one,
/// and needs none.
fn mend(store: &Path) -> io::Result<()> {
    for file in snapshots(store)? {
        if file.extension().is_some_and(|ending| ending == "generating") {
            tracing::warn!(file = %file.display(), "removing a snapshot that was never finished");
            fs::remove_file(file)?;
        }
    }
    Ok(())
}

fn snapshots(store: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(store) {
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

fn open_sled(store: &Path, options: Options) -> Result<sled::Db, String> {
    let config = sled::Config::new()
        .path(store)
        .cache_capacity(options.cache_bytes)
        .mode(sled::Mode::LowSpace)
        .use_compression(false)
        // The committer flushes; a timer would only wake an idle machine.
        .flush_every_ms(None);
    // sled asserts on some kinds of damage; that is an error here like any other.
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| config.open())) {
        Ok(Ok(db)) => Ok(db),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("its files contradict each other".to_owned()),
    }
}

/// Opens; on damage keeps a copy and tries again without snapshots, which sled can make anew from its log.
fn open_or_rescue(folder: &Path, store: &Path, options: Options) -> Result<sled::Db, OpenError> {
    let had_files = store.join("db").exists();
    let first = match open_sled(store, options) {
        Ok(db) => return Ok(db),
        Err(cause) => cause,
    };
    let damaged = |cause: String| OpenError::Damaged { folder: folder.to_owned(), cause };
    if !had_files {
        return Err(damaged(first));
    }
    tracing::error!(cause = first, "the store does not open; trying again without its snapshots");
    let failed = |what| move |source| OpenError::Folder { folder: folder.to_owned(), what, source };
    // Never the copy of an earlier rescue: what is put back has to be this store.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let copy = folder.join(format!("store.damaged-{}", now.as_millis()));
    copy_folder(store, &copy, true).map_err(failed("copied"))?;
    for snapshot in snapshots(store).map_err(failed("read"))? {
        fs::remove_file(snapshot).map_err(failed("written"))?;
    }
    match open_sled(store, options) {
        Ok(db) => {
            tracing::warn!(copy = %copy.display(), "the store was opened without its snapshots; a copy of what it was is kept");
            Ok(db)
        }
        Err(_) => {
            fs::remove_dir_all(store).map_err(failed("put back"))?;
            fs::rename(&copy, store).map_err(failed("put back"))?;
            Err(damaged(first))
        }
    }
}

fn copy_folder(from: &Path, to: &Path, durable: bool) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target, durable)?;
        } else {
            fs::copy(entry.path(), &target)?;
            if durable {
                File::open(&target)?.sync_all()?;
            }
        }
    }
    if durable { File::open(to)?.sync_all() } else { Ok(()) }
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
    let draft = folder.join("format.draft");
    fs::write(&draft, format!("{FORMAT}\n"))?;
    File::open(&draft)?.sync_all()?;
    fs::rename(&draft, folder.join("format"))?;
    File::open(folder)?.sync_all()?;
    // The folder itself may be new as well.
    if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}
