//! The images of models and datasets: listed, sent, and given other labels.

use super::catalogue::dataset_of;
use super::images::enter;
use super::{Services, access};
use crate::domain::account::{Change, Permit, View};
use crate::domain::blob::{Blob, ContentHash};
use crate::domain::dataset::{Dataset, DatasetVersion, Entry, ManifestCursor, VersionNumber};
use crate::domain::error::{Code, Error, Result};
use crate::domain::event::EventKind;
use crate::domain::ids::{DatasetId, ModelId};
use crate::domain::name::{ImageName, Label};
use crate::domain::reference::Reference;
use crate::domain::stamp::Seen;
use crate::store::{Read, blobs, datasets, duplicates, listing, manifests};
use std::path::PathBuf;

pub use crate::store::duplicates::Group;
pub use crate::store::listing::{Placed, Wanted};

/// The most labels that one call changes: they become durable at once, or not at all.
pub const MAX_CHANGES: usize = 200;

/// Whose images, and of which state.
#[derive(Debug, Clone)]
pub struct Source {
    /// The model.
    pub model: Reference<ModelId>,
    /// One of its datasets; without one, all of its images.
    pub dataset: Option<Reference<DatasetId>>,
    /// A version of it; without one, the newest.
    pub version: Option<u64>,
}

/// An image in a list.
#[derive(Debug)]
pub struct ImageView {
    /// The image and where it stands.
    pub placed: Placed,
    /// What is known of its bytes.
    pub blob: Option<Blob>,
}

/// An image's bytes.
#[derive(Debug)]
pub struct Content {
    /// What is known of them.
    pub blob: Blob,
    /// Where they lie.
    pub path: PathBuf,
}

/// Another label for an image.
#[derive(Debug, Clone)]
pub struct Relabelling {
    /// The label that it has.
    pub label: Option<Label>,
    /// Its name.
    pub name: ImageName,
    /// The label that it is to have.
    pub new_label: Option<Label>,
}

impl Services {
    /// Up to `limit` images after `after`, and where to go on.
    ///
    /// # Errors
    /// `not_found` for what was named; `invalid_parameter` for a cursor of another list.
    pub fn images(
        &self,
        permit: Permit<View>,
        source: &Source,
        wanted: &Wanted,
        after: Option<ManifestCursor>,
        limit: usize,
    ) -> Result<(Vec<ImageView>, Option<ManifestCursor>)> {
        let store = &self.parts.store;
        let (_, version) = state(store, permit, source)?;
        let (placed, next) = listing::page(store, version, wanted, after, limit)?;
        let view = |placed: Placed| Ok(ImageView { blob: blobs::get(store, placed.entry.hash)?, placed });
        Ok((placed.into_iter().map(view).collect::<Result<_>>()?, next))
    }

    /// Up to `limit` groups of images that hold the same bytes, after the hash `after`, and where to go on.
    ///
    /// # Errors
    /// `not_found` for what was named.
    pub fn duplicates(
        &self,
        permit: Permit<View>,
        source: &Source,
        after: Option<ContentHash>,
        limit: usize,
    ) -> Result<(Vec<Group>, Option<ContentHash>)> {
        let store = &self.parts.store;
        let (_, version) = state(store, permit, source)?;
        duplicates::page(store, version, after, limit)
    }

    /// Where the bytes of an image lie. With a `hash`, only where it has those bytes.
    ///
    /// # Errors
    /// `not_found` for what was named.
    pub fn image_content(
        &self,
        permit: Permit<View>,
        source: &Source,
        label: Option<&Label>,
        name: &ImageName,
        hash: Option<ContentHash>,
    ) -> Result<Content> {
        let store = &self.parts.store;
        let (dataset, version) = state(store, permit, source)?;
        let entry = manifests::find_in(store, version, dataset.base, label, name)?
            .filter(|entry| hash.is_none_or(|hash| entry.hash == hash))
            .ok_or_else(|| no_image(name, label))?;
        let blob = blobs::get(store, entry.hash)?;
        let blob = blob.ok_or_else(|| Error::internal(format!("the image {} is not stored", entry.hash)))?;
        Ok(Content { path: self.parts.blobs.path(blob.hash), blob })
    }

    /// Gives images of a dataset other labels, all or none. Returns the dataset and the images as they are called now.
    ///
    /// An image under another label is another entry: the versions until now keep the old one.
    ///
    /// # Errors
    /// `not_found` for what was named; `forbidden`; `stale` where the dataset has changed since it was `seen`.
    pub async fn relabel(
        &self,
        permit: Permit<Change>,
        source: Source,
        seen: Seen,
        changes: Vec<Relabelling>,
    ) -> Result<(Dataset, Vec<Entry>)> {
        if changes.is_empty() || changes.len() > MAX_CHANGES {
            let message = format!("changes has {} images; give 1 to {MAX_CHANGES}", changes.len());
            return Err(Error::parameter(message));
        }
        let (actor, now) = (permit.actor(), self.now());
        let write = self.parts.store.write(move |tx| {
            let model = access::called(tx, permit, &source.model)?;
            let mut dataset = dataset_of(tx, &model, source.dataset.as_ref())?;
            dataset.stamp.check(&seen)?;
            let (before, mut now_called) = (dataset.head, Vec::with_capacity(changes.len()));
            for Relabelling { label, name, new_label } in changes {
                let removal = manifests::removal(tx, &dataset, label.as_ref(), &name)?;
                let removal = removal.ok_or_else(|| no_image(&name, label.as_ref()))?;
                if label == new_label {
                    now_called.push(removal.entry);
                    continue;
                }
                manifests::remove(tx, &mut dataset, &removal)?;
                let hash = removal.entry.hash;
                let (entry, is_new) = enter(tx, &mut dataset, Entry { label: new_label, name, hash })?;
                if is_new {
                    blobs::refer(tx, hash)?;
                }
                now_called.push(entry);
            }
            if dataset.head != before {
                dataset.stamp.touch(now);
                datasets::put(tx, &dataset)?;
                tx.event(actor, now, EventKind::ImagesRelabelled, dataset.id.0, model.id.0)?;
            }
            Ok((dataset, now_called))
        });
        write.await
    }
}

/// The dataset that is meant, and the version of it.
pub(super) fn state(reader: &impl Read, permit: Permit<View>, source: &Source) -> Result<(Dataset, DatasetVersion)> {
    let model = access::called(reader, permit, &source.model)?;
    let dataset = dataset_of(reader, &model, source.dataset.as_ref())?;
    let version = version_of(&dataset, source.version)?;
    Ok((dataset, version))
}

/// A version of a dataset; the newest where none is named.
///
/// # Errors
/// `not_found` beyond the newest.
pub(super) fn version_of(dataset: &Dataset, number: Option<u64>) -> Result<DatasetVersion> {
    match number {
        None => Ok(dataset.head_version()),
        Some(number) if number <= dataset.head.0 => {
            Ok(DatasetVersion { dataset: dataset.id, number: VersionNumber(number) })
        }
        Some(number) => {
            let message = format!("the dataset has no version {number}; its newest is {}", dataset.head.0);
            Err(Error::new(Code::NotFound, message))
        }
    }
}

fn no_image(name: &ImageName, label: Option<&Label>) -> Error {
    let label =
        label.map_or_else(|| "without a label".to_owned(), |label| format!("with the label `{}`", label.as_str()));
    Error::not_found(format_args!("there is no image `{}` {label}", name.as_str()))
}
