//! Removing for good what is in the trash: on demand, and by itself when its time has come.
//!
//! Each step is done a few records at a time and may be repeated, and the item itself goes last. Files of runs go before
//! their records; files of images go after, while nobody stores any: what refers to bytes always finds them.

use super::frees::datasets_of;
use super::{Services, TrashItem, Trashed, concerns, experiments_of, reached};
use crate::care;
use crate::domain::account::{Actor, Change, Permit};
use crate::domain::blob::Blob;
use crate::domain::dataset::Dataset;
use crate::domain::error::{Code, Error, Result};
use crate::domain::event::EventKind;
use crate::domain::ids::{DatasetId, ExperimentId, RunId, TrashId};
use crate::domain::run::{Run, RunState};
use crate::domain::trash::Stage;
use crate::service::{CHUNK, access};
use crate::store::manifests::{self, Slot};
use crate::store::{Store, Tx, balance, blobs, datasets, experiments, models, results, runs, shares, trash};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

/// How often the trash is looked at.
const EVERY: Duration = Duration::from_secs(60 * 60);

/// What became free.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Freed {
    /// Things that were removed for good.
    pub items: u64,
    /// Images whose bytes went.
    pub images: u64,
    /// Runs that went with their files.
    pub runs: u64,
    /// Bytes, of both.
    pub bytes: u64,
}

/// How long whoever asks waits for the end of a removal.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// What became of a removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purged {
    /// It is done.
    Done(Freed),
    /// It takes long and goes on by itself, over a restart as well; the trash lists what is left.
    Underway,
}

impl Services {
    /// Removes something in the trash for good. Has to be called on a runtime.
    ///
    /// # Errors
    /// `not_found`; `forbidden`; `conflict` while one of its runs still ends, while a copy of a dataset needs it, or while
    /// a backup is taken or something else is removed.
    pub async fn purge(self: Arc<Self>, permit: Permit<Change>, id: TrashId) -> Result<Purged> {
        let store = &self.parts.store;
        let item = reached(store, id, |model| access::reaches_trash(store, permit, model))?;
        let turn = Arc::clone(&self.care).try_acquire_owned().map_err(|_| care::busy())?;
        patiently(PATIENCE, async move {
            let _turn = turn;
            self.remove(permit.actor(), item).await
        })
        .await
    }

    /// Removes everything in the trash that the actor may; what cannot go yet stays. Has to be called on a runtime.
    ///
    /// # Errors
    /// `conflict` while a backup is taken or something else is removed.
    pub async fn empty_trash(self: Arc<Self>, permit: Permit<Change>) -> Result<Purged> {
        let turn = Arc::clone(&self.care).try_acquire_owned().map_err(|_| care::busy())?;
        patiently(PATIENCE, async move {
            let may = |item: &TrashItem| access::reaches_trash(&self.parts.store, permit, item.model).unwrap_or(false);
            self.remove_all(permit.actor(), may, &turn).await
        })
        .await
    }

    /// Looks after the trash, and after answers that are kept for a day, for as long as the server runs.
    pub async fn keep_trash(&self) {
        loop {
            if let Err(error) = self.forget_answers().await {
                tracing::warn!(%error, "old answers could not be forgotten; it is tried again in an hour");
            }
            if let Err(error) = self.tend_trash().await {
                tracing::warn!(%error, "the trash could not be emptied; it is tried again in an hour");
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Finishes what was begun, and removes what has lain long enough.
    async fn tend_trash(&self) -> Result<()> {
        let mut after = None;
        loop {
            let page = trash::page(&self.parts.store, after, CHUNK)?;
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            for item in page {
                self.drive(item).await?;
            }
        }
        let turn = Arc::clone(&self.care).acquire_owned().await.map_err(Error::internal)?;
        let (now, kept) = (self.now(), self.parts.limits.trash_ms);
        let is_due = |item: &TrashItem| item.stage == Stage::Purging || item.expires_at(kept) <= now;
        let freed = self.remove_all(Actor::LOCAL, is_due, &turn).await?;
        if freed.items > 0 {
            tracing::info!(items = freed.items, images = freed.images, bytes = freed.bytes, "the trash was emptied");
        }
        Ok(())
    }

    async fn remove_all(
        &self,
        actor: Actor,
        is_meant: impl Fn(&TrashItem) -> bool,
        _turn: &OwnedSemaphorePermit,
    ) -> Result<Freed> {
        let mut freed = Freed::default();
        let mut after = None;
        loop {
            let page = trash::page(&self.parts.store, after, CHUNK)?;
            let Some(last) = page.last() else { return Ok(freed) };
            after = Some(last.id);
            for item in page.into_iter().filter(&is_meant) {
                let id = item.id;
                match self.remove(actor, item).await {
                    Ok(more) => {
                        freed.items += more.items;
                        freed.images += more.images;
                        freed.runs += more.runs;
                        freed.bytes += more.bytes;
                    }
                    // It went with its model; or a run or a copy still needs it, and it is listed in the trash until that ends.
                    Err(error) if matches!(error.code, Code::Conflict | Code::NotFound) => {
                        tracing::debug!(%id, %error, "stays in the trash");
                    }
                    Err(error) => return Err(error),
                }
            }
        }
    }

    pub(super) async fn remove(&self, actor: Actor, item: TrashItem) -> Result<Freed> {
        let (id, now) = (item.id, self.now());
        let begin = self.parts.store.settle(move |tx| {
            let mut item = reached(tx, id, |_| Ok(true))?;
            check_nobody_needs(tx, &item)?;
            if item.stage != Stage::Purging {
                item.stage = Stage::Purging;
                trash::put(tx, &item)?;
                tx.event(actor, now, EventKind::Purged, id.0, item.model.0)?;
            }
            Ok(item)
        });
        let item = begin.await?;
        let mut broom = Broom { services: self, store: self.parts.store.clone(), item, freed: Freed::default() };
        broom.sweep().await?;
        Ok(Freed { items: 1, ..broom.freed })
    }
}

/// Waits for a removal, which goes on where nobody waits any more: neither a client that hangs up nor a time-out stops it.
pub(super) async fn patiently(
    patience: Duration,
    removal: impl Future<Output = Result<Freed>> + Send + 'static,
) -> Result<Purged> {
    let mut removal = tokio::spawn(removal);
    if let Ok(ended) = tokio::time::timeout(patience, &mut removal).await {
        return ended.map_err(Error::internal)?.map(Purged::Done);
    }
    tokio::spawn(async move {
        match removal.await {
            Ok(Ok(freed)) => tracing::info!(items = freed.items, images = freed.images, bytes = freed.bytes, "removed"),
            Ok(Err(error)) => tracing::warn!(%error, "something could not be removed; it is tried again in an hour"),
            Err(error) => tracing::error!(%error, "a removal broke off; it is taken up again in an hour"),
        }
    });
    Ok(Purged::Underway)
}

/// Refuses what is still needed.
fn check_nobody_needs(tx: &Tx<'_>, item: &TrashItem) -> Result<()> {
    if let Some(run) = runs::leased(tx)?.iter().find(|run| concerns(item, run)) {
        return Err(Error::new(Code::Conflict, format!("{} is being stopped; try again in a moment", run.id)));
    }
    if let Trashed::Dataset(id) = item.what {
        for other in datasets_of(tx, item.model)? {
            let other = datasets::must_get(tx, other)?;
            if other.base.is_some_and(|base| base.dataset == id) {
                let message =
                    format!("the dataset `{}` began as a copy of it, and needs its images", other.name_text());
                return Err(Error::new(Code::Conflict, message));
            }
        }
    }
    Ok(())
}

/// Removes one item.
struct Broom<'a> {
    services: &'a Services,
    store: Store,
    item: TrashItem,
    freed: Freed,
}

impl Broom<'_> {
    async fn sweep(&mut self) -> Result<()> {
        let (item, model) = (self.item.clone(), self.item.model);
        match item.what.clone() {
            Trashed::Model => {
                self.runs().await?;
                for id in experiments_of(&self.store, model)? {
                    self.experiment(id).await?;
                }
                for id in datasets_of(&self.store, model)? {
                    self.dataset(id).await?;
                }
                self.model().await
            }
            Trashed::Experiment(id) => {
                self.runs().await?;
                self.experiment(id).await?;
                self.forget(item).await
            }
            Trashed::Dataset(id) => {
                self.results_on(id).await?;
                self.runs().await?;
                self.images_in_trash(id).await?;
                self.dataset(id).await?;
                self.forget(item).await
            }
            Trashed::Run(id) => {
                self.past(runs::get(&self.store, id)?.into_iter().collect()).await?;
                self.forget(item).await
            }
            Trashed::Sweep(id) => {
                let mut after = None;
                loop {
                    let page = runs::of_sweep(&self.store, id, after, CHUNK)?;
                    let Some(last) = page.last() else { break };
                    after = Some(last.id);
                    self.past(page).await?;
                }
                self.forget(item).await
            }
            Trashed::Image(removal) => {
                let write = move |tx: &mut Tx<'_>| {
                    trash::delete(tx, &item);
                    let is_forgotten = manifests::forget(tx, &removal)?;
                    let last = if is_forgotten { blobs::release(tx, removal.entry.hash)? } else { None };
                    Ok(((), last.into_iter().collect()))
                };
                self.images(write).await
            }
        }
    }

    async fn done(&self, write: impl FnOnce(&mut Tx<'_>) -> Result<()> + Send + 'static) -> Result<()> {
        self.store.settle(write).await
    }

    /// The item itself, once nothing of it is left.
    async fn forget(&self, item: TrashItem) -> Result<()> {
        let forget = move |tx: &mut Tx<'_>| {
            trash::delete(tx, &item);
            Ok(())
        };
        self.done(forget).await
    }

    /// Runs what takes references away, and removes the bytes that nothing refers to then. Nobody stores any meanwhile:
    /// they could be the same.
    async fn images<T: Send + 'static>(
        &mut self,
        write: impl FnOnce(&mut Tx<'_>) -> Result<(T, Vec<Blob>)> + Send + 'static,
    ) -> Result<T> {
        let _nobody_stores = self.services.storing.write().await;
        let (answer, last) = self.store.settle(write).await?;
        if last.is_empty() {
            return Ok(answer);
        }
        let (blobs, thumbs) = (Arc::clone(&self.services.parts.blobs), Arc::clone(&self.services.parts.thumbs));
        self.freed.images += last.len() as u64;
        self.freed.bytes += last.iter().map(|blob| blob.size).sum::<u64>();
        let remove = move |blob: &Blob| thumbs.remove(blob.hash).and_then(|()| blobs.remove(blob.hash));
        let removed = tokio::task::spawn_blocking(move || last.iter().try_for_each(remove));
        removed.await.map_err(Error::internal)?.map_err(Error::internal)?;
        Ok(answer)
    }

    /// The runs that it concerns, with their files. A best result that goes is replaced before its run goes.
    async fn runs(&mut self) -> Result<()> {
        let mut after = None;
        loop {
            let page = runs::page(&self.store, self.item.model, after, CHUNK)?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.id);
            let mine: Vec<_> = page.into_iter().filter(|run| concerns(&self.item, run)).collect();
            if mine.is_empty() {
                continue;
            }
            let (model, of_runs) = (self.item.model, mine.clone());
            let hide = self.store.settle(move |tx| {
                for run in &of_runs {
                    let result = results::get(tx, run.spec.experiment, run.spec.version.dataset)?;
                    let own: Vec<_> = result.into_iter().filter(|result| result.run == run.id).collect();
                    if !own.is_empty() {
                        results::delete(tx, model, &own)?;
                    }
                }
                Ok(())
            });
            hide.await?;
            self.files_of(mine.iter().map(|run| run.id).collect()).await?;
            self.freed.runs += mine.len() as u64;
            self.done(move |tx| mine.iter().try_for_each(|run| runs::delete(tx, run))).await?;
        }
    }

    /// Runs that go for themselves: their files, then, in one step, what they brought and their records. What somebody has run again
    /// meanwhile is not over, and stays.
    async fn past(&mut self, runs: Vec<Run>) -> Result<()> {
        let past: Vec<Run> = runs.into_iter().filter(|run| matches!(run.state, RunState::Done { .. })).collect();
        self.files_of(past.iter().map(|run| run.id).collect()).await?;
        self.freed.runs += past.len() as u64;
        let write = move |tx: &mut Tx<'_>| {
            for run in &past {
                results::take_back(tx, run)?;
                runs::delete(tx, run)?;
            }
            Ok(())
        };
        self.done(write).await
    }

    async fn files_of(&mut self, ids: Vec<RunId>) -> Result<()> {
        let files = Arc::clone(&self.services.parts.files);
        let removed = tokio::task::spawn_blocking(move || {
            ids.into_iter().try_fold(0, |sum, id| {
                let size = files.size(id)?;
                files.remove(id).map(|()| sum + size)
            })
        });
        let removed: std::io::Result<u64> = removed.await.map_err(Error::internal)?;
        self.freed.bytes += removed.map_err(Error::internal)?;
        Ok(())
    }

    /// An experiment and its results; its runs are gone.
    async fn experiment(&self, id: ExperimentId) -> Result<()> {
        let model = self.item.model;
        let Some(experiment) = experiments::get(&self.store, id)? else { return Ok(()) };
        let of_experiment = results::of_experiment(&self.store, id)?;
        for some in of_experiment.chunks(CHUNK) {
            let some = some.to_vec();
            self.done(move |tx| results::delete(tx, model, &some)).await?;
        }
        self.done(move |tx| experiments::delete(tx, &experiment)).await
    }

    /// What experiments brought on a dataset.
    async fn results_on(&self, dataset: DatasetId) -> Result<()> {
        let model = self.item.model;
        for some in experiments_of(&self.store, model)?.chunks(CHUNK) {
            let some = some.to_vec();
            let remove = move |tx: &mut Tx<'_>| {
                for id in some {
                    let found: Vec<_> = results::get(tx, id, dataset)?.into_iter().collect();
                    results::delete(tx, model, &found)?;
                }
                Ok(())
            };
            self.done(remove).await?;
        }
        Ok(())
    }

    /// Images of a dataset that were in the trash before it.
    async fn images_in_trash(&self, dataset: DatasetId) -> Result<()> {
        let mut after = None;
        loop {
            let page = trash::of_model(&self.store, self.item.model, after, CHUNK)?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.id);
            let is_of =
                |item: &TrashItem| matches!(&item.what, Trashed::Image(removal) if removal.version.dataset == dataset);
            let mine: Vec<_> = page.into_iter().filter(is_of).collect();
            let forget = move |tx: &mut Tx<'_>| {
                mine.iter().for_each(|item| trash::delete(tx, item));
                Ok(())
            };
            self.done(forget).await?;
        }
    }

    /// A dataset with its entries; the last reference to an image takes its bytes along.
    async fn dataset(&mut self, id: DatasetId) -> Result<()> {
        let Some(dataset) = datasets::get(&self.store, id)? else { return Ok(()) };
        self.empty(&dataset).await?;
        while self.store.settle(move |tx| datasets::forget_versions(tx, id, CHUNK)).await? > 0 {}
        while self.store.settle(move |tx| balance::forget(tx, id, CHUNK)).await? > 0 {}
        self.done(move |tx| datasets::delete(tx, &dataset)).await
    }

    async fn empty(&mut self, dataset: &Dataset) -> Result<()> {
        let id = dataset.id;
        loop {
            let page = manifests::slots(&self.store, id, 0, CHUNK)?;
            if page.is_empty() {
                return Ok(());
            }
            let write = move |tx: &mut Tx<'_>| {
                let mut last = Vec::new();
                for (sequence, slot) in &page {
                    manifests::delete(tx, id, *sequence, slot)?;
                    if let Slot::Added(entry, _) = slot {
                        last.extend(blobs::release(tx, entry.hash)?);
                    }
                }
                Ok(((), last))
            };
            self.images(write).await?;
        }
    }

    /// The model itself, once nothing else of it is left.
    async fn model(&self) -> Result<()> {
        let model = self.item.model;
        loop {
            let left = self.store.settle(move |tx| {
                let shared = shares::of_model(tx, model, CHUNK)?;
                shared.iter().for_each(|shared| shares::delete(tx, model, shared.account));
                let items = trash::of_model(tx, model, None, CHUNK + 1)?;
                let others: Vec<_> = items.iter().filter(|item| item.what != Trashed::Model).collect();
                others.iter().for_each(|item| trash::delete(tx, item));
                Ok(shared.len() + others.len())
            });
            if left.await? == 0 {
                break;
            }
        }
        let item = self.item.clone();
        self.done(move |tx| {
            if let Some(model) = models::get(tx, model)? {
                models::delete(tx, &model)?;
            }
            trash::delete(tx, &item);
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn a_removal_goes_on_though_nobody_waits_any_more() {
        let ((begin, begun), (end, ended)) = (oneshot::channel::<()>(), oneshot::channel::<()>());
        let removal = async move {
            begun.await.unwrap();
            end.send(()).unwrap();
            Ok(Freed::default())
        };
        assert_eq!(patiently(Duration::ZERO, removal).await.unwrap(), Purged::Underway);
        begin.send(()).unwrap();
        ended.await.unwrap();
    }

    #[tokio::test]
    async fn what_a_short_removal_freed_or_why_it_failed_is_told() {
        let freed = Freed { items: 1, ..Freed::default() };
        assert_eq!(patiently(PATIENCE, async move { Ok(freed) }).await.unwrap(), Purged::Done(freed));
        let failed = patiently(PATIENCE, async { Err(Error::parameter("no")) }).await;
        assert_eq!(failed.unwrap_err().code, Code::InvalidParameter);
    }
}
