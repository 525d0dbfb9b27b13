//! Which entries of a dataset hold the same bytes, under whatever names and labels.
//!
//! Each entry is listed under its hash, and a hash is noted down when an entry comes whose bytes the dataset has already.
//! What is noted is where to look, not what is so: of which versions it is true, and whether it still is, the entries
//! say. Knows keys; not who asks.

use super::key::{self, Key};
use super::manifests;
use super::tx::{Read, Tx};
use crate::domain::blob::ContentHash;
use crate::domain::dataset::{Dataset, DatasetVersion, Entry};
use crate::domain::error::Result;
use crate::domain::ids::DatasetId;

/// How many hashes one page looks at; those whose copies are gone again are not shown.
const LOOKED_AT: usize = 2000;

/// How many entries of a hash are looked at in one dataset: an image that was relabelled more often has that many that are
/// gone.
const ENTRIES: usize = 200;

/// The most entries of a hash that are named.
const NAMED: usize = 50;

/// Entries with the same bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Their bytes.
    pub hash: ContentHash,
    /// At least two of them, in the order in which they came.
    pub entries: Vec<Entry>,
    /// Whether there may be more than are named.
    pub has_more: bool,
}

/// Some groups in the order of their hashes, and the last hash that was looked at, where there are more.
pub type Page = (Vec<Group>, Option<ContentHash>);

fn prefix(dataset: DatasetId, hash: ContentHash) -> Vec<u8> {
    Key::new(key::ENTRY_HASH).id(dataset.0).bytes(&hash.0).done()
}

/// Where an entry is listed under its hash.
pub(super) fn entry_key(dataset: DatasetId, hash: ContentHash, sequence: u64) -> Vec<u8> {
    Key::new(key::ENTRY_HASH).id(dataset.0).bytes(&hash.0).id(sequence).done()
}

/// Where it is noted that a hash came more than once.
pub(super) fn noted_key(dataset: DatasetId, hash: ContentHash) -> Vec<u8> {
    Key::new(key::DUPLICATE).id(dataset.0).bytes(&hash.0).done()
}

/// The hash in a key of either kind.
pub(super) fn hash_of(key: &[u8]) -> Option<ContentHash> {
    key.get(9..41)?.try_into().ok().map(ContentHash)
}

/// Up to `limit` entries with these bytes in a version whose parts are given, and whether there may be more.
fn entries(
    reader: &impl Read,
    parts: &[DatasetVersion],
    hash: ContentHash,
    limit: usize,
) -> Result<(Vec<Entry>, bool)> {
    let mut found = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        let later = parts.get(at + 1..).unwrap_or_default();
        for (looked_at, pair) in reader.prefix(prefix(part.dataset, hash)).enumerate() {
            let sequence = key::last_id(&pair?.0);
            if found.len() == limit || looked_at == ENTRIES {
                return Ok((found, true));
            }
            if sequence > part.number.0 {
                break;
            }
            if let Some(entry) = manifests::get(reader, *part, sequence)?
                && !manifests::is_removed(reader, later, part.dataset, sequence)?
            {
                found.push(entry);
            }
        }
    }
    Ok((found, false))
}

/// Whether a version of a dataset that began as `base` has an entry with these bytes, as far as that is looked for.
///
/// # Errors
/// `internal` where the store cannot be read.
pub(super) fn has(
    reader: &impl Read,
    version: DatasetVersion,
    base: Option<DatasetVersion>,
    hash: ContentHash,
) -> Result<bool> {
    let (found, has_more) = entries(reader, &manifests::chain_on(reader, version, base)?, hash, 1)?;
    Ok(has_more || !found.is_empty())
}

/// Lists an entry that is about to come under its hash.
///
/// # Errors
/// `internal` where the store cannot be read.
pub(super) fn note(tx: &mut Tx<'_>, dataset: &Dataset, hash: ContentHash, sequence: u64) -> Result<()> {
    if has(tx, dataset.head_version(), dataset.base, hash)? {
        tx.mark(noted_key(dataset.id, hash), &[]);
    }
    tx.mark(entry_key(dataset.id, hash, sequence), &[]);
    Ok(())
}

/// Takes an entry off that goes for good, and with the last one of its hash what is noted of that.
///
/// # Errors
/// `internal` where the store cannot be read.
pub(super) fn forget(tx: &mut Tx<'_>, dataset: DatasetId, hash: ContentHash, sequence: u64) -> Result<()> {
    tx.delete(entry_key(dataset, hash, sequence));
    let all = prefix(dataset, hash);
    if tx.first(all.clone(), key::after_prefix(&all))?.is_none() {
        tx.delete(noted_key(dataset, hash));
    }
    Ok(())
}

/// Whether a dataset's own list has any entry under a hash.
///
/// # Errors
/// `internal` where the store cannot be read.
pub(super) fn is_listed(reader: &impl Read, dataset: DatasetId, hash: ContentHash) -> Result<bool> {
    let all = prefix(dataset, hash);
    Ok(reader.first(all.clone(), key::after_prefix(&all))?.is_some())
}

/// Up to `limit` groups of entries of a version that hold the same bytes, after the hash `after`.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn page(reader: &impl Read, version: DatasetVersion, after: Option<ContentHash>, limit: usize) -> Result<Page> {
    let parts = manifests::chain(reader, version)?;
    let (mut found, mut last) = (Vec::new(), after);
    for _ in 0..LOOKED_AT {
        let Some(hash) = next_noted(reader, &parts, last)? else { return Ok((found, None)) };
        if found.len() == limit {
            return Ok((found, last));
        }
        let (entries, has_more) = entries(reader, &parts, hash, NAMED)?;
        if entries.len() > 1 {
            found.push(Group { hash, entries, has_more });
        }
        last = Some(hash);
    }
    Ok((found, last))
}

/// The first hash after `after` that any of the parts has noted.
fn next_noted(reader: &impl Read, parts: &[DatasetVersion], after: Option<ContentHash>) -> Result<Option<ContentHash>> {
    let mut next: Option<ContentHash> = None;
    for part in parts {
        let all = Key::new(key::DUPLICATE).id(part.dataset.0).done();
        let from = after.map_or_else(|| all.clone(), |hash| key::after_prefix(&noted_key(part.dataset, hash)));
        let first = reader.first(from, key::after_prefix(&all))?;
        if let Some(hash) = first.and_then(|(key, _)| hash_of(&key))
            && next.is_none_or(|next| hash < next)
        {
            next = Some(hash);
        }
    }
    Ok(next)
}
