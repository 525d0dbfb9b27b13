//! The bytes of an entry, stored or deflated, and never more of them than the directory says.

use super::{Archive, Entry, Source, u16_at};
use flate2::read::DeflateDecoder;
use std::io::{self, Read};
use thiserror::Error;

/// What stands before an entry's bytes, without its name and what follows that.
const LOCAL: usize = 30;

/// What is read at once.
const PIECE: usize = 32 << 10;

/// Up to so many bytes an entry may be packed as tightly as it likes: a picture of one colour is.
const SMALL: u64 = 1 << 20;

const STORED: u16 = 0;
const DEFLATED: u16 = 8;

/// Why an entry is not taken, and what to do.
#[derive(Debug, Error)]
pub enum EntryError {
    /// It needs a password.
    #[error("it is encrypted; pack it without a password")]
    Encrypted,
    /// It is packed in a way that is not known here.
    #[error("it is packed by method {0}; pack it by deflate, the usual one")]
    Method(u16),
    /// It is too large.
    #[error("it has {size} bytes, more than the {limit} allowed; make it smaller, or raise server.max_upload_bytes")]
    TooLarge {
        /// What it has.
        size: u64,
        /// What it may have.
        limit: u64,
    },
    /// It is packed more tightly than pictures are.
    #[error(
        "it unpacks to more than {0} times its size, as no picture does; send it by itself, or raise archives.max_ratio"
    )]
    TooTight(u64),
    /// It contradicts itself.
    #[error("it is damaged: {0}; pack it anew")]
    Damaged(&'static str),
    /// It could not be written where it was to go.
    #[error("it could not be written")]
    Unwritten(#[source] io::Error),
}

impl<S: Source> Archive<S> {
    /// Unpacks an entry, a piece at a time. What was handed on before a failure is worth nothing.
    ///
    /// # Errors
    /// [`EntryError`]; the archive can be gone on with.
    pub fn unpack(
        &self,
        entry: &Entry,
        take: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> std::result::Result<(), EntryError> {
        if entry.is_encrypted {
            return Err(EntryError::Encrypted);
        }
        if entry.size > self.limits.entry {
            return Err(EntryError::TooLarge { size: entry.size, limit: self.limits.entry });
        }
        if entry.size > SMALL && entry.size / self.limits.ratio.max(1) > entry.packed {
            return Err(EntryError::TooTight(self.limits.ratio));
        }
        let packed = self.packed(entry)?;
        match entry.method {
            STORED if entry.packed != entry.size => Err(EntryError::Damaged("it has two sizes")),
            STORED => copy(packed, entry, take),
            DEFLATED => copy(DeflateDecoder::new(packed), entry, take),
            other => Err(EntryError::Method(other)),
        }
    }

    /// The packed bytes of an entry.
    fn packed(&self, entry: &Entry) -> Result<Packed<'_, S>, EntryError> {
        let outside = EntryError::Damaged("it lies outside the archive");
        let mut header = [0; LOCAL];
        let from = entry.offset.checked_add(LOCAL as u64).filter(|from| *from <= self.directory);
        let Some(from) = from else { return Err(outside) };
        self.source.read_at(&mut header, entry.offset).map_err(|_| EntryError::Damaged("it cannot be read"))?;
        if !header.starts_with(b"PK\x03\x04") {
            return Err(EntryError::Damaged("the directory leads elsewhere"));
        }
        let names = u64::from(u16_at(&header, 26)) + u64::from(u16_at(&header, 28));
        let at = from + names;
        match at.checked_add(entry.packed) {
            Some(end) if end <= self.directory => Ok(Packed { source: &self.source, at, left: entry.packed }),
            _ => Err(outside),
        }
    }
}

fn copy(mut from: impl Read, entry: &Entry, take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> Result<(), EntryError> {
    let mut piece = vec![0; PIECE];
    let (mut size, mut checksum) = (0, crc32fast::Hasher::new());
    loop {
        let length = from.read(&mut piece).map_err(|_| EntryError::Damaged("its bytes cannot be unpacked"))?;
        let bytes = piece.get(..length).unwrap_or_default();
        size += length as u64;
        if size > entry.size {
            return Err(EntryError::Damaged("it is larger than the directory says"));
        }
        if length == 0 {
            break;
        }
        checksum.update(bytes);
        take(bytes).map_err(EntryError::Unwritten)?;
    }
    match () {
        () if size < entry.size => Err(EntryError::Damaged("it is smaller than the directory says")),
        () if checksum.finalize() != entry.checksum => Err(EntryError::Damaged("its checksum is another one")),
        () => Ok(()),
    }
}

/// A part of an archive.
struct Packed<'a, S> {
    source: &'a S,
    at: u64,
    left: u64,
}

impl<S: Source> Read for Packed<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let Some(wanted) = buffer.get_mut(..length).filter(|wanted| !wanted.is_empty()) else { return Ok(0) };
        self.source.read_at(wanted, self.at)?;
        (self.at, self.left) = (self.at + length as u64, self.left - length as u64);
        Ok(length)
    }
}
