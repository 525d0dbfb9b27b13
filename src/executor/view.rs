//! The folder of a dataset version: links to stored images, `<label>/<name>`, never copies.
//!
//! Made by the first run that needs it, shared by all runs of the version, dropped when others have been used since.
//! Views are a cache: at boot they are thrown away, since a power cut may have left half of one.

use crate::blob::BlobStore;
use crate::domain::dataset::{DatasetVersion, Manifests};
use crate::domain::error::{Error, Result};
use crate::domain::name::Label;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// How many folders that no run uses are kept.
const KEPT: usize = 4;

/// Entries read at once.
const PAGE: usize = 1000;

/// All folders.
pub(super) struct Views {
    root: PathBuf,
    manifests: Arc<dyn Manifests>,
    blobs: Arc<dyn BlobStore>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    views: HashMap<DatasetVersion, Slot>,
    clock: u64,
}

struct Slot {
    /// Held while the folder is made; true once it is there.
    made: Arc<Mutex<bool>>,
    users: usize,
    last_used: u64,
}

/// A folder in use; it stays for as long as this does.
pub(super) struct View<'a> {
    views: &'a Views,
    version: DatasetVersion,
    pub folder: PathBuf,
}

impl Views {
    pub fn new(root: PathBuf, manifests: Arc<dyn Manifests>, blobs: Arc<dyn BlobStore>) -> Self {
        Self { root, manifests, blobs, known: Mutex::default() }
    }

    fn folder(&self, version: DatasetVersion) -> PathBuf {
        self.root.join(format!("{}-v{}", version.dataset, version.number.0))
    }

    /// The folder of `version`, made if it is not there.
    pub fn open(&self, version: DatasetVersion) -> Result<View<'_>> {
        let made = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.clock += 1;
            let clock = known.clock;
            let slot =
                known.views.entry(version).or_insert_with(|| Slot { made: Arc::default(), users: 0, last_used: 0 });
            slot.users += 1;
            slot.last_used = clock;
            Arc::clone(&slot.made)
        };
        let view = View { views: self, version, folder: self.folder(version) };
        let mut is_made = made.lock().unwrap_or_else(PoisonError::into_inner);
        if !*is_made {
            self.make(version, &view.folder)?;
            *is_made = true;
        }
        drop(is_made);
        self.evict();
        Ok(view)
    }

    fn make(&self, version: DatasetVersion, folder: &Path) -> Result<()> {
        let draft = folder.with_extension("draft");
        let made = remove(&draft).map_err(failed).and_then(|()| self.fill(version, &draft));
        let made = made.and_then(|()| remove(folder).and_then(|()| fs::rename(&draft, folder)).map_err(failed));
        if made.is_err()
            && let Err(error) = remove(&draft)
        {
            tracing::warn!(%error, "an unfinished dataset folder is left behind");
        }
        made
    }

    fn fill(&self, version: DatasetVersion, draft: &Path) -> Result<()> {
        fs::create_dir_all(draft).map_err(failed)?;
        let mut labels = HashSet::new();
        let mut after = None;
        loop {
            let page = self.manifests.page(version, after, PAGE)?;
            for entry in &page.entries {
                let mut link = draft.to_owned();
                if let Some(label) = &entry.label {
                    link.push(label.as_str());
                    if labels.insert(Label::clone(label)) {
                        fs::create_dir_all(&link).map_err(failed)?;
                    }
                }
                link.push(entry.name.as_str());
                std::os::unix::fs::symlink(self.blobs.path(entry.hash), &link).map_err(failed)?;
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Drops the folders that have not been used for longest, but for a few.
    fn evict(&self) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut idle: Vec<(u64, DatasetVersion)> = known
            .views
            .iter()
            .filter(|(_, slot)| slot.users == 0)
            .map(|(version, slot)| (slot.last_used, *version))
            .collect();
        idle.sort_unstable();
        let surplus = idle.len().saturating_sub(KEPT);
        for (_, version) in idle.into_iter().take(surplus) {
            if let Err(error) = remove(&self.folder(version)) {
                tracing::warn!(%error, "an unused dataset folder could not be removed");
                continue;
            }
            known.views.remove(&version);
        }
    }
}

impl Drop for View<'_> {
    fn drop(&mut self) {
        let mut known = self.views.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = known.views.get_mut(&self.version) {
            slot.users -= 1;
        }
    }
}

fn failed(error: io::Error) -> Error {
    Error::disk("the folder of the dataset could not be made", &error)
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
