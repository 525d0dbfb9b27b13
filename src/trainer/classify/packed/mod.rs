//! The decoded pictures of a data set in one file, made once and mapped by all runs that need it.
//!
//! `format` is the file, `draft` writes one, `cache` finds, builds and evicts them, `map` brings them into memory. A pack
//! is found by a key over what it was made from, so one that fits is never out of date, and its checksum is verified
//! each time it is opened: a damaged one is made anew and never trusted. It is a cache: nothing is synced, since
//! what a power cut leaves half written fails the checksum. This module must not know splits, training or networks.

mod cache;
mod draft;
mod format;
mod map;

pub use cache::Cache;
pub(super) use draft::{Draft, Picture};
pub(super) use format::{Hash, LeftOut, Pack};

use super::ClassifyError;
use std::fs::File;
use std::io;

/// Why a pack was not made.
#[derive(Debug, thiserror::Error)]
pub(super) enum BuildError {
    /// The data set cannot be used.
    #[error(transparent)]
    Dataset(#[from] ClassifyError),
    /// The pack's own file could not be written or read.
    #[error(transparent)]
    File(#[from] io::Error),
}

/// Makes a pack in memory, for this process alone.
///
/// # Errors
/// As `build`, or if memory cannot be had.
pub(super) fn in_memory(key: &Hash, build: impl FnOnce(&File) -> Result<(), BuildError>) -> Result<Pack, BuildError> {
    let descriptor = rustix::fs::memfd_create(c"trainyard-pack", rustix::fs::MemfdFlags::CLOEXEC)
        .map_err(|error| BuildError::File(error.into()))?;
    let file = File::from(descriptor);
    build(&file)?;
    Pack::open(file, key).map_err(BuildError::File)
}
