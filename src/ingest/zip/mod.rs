//! Zip files: those from outside read an entry at a time, those for outside written as they go.
//!
//! The usual crates load the whole directory of an archive before they answer anything: a file of 100 MB of nothing but
//! directory takes gigabytes then. Here a directory is walked where it lies, so that memory does not grow with what it
//! says; what it says is added up and held against limits before anything is unpacked, and unpacking stops where an entry
//! goes over what was said of it. So a bomb costs no more than an honest archive of the size of the limits. Knows
//! nothing of images, of where bytes go, or of HTTP.

mod directory;
mod place;
#[cfg(test)]
mod tests;
mod unpack;
mod write;

pub use directory::{Archive, Entry};
pub use place::{Place, place};
pub use unpack::EntryError;
pub use write::{Headers, Writer};

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use thiserror::Error;

/// What an archive may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Files and folders.
    pub entries: u64,
    /// Bytes of all of them, unpacked.
    pub unpacked: u64,
    /// Bytes of one of them, unpacked.
    pub entry: u64,
    /// How many times its packed size an entry may have, once it is of some size.
    pub ratio: u64,
}

/// What an archive says of itself, before anything is unpacked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Files and folders.
    pub entries: u64,
    /// Their bytes, unpacked.
    pub unpacked: u64,
}

/// Why a file is not taken as an archive, and what to do.
#[derive(Debug, Error)]
pub enum ArchiveError {
    /// It has no directory.
    #[error("the file is not a zip file; pack a folder for each class into one, and send that")]
    NotAnArchive,
    /// It contradicts itself.
    #[error("the zip file is damaged: {0}; pack it anew")]
    Damaged(&'static str),
    /// It is only a part.
    #[error("the zip file is one of several parts; pack everything into one file")]
    Split,
    /// It has too many entries.
    #[error(
        "the zip file has {entries} entries, more than the {limit} allowed; send it in parts, or raise archives.max_entries"
    )]
    TooMany {
        /// What it has.
        entries: u64,
        /// What it may have.
        limit: u64,
    },
    /// It unpacks to too much.
    #[error(
        "the zip file unpacks to {unpacked} bytes, more than the {limit} allowed; send it in parts, or raise \
         archives.max_unpacked_bytes"
    )]
    TooLarge {
        /// To how much.
        unpacked: u64,
        /// What it may.
        limit: u64,
    },
    /// Entries share their bytes, which no honest archive's do.
    #[error("the entries of the zip file are larger than the file itself, so they share their bytes; pack it anew")]
    Overlapping,
    /// The file itself.
    #[error("the zip file could not be read; try again")]
    Unreadable(#[from] io::Error),
}

/// Bytes that can be read anywhere.
pub trait Source {
    /// How many there are.
    ///
    /// # Errors
    /// What the file system says.
    fn length(&self) -> io::Result<u64>;

    /// Fills `buffer` with what stands at `at`.
    ///
    /// # Errors
    /// Where there is less.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()>;
}

impl Source for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        self.read_exact_at(buffer, at)
    }
}

impl Source for Vec<u8> {
    fn length(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let from = usize::try_from(at).map_err(io::Error::other)?;
        let end = from.checked_add(buffer.len());
        let found = end.and_then(|end| self.get(from..end)).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(found);
        Ok(())
    }
}

/// A little-endian number in a header that is known to be long enough; nought where it is not.
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |number| u16::from_le_bytes(*number))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |number| u32::from_le_bytes(*number))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |number| u64::from_le_bytes(*number))
}
