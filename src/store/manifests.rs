//! The entries of datasets: what a version holds, and whether a name in it is taken.
//!
//! A dataset's entries are numbered from 1, and version n is the first n of them behind the entries of its base; a copy
//! of a dataset is a reference to a version of it. Adding an entry writes two keys, however many there are.

use super::Store;
use super::codec::{self, CodecError};
use super::key::{self, Key};
use super::tx::{Read, Tx, damaged};
use crate::domain::blob::ContentHash;
use crate::domain::dataset::{Dataset, DatasetVersion, Entry, ManifestCursor, ManifestPage, Manifests, VersionNumber};
use crate::domain::error::{Error, Result};
use crate::domain::ids::DatasetId;
use crate::domain::name::{ImageName, Label};
use serde::{Deserialize, Serialize};

/// A longer chain of copies of copies is a loop.
const MAX_CHAIN: usize = 10_000;

#[derive(Serialize, Deserialize)]
struct EntryV1 {
    label: Option<String>,
    name: String,
    hash: [u8; 32],
    /// The version from which on the entry is gone.
    removed_in: Option<u64>,
}

pub(super) fn decode(bytes: &[u8]) -> Result<(Entry, Option<u64>), CodecError> {
    let stored: EntryV1 = codec::decode_v1(bytes)?;
    let entry = Entry {
        label: stored.label.map(Label::from_store),
        name: ImageName::from_store(stored.name),
        hash: ContentHash(stored.hash),
    };
    Ok((entry, stored.removed_in))
}

pub(super) fn entry_key(dataset: DatasetId, sequence: u64) -> Vec<u8> {
    Key::new(key::ENTRY).id(dataset.0).id(sequence).done()
}

pub(super) fn name_prefix(dataset: DatasetId, label: Option<&Label>, name: &ImageName) -> Vec<u8> {
    Key::new(key::ENTRY_NAME).id(dataset.0).text(label.map_or("", Label::as_str)).text(name.as_str()).done()
}

/// The parts that make up a version, oldest base first.
fn chain(reader: &impl Read, version: DatasetVersion) -> Result<Vec<DatasetVersion>> {
    let mut parts = vec![version];
    let mut next = super::datasets::must_get(reader, version.dataset)?.base;
    while let Some(base) = next {
        if parts.len() > MAX_CHAIN {
            return Err(Error::internal(format!("{} is its own base", version.dataset)));
        }
        parts.push(base);
        next = super::datasets::must_get(reader, base.dataset)?.base;
    }
    parts.reverse();
    Ok(parts)
}

/// What stands under (label, name) in the newest version of `dataset`.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn find(reader: &impl Read, dataset: &Dataset, label: Option<&Label>, name: &ImageName) -> Result<Option<Entry>> {
    let mut part = Some((dataset.head_version(), dataset.base));
    while let Some((version, base)) = part {
        let prefix = name_prefix(version.dataset, label, name);
        for pair in reader.prefix(prefix) {
            let sequence = key::last_id(&pair?.0);
            if sequence > version.number.0 {
                break;
            }
            if let Some(entry) = get(reader, version, sequence)? {
                return Ok(Some(entry));
            }
        }
        part = match base {
            Some(base) => Some((base, super::datasets::must_get(reader, base.dataset)?.base)),
            None => None,
        };
    }
    Ok(None)
}

/// The entry with this number, where it belongs to `version`.
fn get(reader: &impl Read, version: DatasetVersion, sequence: u64) -> Result<Option<Entry>> {
    let Some(bytes) = reader.get(&entry_key(version.dataset, sequence))? else {
        return Ok(None);
    };
    let (entry, removed_in) = decode(&bytes).map_err(damaged("entry"))?;
    Ok(removed_in.is_none_or(|gone| gone > version.number.0).then_some(entry))
}

/// Appends an entry to `dataset`, which becomes its next version. The caller has seen to it that the name is free,
/// and writes the dataset.
///
/// # Errors
/// `internal` where it does not encode.
pub fn append(tx: &mut Tx<'_>, dataset: &mut Dataset, entry: &Entry) -> Result<()> {
    let sequence = dataset.head.0 + 1;
    let stored = EntryV1 {
        label: entry.label.as_ref().map(|label| label.as_str().to_owned()),
        name: entry.name.as_str().to_owned(),
        hash: entry.hash.0,
        removed_in: None,
    };
    tx.put(entry_key(dataset.id, sequence), codec::encode(1, &stored))?;
    let mut index = name_prefix(dataset.id, entry.label.as_ref(), &entry.name);
    index.extend_from_slice(&sequence.to_be_bytes());
    tx.mark(index, &[]);
    dataset.head = VersionNumber(sequence);
    dataset.images += 1;
    dataset.labelled += u64::from(entry.label.is_some());
    dataset.digest = dataset.digest.with(entry_hash(entry));
    Ok(())
}

pub(super) fn entry_hash(entry: &Entry) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(entry.label.as_ref().map_or("", Label::as_str).as_bytes());
    hasher.update(&[0]);
    hasher.update(entry.name.as_str().as_bytes());
    hasher.update(&[0]);
    hasher.update(&entry.hash.0);
    let mut short = [0; 16];
    short.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    short
}

/// Up to `limit` entries of `version` after `after`.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn page(
    reader: &impl Read,
    version: DatasetVersion,
    after: Option<ManifestCursor>,
    limit: usize,
) -> Result<ManifestPage> {
    let parts = chain(reader, version)?;
    let mut at = after.unwrap_or(ManifestCursor { part: 0, sequence: 0 });
    let mut entries = Vec::new();
    while let Some(part) = parts.get(at.part) {
        let from = entry_key(part.dataset, at.sequence.saturating_add(1));
        let to = entry_key(part.dataset, part.number.0.saturating_add(1));
        for pair in reader.range(from, to) {
            let (key, bytes) = pair?;
            at.sequence = key::last_id(&key);
            let (entry, removed_in) = decode(&bytes).map_err(damaged("entry"))?;
            if removed_in.is_none_or(|gone| gone > part.number.0) {
                entries.push(entry);
            }
            if entries.len() == limit {
                return Ok(ManifestPage { entries, next: Some(at) });
            }
        }
        at = ManifestCursor { part: at.part + 1, sequence: 0 };
    }
    Ok(ManifestPage { entries, next: None })
}

impl Manifests for Store {
    fn page(&self, version: DatasetVersion, after: Option<ManifestCursor>, limit: usize) -> Result<ManifestPage> {
        page(self, version, after, limit)
    }
}
