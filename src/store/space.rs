//! Room on the disk: a free-space mark below which nothing new is accepted, and a ballast file to give up in need.
//!
//! sled cannot reopen on a full disk, so a full disk has to be kept from happening. Knows nothing of records.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// What is kept in the ballast file.
pub const BALLAST_BYTES: u64 = 8 << 20;

/// The disk under a data folder.
#[derive(Debug)]
pub struct Space {
    folder: PathBuf,
    mark: u64,
}

impl Space {
    /// Watches the disk under `folder`; `mark` bytes are to stay free.
    pub fn new(folder: &Path, mark: u64) -> Self {
        Self { folder: folder.to_owned(), mark }
    }

    /// The folder on it.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Bytes that are to stay free.
    pub fn mark(&self) -> u64 {
        self.mark
    }

    /// Bytes that this process may still write.
    ///
    /// # Errors
    /// Where the file system does not say.
    pub fn free(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.folder)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// True while new things may be stored. A file system that does not say is taken at its word when it is full.
    pub fn has_room(&self) -> bool {
        self.free().map_or(true, |free| free >= self.mark)
    }

    fn ballast(&self) -> PathBuf {
        self.folder.join("ballast")
    }

    /// Sets the ballast aside where there is room for it; a disk without room goes without.
    pub fn keep_ballast(&self) {
        let enough = self.free().is_ok_and(|free| free >= self.mark + BALLAST_BYTES);
        let there = self.ballast().metadata().is_ok_and(|file| file.len() == BALLAST_BYTES);
        if there || !enough {
            return;
        }
        if let Err(error) = self.make_ballast() {
            tracing::warn!(%error, "no ballast file could be made");
            self.release_ballast();
        }
    }

    fn make_ballast(&self) -> io::Result<()> {
        let file = File::create(self.ballast())?;
        match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, BALLAST_BYTES) {
            Ok(()) => Ok(()),
            // A file system that cannot reserve room gets real bytes.
            Err(rustix::io::Errno::OPNOTSUPP) => {
                let page = [0_u8; 64 << 10];
                let mut file = file;
                (0..BALLAST_BYTES / page.len() as u64).try_for_each(|_| io::Write::write_all(&mut file, &page))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Gives the ballast up, so that what was accepted can be finished.
    pub fn release_ballast(&self) {
        match std::fs::remove_file(self.ballast()) {
            Ok(()) => tracing::warn!("the disk is full: the ballast file was given up"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(%error, "the ballast file could not be removed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_decides_and_the_ballast_comes_and_goes() {
        let folder = tempfile::tempdir().unwrap();
        let roomy = Space::new(folder.path(), 1);
        assert!(roomy.has_room());
        roomy.keep_ballast();
        assert_eq!(folder.path().join("ballast").metadata().unwrap().len(), BALLAST_BYTES);
        roomy.release_ballast();
        assert!(!folder.path().join("ballast").exists());

        let full = Space::new(folder.path(), u64::MAX - BALLAST_BYTES);
        assert!(!full.has_room());
        full.keep_ballast();
        assert!(!folder.path().join("ballast").exists());
    }
}
