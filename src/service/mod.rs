//! Use cases: what a user can do, whichever API asks. One file a noun.
//!
//! Everything takes an [`Actor`](crate::domain::account::Actor) and answers with domain types or an error that says
//! what to do. Knows the store, the blobs and the scheduler's handle; not HTTP, not processes.

pub mod datasets;
pub mod experiments;
pub mod figures;
pub mod images;
pub mod models;
pub mod predictions;
pub mod results;
pub mod runs;
pub mod status;
mod turns;

use crate::blob::BlobStore;
use crate::domain::prediction::Predictor;
use crate::domain::run_files::RunFiles;
use crate::domain::stamp::{Clock, Timestamp};
use crate::domain::sweep::Grid;
use crate::ingest::fetch::Fetcher;
use crate::scheduler::Handle;
use crate::store::Store;
use std::sync::Arc;
use turns::Turns;

/// The most experiments or runs that one transaction writes: sled keeps a copy of every page that a transaction changes
/// until it ends, several KiB for each key.
const CHUNK: usize = 64;

/// Bounds on what a client may ask for.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of one uploaded image.
    pub max_upload_bytes: u64,
    /// Pixels of one image, known from its container.
    pub max_image_pixels: u64,
    /// Uploads that are written to the disk at once.
    pub concurrent_uploads: usize,
    /// Slots for runs.
    pub concurrency: usize,
}

/// What the services are made of.
pub struct Parts {
    /// Records.
    pub store: Store,
    /// Stored bytes.
    pub blobs: Arc<dyn BlobStore>,
    /// The way to the scheduler.
    pub scheduler: Handle,
    /// Who answers predictions.
    pub predictor: Arc<dyn Predictor>,
    /// Where runs keep their files.
    pub files: Arc<dyn RunFiles>,
    /// Who fetches urls.
    pub fetcher: Fetcher,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// The sweep that a new model gets.
    pub grid: Grid,
    /// Bounds.
    pub limits: Limits,
}

/// Everything a user can do.
pub struct Services {
    parts: Parts,
    uploads: Arc<Turns>,
}

impl Services {
    /// Puts the services together.
    pub fn new(parts: Parts) -> Self {
        let uploads = Arc::new(Turns::new(parts.limits.concurrent_uploads));
        Self { parts, uploads }
    }

    fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }

    /// The bounds.
    pub fn limits(&self) -> Limits {
        self.parts.limits
    }
}
