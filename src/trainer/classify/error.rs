//! What can go wrong in training and in prediction, in words that say what to do.
//!
//! It must not know how an error is shown.

use crate::image::DecodeError;
use crate::trainer::backbone::BackboneError;
use std::io;
use std::path::{Path, PathBuf};

/// Why a training or a prediction failed.
#[derive(Debug, thiserror::Error)]
pub enum ClassifyError {
    /// A file or folder could not be read or written.
    #[error("cannot {action} {}: {cause}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        cause: io::Error,
    },
    /// The folder holds nothing to train on.
    #[error("{} holds no images: put them in one folder per class, or upload them first", .0.display())]
    NoImages(PathBuf),
    /// There are images, but none in a folder of its class.
    #[error("the images have no labels: put them in one folder per class, or upload with label=...")]
    NoLabels,
    /// A single class leaves nothing to tell apart.
    #[error("all images have the label \"{0}\": training needs at least two classes, so add images of another one")]
    OneClass(String),
    /// A class cannot stand on both sides of the split.
    #[error(
        "class \"{label}\" has {distinct} distinct image(s) of its own; at least 2 are needed, one to learn from and one \
         to check with, so add images to it or remove the class"
    )]
    SmallClass {
        /// The class.
        label: String,
        /// Its images that differ from each other and from those of other classes.
        distinct: usize,
    },
    /// More classes than the trainer counts.
    #[error("there are {0} classes; at most 1000 are possible, so check that each folder is a class and not an image")]
    TooManyClasses(usize),
    /// The decoded images would not fit into memory.
    #[error("{0} images need too much memory even at 8 x 8 pixels; train on fewer")]
    TooManyImages(usize),
    /// Decoded images could not be held.
    #[error("cannot hold the decoded images in memory: {0}; train on fewer, or on a machine with more memory")]
    Memory(io::Error),
    /// An image that is damaged or none.
    #[error("cannot read the image {}: {cause}; replace or remove it", path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: DecodeError,
    },
    /// So many files are no readable images that something else must be wrong.
    #[error(
        "at least {count} of the {files} images cannot be read, more than one in ten: {examples}; replace or remove them"
    )]
    Unreadable {
        /// How many, up to when it was too many.
        count: usize,
        /// Files of the data set.
        files: usize,
        /// Some of them, each with its cause.
        examples: String,
    },
    /// The backbone cannot be used.
    #[error(transparent)]
    Backbone(#[from] BackboneError),
    /// The numbers left the range of f32.
    #[error(
        "the loss is no longer a number after step {step}: the learning rate {rate} is too high for these images, try a \
         smaller --i, for example {}", smaller(*rate)
    )]
    Diverged {
        /// The step that broke.
        step: u64,
        /// The learning rate.
        rate: f32,
    },
    /// There is no model yet.
    #[error("there is no model at {}: run `train` first with the same TRAINYARD_MODEL_DIR", .0.display())]
    NoModel(PathBuf),
    /// The model file is not ours or is damaged.
    #[error("{} is not a usable model: {reason}; train again to replace it", path.display())]
    BadModel {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Whoever reads the progress has gone away.
    #[error("cannot write the progress: {0}")]
    Report(io::Error),
}

/// A tenth of a learning rate, in one digit: 0.03 and not 0.030000001.
fn smaller(rate: f32) -> f32 {
    let tenth = rate / 10.0;
    format!("{tenth:.0e}").parse().unwrap_or(tenth)
}

impl ClassifyError {
    /// For `map_err` on file operations.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ClassifyError {
        let path = path.to_owned();
        move |cause| ClassifyError::Io { action, path, cause }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_divergence_says_what_to_change() {
        for (rate, next) in [(0.3, "0.03"), (1.0, "0.1"), (0.05, "0.005"), (2.5, "0.2")] {
            let text = ClassifyError::Diverged { step: 7, rate }.to_string();
            assert!(text.contains("after step 7") && text.contains(&format!("learning rate {rate} ")), "{text}");
            assert!(text.ends_with(&format!("smaller --i, for example {next}")), "{text}");
        }
    }
}
