//! Content-addressed bytes: hashed while they come in, named by their hash, stored once.
//!
//! Knows files and hashes; the records that refer to them are the store's.

mod local;
mod thumbs;

pub use local::{Inventory, LocalBlobs};
pub use thumbs::Thumbs;

use crate::domain::blob::ContentHash;
use std::fs::File;
use std::io;
use std::path::PathBuf;

/// A place that keeps bytes.
pub trait BlobStore: Send + Sync {
    /// Begins to take bytes in.
    ///
    /// # Errors
    /// Where no temporary file can be made.
    fn begin(&self) -> io::Result<Box<dyn BlobWriter>>;

    /// Where the bytes with this name lie, so that links can be made to them.
    fn path(&self, hash: ContentHash) -> PathBuf;

    /// Removes bytes that nothing refers to. Doing so twice does no harm.
    ///
    /// # Errors
    /// What the file system says.
    fn remove(&self, hash: ContentHash) -> io::Result<()>;
}

/// Bytes that are coming in. Dropped before its end, it leaves nothing behind.
pub trait BlobWriter: Send {
    /// Takes some bytes.
    ///
    /// # Errors
    /// Where they cannot be written.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// All bytes have come.
    ///
    /// # Errors
    /// Where they cannot be written.
    fn finish(self: Box<Self>) -> io::Result<Box<dyn StagedBlob>>;
}

/// Bytes that are complete and have no name yet. Dropped, they are gone.
pub trait StagedBlob: Send {
    /// What they would be called.
    fn hash(&self) -> ContentHash;

    /// How many there are.
    fn size(&self) -> u64;

    /// Reads them.
    ///
    /// # Errors
    /// Where they cannot be read.
    fn open(&self) -> io::Result<File>;

    /// Where they lie until they are kept or dropped.
    fn path(&self) -> PathBuf;

    /// Makes them durable under their name. Doing so twice does no harm.
    ///
    /// # Errors
    /// Where they cannot be written.
    fn keep(self: Box<Self>) -> io::Result<()>;
}
