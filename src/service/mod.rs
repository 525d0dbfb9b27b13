//! Use cases: what a user can do, whichever API asks. One file a noun.
//!
//! Everything takes a [`Permit`](crate::domain::account::Permit) and answers with domain types or an error that says
//! what to do. Knows the store, the blobs and the scheduler's handle; not HTTP, not processes.

mod access;
pub mod accounts;
pub mod answers;
pub mod archives;
pub mod artifacts;
pub mod audit;
pub mod care;
pub mod catalogue;
pub mod control;
pub mod curves;
pub mod datasets;
pub mod experiments;
pub mod exports;
pub mod figures;
pub mod gallery;
pub mod images;
pub mod listing;
pub mod live;
pub mod models;
pub mod overview;
pub mod predictions;
pub mod ranking;
pub mod results;
pub mod runs;
pub mod samples;
pub mod status;
pub mod submit;
pub mod thumbnails;
pub mod trash;
mod turns;
pub mod versions;
pub mod webhooks;

use crate::blob::{BlobStore, Thumbs};
use crate::domain::prediction::Predictor;
use crate::domain::run_files::RunFiles;
use crate::domain::samples::Samples;
use crate::domain::stamp::{Clock, Timestamp};
use crate::domain::sweep::Grid;
use crate::domain::thumbnail::Thumbnailer;
use crate::ingest::fetch::Fetcher;
use crate::scheduler::Handle;
use crate::store::Store;
use accounts::Accounts;
use live::{Live, News};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{Notify, RwLock, Semaphore};
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
    /// How long a run may take, in seconds.
    pub timeout_seconds: u64,
    /// How long what was deleted stays in the trash, in milliseconds.
    pub trash_ms: u64,
    /// Live streams at once.
    pub max_streams: usize,
    /// Zip files of images.
    pub archives: archives::Limits,
}

/// What the services are made of.
pub struct Parts {
    /// Where everything is kept.
    pub folder: PathBuf,
    /// Records.
    pub store: Store,
    /// Who may ask.
    pub accounts: Arc<Accounts>,
    /// Stored bytes.
    pub blobs: Arc<dyn BlobStore>,
    /// Small pictures of images.
    pub thumbs: Arc<Thumbs>,
    /// Who makes them.
    pub thumbnailer: Arc<dyn Thumbnailer>,
    /// The way to the scheduler.
    pub scheduler: Handle,
    /// Who answers predictions.
    pub predictor: Arc<dyn Predictor>,
    /// Where runs keep their files.
    pub files: Arc<dyn RunFiles>,
    /// Who fetches urls.
    pub fetcher: Arc<Fetcher>,
    /// Wakes the outbox when a webhook was made.
    pub webhooks_changed: Arc<Notify>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// The sweep that a new model gets.
    pub grid: Grid,
    /// Bounds.
    pub limits: Limits,
    /// Which runs have printed something.
    pub news: Arc<News>,
    /// What all children hold now, in bytes, where the system says.
    pub children_resident: fn() -> Option<u64>,
    /// Images that come with the program.
    pub samples: Arc<dyn Samples>,
}

/// Everything a user can do.
pub struct Services {
    parts: Parts,
    uploads: Arc<Turns>,
    stopping: AtomicBool,
    /// Held for reading from before bytes are stored until their record is: who removes bytes holds it for writing.
    storing: Arc<RwLock<()>>,
    live: Live,
    /// Requests with keys of their own that are being done.
    underway: answers::Underway,
    thumbnails: thumbnails::Lanes,
    /// Turns at taking zip files in, and at sending them.
    archives: Arc<Semaphore>,
    exports: Arc<Semaphore>,
    /// The turn of whoever cares for all of the data.
    care: Arc<Semaphore>,
}

impl Services {
    /// Puts the services together.
    pub fn new(parts: Parts) -> Self {
        let uploads = Arc::new(Turns::new(parts.limits.concurrent_uploads));
        let live = Live::new(Arc::clone(&parts.news), parts.limits.max_streams);
        Self {
            parts,
            uploads,
            stopping: AtomicBool::new(false),
            storing: Arc::default(),
            live,
            underway: answers::Underway::default(),
            thumbnails: thumbnails::Lanes::new(),
            archives: Arc::new(Semaphore::new(archives::AT_ONCE)),
            exports: Arc::new(Semaphore::new(exports::AT_ONCE)),
            care: Arc::new(Semaphore::new(1)),
        }
    }

    /// The server stops: it is not ready from now on, though it can be read until it is gone.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// What time it is.
    pub fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }

    /// Who may ask.
    pub fn accounts(&self) -> &Accounts {
        &self.parts.accounts
    }

    /// What happens, as it happens.
    pub fn live(&self) -> &Live {
        &self.live
    }

    /// The bounds.
    pub fn limits(&self) -> Limits {
        self.parts.limits
    }
}
