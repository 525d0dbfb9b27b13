//! Entries of an archive, unpacked and checked, a few at a time. Blocks; it must not know models or records.

use super::{Refusal, archive_error, path};
use crate::blob::{BlobStore, BlobWriter};
use crate::domain::error::{Code, Error, Result};
use crate::ingest::zip::{Archive, Entry, EntryError, Place, Source, place};
use crate::service::images::{CheckedImage, NewImage, SMALL, write_error};
use std::io;

/// Images of a batch, and how many bytes they may have together before no more is unpacked.
const IMAGES: usize = 32;
const BYTES: u64 = 8 << 20;

/// How many entries one batch looks at.
const LOOKED_AT: u64 = 512;

/// How much of a path is shown, in characters.
const SHOWN: usize = 200;

/// Some entries of an archive.
#[derive(Default)]
pub struct Batch {
    /// Images to be added.
    pub images: Vec<NewImage>,
    /// Entries that are not taken.
    pub refusals: Vec<Refusal>,
    /// Entries that nobody means.
    pub passed_over: u64,
    /// How many entries these were.
    pub looked_at: u64,
    /// True where there are no more.
    pub is_last: bool,
}

/// Unpacks the next entries.
///
/// # Errors
/// Where the archive cannot be read on, or the disk takes no more.
pub fn batch<S: Source>(archive: &mut Archive<S>, blobs: &dyn BlobStore, max_pixels: u64) -> Result<Batch> {
    let (mut batch, mut bytes) = (Batch::default(), 0);
    while batch.images.len() < IMAGES && bytes < BYTES && batch.looked_at < LOOKED_AT {
        let Some(entry) = archive.next_entry().map_err(|error| archive_error(&error))? else {
            batch.is_last = true;
            return Ok(batch);
        };
        batch.looked_at += 1;
        match image(archive, &entry, blobs, max_pixels) {
            Ok(Some(image)) => {
                bytes += entry.size;
                batch.images.push(image);
            }
            Ok(None) => batch.passed_over += u64::from(place(&entry.path) == Ok(Place::PassedOver)),
            // The next one would fare no better.
            Err(error) if matches!(error.code, Code::DiskFull | Code::Unavailable | Code::Internal) => {
                return Err(error);
            }
            Err(error) => {
                let entry = shown(&entry.path);
                batch.refusals.push(Refusal { entry, code: error.code.as_str(), reason: error.message });
            }
        }
    }
    Ok(batch)
}

fn image<S: Source>(
    archive: &Archive<S>,
    entry: &Entry,
    blobs: &dyn BlobStore,
    max_pixels: u64,
) -> Result<Option<NewImage>> {
    let Some(called) = path::called(&entry.path, &entry.comment)? else { return Ok(None) };
    if entry.is_link {
        return Err(Error::parameter("it is a link; pack the file itself"));
    }
    let mut taking = Taking { blobs, small: Vec::new(), large: None };
    archive.unpack(entry, &mut |piece| taking.take(piece)).map_err(entry_error)?;
    Ok(Some(NewImage { image: taking.finish(max_pixels)?, called }))
}

fn entry_error(error: EntryError) -> Error {
    let code = match error {
        EntryError::Unwritten(error) => return write_error(error),
        EntryError::TooLarge { .. } | EntryError::TooTight(_) => Code::TooLarge,
        _ => Code::InvalidBody,
    };
    Error::new(code, error.to_string())
}

/// A path that may hold anything, for people.
fn shown(path: &str) -> String {
    path.chars().take(SHOWN).map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

/// The bytes of an image that are being unpacked: a small one stays in memory.
struct Taking<'a> {
    blobs: &'a dyn BlobStore,
    small: Vec<u8>,
    large: Option<Box<dyn BlobWriter>>,
}

impl Taking<'_> {
    fn take(&mut self, piece: &[u8]) -> io::Result<()> {
        if self.large.is_none() && self.small.len() + piece.len() > SMALL {
            let mut writer = self.blobs.begin()?;
            writer.write(&std::mem::take(&mut self.small))?;
            self.large = Some(writer);
        }
        match &mut self.large {
            Some(writer) => writer.write(piece),
            None => {
                self.small.extend_from_slice(piece);
                Ok(())
            }
        }
    }

    fn finish(self, max_pixels: u64) -> Result<CheckedImage> {
        match self.large {
            Some(writer) => CheckedImage::of_file(writer.finish().map_err(write_error)?, max_pixels),
            None => CheckedImage::of_bytes(self.small, max_pixels),
        }
    }
}
