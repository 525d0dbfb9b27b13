//! Care of a data folder: whether it is whole (`verify`), all of it in one file (`backup`), and back (`restore`).
//!
//! The same code works on a stopped folder, from the command line, and under a running server. Knows the store, the
//! blobs and where files lie; not HTTP, not who asks.

pub mod backup;
pub mod restore;
pub mod verify;

use crate::domain::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// What a data folder holds beside the store: images by their hash.
pub const BLOBS: &str = "blobs";
/// What runs keep.
pub const RUNS: &str = "runs";
/// What runs print.
pub const LOGS: &str = "logs";
/// What is not finished.
pub const TMP: &str = "tmp";
/// Small pictures of images, made anew when needed.
pub const THUMBS: &str = "thumbs";
/// Folders of links that runs read, made anew when needed.
pub const VIEWS: &str = "views";
/// Decoded images, made anew when needed.
pub const CACHE: &str = "cache";
/// What is being deleted.
pub const SWEPT: &str = "swept";

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weight {
    /// Something is missing or wrong.
    Problem,
    /// Something is there that nobody needs, or that is worth knowing.
    Note,
}

/// What is said while a folder is cared for, a line at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Word {
    /// How far it is.
    Progress {
        /// What is looked at: `records`, `images`, `runs`.
        stage: String,
        /// How many so far.
        done: u64,
    },
    /// Something that is not as it should be.
    Finding {
        /// How much it matters.
        weight: Weight,
        /// What it is.
        what: String,
        /// True where a repair would mend it, or remove it.
        can_be_repaired: bool,
    },
    /// Something that a repair did.
    Repaired {
        /// What.
        what: String,
    },
    /// The end.
    Done(Summary),
    /// It could not go on.
    Failed {
        /// Why.
        why: String,
    },
}

/// What was looked at, and what was found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Records and index entries.
    pub records: u64,
    /// Images.
    pub images: u64,
    /// Their bytes.
    pub image_bytes: u64,
    /// Runs.
    pub runs: u64,
    /// Findings that matter and are left.
    pub problems: u64,
    /// Findings that do not.
    pub notes: u64,
    /// What was repaired: keys written, files removed or moved.
    pub repaired: u64,
}

/// Takes what is said; an error ends the work.
pub type Say<'a> = &'a mut dyn FnMut(Word) -> Result<()>;

/// The answer to whoever wants two things at once.
pub fn busy() -> Error {
    let message = "a backup or a verification is under way; only one at a time goes on, so try again when it is done";
    Error::new(crate::domain::error::Code::Conflict, message)
}
