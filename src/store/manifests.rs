//! The entries of datasets: what a version holds, and whether a name in it is taken.
//!
//! A dataset's additions and removals are numbered from 1, and version n is the first n of them behind the entries of its
//! base; a copy of a dataset is a reference to a version of it. Adding an image or taking one out writes a few keys,
//! however many there are.

use super::Store;
use super::codec::{self, CodecError};
use super::key::{self, Key};
use super::tx::{Read, Tx, damaged};
use crate::domain::blob::ContentHash;
use crate::domain::dataset::{Dataset, DatasetVersion, Entry, ManifestCursor, ManifestPage, Manifests, VersionNumber};
use crate::domain::error::{Error, Result};
use crate::domain::ids::DatasetId;
use crate::domain::name::{ImageName, Label};
use crate::domain::trash::Removal;
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

/// A removal stands in the sequence like an addition, as version 2 of the record.
#[derive(Serialize, Deserialize)]
struct RemovalV2 {
    /// Where the entry stands that is gone: in this dataset, or in one that it began as.
    part: u64,
    sequence: u64,
    /// What the digest counted for it: nothing else tells whether these numbers are right.
    entry_hash: [u8; 16],
}

/// What stands at one place of a dataset's sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Slot {
    /// An image that was added, and the version from which on it is gone again.
    Added(Entry, Option<VersionNumber>),
    /// An image that was taken out.
    Removed {
        /// The dataset in which its entry stands.
        part: DatasetId,
        /// The number of its entry there.
        sequence: u64,
        /// What the digest counted for it.
        entry_hash: [u8; 16],
    },
}

pub(super) fn decode(bytes: &[u8]) -> Result<Slot, CodecError> {
    match codec::open(bytes)? {
        (1, body) => {
            let stored: EntryV1 = codec::payload(body)?;
            let entry = Entry {
                label: stored.label.map(Label::from_store),
                name: ImageName::from_store(stored.name),
                hash: ContentHash(stored.hash),
            };
            Ok(Slot::Added(entry, stored.removed_in.map(VersionNumber)))
        }
        (2, body) => {
            let RemovalV2 { part, sequence, entry_hash } = codec::payload(body)?;
            Ok(Slot::Removed { part: DatasetId(part), sequence, entry_hash })
        }
        (found, _) => Err(CodecError::Newer { found, known: 2 }),
    }
}

fn encode_entry(entry: &Entry, removed_in: Option<VersionNumber>) -> Result<Vec<u8>, CodecError> {
    let stored = EntryV1 {
        label: entry.label.as_ref().map(|label| label.as_str().to_owned()),
        name: entry.name.as_str().to_owned(),
        hash: entry.hash.0,
        removed_in: removed_in.map(|version| version.0),
    };
    codec::encode(1, &stored)
}

pub(super) fn entry_key(dataset: DatasetId, sequence: u64) -> Vec<u8> {
    Key::new(key::ENTRY).id(dataset.0).id(sequence).done()
}

pub(super) fn removed_key(dataset: DatasetId, part: DatasetId, sequence: u64) -> Vec<u8> {
    Key::new(key::REMOVED).id(dataset.0).id(part.0).id(sequence).done()
}

pub(super) fn name_key(dataset: DatasetId, entry: &Entry, sequence: u64) -> Vec<u8> {
    let mut key = name_prefix(dataset, entry.label.as_ref(), &entry.name);
    key.extend_from_slice(&sequence.to_be_bytes());
    key
}

pub(super) fn name_prefix(dataset: DatasetId, label: Option<&Label>, name: &ImageName) -> Vec<u8> {
    Key::new(key::ENTRY_NAME).id(dataset.0).text(label.map_or("", Label::as_str)).text(name.as_str()).done()
}

/// The parts that make up a version, oldest base first.
pub(super) fn chain(reader: &impl Read, version: DatasetVersion) -> Result<Vec<DatasetVersion>> {
    let base = super::datasets::must_get(reader, version.dataset)?.base;
    chain_on(reader, version, base)
}

/// The parts of a version of a dataset that began as `base`, which need not be stored yet.
pub(super) fn chain_on(
    reader: &impl Read,
    version: DatasetVersion,
    base: Option<DatasetVersion>,
) -> Result<Vec<DatasetVersion>> {
    let mut parts = vec![version];
    let mut next = base;
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
    find_in(reader, dataset.head_version(), dataset.base, label, name)
}

/// What stands under (label, name) in a version of a dataset that began as `base`.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn find_in(
    reader: &impl Read,
    version: DatasetVersion,
    base: Option<DatasetVersion>,
    label: Option<&Label>,
    name: &ImageName,
) -> Result<Option<Entry>> {
    Ok(locate(reader, version, base, label, name)?.map(|(_, _, entry)| entry))
}

/// The same, with the dataset and the place in it where the entry stands.
fn locate(
    reader: &impl Read,
    version: DatasetVersion,
    base: Option<DatasetVersion>,
    label: Option<&Label>,
    name: &ImageName,
) -> Result<Option<(DatasetId, u64, Entry)>> {
    let mut later = Vec::new();
    let mut part = Some((version, base));
    while let Some((version, base)) = part {
        let prefix = name_prefix(version.dataset, label, name);
        for pair in reader.prefix(prefix) {
            let sequence = key::last_id(&pair?.0);
            if sequence > version.number.0 {
                break;
            }
            if let Some(entry) = get(reader, version, sequence)?
                && !is_removed(reader, &later, version.dataset, sequence)?
            {
                return Ok(Some((version.dataset, sequence, entry)));
            }
        }
        later.push(version);
        part = match base {
            Some(base) => Some((base, super::datasets::must_get(reader, base.dataset)?.base)),
            None => None,
        };
    }
    Ok(None)
}

/// The entry with this number, where it belongs to `version`.
pub(super) fn get(reader: &impl Read, version: DatasetVersion, sequence: u64) -> Result<Option<Entry>> {
    let Some(bytes) = reader.get(&entry_key(version.dataset, sequence))? else {
        return Ok(None);
    };
    Ok(present(decode(&bytes).map_err(damaged("entry"))?, version))
}

/// The entry with this number, whether a version has it or not.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn stored(reader: &impl Read, dataset: DatasetId, sequence: u64) -> Result<Option<Entry>> {
    let found = reader.get(&entry_key(dataset, sequence))?;
    Ok(match found.map(|bytes| decode(&bytes).map_err(damaged("entry"))).transpose()? {
        Some(Slot::Added(entry, _)) => Some(entry),
        _ => None,
    })
}

/// The entry of a place in the sequence, where it belongs to `version` of the same dataset.
pub(super) fn present(slot: Slot, version: DatasetVersion) -> Option<Entry> {
    match slot {
        Slot::Added(entry, removed_in) if removed_in.is_none_or(|gone| gone > version.number) => Some(entry),
        _ => None,
    }
}

/// True where one of the `later` parts of a version has taken out an entry of an earlier one.
pub(super) fn is_removed(reader: &impl Read, later: &[DatasetVersion], part: DatasetId, sequence: u64) -> Result<bool> {
    for version in later {
        let removed = reader.get(&removed_key(version.dataset, part, sequence))?;
        if removed.is_some_and(|since| key::last_id(&since) <= version.number.0) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Those of `later` that have taken anything out of `part`: mostly none, and then nothing has to be looked up.
pub(super) fn removers(reader: &impl Read, later: &[DatasetVersion], part: DatasetId) -> Result<Vec<DatasetVersion>> {
    let mut found = Vec::new();
    for version in later {
        let prefix = Key::new(key::REMOVED).id(version.dataset.0).id(part.0).done();
        if reader.first(prefix.clone(), key::after_prefix(&prefix))?.is_some() {
            found.push(*version);
        }
    }
    Ok(found)
}

/// Appends an entry to `dataset`, which becomes its next version. The caller has seen to it that the name is free,
/// and writes the dataset.
///
/// # Errors
/// `internal` where it does not encode.
pub fn append(tx: &mut Tx<'_>, dataset: &mut Dataset, entry: &Entry) -> Result<()> {
    let sequence = dataset.head.0 + 1;
    super::balance::note(tx, dataset, entry.label.as_ref(), true)?;
    super::duplicates::note(tx, dataset, entry.hash, sequence)?;
    tx.put(entry_key(dataset.id, sequence), encode_entry(entry, None))?;
    tx.mark(name_key(dataset.id, entry, sequence), &[]);
    dataset.head = VersionNumber(sequence);
    dataset.images += 1;
    dataset.labelled += u64::from(entry.label.is_some());
    dataset.digest = dataset.digest.with(entry_hash(entry));
    Ok(())
}

/// How what stands under (label, name) would be taken out of `dataset`. `None` where nothing stands there.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn removal(
    reader: &impl Read,
    dataset: &Dataset,
    label: Option<&Label>,
    name: &ImageName,
) -> Result<Option<Removal>> {
    let version = DatasetVersion { dataset: dataset.id, number: VersionNumber(dataset.head.0 + 1) };
    let found = locate(reader, dataset.head_version(), dataset.base, label, name)?;
    Ok(found.map(|(part, sequence, entry)| Removal { version, part, sequence, entry }))
}

/// Takes an entry out of `dataset` as [`removal`] says, which becomes its next version; the earlier ones keep it. The
/// caller writes the dataset.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn remove(tx: &mut Tx<'_>, dataset: &mut Dataset, removal: &Removal) -> Result<()> {
    let Removal { version, part, sequence, entry } = removal;
    let (part, sequence, number) = (*part, *sequence, version.number);
    super::balance::note(tx, dataset, entry.label.as_ref(), false)?;
    if part == dataset.id {
        tx.put(entry_key(part, sequence), encode_entry(entry, Some(number)))?;
    } else {
        tx.mark(removed_key(dataset.id, part, sequence), &number.0.to_be_bytes());
    }
    let entry_hash = entry_hash(entry);
    let stored = RemovalV2 { part: part.0, sequence, entry_hash };
    tx.put(entry_key(dataset.id, number.0), codec::encode(2, &stored))?;
    dataset.head = number;
    dataset.images = dataset.images.saturating_sub(1);
    dataset.labelled = dataset.labelled.saturating_sub(u64::from(entry.label.is_some()));
    dataset.digest = dataset.digest.without(entry_hash);
    Ok(())
}

/// Forgets an entry that was taken out of its own dataset, where no version that is pinned has it. Returns whether it
/// did; the caller takes the reference to its image away.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn forget(tx: &mut Tx<'_>, removal: &Removal) -> Result<bool> {
    let Removal { version, part, sequence, entry } = removal;
    if *part != version.dataset
        || tx.get(&entry_key(*part, *sequence))?.is_none()
        || super::datasets::is_pinned(tx, *part, VersionNumber(*sequence), version.number)?
    {
        return Ok(false);
    }
    tx.delete(entry_key(*part, *sequence));
    tx.delete(name_key(*part, entry, *sequence));
    super::duplicates::forget(tx, *part, entry.hash, *sequence)?;
    Ok(true)
}

/// Up to `limit` places of a dataset's own sequence after `after`.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn slots(reader: &impl Read, dataset: DatasetId, after: u64, limit: usize) -> Result<Vec<(u64, Slot)>> {
    let all = Key::new(key::ENTRY).id(dataset.0).done();
    let pairs = reader.range(entry_key(dataset, after.saturating_add(1)), key::after_prefix(&all)).take(limit);
    pairs
        .map(|pair| {
            let (key, bytes) = pair?;
            Ok((key::last_id(&key), decode(&bytes).map_err(damaged("entry"))?))
        })
        .collect()
}

/// Removes a place of a sequence whose dataset goes.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn delete(tx: &mut Tx<'_>, dataset: DatasetId, sequence: u64, slot: &Slot) -> Result<()> {
    tx.delete(entry_key(dataset, sequence));
    match slot {
        Slot::Added(entry, _) => {
            tx.delete(name_key(dataset, entry, sequence));
            super::duplicates::forget(tx, dataset, entry.hash, sequence)?;
        }
        Slot::Removed { part, sequence, .. } => tx.delete(removed_key(dataset, *part, *sequence)),
    }
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
        let later = removers(reader, parts.get(at.part + 1..).unwrap_or_default(), part.dataset)?;
        let from = entry_key(part.dataset, at.sequence.saturating_add(1));
        let to = entry_key(part.dataset, part.number.0.saturating_add(1));
        for pair in reader.range(from, to) {
            let (key, bytes) = pair?;
            at.sequence = key::last_id(&key);
            if let Some(entry) = present(decode(&bytes).map_err(damaged("entry"))?, *part)
                && !is_removed(reader, &later, part.dataset, at.sequence)?
            {
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
