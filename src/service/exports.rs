//! A version of a dataset as a zip file, written while it is sent: a piece at a time, each made when it is wanted.
//!
//! Images are read where they lie; the archive's directory waits in a file of its own, so that memory grows by eight bytes
//! an image.

use super::Services;
use super::archives::path::Paths;
use super::gallery::{Source, state};
use super::images::write_error;
use crate::blob::{BlobStore, BlobWriter, StagedBlob};
use crate::domain::account::{Permit, View};
use crate::domain::dataset::{Dataset, DatasetVersion, Entry, ManifestCursor};
use crate::domain::error::{Code, Error, Result};
use crate::ingest::zip::{Headers, Writer};
use crate::store::{Store, manifests};
use bytes::Bytes;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// Exports that are sent at once.
pub(super) const AT_ONCE: usize = 4;

/// Entries that are read at once.
const PAGE: usize = 200;

/// About how large a piece is, in bytes.
const PIECE: usize = 64 << 10;

/// An archive that is being sent.
pub struct Export {
    store: Store,
    blobs: Arc<dyn BlobStore>,
    version: DatasetVersion,
    /// Entries that were read and not written yet, and where to go on.
    waiting: VecDeque<Entry>,
    after: Option<ManifestCursor>,
    is_read: bool,
    paths: Paths,
    writer: Writer,
    /// The image that is being written, and how much of it is left.
    image: Option<(File, u64)>,
    directory: Directory,
    _turn: OwnedSemaphorePermit,
}

/// What goes behind all images.
enum Directory {
    /// It grows.
    Written(Box<dyn BlobWriter>),
    /// It is being sent, from the file that is kept until then.
    Sent(File, Box<dyn StagedBlob>),
    Done,
}

impl Services {
    /// A version of a dataset, or of all of a model's images, as an archive. Also tells which one it is.
    ///
    /// # Errors
    /// `not_found` for what was named; `too_many` while others are sent; `disk_full`.
    pub fn export_images(&self, permit: Permit<View>, source: &Source) -> Result<(Export, Dataset, DatasetVersion)> {
        let store = self.parts.store.clone();
        let (dataset, version) = state(&store, permit, source)?;
        let turn = Arc::clone(&self.exports).try_acquire_owned().map_err(|_| {
            let message = format!("{AT_ONCE} archives are being sent already; ask again when they are done");
            Error { retry_after: Some(5), ..Error::new(Code::TooMany, message) }
        })?;
        let blobs = Arc::clone(&self.parts.blobs);
        let directory = Directory::Written(blobs.begin().map_err(write_error)?);
        let export = Export {
            store,
            blobs,
            version,
            waiting: VecDeque::new(),
            after: None,
            is_read: false,
            paths: Paths::default(),
            writer: Writer::default(),
            image: None,
            directory,
            _turn: turn,
        };
        Ok((export, dataset, version))
    }
}

impl Export {
    /// The next bytes; blocks. Nothing once all was sent.
    ///
    /// # Errors
    /// Where the store or an image cannot be read: what was sent until then is no archive.
    pub fn next_piece(&mut self) -> Result<Option<Bytes>> {
        let mut piece = Vec::with_capacity(PIECE + 1024);
        while piece.len() < PIECE {
            if let Some((file, left)) = &mut self.image {
                let room = (PIECE - piece.len()) as u64;
                let read = file.take(room.min(*left)).read_to_end(&mut piece).map_err(Error::internal)? as u64;
                if read == 0 && *left > 0 {
                    return Err(Error::internal("an image became shorter while it was sent"));
                }
                *left -= read;
                if *left == 0 {
                    self.image = None;
                }
            } else if let Some(entry) = self.next_entry()? {
                self.begin(&entry, &mut piece)?;
            } else if !self.end(&mut piece)? {
                break;
            }
        }
        Ok((!piece.is_empty()).then(|| Bytes::from(piece)))
    }

    fn next_entry(&mut self) -> Result<Option<Entry>> {
        while self.waiting.is_empty() && !self.is_read {
            let page = manifests::page(&self.store, self.version, self.after, PAGE)?;
            self.waiting = page.entries.into();
            self.after = page.next;
            self.is_read = page.next.is_none();
        }
        Ok(self.waiting.pop_front())
    }

    /// Writes what goes before an image's bytes, and opens it.
    fn begin(&mut self, entry: &Entry, piece: &mut Vec<u8>) -> Result<()> {
        let mut file = match File::open(self.blobs.path(entry.hash)) {
            Ok(file) => file,
            // It was removed for good since the page was read, so this version has it no more either.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                tracing::warn!(hash = %entry.hash, "an image that was to be exported is gone");
                return Ok(());
            }
            Err(error) => return Err(Error::internal(error)),
        };
        let (size, checksum) = sum(&mut file).map_err(Error::internal)?;
        let (path, remark) = self.paths.path(entry);
        let Headers { local, listed } = self.writer.entry(&path, &remark, size, checksum);
        piece.extend_from_slice(&local);
        self.image = Some((file, size));
        match &mut self.directory {
            Directory::Written(writer) => writer.write(&listed).map_err(write_error),
            _ => Err(Error::internal("an archive went on behind its end")),
        }
    }

    /// Writes of what goes behind all images. False where there is no more.
    fn end(&mut self, piece: &mut Vec<u8>) -> Result<bool> {
        let (next, goes_on) = match std::mem::replace(&mut self.directory, Directory::Done) {
            Directory::Written(writer) => {
                let kept = writer.finish().map_err(write_error)?;
                (Directory::Sent(kept.open().map_err(Error::internal)?, kept), true)
            }
            Directory::Sent(mut file, kept) => {
                let read = (&mut file).take(PIECE as u64).read_to_end(piece).map_err(Error::internal)?;
                if read == 0 {
                    piece.extend_from_slice(&self.writer.end());
                    (Directory::Done, false)
                } else {
                    (Directory::Sent(file, kept), true)
                }
            }
            Directory::Done => (Directory::Done, false),
        };
        self.directory = next;
        Ok(goes_on)
    }
}

/// The size and the checksum of a file, which is at its beginning again afterwards.
fn sum(file: &mut File) -> io::Result<(u64, u32)> {
    let (mut size, mut checksum) = (0, crc32fast::Hasher::new());
    let mut piece = vec![0; 16 << 10];
    loop {
        let length = file.read(&mut piece)?;
        if length == 0 {
            break;
        }
        size += length as u64;
        checksum.update(piece.get(..length).unwrap_or_default());
    }
    file.rewind()?;
    Ok((size, checksum.finalize()))
}
