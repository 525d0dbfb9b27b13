//! Small pictures of images, as a trait: the services ask for them, the executor has a child make them.

use super::error::Result;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;

/// What came of an image's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Thumbnail {
    /// A small picture, as a PNG or JPEG file.
    Picture(Vec<u8>),
    /// The bytes hold no picture that can be decoded; why, in words.
    Undecodable(String),
}

/// A small picture that is being made.
pub type PendingThumbnail<'a> = Pin<Box<dyn Future<Output = Result<Thumbnail>> + Send + 'a>>;

/// Whoever makes small pictures.
pub trait Thumbnailer: Send + Sync {
    /// Makes a small picture of the image in this file.
    fn make(&self, image: PathBuf) -> PendingThumbnail<'_>;

    /// Ends what is being made, because the server stops.
    fn stop(&self);
}
