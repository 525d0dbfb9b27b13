//! A store's files as they were before sled opened them, which may change them: what is refused stays as it was.
//!
//! A file system that shares blocks between copies makes this free; elsewhere a large store is copied only where
//! something is unusual about it. Knows files.

use super::space::{free_under, is_full};
use rustix::fs::ioctl_ficlone;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// A store up to this size is always copied, in bytes: copying a larger one would make every start take long.
const COPIED: u64 = 32 << 20;

/// The copy.
pub(super) struct Before(Option<PathBuf>);

impl Before {
    /// Copies `store`, unless it is new, or large and just as the last server left it. A disk without room goes without.
    ///
    /// # Errors
    /// What the file system says.
    pub fn keep(folder: &Path, store: &Path, is_new: bool) -> io::Result<Self> {
        let copy = folder.join("store.before");
        remove(&copy)?;
        if is_new {
            return Ok(Self(None));
        }
        let size = store.join("db").metadata()?.len();
        let is_as_left = Left::take(folder, store)?;
        if clone_folder(store, &copy).is_ok() {
            return Ok(Self(Some(copy)));
        }
        remove(&copy)?;
        // Half of what is free at the most: others need some too.
        if size > COPIED && (is_as_left || size > free_under(folder)? / 2) {
            return Ok(Self(None));
        }
        match copy_folder(store, &copy, false) {
            Ok(()) => Ok(Self(Some(copy))),
            Err(error) if is_full(&error) => remove(&copy).map(|()| Self(None)),
            Err(error) => Err(error),
        }
    }

    /// Puts the copy in the place of `store`.
    ///
    /// # Errors
    /// What the file system says.
    pub fn put_back(self, store: &Path) -> io::Result<()> {
        let Some(copy) = self.0 else { return Ok(()) };
        fs::remove_dir_all(store)?;
        fs::rename(copy, store)
    }

    /// Drops the copy.
    pub fn drop_copy(self) {
        if let Some(Err(error)) = self.0.map(fs::remove_dir_all) {
            tracing::warn!(%error, "a copy of the store is left behind");
        }
    }
}

/// How a server left sled's file when it stopped in order: its size and when it was last written. Whoever writes to the
/// file afterwards changes that.
struct Left;

impl Left {
    fn of(store: &Path) -> io::Result<String> {
        let file = store.join("db").metadata()?;
        let at = file.modified()?.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Ok(format!("{} {}\n", file.len(), at.as_nanos()))
    }

    /// True where sled's file is as the last server left it. It is forgotten, durably: what follows changes the file.
    fn take(folder: &Path, store: &Path) -> io::Result<bool> {
        let note = folder.join("left");
        let left = match fs::read_to_string(&note) {
            Ok(left) => left,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        fs::remove_file(&note)?;
        File::open(folder)?.sync_all()?;
        Ok(left == Self::of(store)?)
    }
}

/// Notes how sled's file is left. sled has to be closed.
///
/// # Errors
/// What the file system says.
pub(super) fn leave(folder: &Path) -> io::Result<()> {
    fs::write(folder.join("left"), Left::of(&folder.join("store"))?)
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Copies by sharing blocks.
fn clone_folder(from: &Path, to: &Path) -> io::Result<()> {
    each_file(from, to, &|from, to| Ok(ioctl_ficlone(File::create(to)?, File::open(from)?)?))
}

/// Copies a folder, and syncs the copy where it has to last.
///
/// # Errors
/// What the file system says.
pub(super) fn copy_folder(from: &Path, to: &Path, durable: bool) -> io::Result<()> {
    each_file(from, to, &|from, to| {
        fs::copy(from, to)?;
        if durable { File::open(to)?.sync_all() } else { Ok(()) }
    })?;
    if durable { File::open(to)?.sync_all() } else { Ok(()) }
}

fn each_file(from: &Path, to: &Path, copy: &dyn Fn(&Path, &Path) -> io::Result<()>) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            each_file(&entry.path(), &target, copy)?;
        } else {
            copy(&entry.path(), &target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder whose store has a file of this size, and whether it is copied.
    fn is_copied(folder: &Path) -> bool {
        let store = folder.join("store");
        let before = Before::keep(folder, &store, false).unwrap();
        let copied = before.0.is_some();
        if copied {
            assert_eq!(fs::read(folder.join("store.before/db")).unwrap(), fs::read(store.join("db")).unwrap());
            assert!(folder.join("store.before/blobs/1").exists());
        }
        before.drop_copy();
        assert!(!folder.join("store.before").exists());
        copied
    }

    #[test]
    fn a_large_store_is_copied_unless_it_is_just_as_it_was_left() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("store");
        fs::create_dir_all(store.join("blobs")).unwrap();
        fs::write(store.join("blobs/1"), "x").unwrap();
        fs::write(store.join("db"), "small").unwrap();
        leave(folder.path()).unwrap();
        assert!(is_copied(folder.path()), "a small one always is");
        File::options().write(true).open(store.join("db")).unwrap().set_len(COPIED + 1).unwrap();
        assert!(is_copied(folder.path()), "nobody says how it was left");
        leave(folder.path()).unwrap();
        // A file system that shares blocks copies for nothing.
        let shares = clone_folder(&store, &folder.path().join("shared")).is_ok();
        assert_eq!(is_copied(folder.path()), shares, "it is as it was left");
        assert!(is_copied(folder.path()), "that was said once");
        leave(folder.path()).unwrap();
        use std::os::unix::fs::FileExt;
        File::options().write(true).open(store.join("db")).unwrap().write_all_at(b"y", 7).unwrap();
        assert!(is_copied(folder.path()), "somebody wrote to it");
    }

    #[test]
    fn what_was_copied_is_put_back() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("store");
        fs::create_dir_all(&store).unwrap();
        fs::write(store.join("db"), "as it was").unwrap();
        let before = Before::keep(folder.path(), &store, false).unwrap();
        fs::write(store.join("db"), "changed").unwrap();
        fs::write(store.join("new"), "x").unwrap();
        before.put_back(&store).unwrap();
        assert_eq!(fs::read_to_string(store.join("db")).unwrap(), "as it was");
        assert!(!store.join("new").exists());
    }
}
