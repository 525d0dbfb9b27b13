//! The versions of datasets, and what changed between them.
//!
//! Every image that is added or taken out makes a version; those that runs are pinned to are counted and kept.

use super::catalogue::dataset_of;
use super::gallery::version_of;
use super::{Services, access};
use crate::domain::account::{Permit, View};
use crate::domain::dataset::{Dataset, DatasetVersion, Entry, Manifests, VersionNumber};
use crate::domain::error::{Error, Result};
use crate::domain::ids::{DatasetId, ModelId};
use crate::domain::name::Label;
use crate::domain::reference::Reference;
use crate::domain::stamp::Timestamp;
use crate::store::manifests::{self, Slot};
use crate::store::{Read, Store, balance, datasets};
use std::collections::BTreeMap;
use std::ops::Bound;

/// How many places of a sequence one page of changes looks at.
const LOOKED_AT: usize = 2000;

/// Entries that are read at once to count them.
const PAGE: usize = 1000;

/// A version, as far as it is known without reading all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionView {
    /// Which one.
    pub number: VersionNumber,
    /// Since when runs or copies are pinned to it.
    pub frozen_at: Option<Timestamp>,
    /// Its images and those of them with a label; known of pinned ones and of the newest.
    pub counts: Option<(u64, u64)>,
    /// True for the newest.
    pub is_newest: bool,
}

/// What happened to an image between two versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The version in which it happened.
    pub number: VersionNumber,
    /// True where only the second version has it.
    pub is_added: bool,
    /// The image.
    pub entry: Entry,
}

impl Services {
    /// Up to `limit` versions of a dataset, the newest first, before the one numbered `before`; with `pinned`, only those
    /// that runs or copies are pinned to, the oldest first, after that number.
    ///
    /// # Errors
    /// `not_found` for what was named.
    pub fn versions(
        &self,
        permit: Permit<View>,
        model: &Reference<ModelId>,
        dataset: &Reference<DatasetId>,
        pinned: bool,
        from: Option<u64>,
        limit: usize,
    ) -> Result<Vec<VersionView>> {
        let store = &self.parts.store;
        let dataset = self.dataset(permit, model, Some(dataset))?;
        if pinned {
            let found = datasets::frozen_page(store, dataset.id, from.map(VersionNumber), limit)?;
            return found.into_iter().map(|frozen| view(store, &dataset, frozen.version)).collect();
        }
        let newest = from.map_or(Some(dataset.head.0), |before| before.min(dataset.head.0 + 1).checked_sub(1));
        let Some(newest) = newest else { return Ok(Vec::new()) };
        let numbers = (0..=newest).rev().take(limit);
        numbers
            .map(|number| view(store, &dataset, DatasetVersion { dataset: dataset.id, number: VersionNumber(number) }))
            .collect()
    }

    /// A version of a dataset.
    ///
    /// # Errors
    /// `not_found` for what was named.
    pub fn version(
        &self,
        permit: Permit<View>,
        model: &Reference<ModelId>,
        dataset: &Reference<DatasetId>,
        number: u64,
    ) -> Result<VersionView> {
        let dataset = self.dataset(permit, model, Some(dataset))?;
        view(&self.parts.store, &dataset, version_of(&dataset, Some(number))?)
    }

    /// Up to `limit` differences between two versions of a dataset, in the order in which they came about, after the
    /// version `after`, and where to go on.
    ///
    /// # Errors
    /// `not_found` for what was named.
    pub fn difference(
        &self,
        permit: Permit<View>,
        model: &Reference<ModelId>,
        dataset: &Reference<DatasetId>,
        between: (u64, u64),
        after: Option<u64>,
        limit: usize,
    ) -> Result<(Vec<Difference>, Option<u64>)> {
        let store = &self.parts.store;
        let model = access::called(store, permit, model)?;
        let dataset = dataset_of(store, &model, Some(dataset))?;
        let (first, second) = (version_of(&dataset, Some(between.0))?, version_of(&dataset, Some(between.1))?);
        let (old, new) = (first.number.min(second.number), first.number.max(second.number));
        let mut at = after.unwrap_or(0).max(old.0);
        let mut found = Vec::new();
        let slots = manifests::slots(store, dataset.id, at, LOOKED_AT)?;
        let is_last = slots.len() < LOOKED_AT;
        for (number, slot) in slots {
            if number > new.0 {
                return Ok((found, None));
            }
            if found.len() == limit {
                return Ok((found, Some(at)));
            }
            at = number;
            if let Some((entry, came)) = change(store, dataset.id, slot, (old, new))? {
                let is_added = came == (first.number <= second.number);
                found.push(Difference { number: VersionNumber(number), is_added, entry });
            }
        }
        Ok((found, (!is_last).then_some(at)))
    }
}

impl Services {
    /// Up to `limit` labels of a version with how many images have them, after the label `after`, and where to go on.
    ///
    /// # Errors
    /// `not_found` for what was named.
    pub async fn balance(
        &self,
        permit: Permit<View>,
        model: &Reference<ModelId>,
        dataset: &Reference<DatasetId>,
        number: u64,
        after: Option<String>,
        limit: usize,
    ) -> Result<(Vec<balance::Count>, Option<String>)> {
        let store = self.parts.store.clone();
        let dataset = self.dataset(permit, model, Some(dataset))?;
        let version = version_of(&dataset, Some(number))?;
        if balance::is_counted(&store, &dataset)? {
            return balance::page(&store, version, after.as_deref(), limit);
        }
        // It was begun before labels were counted.
        let counted = tokio::task::spawn_blocking(move || count(&store, version));
        let counts = counted.await.map_err(Error::internal)??;
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = counts.range::<String, _>((after, Bound::Unbounded));
        let found: Vec<_> = rest.by_ref().take(limit).map(|(label, count)| (label.clone(), *count)).collect();
        let next = rest.next().and_then(|_| found.last().map(|(label, _)| label.clone()));
        let label = |label: String| (!label.is_empty()).then(|| Label::from_store(label));
        Ok((found.into_iter().map(|(text, count)| (label(text), count)).collect(), next))
    }
}

/// How many images of each label a version has, by reading all of it a page at a time.
fn count(store: &Store, version: DatasetVersion) -> Result<BTreeMap<String, u64>> {
    let (mut counts, mut after) = (BTreeMap::new(), None);
    loop {
        let page = store.page(version, after, PAGE)?;
        for entry in page.entries {
            *counts.entry(entry.label.map_or_else(String::new, |label| label.as_str().to_owned())).or_insert(0) += 1;
        }
        after = page.next;
        if after.is_none() {
            return Ok(counts);
        }
    }
}

fn view(reader: &impl Read, dataset: &Dataset, version: DatasetVersion) -> Result<VersionView> {
    let frozen = datasets::frozen(reader, version)?;
    let is_newest = version.number == dataset.head;
    let counts = match &frozen {
        _ if is_newest => Some((dataset.images, dataset.labelled)),
        Some(frozen) => Some((frozen.images, frozen.labelled)),
        None => None,
    };
    Ok(VersionView { number: version.number, frozen_at: frozen.map(|frozen| frozen.frozen_at), counts, is_newest })
}

/// What a place of the sequence means for what lies after `old` and up to `new`: an entry that came, or one that went.
fn change(
    reader: &impl Read,
    dataset: DatasetId,
    slot: Slot,
    (old, new): (VersionNumber, VersionNumber),
) -> Result<Option<(Entry, bool)>> {
    Ok(match slot {
        Slot::Added(entry, gone) if gone.is_none_or(|gone| gone > new) => Some((entry, true)),
        Slot::Added(..) => None,
        // What came after the old version and went again is no difference.
        Slot::Removed { part, sequence, .. } if part == dataset && sequence > old.0 => None,
        // One that was removed for good is known by nothing any more.
        Slot::Removed { part, sequence, .. } => manifests::stored(reader, part, sequence)?.map(|entry| (entry, false)),
    })
}
