//! Zip files of images, with a folder for each class: received whole, then added a few images at a time.
//!
//! An archive that is none, or that promises too much, is refused before anything is added. After that each entry is added
//! as a whole or refused with a reason; the others go on. Whoever asks hears how far it is, and may ask again: what is
//! stored already is not stored twice.

pub mod path;
mod unpack;

use super::Services;
use super::images::{Added, Upload};
use crate::blob::StagedBlob;
use crate::domain::account::{Change, Permit};
use crate::domain::error::{Code, Error, Result};
use crate::domain::ids::{DatasetId, ModelId};
use crate::domain::reference::Reference;
use crate::ingest::zip::{self, Archive, ArchiveError};
use crate::store::Store;
use bytes::Bytes;
use serde::Serialize;
use std::fs::File;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;
use unpack::Batch;

/// Archives that are received or unpacked at once.
pub(super) const AT_ONCE: usize = 2;

/// How many refused entries are named; the rest is counted.
const NAMED: usize = 100;

/// How often the room on the disk is looked at while an archive is received, in bytes.
const STRIDE: u64 = 8 << 20;

/// Bounds on archives.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of one.
    pub bytes: u64,
    /// What it may hold.
    pub zip: zip::Limits,
}

/// An archive on its way in. Dropped before its end, it leaves nothing behind.
pub struct Receiving {
    upload: Upload,
    store: Store,
    unlooked: u64,
    zip: zip::Limits,
    turn: OwnedSemaphorePermit,
}

/// An archive that has come and keeps its limits.
pub struct Received {
    archive: Archive<File>,
    entries: u64,
    /// The file is there as long as this.
    kept: Box<dyn StagedBlob>,
    turn: OwnedSemaphorePermit,
}

/// What became of an archive's entries.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Files and folders in it.
    pub entries: u64,
    /// How many of them were looked at.
    pub done: u64,
    /// Images that were added.
    pub added: u64,
    /// Images that were there before, the very same.
    pub stored_already: u64,
    /// Hidden files, and what systems leave beside pictures.
    pub passed_over: u64,
    /// Entries that were not taken.
    pub refused: u64,
    /// The first of those, each with its reason.
    pub refusals: Vec<Refusal>,
}

/// An entry that was not taken.
#[derive(Debug, Clone, Serialize)]
pub struct Refusal {
    /// Its path, as far as it can be shown.
    pub entry: String,
    /// What kind of reason.
    pub code: &'static str,
    /// Why, and what to do.
    pub reason: String,
}

/// What is said while an archive is added.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Word {
    /// How far it is.
    Progress {
        /// Files and folders in it.
        entries: u64,
        /// How many of them were looked at.
        done: u64,
        /// Images that were added.
        added: u64,
        /// Entries that were not taken.
        refused: u64,
    },
    /// The end.
    Done(Report),
    /// It could not go on; what was added stays.
    Failed {
        /// What kind of reason.
        code: &'static str,
        /// Why, and what to do.
        reason: String,
        /// What became of it until then.
        #[serde(flatten)]
        report: Report,
    },
}

impl Services {
    /// Begins to receive an archive, of which a client may have said how large it is.
    ///
    /// # Errors
    /// `too_large`; `too_many` while others are received; `disk_full`.
    pub fn begin_archive(&self, announced: Option<u64>) -> Result<Receiving> {
        let limits = self.parts.limits.archives;
        if announced.is_some_and(|bytes| bytes > limits.bytes) {
            return Err(too_large(limits.bytes));
        }
        let store = self.parts.store.clone();
        let usage = store.usage().map_err(Error::internal)?;
        if announced.is_some_and(|bytes| usage.disk_free < bytes.saturating_add(usage.kept_free)) || !store.has_room() {
            return Err(Store::disk_full());
        }
        let turn = Arc::clone(&self.archives).try_acquire_owned().map_err(|_| {
            let message = format!("{AT_ONCE} archives are being taken in already; send this one when they are done");
            Error { retry_after: Some(5), ..Error::new(Code::TooMany, message) }
        })?;
        let upload = self.begin_file(limits.bytes, too_large);
        Ok(Receiving { upload, store, unlooked: 0, zip: limits.zip, turn })
    }

    /// Adds the images of an archive to a model, and to one of its datasets where one is named.
    pub fn add_archive(
        self: Arc<Self>,
        permit: Permit<Change>,
        model: Reference<ModelId>,
        dataset: Option<Reference<DatasetId>>,
        received: Received,
    ) -> Adding {
        let Received { archive, entries, kept, turn } = received;
        let report = Report { entries, ..Report::default() };
        let left = Some(Left { archive, _kept: kept, _turn: turn });
        Adding { services: self, permit, model, dataset, left, report }
    }
}

fn too_large(limit: u64) -> Error {
    let message = format!("the zip file is larger than {limit} bytes; send it in parts, or raise archives.max_bytes");
    Error::new(Code::TooLarge, message)
}

fn archive_error(error: &ArchiveError) -> Error {
    let code = match error {
        ArchiveError::TooMany { .. } | ArchiveError::TooLarge { .. } => Code::TooLarge,
        ArchiveError::Unreadable(_) => Code::Unavailable,
        _ => Code::InvalidBody,
    };
    Error::new(code, error.to_string())
}

impl Receiving {
    /// Takes some bytes.
    ///
    /// # Errors
    /// `too_large` beyond the limit, `disk_full`.
    pub async fn write(&mut self, piece: Bytes) -> Result<()> {
        self.unlooked += piece.len() as u64;
        if self.unlooked >= STRIDE {
            self.unlooked = 0;
            if !self.store.has_room() {
                return Err(Store::disk_full());
            }
        }
        self.upload.write(piece).await
    }

    /// All bytes have come: looks at what the archive says of itself.
    ///
    /// # Errors
    /// `invalid_body` where it is no archive, `too_large` where it promises too much.
    pub async fn finish(self) -> Result<Received> {
        let Self { upload, zip, turn, .. } = self;
        let kept = upload.finish_file().await?;
        let opening = tokio::task::spawn_blocking(move || {
            let file = kept.open().map_err(Error::internal)?;
            let (archive, totals) = Archive::open(file, zip).map_err(|error| archive_error(&error))?;
            Ok(Received { archive, entries: totals.entries, kept, turn })
        });
        opening.await.map_err(Error::internal)?
    }
}

/// An archive of which there is more to add.
struct Left {
    archive: Archive<File>,
    _kept: Box<dyn StagedBlob>,
    _turn: OwnedSemaphorePermit,
}

/// An archive whose images are being added. Dropped, it stops where it is.
pub struct Adding {
    services: Arc<Services>,
    permit: Permit<Change>,
    model: Reference<ModelId>,
    dataset: Option<Reference<DatasetId>>,
    left: Option<Left>,
    report: Report,
}

impl Adding {
    /// Adds some more images, and says how far it is; nothing once it has said how it ended.
    pub async fn next_word(&mut self) -> Option<Word> {
        let left = self.left.take()?;
        Some(match self.advance(left).await {
            Ok(true) => {
                let Report { entries, done, added, refused, .. } = self.report;
                Word::Progress { entries, done, added, refused }
            }
            Ok(false) => Word::Done(std::mem::take(&mut self.report)),
            Err(error) => {
                tracing::warn!(%error, "an archive was added in part");
                let report = std::mem::take(&mut self.report);
                Word::Failed { code: error.code.as_str(), reason: error.message, report }
            }
        })
    }

    /// Goes on to the end.
    pub async fn to_the_end(mut self) -> Result<Report> {
        loop {
            match self.next_word().await {
                Some(Word::Progress { .. }) => {}
                Some(Word::Done(report)) => return Ok(report),
                Some(Word::Failed { reason, report, .. }) => {
                    let message = format!("{reason}; {} images had been added by then", report.added);
                    return Err(Error::new(Code::Unavailable, message));
                }
                None => return Err(Error::internal("an archive ended twice")),
            }
        }
    }

    /// True while there is more.
    async fn advance(&mut self, mut left: Left) -> Result<bool> {
        let (blobs, max_pixels) = (Arc::clone(&self.services.parts.blobs), self.services.parts.limits.max_image_pixels);
        let unpacking = tokio::task::spawn_blocking(move || {
            let batch = unpack::batch(&mut left.archive, blobs.as_ref(), max_pixels);
            batch.map(|batch| (left, batch))
        });
        let (left, batch) = unpacking.await.map_err(Error::internal)??;
        let Batch { images, refusals, passed_over, looked_at, is_last } = batch;
        if !images.is_empty() {
            let (model, dataset) = (self.model.clone(), self.dataset.clone());
            let added: Vec<Added> = self.services.add_images(self.permit, model, dataset, images).await?;
            let new = added.iter().filter(|added| added.is_new).count() as u64;
            self.report.added += new;
            self.report.stored_already += added.len() as u64 - new;
        }
        self.report.done += looked_at;
        self.report.passed_over += passed_over;
        self.report.refused += refusals.len() as u64;
        let room = NAMED.saturating_sub(self.report.refusals.len());
        self.report.refusals.extend(refusals.into_iter().take(room));
        self.left = (!is_last).then_some(left);
        Ok(!is_last)
    }
}
