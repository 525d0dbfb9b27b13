//! What the store takes of the disk, and what the disk has left.

use super::space::Space;
use std::fs;
use std::io;
use std::path::Path;

/// Bytes on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Of records and their log.
    pub store: u64,
    /// That the disk has left for this process.
    pub disk_free: u64,
    /// Below which nothing new is accepted.
    pub kept_free: u64,
}

impl Usage {
    /// Looks at the disk: a few files, however much is stored in them.
    pub(super) fn of(space: &Space) -> io::Result<Self> {
        Ok(Self { store: size(&space.folder().join("store"))?, disk_free: space.free()?, kept_free: space.mark() })
    }
}

/// The sizes of a folder's files, those of folders in it included.
fn size(folder: &Path) -> io::Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        sum += match entry.metadata() {
            Ok(file) if file.is_dir() => size(&entry.path())?,
            Ok(file) => file.len(),
            // sled removes files that it has replaced.
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
    }
    Ok(sum)
}
