//! What removing something for good frees: images that nothing else refers to, and the files of runs.

use super::{TrashItem, Trashed, concerns};
use crate::domain::blob::ContentHash;
use crate::domain::dataset::VersionNumber;
use crate::domain::error::{Error, Result};
use crate::domain::ids::{DatasetId, ModelId};
use crate::domain::run_files::RunFiles;
use crate::service::Services;
use crate::store::manifests::{self, Slot};
use crate::store::{Read, Store, blobs, datasets, models, runs, trash};
use std::collections::HashMap;
use std::sync::Arc;

/// Records looked at in one go.
const PAGE: usize = 500;

/// How many images' references are counted at once; more take another pass.
const COUNTED: u64 = 100_000;

/// What would be freed now; others may refer to the same images later.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Frees {
    /// Images in all that are deleted; one counts as often as it stands there.
    pub images: u64,
    /// Those whose bytes go.
    pub freed_images: u64,
    /// Their bytes.
    pub freed_image_bytes: u64,
    /// Runs.
    pub runs: u64,
    /// Bytes in their files.
    pub freed_run_bytes: u64,
}

impl Services {
    pub(super) async fn frees(&self, item: &TrashItem) -> Result<Frees> {
        let (store, files, item) = (self.parts.store.clone(), Arc::clone(&self.parts.files), item.clone());
        let counting = tokio::task::spawn_blocking(move || count(&store, files.as_ref(), &item));
        counting.await.map_err(Error::internal)?
    }
}

fn count(store: &Store, files: &dyn RunFiles, item: &TrashItem) -> Result<Frees> {
    let mut frees = Frees::default();
    match &item.what {
        Trashed::Model => images(store, &datasets_of(store, item.model)?, &mut frees)?,
        Trashed::Experiment(_) | Trashed::Run(_) | Trashed::Sweep(_) => {}
        Trashed::Dataset(id) => images(store, &[*id], &mut frees)?,
        Trashed::Image(removal) => {
            frees.images = 1;
            let is_own = removal.part == removal.version.dataset;
            let from = VersionNumber(removal.sequence);
            let is_free = is_own && !datasets::is_pinned(store, removal.part, from, removal.version.number)?;
            let blob = blobs::get(store, removal.entry.hash)?.filter(|blob| blob.references == 1 && is_free);
            frees.freed_images = u64::from(blob.is_some());
            frees.freed_image_bytes = blob.map_or(0, |blob| blob.size);
            return Ok(frees);
        }
    }
    let mut after = None;
    loop {
        let page = runs::page(store, item.model, after, PAGE)?;
        let Some(last) = page.last() else { return Ok(frees) };
        after = Some(last.id);
        for run in page.iter().filter(|run| concerns(item, run)) {
            frees.runs += 1;
            frees.freed_run_bytes += files.size(run.id).map_err(Error::internal)?;
        }
    }
}

/// All datasets of a model, those in the trash included; one that began as another comes before that.
pub(super) fn datasets_of(reader: &impl Read, model: ModelId) -> Result<Vec<DatasetId>> {
    let mut found = datasets::of_model(reader, model)?;
    found.extend(models::get(reader, model)?.map(|model| model.all_images));
    let mut after = None;
    loop {
        let page = trash::of_model(reader, model, after, PAGE)?;
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        found.extend(page.iter().filter_map(|item| match item.what {
            Trashed::Dataset(id) => Some(id),
            _ => None,
        }));
    }
    found.sort_unstable_by(|a, b| b.cmp(a));
    found.dedup();
    Ok(found)
}

/// Counts the images whose references are all in these datasets, a part of the hashes at a time.
fn images(store: &Store, datasets: &[DatasetId], frees: &mut Frees) -> Result<()> {
    let mut entries = 0;
    for id in datasets {
        entries += self::datasets::must_get(store, *id)?.head.0;
    }
    let parts = entries.div_ceil(COUNTED).max(1);
    for part in 0..parts {
        let mut counted: HashMap<ContentHash, u64> = HashMap::new();
        for id in datasets {
            let mut after = 0;
            loop {
                let page = manifests::slots(store, *id, after, PAGE)?;
                let Some((last, _)) = page.last() else { break };
                after = *last;
                for (_, slot) in page {
                    if let Slot::Added(entry, _) = slot
                        && part_of(entry.hash, parts) == part
                    {
                        *counted.entry(entry.hash).or_default() += 1;
                    }
                }
            }
        }
        for (hash, count) in counted {
            frees.images += count;
            if let Some(blob) = blobs::get(store, hash)?.filter(|blob| blob.references <= count) {
                frees.freed_images += 1;
                frees.freed_image_bytes += blob.size;
            }
        }
    }
    Ok(())
}

/// Hashes are spread evenly.
fn part_of(hash: ContentHash, parts: u64) -> u64 {
    let first = u32::from_be_bytes([hash.0[0], hash.0[1], hash.0[2], hash.0[3]]);
    (u64::from(first) * parts) >> 32
}
