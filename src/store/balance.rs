//! How many images of each label the versions of a dataset hold.
//!
//! Each change writes one number: how many there are of its label from that version on. So the balance of any version is
//! a look-up for each label, and a copy needs nothing of its own until it changes. Datasets that were begun before this
//! was counted have no numbers, and are counted by whoever asks. Knows keys; not who asks.

use super::key::{self, Key};
use super::manifests;
use super::tx::{Read, Tx};
use crate::domain::dataset::{Dataset, DatasetVersion, VersionNumber};
use crate::domain::error::{Error, Result};
use crate::domain::ids::DatasetId;
use crate::domain::name::Label;

/// How many labels one page looks at; those of which no image is left are not shown.
const LOOKED_AT: usize = 5000;

/// A label, nothing for the images without one, and how many images have it.
pub type Count = (Option<Label>, u64);

/// Some labels in order, and the text of the last one that was looked at, where there are more.
pub type Page = (Vec<Count>, Option<String>);

/// Says that a dataset is counted.
pub(super) fn marker(dataset: DatasetId) -> Vec<u8> {
    Key::new(key::LABEL_COUNT).id(dataset.0).done()
}

fn label_prefix(dataset: DatasetId, label: &str) -> Vec<u8> {
    Key::new(key::LABEL_COUNT).id(dataset.0).text(label).done()
}

/// The newest version comes first.
fn count_key(version: DatasetVersion, label: &str) -> Vec<u8> {
    let mut key = label_prefix(version.dataset, label);
    key.extend_from_slice(&(u64::MAX - version.number.0).to_be_bytes());
    key
}

/// The label of a key.
pub(super) fn label_of(key: &[u8]) -> Option<&str> {
    let text = key.get(9..key.len().checked_sub(8)?)?.strip_suffix(&[0])?;
    std::str::from_utf8(text).ok()
}

/// The version of a key.
pub(super) fn number_of(key: &[u8]) -> Option<VersionNumber> {
    (key.len() > 17).then(|| VersionNumber(u64::MAX - key::last_id(key)))
}

/// Whether the images of a dataset are counted.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn is_counted(reader: &impl Read, dataset: &Dataset) -> Result<bool> {
    if dataset.head.0 > 0 {
        return Ok(reader.get(&marker(dataset.id))?.is_some());
    }
    // Nothing of its own has been written yet.
    match dataset.base {
        None => Ok(true),
        Some(base) => is_counted(reader, &super::datasets::must_get(reader, base.dataset)?),
    }
}

/// How many images of a label one part of a version has, with those of the parts before it.
fn own(reader: &impl Read, version: DatasetVersion, label: &str) -> Result<Option<u64>> {
    let prefix = label_prefix(version.dataset, label);
    let found = reader.first(count_key(version, label), key::after_prefix(&prefix))?;
    Ok(found.map(|(_, count)| key::last_id(&count)))
}

/// How many images of a label a version has whose parts are given, the oldest first.
fn count(reader: &impl Read, parts: &[DatasetVersion], label: &str) -> Result<u64> {
    for part in parts.iter().rev() {
        if let Some(count) = own(reader, *part, label)? {
            return Ok(count);
        }
    }
    Ok(0)
}

/// What is written down when an image comes in or goes after the version `before` of a dataset that began as `base`.
///
/// # Errors
/// `internal` where the store cannot be read.
pub(super) fn after(
    reader: &impl Read,
    before: DatasetVersion,
    base: Option<DatasetVersion>,
    label: Option<&Label>,
    comes: bool,
) -> Result<(Vec<u8>, u64)> {
    let label = label.map_or("", Label::as_str);
    let had = count(reader, &manifests::chain_on(reader, before, base)?, label)?;
    let has = if comes { had + 1 } else { had.saturating_sub(1) };
    Ok((count_key(DatasetVersion { number: VersionNumber(before.number.0 + 1), ..before }, label), has))
}

/// Counts an image that comes in or goes with the next version of a dataset that still has the one before.
///
/// # Errors
/// `internal` where the store cannot be read.
pub(super) fn note(tx: &mut Tx<'_>, dataset: &Dataset, label: Option<&Label>, comes: bool) -> Result<()> {
    if !is_counted(tx, dataset)? {
        return Ok(());
    }
    let (key, count) = after(tx, dataset.head_version(), dataset.base, label, comes)?;
    tx.mark(key, &count.to_be_bytes());
    if dataset.head.0 == 0 {
        tx.mark(marker(dataset.id), &[]);
    }
    Ok(())
}

/// Up to `limit` labels of a version of a counted dataset after the label `after`, in the order of their bytes; images
/// without one first.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn page(reader: &impl Read, version: DatasetVersion, after: Option<&str>, limit: usize) -> Result<Page> {
    let parts = manifests::chain(reader, version)?;
    let (mut found, mut last) = (Vec::new(), after.map(str::to_owned));
    for _ in 0..LOOKED_AT {
        if found.len() == limit {
            return Ok((found, last));
        }
        let Some(label) = next_label(reader, &parts, last.as_deref())? else { return Ok((found, None)) };
        let count = count(reader, &parts, &label)?;
        if count > 0 {
            found.push(((!label.is_empty()).then(|| Label::from_store(label.clone())), count));
        }
        last = Some(label);
    }
    Ok((found, last))
}

/// The first label after `after` that any of the parts has counted.
fn next_label(reader: &impl Read, parts: &[DatasetVersion], after: Option<&str>) -> Result<Option<String>> {
    let mut next: Option<String> = None;
    for part in parts {
        let all = marker(part.dataset);
        let from = match after {
            Some(label) => key::after_prefix(&label_prefix(part.dataset, label)),
            // The marker itself comes before all labels.
            None => Key::new(key::LABEL_COUNT).id(part.dataset.0).byte(0).done(),
        };
        let Some((key, _)) = reader.first(from, key::after_prefix(&all))? else { continue };
        let label = label_of(&key).ok_or_else(|| Error::internal("a label's count has a key of another form"))?;
        if next.as_deref().is_none_or(|next| label < next) {
            next = Some(label.to_owned());
        }
    }
    Ok(next)
}

/// Forgets up to `limit` counts of a dataset that goes. Returns how many it forgot.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn forget(tx: &mut Tx<'_>, dataset: DatasetId, limit: usize) -> Result<usize> {
    let all = tx.prefix(marker(dataset)).take(limit);
    let keys: Vec<Vec<u8>> = all.map(|pair| Ok(pair?.0)).collect::<Result<_>>()?;
    let count = keys.len();
    keys.into_iter().for_each(|key| tx.delete(key));
    Ok(count)
}
