//! A pack's bytes as memory that all runs of a data set share.
//!
//! It must not know what the bytes mean.
#![expect(unsafe_code, reason = "mapping a file is unsafe: another process could change the bytes under a reference")]

use memmap2::Mmap;
use std::fs::File;
use std::io;
use std::ops::Deref;

/// A whole file in memory, for reading.
#[derive(Debug)]
pub(super) struct Map(Mmap);

impl Map {
    /// Maps `file` as long as it is now.
    ///
    /// # Errors
    /// If the system refuses, for example for want of address space.
    pub fn of(file: &File) -> io::Result<Map> {
        // SAFETY: the bytes must not change while they are borrowed, and the file must not become shorter. Files that
        // are mapped here are the cache's own: written under another name by one process, which holds a lock on that
        // name, and renamed when whole; from then on nobody of ours opens them for writing, and eviction unlinks them,
        // which leaves the bytes to those who have mapped them. Or they have no name at all, and only this process
        // has them. Whoever may write into the cache's folder could break this; they could also replace the program.
        unsafe { Mmap::map(file) }.map(Map)
    }
}

impl Deref for Map {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
