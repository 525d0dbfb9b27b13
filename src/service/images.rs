//! Images: taken in, checked by their container, stored once, added to datasets.
//!
//! Bytes go to a temporary file in the data folder while they are hashed; nothing is recorded before the file is
//! durable, and nothing stays of what is refused.

use super::turns::Turns;
use super::{Services, access};
use crate::blob::{BlobStore, BlobWriter, StagedBlob};
use crate::domain::account::{Change, Permit};
use crate::domain::blob::Blob;
use crate::domain::dataset::{Dataset, Entry};
use crate::domain::error::{Code, Error, Result};
use crate::domain::event::EventKind;
use crate::domain::ids::{DatasetId, ModelId};
use crate::domain::name::{ImageName, Label};
use crate::domain::reference::Reference;
use crate::ingest::container::{self, ContainerError, ImageInfo};
use crate::ingest::fetch::{FetchError, FetchFault};
use crate::store::{Store, Tx, blobs, datasets, manifests};
use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use std::io;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// The most urls in one call.
pub const MAX_URLS: usize = 3;

/// What is kept in memory before a thread writes it: most uploads fit, and a slow sender of a small file holds no thread.
pub(super) const SMALL: usize = 64 << 10;

/// Images of one call that become durable at once.
const KEPT_AT_ONCE: usize = 4;

/// Pieces on their way to the writing thread.
const PIPELINE: usize = 4;

/// An image on its way in. Dropped before its end, it leaves nothing behind.
pub struct Upload {
    blobs: Arc<dyn BlobStore>,
    turns: Arc<Turns>,
    max_bytes: u64,
    too_large: fn(u64) -> Error,
    max_pixels: u64,
    received: u64,
    small: Vec<u8>,
    large: Option<Pipe>,
}

struct Pipe {
    pieces: mpsc::Sender<Bytes>,
    writer: JoinHandle<io::Result<Box<dyn StagedBlob>>>,
}

/// A complete image whose container is sound.
pub struct CheckedImage {
    content: Content,
    info: ImageInfo,
}

/// Where an image's bytes are.
enum Content {
    /// Here: a small image touches the disk only if something wants it there.
    Small(Vec<u8>),
    /// On the disk.
    Staged(Box<dyn StagedBlob>),
}

impl Content {
    /// The bytes as a file; this writes those that are in memory.
    fn staged(self, blobs: &dyn BlobStore) -> io::Result<Box<dyn StagedBlob>> {
        match self {
            Content::Staged(staged) => Ok(staged),
            Content::Small(bytes) => {
                let mut writer = blobs.begin()?;
                writer.write(&bytes)?;
                writer.finish()
            }
        }
    }
}

/// An image with what the client said about it.
pub struct NewImage {
    /// The image.
    pub image: CheckedImage,
    /// How it is called.
    pub called: Called,
}

/// How an image is called.
pub enum Called {
    /// By a file.
    File {
        /// What the client called it, with its folder where it had one.
        name: String,
        /// The label that it gave; without one, the file's name tells.
        label: Option<Label>,
    },
    /// Just so.
    Exactly(Option<Label>, ImageName),
}

impl NewImage {
    /// An image that a client sent as a file, with the label that it gave.
    pub fn of_file(image: CheckedImage, name: String, label: Option<Label>) -> Self {
        Self { image, called: Called::File { name, label } }
    }
}

impl Services {
    /// Begins to take an image in.
    pub fn begin_upload(&self) -> Upload {
        self.begin_file(self.parts.limits.max_upload_bytes, too_large)
    }

    /// Begins to take a file in that may have so many bytes.
    pub(super) fn begin_file(&self, max_bytes: u64, too_large: fn(u64) -> Error) -> Upload {
        Upload {
            blobs: Arc::clone(&self.parts.blobs),
            turns: Arc::clone(&self.uploads),
            max_bytes,
            too_large,
            max_pixels: self.parts.limits.max_image_pixels,
            received: 0,
            small: Vec::new(),
            large: None,
        }
    }

    /// Whether uploads wait for others to end.
    pub fn uploads_wait(&self) -> bool {
        self.uploads.are_awaited()
    }

    /// Says whether images could be added, before their bytes have come.
    ///
    /// # Errors
    /// `not_found` for what was named, `disk_full`.
    pub fn check_target(
        &self,
        permit: Permit<Change>,
        model: &Reference<ModelId>,
        dataset: Option<&Reference<DatasetId>>,
    ) -> Result<()> {
        let store = &self.parts.store;
        let model = access::called(store, permit, model)?;
        if let Some(dataset) = dataset {
            access::dataset(store, model.id, dataset)?;
        }
        if store.has_room() { Ok(()) } else { Err(Store::disk_full()) }
    }

    /// Adds images to a model, and to one of its datasets where one is named; all or none. Returns how they stand there.
    ///
    /// # Errors
    /// `not_found` for what was named, `disk_full`.
    pub async fn add_images(
        &self,
        permit: Permit<Change>,
        model: Reference<ModelId>,
        dataset: Option<Reference<DatasetId>>,
        images: Vec<NewImage>,
    ) -> Result<Vec<Added>> {
        self.check_target(permit, &model, dataset.as_ref())?;
        let (actor, now) = (permit.actor(), self.now());
        let _storing = self.storing.read().await;
        // The disk takes several at once in the time of one.
        let keeping = stream::iter(images).map(|image| self.keep(image)).buffered(KEPT_AT_ONCE);
        let additions: Vec<Addition> = keeping.try_collect().await?;
        let write = self.parts.store.write(move |tx| {
            let model = access::called(tx, permit, &model)?;
            let mut targets = vec![datasets::must_get(tx, model.all_images)?];
            if let Some(dataset) = &dataset {
                targets.push(access::dataset(tx, model.id, dataset)?);
            }
            let mut added = Vec::new();
            for mut target in targets {
                added.clear();
                for addition in &additions {
                    added.push(add(tx, &mut target, addition)?);
                }
                let changed = added.iter().any(|added| added.is_new);
                if changed {
                    target.stamp.touch(now);
                    datasets::put(tx, &target)?;
                    tx.event(actor, now, EventKind::ImageAdded, target.id.0, model.id.0)?;
                }
            }
            Ok(added)
        });
        write.await
    }

    /// Fetches images and adds them; all or none.
    ///
    /// # Errors
    /// As [`add_images`](Self::add_images); `fetch_failed` for a url that could not be fetched, `not_an_image` for what
    /// it gave, each naming the url.
    pub async fn add_from_urls(
        &self,
        permit: Permit<Change>,
        model: Reference<ModelId>,
        dataset: Option<Reference<DatasetId>>,
        label: Option<Label>,
        urls: &[String],
    ) -> Result<Vec<Added>> {
        self.check_target(permit, &model, dataset.as_ref())?;
        let mut images = Vec::with_capacity(urls.len());
        for url in urls {
            let (image, file_name) = self.fetch(url).await?;
            images.push(NewImage::of_file(image, file_name, label.clone()));
        }
        self.add_images(permit, model, dataset, images).await
    }

    async fn fetch(&self, url: &str) -> Result<(CheckedImage, String)> {
        let mut fetched = self.parts.fetcher.fetch(url).await.map_err(fetch_error)?;
        let mut upload = self.begin_upload();
        while let Some(piece) = fetched.chunk().await.map_err(fetch_error)? {
            upload.write(piece).await?;
        }
        let named = |error: Error| Error { message: format!("{url}: {}", error.message), ..error };
        let image = upload.finish().await.map_err(named)?;
        Ok((image, fetched.file_name))
    }

    /// The image as a file that is gone when it is dropped.
    pub(super) async fn stage(&self, image: CheckedImage) -> Result<Box<dyn StagedBlob>> {
        let turn = self.uploads.take().await?;
        let blobs = Arc::clone(&self.parts.blobs);
        let staged = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            image.content.staged(blobs.as_ref())
        });
        staged.await.map_err(Error::internal)?.map_err(write_error)
    }

    /// Makes an image's bytes durable, unless they are stored already.
    async fn keep(&self, new: NewImage) -> Result<Addition> {
        let NewImage { image, called } = new;
        let info = image.info;
        let staged = self.stage(image).await?;
        let hash = staged.hash();
        let (label, name) = match called {
            Called::Exactly(label, name) => (label, name),
            Called::File { name, label } => (
                label.or_else(|| Label::from_file_name(&name)),
                ImageName::from_upload(&name, &hash.to_string()[..16], info.format.extension()),
            ),
        };
        let addition = Addition {
            label,
            name,
            blob: Blob {
                hash,
                size: staged.size(),
                format: info.format.extension().to_owned(),
                width: info.width,
                height: info.height,
                references: 0,
            },
        };
        // A record is written after its file is durable, so where there is one there is nothing to do, unless the file
        // was lost since.
        let is_stored = blobs::get(&self.parts.store, hash)?.is_some();
        if !is_stored || !self.parts.blobs.path(hash).exists() {
            let turn = self.uploads.take().await?;
            let kept = tokio::task::spawn_blocking(move || {
                let _turn = turn;
                staged.keep()
            });
            kept.await.map_err(Error::internal)?.map_err(write_error)?;
        }
        Ok(addition)
    }
}

/// An image that is durable and waits to be recorded.
struct Addition {
    label: Option<Label>,
    name: ImageName,
    blob: Blob,
}

/// An image as it stands in a dataset.
#[derive(Debug, Clone)]
pub struct Added {
    /// Its entry.
    pub entry: Entry,
    /// What is known of its bytes.
    pub blob: Blob,
    /// False where the very same entry was there before.
    pub is_new: bool,
}

/// Adds an entry to `dataset` and a reference to its blob. The very same entry again changes nothing.
fn add(tx: &mut Tx<'_>, dataset: &mut Dataset, addition: &Addition) -> Result<Added> {
    let entry = Entry { label: addition.label.clone(), name: addition.name.clone(), hash: addition.blob.hash };
    let (entry, is_new) = enter(tx, dataset, entry)?;
    if is_new {
        refer(tx, addition)?;
    }
    Ok(Added { entry, blob: addition.blob.clone(), is_new })
}

/// Writes an entry into `dataset`, under a marked name where its own is taken. Returns it as it stands there, and
/// whether it is new; the caller refers to its blob then.
///
/// # Errors
/// `already_exists` where all names are taken.
pub(super) fn enter(tx: &mut Tx<'_>, dataset: &mut Dataset, wanted: Entry) -> Result<(Entry, bool)> {
    let Entry { label, name: called, hash } = wanted;
    let hex = hash.to_string();
    // Other bytes under a taken name get a mark; the longer one is for those whose first 8 digits are equal as well.
    let candidates = [called.clone(), called.marked(&hex), ImageName::from_upload(&hex, &hex, "png")];
    for name in candidates {
        match manifests::find(tx, dataset, label.as_ref(), &name)? {
            Some(entry) if entry.hash == hash => return Ok((entry, false)),
            Some(_) => {}
            None => {
                let entry = Entry { label, name, hash };
                manifests::append(tx, dataset, &entry)?;
                return Ok((entry, true));
            }
        }
    }
    Err(Error::new(Code::AlreadyExists, format!("the name `{}` is taken by other images", called.as_str())))
}

fn refer(tx: &mut Tx<'_>, addition: &Addition) -> Result<()> {
    let mut blob = blobs::get(tx, addition.blob.hash)?.unwrap_or_else(|| addition.blob.clone());
    blob.references += 1;
    blobs::put(tx, &blob)
}

impl Upload {
    /// Takes some bytes.
    ///
    /// # Errors
    /// `too_large` beyond the limit, `disk_full`.
    pub async fn write(&mut self, piece: Bytes) -> Result<()> {
        self.received += piece.len() as u64;
        if self.received > self.max_bytes {
            return Err((self.too_large)(self.max_bytes));
        }
        match &self.large {
            None if self.small.len() + piece.len() <= SMALL => {
                self.small.extend_from_slice(&piece);
                Ok(())
            }
            None => {
                let pipe = self.start().await?;
                let first = Bytes::from(std::mem::take(&mut self.small));
                self.large = Some(pipe);
                self.pass_on(first).await?;
                self.pass_on(piece).await
            }
            Some(_) => self.pass_on(piece).await,
        }
    }

    async fn start(&self) -> Result<Pipe> {
        let turn = self.turns.take().await?;
        let (pieces, mut inbox) = mpsc::channel::<Bytes>(PIPELINE);
        let blobs = Arc::clone(&self.blobs);
        let writer = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let mut writer: Box<dyn BlobWriter> = blobs.begin()?;
            while let Some(piece) = inbox.blocking_recv() {
                writer.write(&piece)?;
            }
            writer.finish()
        });
        Ok(Pipe { pieces, writer })
    }

    async fn pass_on(&mut self, piece: Bytes) -> Result<()> {
        let Some(pipe) = &self.large else { return Ok(()) };
        if pipe.pieces.send(piece).await.is_ok() {
            return Ok(());
        }
        // The writer has ended early, so it failed.
        match self.large.take() {
            Some(pipe) => Err(staged(pipe).await.err().unwrap_or_else(|| Error::internal("an upload ended early"))),
            None => Ok(()),
        }
    }

    /// All bytes have come: checks the container.
    ///
    /// # Errors
    /// `not_an_image` with what is wrong, `too_large` in pixels.
    pub async fn finish(self) -> Result<CheckedImage> {
        let max_pixels = self.max_pixels;
        if self.received == 0 {
            return Err(container_error(&ContainerError::Empty));
        }
        let Some(pipe) = self.large else {
            // At most 64 KiB: this takes microseconds.
            return CheckedImage::of_bytes(self.small, max_pixels);
        };
        let staged = staged(pipe).await?;
        let turn = self.turns.take().await?;
        let checked = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            CheckedImage::of_file(staged, max_pixels)
        });
        checked.await.map_err(Error::internal)?
    }

    /// All bytes have come, of whatever they are: they lie in a file that is gone when it is dropped.
    pub(super) async fn finish_file(self) -> Result<Box<dyn StagedBlob>> {
        if let Some(pipe) = self.large {
            return staged(pipe).await;
        }
        let (blobs, small) = (self.blobs, self.small);
        let written = tokio::task::spawn_blocking(move || Content::Small(small).staged(blobs.as_ref()));
        written.await.map_err(Error::internal)?.map_err(write_error)
    }
}

async fn staged(pipe: Pipe) -> Result<Box<dyn StagedBlob>> {
    drop(pipe.pieces);
    pipe.writer.await.map_err(Error::internal)?.map_err(write_error)
}

impl CheckedImage {
    /// Checks the container of a small image.
    pub(super) fn of_bytes(bytes: Vec<u8>, max_pixels: u64) -> Result<Self> {
        let info = container::inspect(io::Cursor::new(&bytes[..]), max_pixels);
        let info = info.map_err(|error| container_error(&error))?;
        Ok(Self { content: Content::Small(bytes), info })
    }

    /// Checks the container of a large image; blocks.
    pub(super) fn of_file(staged: Box<dyn StagedBlob>, max_pixels: u64) -> Result<Self> {
        let file = staged.open().map_err(write_error)?;
        let info = container::inspect(file, max_pixels).map_err(|error| container_error(&error))?;
        Ok(Self { content: Content::Staged(staged), info })
    }

    /// What its container says.
    pub fn info(&self) -> ImageInfo {
        self.info
    }

    /// The bytes of a small image; a large one is given back.
    pub(super) fn into_bytes(self) -> std::result::Result<Vec<u8>, Self> {
        match self {
            CheckedImage { content: Content::Small(bytes), .. } => Ok(bytes),
            large => Err(large),
        }
    }
}

/// The failure of an upload beyond the limit.
pub fn too_large(limit: u64) -> Error {
    Error::new(
        Code::TooLarge,
        format!("the image is larger than {limit} bytes; send a smaller one, or raise server.max_upload_bytes"),
    )
}

fn container_error(error: &ContainerError) -> Error {
    let code = match error {
        ContainerError::TooLarge { .. } => Code::TooLarge,
        _ => Code::NotAnImage,
    };
    Error::new(code, error.to_string())
}

fn fetch_error(error: FetchError) -> Error {
    let code = match error.fault() {
        FetchFault::Request => Code::InvalidParameter,
        FetchFault::TooLarge => Code::TooLarge,
        FetchFault::Remote => Code::FetchFailed,
        FetchFault::Local => Code::Unavailable,
    };
    let answer = Error::new(code, error.to_string());
    match std::error::Error::source(&error) {
        Some(source) => answer.because(source),
        None => answer,
    }
}

/// The failure of an image's own file.
pub(super) fn write_error(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::StorageFull => Store::disk_full().because(error),
        _ => Error::disk("the image could not be written", &error),
    }
}
