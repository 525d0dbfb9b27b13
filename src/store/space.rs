//! Room on the disk: a free-space mark below which nothing new is accepted, room that sled's file has ahead of it, and a
//! ballast file to give up when the store is opened.
//!
//! sled can neither go on nor open on a full disk, so a full disk has to be kept from it. Knows nothing of records.

use rustix::fs::{FallocateFlags, fallocate};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// What is kept in the ballast file.
pub const BALLAST_BYTES: u64 = 8 << 20;

/// What sled may need to open: a snapshot of its page table, and a segment.
const OPENING: u64 = 16 << 20;

/// Where in a file to begin setting room aside, counted back from its end: what was written last may have gaps.
const BACK: u64 = 1 << 20;

/// True for an error that says that there is no room.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Bytes that this process may still write below `folder`.
///
/// # Errors
/// Where the file system does not say.
pub fn free_under(folder: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(folder)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

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

    /// Bytes that this process may still write.
    ///
    /// # Errors
    /// Where the file system does not say.
    pub fn free(&self) -> io::Result<u64> {
        free_under(&self.folder)
    }

    /// True while new things may be stored. A file system that does not say is taken at its word when it is full.
    pub fn has_room(&self) -> bool {
        self.free().map_or(true, |free| free >= self.mark)
    }

    /// True where a store can be opened without touching the ballast.
    pub fn has_room_to_open(&self) -> bool {
        self.free().is_ok_and(|free| free >= OPENING)
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
        match fallocate(&file, FallocateFlags::empty(), 0, BALLAST_BYTES) {
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
            Ok(()) => tracing::warn!("the disk is nearly full: the ballast file was given up"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(%error, "the ballast file could not be removed"),
        }
    }
}

/// Room that a growing file has ahead: blocks behind its end, which no other file can take.
#[derive(Debug)]
pub struct Reserve {
    bytes: u64,
    /// How long the file was when it was last looked at.
    length: u64,
    /// Up to where there are blocks; nought where that is not known.
    until: u64,
}

impl Reserve {
    /// So much; nothing is set aside before [`keep`](Self::keep).
    pub fn new(bytes: u64) -> Self {
        Self { bytes, length: 0, until: 0 }
    }

    /// True while the room is there, as far as is known.
    pub fn is_there(&self) -> bool {
        self.bytes == 0 || self.until > 0
    }

    /// Sets room aside where too little is left of it. Returns whether it is there; a file system that cannot do this is
    /// taken at its word.
    pub fn keep(&mut self, file: &File) -> bool {
        let Ok(length) = file.metadata().map(|file| file.len()) else { return self.is_there() };
        // A file that was cut lost what was behind its end.
        let is_enough = length >= self.length && length + self.bytes / 2 <= self.until;
        self.length = length;
        if self.bytes == 0 || is_enough {
            return true;
        }
        let (from, until) = (length.saturating_sub(BACK), length + self.bytes);
        let kept = fallocate(file, FallocateFlags::KEEP_SIZE, from, until - from).map_err(io::Error::from);
        match kept {
            Err(error) if is_full(&error) => {
                if self.until > 0 {
                    tracing::warn!("the disk is full: nothing new is accepted until there is room");
                }
                self.until = 0;
            }
            _ => self.until = until,
        }
        self.is_there()
    }

    /// Gives back what is set aside behind the end of `file`, so that others can use it.
    ///
    /// # Errors
    /// What the file system says.
    pub fn give_up(file: &File) -> io::Result<()> {
        file.set_len(file.metadata()?.len())
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
