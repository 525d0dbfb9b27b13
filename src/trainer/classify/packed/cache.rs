//! Packs in a folder: found by their key, built by the first process that needs one, evicted by size.
//!
//! | file | what | lock (flock) |
//! |---|---|---|
//! | `<key>.pack` | a whole pack | shared by all who have it mapped; exclusive to evict it |
//! | `<key>.draft` | a pack in the making | none |
//! | `<key>.lock` | there while a pack is made | exclusive by the builder; others wait for it |
//!
//! Locks end with the process that holds them, so a builder that is killed leaves two files without a lock: the next one
//! that needs the key takes them over, and the next one that builds anything removes them. It must not know what is
//! in a pack.

use super::BuildError;
use super::format::{Hash, Pack};
use rustix::fs::{FlockOperation, flock};
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A folder that holds packs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    /// The folder; made when it is not there.
    pub folder: PathBuf,
    /// Bytes that packs may take; those in use stay whatever they take.
    pub limit: u64,
}

impl Cache {
    /// The pack of `key`: one that is there, or one that `build` writes into an empty file.
    ///
    /// # Errors
    /// As `build`, or if the folder cannot be used.
    pub(in super::super) fn open_or_build(
        &self,
        key: &Hash,
        build: impl FnOnce(&File) -> Result<(), BuildError>,
    ) -> Result<Pack, BuildError> {
        if let Some(pack) = self.open(key)? {
            return Ok(pack);
        }
        fs::create_dir_all(&self.folder)?;
        let held = Lock::wait(&self.path(key, "lock"))?;
        // Somebody may have built it while this waited.
        if let Some(pack) = self.open(key)? {
            return Ok(pack);
        }
        let draft = self.path(key, "draft");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&draft)?;
        let built = build(&file).and_then(|()| {
            // Before it has its name, so that it cannot be evicted from under us.
            lock(&file, FlockOperation::LockShared)?;
            Ok(fs::rename(&draft, self.path(key, "pack"))?)
        });
        if let Err(error) = built {
            // The next builder would remove it too; its room may be wanted before.
            let _ = fs::remove_file(&draft);
            return Err(error);
        }
        drop(held);
        self.evict()?;
        Ok(Pack::open(file, key)?)
    }

    fn path(&self, key: &Hash, ending: &str) -> PathBuf {
        self.folder.join(blake3::Hash::from_bytes(*key).to_hex().as_str()).with_extension(ending)
    }

    /// The pack of `key`, if there is a whole one.
    fn open(&self, key: &Hash) -> io::Result<Option<Pack>> {
        let path = self.path(key, "pack");
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        lock(&file, FlockOperation::LockShared)?;
        if !is_at(&file, &path) {
            return Ok(None);
        }
        // The time of the last use, for eviction. Without the right to set it, the pack only looks older than it is.
        let _ = file.set_modified(SystemTime::now());
        match Pack::open(file, key) {
            Ok(pack) => Ok(Some(pack)),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes the packs that have not been used for longest until the others fit, and what killed builders left.
    /// What cannot be removed, because it is in use or somebody else's, stays.
    fn evict(&self) -> io::Result<()> {
        let mut packs = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            match path.extension().and_then(OsStr::to_str) {
                Some("lock") => {
                    if let Ok(Some(held)) = Lock::attempt(&path) {
                        let _ = fs::remove_file(path.with_extension("draft"));
                        drop(held);
                    }
                }
                Some("pack") => {
                    // One that is gone by now needs no room.
                    let Ok(about) = fs::metadata(&path) else { continue };
                    packs.push((about.modified()?, path, about.len()));
                }
                _ => {}
            }
        }
        packs.sort();
        let mut taken: u64 = packs.iter().map(|(.., size)| size).sum();
        for (_, path, size) in packs {
            if taken <= self.limit {
                break;
            }
            let Ok(file) = File::open(&path) else { continue };
            let unused = lock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() && is_at(&file, &path);
            if unused && fs::remove_file(&path).is_ok() {
                taken -= size;
            }
        }
        Ok(())
    }
}

/// The right to build one pack. Its file goes when this does.
struct Lock {
    path: PathBuf,
    file: File,
}

impl Lock {
    /// Waits until nobody else has it.
    fn wait(path: &Path) -> io::Result<Lock> {
        loop {
            if let Some(lock) = Lock::take(path, FlockOperation::LockExclusive)? {
                return Ok(lock);
            }
        }
    }

    /// Takes it if nobody has it.
    fn attempt(path: &Path) -> io::Result<Option<Lock>> {
        match Lock::take(path, FlockOperation::NonBlockingLockExclusive) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            other => other,
        }
    }

    /// None if the lock's last holder removed the file meanwhile: what is locked then locks nobody out.
    fn take(path: &Path, how: FlockOperation) -> io::Result<Option<Lock>> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        lock(&file, how)?;
        Ok(is_at(&file, path).then(|| Lock { path: path.to_owned(), file }))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While it is still locked, so that nobody can have begun on this very file. A lock's file that stays is harmless.
        let _ = fs::remove_file(&self.path);
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

/// Whether `path` still leads to `file`.
fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(own), Ok(there)) = (file.metadata(), fs::metadata(path)) else { return false };
    (own.dev(), own.ino()) == (there.dev(), there.ino())
}

/// Locks `file`, whatever signals come meanwhile.
fn lock(file: &File, how: FlockOperation) -> io::Result<()> {
    loop {
        match flock(file, how) {
            Err(rustix::io::Errno::INTR) => {}
            other => return other.map_err(io::Error::from),
        }
    }
}

#[cfg(test)]
mod tests;
