//! Images as they lie in a dataset: a page of them, one of them, how many there are of each class.

use super::{Services, access};
use crate::domain::account::{Permit, View};
use crate::domain::blob::Blob;
use crate::domain::dataset::{Dataset, DatasetVersion, Entry, ManifestCursor, Manifests};
use crate::domain::error::{Code, Error, Result};
use crate::domain::name::{ImageName, Label, Name};
use crate::store::{Store, blobs, datasets, manifests};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// Entries read at once.
const PAGE: usize = 1000;

/// Entries that one page looks at, where it shows one class alone.
const LOOKED_AT: usize = 20_000;

/// Versions whose classes are remembered.
const REMEMBERED: usize = 16;

/// The most classes that are counted one by one.
const CLASSES: usize = 1000;

/// How many images of each class a version holds, by the class's name; nothing for those without one.
pub type Balance = BTreeMap<Option<String>, u64>;

/// What was counted lately. A version never changes, so what was counted stays true.
#[derive(Debug, Default)]
pub struct Balances(Mutex<Vec<(DatasetVersion, Arc<Balance>)>>);

impl Balances {
    fn get(&self, version: DatasetVersion) -> Option<Arc<Balance>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().find(|(of, _)| *of == version).map(|(_, balance)| Arc::clone(balance))
    }

    fn keep(&self, version: DatasetVersion, balance: &Arc<Balance>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            known.remove(0);
        }
        known.push((version, Arc::clone(balance)));
    }
}

/// A page of a dataset's images.
#[derive(Debug, Clone)]
pub struct Gallery {
    /// The dataset.
    pub dataset: Dataset,
    /// Some of its images.
    pub entries: Vec<Entry>,
    /// Where to go on.
    pub next: Option<ManifestCursor>,
}

/// Which images a page shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// All.
    All,
    /// Those of one class, or those without one.
    Only(Option<Label>),
}

impl Services {
    /// The dataset with this name; without a name that of all images.
    ///
    /// # Errors
    /// `not_found` for what was named.
    pub fn dataset(&self, permit: Permit<View>, model: &Name, name: Option<&Name>) -> Result<Dataset> {
        let store = &self.parts.store;
        let model = access::model(store, permit, model)?;
        match name {
            Some(name) => datasets::named(store, model.id, name),
            None => datasets::must_get(store, model.all_images),
        }
    }

    /// Up to `limit` images of a dataset as it is now, in the order in which they were added.
    ///
    /// # Errors
    /// `not_found` for what was named.
    pub fn gallery(
        &self,
        permit: Permit<View>,
        model: &Name,
        name: Option<&Name>,
        shown: &Shown,
        after: Option<ManifestCursor>,
        limit: usize,
    ) -> Result<Gallery> {
        let dataset = self.dataset(permit, model, name)?;
        let version = dataset.head_version();
        let Shown::Only(label) = shown else {
            let page = self.parts.store.page(version, after, limit)?;
            return Ok(Gallery { dataset, entries: page.entries, next: page.next });
        };
        let (mut entries, mut after, mut looked_at) = (Vec::new(), after, 0);
        loop {
            // A page of as many as are still wanted never goes past the last one that is shown.
            let page = self.parts.store.page(version, after, limit - entries.len())?;
            looked_at += page.entries.len();
            entries.extend(page.entries.into_iter().filter(|entry| entry.label == *label));
            after = page.next;
            if after.is_none() || entries.len() >= limit || looked_at >= LOOKED_AT {
                return Ok(Gallery { dataset, entries, next: after });
            }
        }
    }

    /// How many images of each class a dataset holds now. The first to ask of a version reads all of it.
    ///
    /// # Errors
    /// `internal` where the store cannot be read.
    pub async fn balance(&self, dataset: &Dataset) -> Result<Arc<Balance>> {
        let version = dataset.head_version();
        if let Some(known) = self.balances.get(version) {
            return Ok(known);
        }
        let store = self.parts.store.clone();
        let counted = tokio::task::spawn_blocking(move || count(&store, version));
        let counted = Arc::new(counted.await.map_err(Error::internal)??);
        self.balances.keep(version, &counted);
        Ok(counted)
    }

    /// An image of a dataset: where its bytes lie, and what is known of them.
    ///
    /// # Errors
    /// `not_found` for what was named.
    pub fn image(
        &self,
        permit: Permit<View>,
        model: &Name,
        dataset: Option<&Name>,
        label: Option<&Label>,
        name: &ImageName,
    ) -> Result<(PathBuf, Blob)> {
        let dataset = self.dataset(permit, model, dataset)?;
        let gone = || Error::new(Code::NotFound, "the dataset has no such image now; an older version may have it");
        let entry = manifests::find(&self.parts.store, &dataset, label, name)?.ok_or_else(gone)?;
        let blob = blobs::get(&self.parts.store, entry.hash)?.ok_or_else(gone)?;
        Ok((self.parts.blobs.path(entry.hash), blob))
    }
}

fn count(store: &Store, version: DatasetVersion) -> Result<Balance> {
    let mut balance = Balance::new();
    let mut after = None;
    loop {
        let page = store.page(version, after, PAGE)?;
        for entry in page.entries {
            let label = entry.label.map(|label| label.as_str().to_owned());
            if balance.len() < CLASSES || balance.contains_key(&label) {
                *balance.entry(label).or_default() += 1;
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok(balance);
        }
    }
}
