//! Small pictures of images: made once, kept beside the images, gone with them.

use super::Services;
use super::gallery::{Content, Source};
use crate::domain::account::{Permit, View};
use crate::domain::blob::ContentHash;
use crate::domain::error::{Code, Error, Result};
use crate::domain::name::{ImageName, Label};
use crate::domain::thumbnail::Thumbnail;
use crate::store::blobs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{Mutex, MutexGuard};

/// Pictures that are being made are told apart by this many bits of their names.
const LANES: usize = 64;

/// Sees to it that nobody makes a picture that another one is making.
#[derive(Default)]
pub(super) struct Lanes(Vec<Mutex<()>>);

impl Lanes {
    pub fn new() -> Self {
        Self((0..LANES).map(|_| Mutex::default()).collect())
    }

    async fn enter(&self, hash: ContentHash) -> Option<MutexGuard<'_, ()>> {
        match self.0.get(usize::from(hash.0[0]) % LANES) {
            Some(lane) => Some(lane.lock().await),
            None => None,
        }
    }
}

/// The bytes of a small picture, and of which image it is.
#[derive(Debug)]
pub struct Small {
    /// The image.
    pub hash: ContentHash,
    /// A PNG or JPEG file.
    pub bytes: Vec<u8>,
}

impl Services {
    /// A small picture of an image, which is made where nobody asked for it before.
    ///
    /// # Errors
    /// `not_found` for what was named; `not_an_image` where the image cannot be decoded; `too_many` while many are being
    /// made; `unavailable` where none could be made.
    pub async fn thumbnail(
        &self,
        permit: Permit<View>,
        source: &Source,
        label: Option<&Label>,
        name: &ImageName,
        hash: Option<ContentHash>,
    ) -> Result<Small> {
        let Content { blob, path } = self.image_content(permit, source, label, name, hash)?;
        let made = match self.made_before(blob.hash).await? {
            Some(made) => made,
            None => self.made_now(blob.hash, path).await?,
        };
        match made {
            Thumbnail::Picture(bytes) => Ok(Small { hash: blob.hash, bytes }),
            Thumbnail::Undecodable(why) => {
                let message =
                    format!("there is no small picture of this image: {why}; replace it by one that can be read");
                Err(Error::new(Code::NotAnImage, message))
            }
        }
    }

    async fn made_before(&self, hash: ContentHash) -> Result<Option<Thumbnail>> {
        let thumbs = Arc::clone(&self.parts.thumbs);
        let read = tokio::task::spawn_blocking(move || thumbs.read(hash));
        read.await.map_err(Error::internal)?.map_err(Error::internal)
    }

    async fn made_now(&self, hash: ContentHash, image: PathBuf) -> Result<Thumbnail> {
        let _lane = self.thumbnails.enter(hash).await;
        if let Some(made) = self.made_before(hash).await? {
            return Ok(made);
        }
        let made = self.parts.thumbnailer.make(image).await?;
        // Who removes images removes their pictures, and would miss one that came afterwards.
        let _storing = self.storing.read().await;
        if blobs::get(&self.parts.store, hash)?.is_none() {
            return Err(Error::new(Code::NotFound, "the image is being removed for good"));
        }
        if self.parts.store.has_room() {
            let (thumbs, kept) = (Arc::clone(&self.parts.thumbs), made.clone());
            let keeping = tokio::task::spawn_blocking(move || thumbs.keep(hash, &kept));
            if let Err(error) = keeping.await.map_err(io::Error::other).and_then(|kept| kept) {
                tracing::warn!(%error, %hash, "a small picture could not be kept; it is made again when it is asked for");
            }
        }
        Ok(made)
    }
}
