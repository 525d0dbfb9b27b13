//! `backup`: a whole data folder in one file, taken while others write.
//!
//! Records are those of one moment (see the store's snapshots). Images never change, and a record is written after its
//! file, so whatever a record of that moment refers to is there when its turn comes. Of runs, those that were over are
//! taken with their folders, logs and points; one that was waiting or running runs again after a restore. Nothing else
//! of the folder is taken: the rest can be made anew.
//!
//! The file, version 1; numbers are little-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 16 | `trainyard-backup` |
//! | 4 | version of this file's format |
//! | 4 | format of the store that the records are of |
//! | 8 | when it was made, in milliseconds since 1970 |
//! | ... | entries |
//! | 32 | BLAKE3 of everything before |
//!
//! An entry:
//!
//! | bytes | what |
//! |---|---|
//! | 1 | kind: 1 records, 2 image, 3 file, 4 link, 5 folder, 255 the end |
//! | 2 | length of the name |
//! | ... | name: nothing; the image's BLAKE3, 32 bytes; a path below the data folder, which begins with `runs/` or `logs/` |
//! | 4 | file mode, nought where that says nothing |
//! | ... | pieces: length (4, at most 1 MiB), bytes |
//! | 4 | nought |
//! | 32 | BLAKE3 of the entry up to here |
//!
//! Records are pairs in ascending order: key length (2), key, value length (4), value. A link holds what it leads to.
//! The end holds how many records, images, other entries there were, and how many files could not be read (8 each).

mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub use reader::{Entry, Reader};
pub use writer::{Source, write};

use std::io;

/// What a backup begins with.
const MAGIC: [u8; 16] = *b"trainyard-backup";

/// The version that this release writes.
pub const VERSION: u32 = 1;

/// The longest piece of an entry, and the longest name.
const MAX_PIECE: usize = 1 << 20;
const MAX_NAME: usize = 4096;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Records.
    Records = 1,
    /// A stored image.
    Image = 2,
    /// A file of a run.
    File = 3,
    /// A symbolic link in a run's folder.
    Link = 4,
    /// A folder of a run.
    Folder = 5,
    /// The end.
    End = 255,
}

impl Kind {
    const ALL: [Self; 6] = [Self::Records, Self::Image, Self::File, Self::Link, Self::Folder, Self::End];

    fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// What a backup says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The format of the store that its records are of.
    pub store_format: u32,
    /// When it was made, in milliseconds since 1970.
    pub made_at: u64,
}

/// How much a backup holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records and index entries.
    pub records: u64,
    /// Images.
    pub images: u64,
    /// Files, links and folders of runs.
    pub others: u64,
    /// Files that could not be read, and are not in it.
    pub left_out: u64,
}

impl Counts {
    fn to_bytes(self) -> Vec<u8> {
        [self.records, self.images, self.others, self.left_out].iter().flat_map(|count| count.to_le_bytes()).collect()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (counts, rest) = bytes.as_chunks::<8>();
        match (counts, rest) {
            ([records, images, others, left_out], []) => Some(Self {
                records: u64::from_le_bytes(*records),
                images: u64::from_le_bytes(*images),
                others: u64::from_le_bytes(*others),
                left_out: u64::from_le_bytes(*left_out),
            }),
            _ => None,
        }
    }
}

/// Why a backup cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It is something else.
    #[error("this is no backup of trainyard's")]
    NotABackup,
    /// A newer release made it.
    #[error("this backup has version {found}, and this release reads versions up to {VERSION}; use a newer trainyard")]
    Newer {
        /// Its version.
        found: u32,
    },
    /// A newer release made the store in it.
    #[error(
        "this backup is of a store of format {found}, and this release reads formats up to {known}; use a newer trainyard"
    )]
    NewerStore {
        /// Its format.
        found: u32,
        /// What is known.
        known: u32,
    },
    /// It ends too early.
    #[error("this backup is cut short: it has no end; take another one")]
    Cut,
    /// Its bytes are not those that were written.
    #[error("this backup is damaged: {0}; take another one")]
    Damaged(String),
    /// It cannot be read, or not be written.
    #[error("{0}")]
    Io(#[from] io::Error),
}
