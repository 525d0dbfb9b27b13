//! Everything sled: records, indexes and the one thread that writes them.
//!
//! A write is durable when its [`Commit`] is answered. Reads are made where they are needed, without a thread hop:
//! each is a few look-ups in memory. Knows the domain's types; not HTTP, not the scheduler's rules.

mod before;
pub mod check;
mod chunk;
pub mod codec;
mod committer;
mod disk;
mod drain;
mod engine;
mod gate;
mod key;
mod migrate;
mod open;
mod snapshot;
mod space;
mod tx;
mod usage;
mod wal;
mod worker;

pub mod accounts;
pub mod answers;
pub mod balance;
pub mod blobs;
pub mod columns;
pub mod datasets;
pub mod duplicates;
pub mod events;
pub mod experiments;
pub mod listing;
pub mod lists;
pub mod logs;
pub mod mails;
pub mod manifests;
pub mod models;
pub mod queue;
mod record;
pub mod results;
pub mod runs;
pub mod shares;
pub mod sweeps;
#[cfg(test)]
mod tests;
pub mod tokens;
pub mod trash;
pub mod webhooks;

pub use committer::{Commit, Urgency};
pub use migrate::FORMAT;
pub use open::{OpenError, Options, Purpose, RESTORING};
pub use snapshot::Snapshot;
pub use tx::{Pair, Pairs, Read, ReadBack, Tx};
pub use usage::Usage;
pub use worker::Failure;

use crate::domain::error::{Error, Result};
use committer::Committer;
use gate::Gate;
use sled::IVec;
use space::Space;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use tokio::sync::watch;

/// An open store. Clones share it.
#[derive(Clone)]
pub struct Store {
    gate: Gate,
    committer: Committer,
    health: watch::Receiver<Option<Failure>>,
    space: Arc<Space>,
    folder: Arc<PathBuf>,
    closing: Arc<Closing>,
}

struct Closing {
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Keeps other processes out until the last clone is gone.
    _lock: File,
}

impl Store {
    /// Opens the store in `folder`, making it where there is none.
    ///
    /// # Errors
    /// [`OpenError`]; the folder is left as it was then.
    pub fn open(folder: &Path, options: Options) -> std::result::Result<Self, OpenError> {
        let space = Arc::new(Space::new(folder, options.min_free_bytes));
        if !space.has_room() {
            space.release_ballast();
        }
        let opened = open::open(folder, options)?;
        space.keep_ballast();
        let gate = opened.disk.gate();
        let (failed, health) = watch::channel(None);
        let (committer, thread) = Committer::start(opened.disk, Arc::clone(&space), failed)
            .map_err(|source| OpenError::Folder { folder: folder.to_owned(), what: "served", source })?;
        let closing = Closing { thread: Mutex::new(Some(thread)), _lock: opened.lock };
        let folder = Arc::new(folder.to_owned());
        Ok(Self { gate, committer, health, space, folder, closing: Arc::new(closing) })
    }

    /// Hands in a write of something new; refused when the disk is nearly full.
    pub fn write<T, F>(&self, writer: F) -> Commit<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T> + Send + 'static,
    {
        self.committer.write(Urgency::Growth, writer)
    }

    /// Writes what ends or continues what was accepted before, on a thread that may block. When this returns, kill -9
    /// cannot undo it and the next write builds on it; readers see it a moment later, when a power cut cannot either.
    ///
    /// # Errors
    /// What the writer or the disk said.
    pub fn note<T, F>(&self, writer: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T> + Send + 'static,
    {
        self.committer.note(Urgency::Settle, writer)
    }

    /// Hands in a write that ends what was accepted before.
    pub fn settle<T, F>(&self, writer: F) -> Commit<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T> + Send + 'static,
    {
        self.committer.write(Urgency::Settle, writer)
    }

    /// What keeps the store from being written, now and when it changes.
    pub fn health(&self) -> watch::Receiver<Option<Failure>> {
        self.health.clone()
    }

    /// True while new things may be stored.
    pub fn has_room(&self) -> bool {
        self.health.borrow().is_none() && self.space.has_room()
    }

    /// What it takes of the disk, and what is left.
    ///
    /// # Errors
    /// Where the file system does not say.
    pub fn usage(&self) -> std::io::Result<Usage> {
        Usage::of(&self.space)
    }

    /// The number of the newest event; 0 where there is none.
    ///
    /// # Errors
    /// `internal` where the store cannot be read.
    pub fn last_event(&self) -> Result<u64> {
        self.gate.last_event()
    }

    /// Changes whenever readers see something new.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.gate.shown()
    }

    /// The failure of a thing that found no room.
    pub fn disk_full() -> Error {
        worker::disk_full()
    }

    /// Closes the store: what was handed in is written. Other clones answer that the server is stopping.
    pub fn close(self) {
        let Self { gate, committer, closing, folder, .. } = self;
        drop(committer);
        drop(gate);
        let thread = closing.thread.lock().ok().and_then(|mut thread| thread.take());
        // The thread ends with the last committer handle; another clone may still hold one.
        let Some(thread) = thread.filter(|_| Arc::strong_count(&closing) == 1) else { return };
        if thread.join().is_err() {
            tracing::error!("the committer panicked");
        } else if let Err(error) = before::leave(&folder) {
            tracing::debug!(%error, "the next start will take a little longer");
        }
    }
}

impl Read for Store {
    fn get(&self, key: &[u8]) -> Result<Option<IVec>> {
        Read::get(&self.gate, key)
    }

    fn range(&self, from: Vec<u8>, to: Vec<u8>) -> Pairs<'_> {
        Read::range(&self.gate, from, to)
    }

    fn first(&self, from: Vec<u8>, to: Vec<u8>) -> Result<Option<Pair>> {
        Read::first(&self.gate, from, to)
    }
}

impl ReadBack for Store {
    fn range_back(&self, from: Vec<u8>, to: Vec<u8>) -> Pairs<'_> {
        self.gate.range_back(from, to)
    }
}
