//! What can be wrong with a backbone, in words that say what to do.
//!
//! It must not know how an error is shown.

use std::io;
use std::path::{Path, PathBuf};

/// Why a backbone cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BackboneError {
    /// This executable was built without them.
    #[error(
        "this build of trainyard has no backbones: run trainyard-backbone, which scripts/build-release makes beside it, \
         or build with `cargo build --release --features backbone`"
    )]
    NotBuilt,
    /// A file could not be read.
    #[error("cannot read the backbone {}: {cause}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why it failed.
        cause: io::Error,
    },
    /// The file is not what it should be, and why.
    #[error("the backbone {} cannot be used: {reason}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// A flag or setting that does not fit.
    #[error("{0}")]
    Setting(String),
    /// The features would not fit into memory.
    #[error("{images} images with {features} features each need more than 256 MiB; train on fewer images")]
    TooMany {
        /// Images.
        images: usize,
        /// Features of an image.
        features: usize,
    },
    /// The network gave numbers that are none.
    #[error(
        "the backbone {} answers {} with numbers that are not finite; its weights are damaged, or its normalisation is \
         not the one that it was trained with", path.display(), picture.display()
    )]
    NotFinite {
        /// The backbone.
        path: PathBuf,
        /// The picture.
        picture: PathBuf,
    },
    /// A head was trained on another backbone, or that one is gone.
    #[error(
        "the model was trained on the backbone {}, which is {state}: put the same file back (BLAKE3 {hash}), name it with \
         TRAINYARD_BACKBONE, or train again", path.display()
    )]
    Other {
        /// Where the backbone was in training.
        path: PathBuf,
        /// `missing` or `another one now`.
        state: &'static str,
        /// BLAKE3 of the backbone in training, hexadecimal.
        hash: String,
    },
}

impl BackboneError {
    /// The file at `path` does not do, because of `reason`.
    pub(super) fn unusable(path: &Path, reason: impl Into<String>) -> BackboneError {
        BackboneError::Unusable { path: path.to_owned(), reason: reason.into() }
    }
}
