//! Deleting: into the trash, out of it again, and for good.
//!
//! What is deleted cannot be found any more from that moment on; its results are hidden, its runs stopped. What can be
//! many is written a few at a time, and the item's stage says how far that is: a server that was killed goes on.

mod frees;
mod past;
mod purge;

pub use frees::Frees;
pub use past::Gone;
pub use purge::{Freed, Purged};

use super::{CHUNK, Services, access};
use crate::domain::account::{Change, Permit, View};
use crate::domain::dataset::{DatasetVersion, Entry};
use crate::domain::error::{Code, Error, Result};
use crate::domain::event::EventKind;
use crate::domain::ids::{DatasetId, ExperimentId, ModelId, TrashId};
use crate::domain::model::Model;
use crate::domain::name::{ImageName, Label, Name};
use crate::domain::reference::Reference;
use crate::domain::run::Run;
use crate::domain::stamp::{Seen, Stamp, Timestamp};
use crate::domain::trash::{Stage, TrashItem, Trashed};
use crate::store::{Read, Tx, blobs, datasets, experiments, manifests, models, results, runs, trash};

/// What is to be deleted.
#[derive(Debug, Clone)]
pub enum Target {
    /// The model itself.
    Model,
    /// One of its experiments.
    Experiment(Reference<ExperimentId>),
    /// One of its datasets.
    Dataset(Reference<DatasetId>),
    /// An image of one of its datasets, or of the dataset of all of its images.
    Image {
        /// The dataset.
        dataset: Option<Reference<DatasetId>>,
        /// The image's label.
        label: Option<Label>,
        /// Its file name.
        name: ImageName,
    },
}

/// Something in the trash, as it is shown.
#[derive(Debug)]
pub struct TrashView {
    /// What it is.
    pub item: TrashItem,
    /// The name of its model.
    pub model: String,
    /// When it is removed for good.
    pub expires_at: Timestamp,
    /// What removing it frees, where that was asked for.
    pub frees: Option<Frees>,
}

impl Services {
    /// Puts something into the trash, with what that will free once it is removed for good. With `dry_run`, only says
    /// that.
    ///
    /// # Errors
    /// `not_found` for what was named; `forbidden`; `stale` where it has changed since it was `seen`.
    pub async fn delete(
        &self,
        permit: Permit<Change>,
        model: Reference<ModelId>,
        target: Target,
        seen: Seen,
        dry_run: bool,
    ) -> Result<TrashView> {
        let (actor, now) = (permit.actor(), self.now());
        let write = self.parts.store.settle(move |tx| {
            let model = access::called(tx, permit, &model)?;
            check_revision(tx, &model, &target, &seen)?;
            let id = TrashId(tx.next_id()?);
            let (name, what) = match dry_run {
                true => look_at(tx, &model, &target)?,
                false => hide(tx, &model, &target, now)?,
            };
            let stamp = Stamp::new(actor, now);
            let item = TrashItem { id, stamp, model: model.id, name, what, stage: Stage::Hiding };
            if !dry_run {
                trash::put(tx, &item)?;
                tx.event(actor, now, EventKind::Trashed, id.0, model.id.0)?;
            }
            Ok((item, model))
        });
        let (mut item, model) = write.await?;
        if !dry_run {
            self.stop_runs(permit, &item).await?;
            item = self.drive(item).await?;
        }
        let frees = Some(self.frees(&item).await?);
        let expires_at = item.expires_at(self.parts.limits.trash_ms);
        Ok(TrashView { expires_at, item, model: model.name.as_str().to_owned(), frees })
    }

    /// Up to `limit` things in the trash that the actor may see, the oldest first, and where to go on.
    ///
    /// # Errors
    /// `internal` where the store cannot be read.
    pub fn trash(
        &self,
        permit: Permit<View>,
        after: Option<TrashId>,
        limit: usize,
    ) -> Result<(Vec<TrashView>, Option<TrashId>)> {
        let store = &self.parts.store;
        let page = trash::page(store, after, limit)?;
        let next = if page.len() == limit { page.last().map(|item| item.id) } else { None };
        let mut found = Vec::with_capacity(page.len());
        for item in page {
            if item.stage != Stage::Restoring && access::reaches_trash(store, permit, item.model)? {
                found.push(self.trash_view(item, None)?);
            }
        }
        Ok((found, next))
    }

    /// One thing in the trash, with what removing it frees.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn trash_item(&self, permit: Permit<View>, id: TrashId) -> Result<TrashView> {
        let item = reached(&self.parts.store, id, |model| access::reaches_trash(&self.parts.store, permit, model))?;
        let frees = self.frees(&item).await?;
        self.trash_view(item, Some(frees))
    }

    fn trash_view(&self, item: TrashItem, frees: Option<Frees>) -> Result<TrashView> {
        let model = models::get(&self.parts.store, item.model)?;
        Ok(TrashView {
            model: model.map(|model| model.name.as_str().to_owned()).unwrap_or_default(),
            expires_at: item.expires_at(self.parts.limits.trash_ms),
            item,
            frees,
        })
    }

    /// Takes something out of the trash, under its old name or another one.
    ///
    /// # Errors
    /// `not_found`; `forbidden`; `already_exists` where the name is taken by now; `conflict` while it is being removed, or
    /// where what it belongs to is in the trash itself.
    pub async fn restore(&self, permit: Permit<Change>, id: TrashId, name: Option<Name>) -> Result<()> {
        let (actor, now) = (permit.actor(), self.now());
        let write = self.parts.store.write(move |tx| {
            let mut item = reached(tx, id, |model| access::reaches_trash(tx, permit, model))?;
            if item.stage == Stage::Purging {
                return Err(Error::new(Code::Conflict, format!("{id} is being removed for good")));
            }
            show(tx, &item, name, now)?;
            item.stage = Stage::Restoring;
            trash::put(tx, &item)?;
            tx.event(actor, now, EventKind::Restored, id.0, item.model.0)?;
            Ok(item)
        });
        let item = write.await?;
        self.drive(item).await?;
        self.parts.scheduler.wake();
        Ok(())
    }

    /// Tells the runs of what was deleted to stop; those that wait are cancelled when their turn comes.
    async fn stop_runs(&self, permit: Permit<Change>, item: &TrashItem) -> Result<()> {
        for run in runs::leased(&self.parts.store)? {
            if concerns(item, &run) {
                match self.parts.scheduler.cancel(permit.actor(), run.id).await {
                    Err(error) if !matches!(error.code, Code::Conflict | Code::NotFound) => return Err(error),
                    _ => {}
                }
            }
        }
        self.parts.scheduler.wake();
        Ok(())
    }

    /// Brings an item that is on its way in or out where it goes: its results are hidden or shown.
    pub(super) async fn drive(&self, mut item: TrashItem) -> Result<TrashItem> {
        if !matches!(item.stage, Stage::Hiding | Stage::Restoring) {
            return Ok(item);
        }
        let model = item.model;
        match item.what {
            Trashed::Model | Trashed::Image(_) | Trashed::Run(_) | Trashed::Sweep(_) => {}
            Trashed::Experiment(id) => {
                let of_experiment = results::of_experiment(&self.parts.store, id)?;
                for some in of_experiment.chunks(CHUNK) {
                    let some = some.to_vec();
                    self.parts.store.settle(move |tx| results::reorder(tx, model, &some)).await?;
                }
            }
            Trashed::Dataset(dataset) => {
                for some in experiments_of(&self.parts.store, model)?.chunks(CHUNK) {
                    let some = some.to_vec();
                    let reorder = self.parts.store.settle(move |tx| {
                        let found = some.into_iter().map(|id| results::get(tx, id, dataset));
                        let found: Vec<_> = found.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
                        results::reorder(tx, model, &found)
                    });
                    reorder.await?;
                }
            }
        }
        let settled = self.parts.store.settle(move |tx| {
            match item.stage {
                Stage::Hiding => {
                    item.stage = Stage::Hidden;
                    trash::put(tx, &item)?;
                }
                _ => trash::delete(tx, &item),
            }
            Ok(item)
        });
        settled.await
    }
}

/// All experiments of a model, those in the trash included.
fn experiments_of(reader: &impl Read, model: ModelId) -> Result<Vec<ExperimentId>> {
    let (mut found, mut from) = (Vec::new(), 0);
    loop {
        let page = experiments::page(reader, model, from, CHUNK)?;
        let Some(last) = page.last() else { break };
        from = last.ordinal + 1;
        found.extend(page.iter().map(|experiment| experiment.id));
    }
    let mut after = None;
    loop {
        let page = trash::of_model(reader, model, after, CHUNK)?;
        let Some(last) = page.last() else { return Ok(found) };
        after = Some(last.id);
        found.extend(page.iter().filter_map(|item| match item.what {
            Trashed::Experiment(id) => Some(id),
            _ => None,
        }));
    }
}

/// The item, if the asker may reach its model.
fn reached(reader: &impl Read, id: TrashId, may: impl FnOnce(ModelId) -> Result<bool>) -> Result<TrashItem> {
    let unknown = || Error::new(Code::NotFound, format!("there is no {id} in the trash"));
    let item = trash::get(reader, id)?.filter(|item| item.stage != Stage::Restoring).ok_or_else(unknown)?;
    if may(item.model)? { Ok(item) } else { Err(unknown()) }
}

/// True for a run of what was deleted.
fn concerns(item: &TrashItem, run: &Run) -> bool {
    run.spec.model == item.model
        && match item.what {
            Trashed::Model => true,
            Trashed::Experiment(id) => run.spec.experiment == id,
            Trashed::Dataset(id) => run.spec.version.dataset == id,
            Trashed::Image(_) => false,
            Trashed::Run(id) => run.id == id,
            Trashed::Sweep(id) => run.sweep == Some(id),
        }
}

fn no_image(name: &ImageName, label: Option<&Label>) -> Error {
    let label =
        label.map_or_else(|| "without a label".to_owned(), |label| format!("with the label `{}`", label.as_str()));
    Error::not_found(format_args!("the dataset has no image `{}` {label}", name.as_str()))
}

/// Refuses to delete another edition than the client has seen; images have no editions.
fn check_revision(reader: &impl Read, model: &Model, target: &Target, seen: &Seen) -> Result<()> {
    match target {
        Target::Model => model.stamp.check(seen),
        Target::Experiment(called) => access::experiment(reader, model.id, called)?.stamp.check(seen),
        Target::Dataset(called) => access::dataset(reader, model.id, called)?.stamp.check(seen),
        Target::Image { .. } => Ok(()),
    }
}

/// What is meant, as it would be deleted.
fn look_at(reader: &impl Read, model: &Model, target: &Target) -> Result<(String, Trashed)> {
    Ok(match target {
        Target::Model => (model.name.as_str().to_owned(), Trashed::Model),
        Target::Experiment(called) => {
            let experiment = access::experiment(reader, model.id, called)?;
            (experiment.name.as_str().to_owned(), Trashed::Experiment(experiment.id))
        }
        Target::Dataset(called) => {
            let dataset = access::dataset(reader, model.id, called)?;
            (dataset.name_text().to_owned(), Trashed::Dataset(dataset.id))
        }
        Target::Image { dataset, label, name } => {
            let dataset = match dataset {
                Some(dataset) => access::dataset(reader, model.id, dataset)?,
                None => datasets::must_get(reader, model.all_images)?,
            };
            let removal = manifests::removal(reader, &dataset, label.as_ref(), name)?;
            let removal = removal.ok_or_else(|| no_image(name, label.as_ref()))?;
            (name.as_str().to_owned(), Trashed::Image(removal))
        }
    })
}

/// Makes that it cannot be found any more.
fn hide(tx: &mut Tx<'_>, model: &Model, target: &Target, now: Timestamp) -> Result<(String, Trashed)> {
    let (called, what) = look_at(tx, model, target)?;
    let trashed = |stamp: &mut Stamp| {
        stamp.touch(now);
        stamp.trashed_at = Some(now);
    };
    match &what {
        Trashed::Model => {
            let mut model = model.clone();
            trashed(&mut model.stamp);
            models::put(tx, &model)?;
        }
        Trashed::Experiment(id) => {
            let mut experiment = must(experiments::get(tx, *id)?)?;
            trashed(&mut experiment.stamp);
            experiments::put(tx, &experiment)?;
        }
        Trashed::Dataset(id) => {
            let mut dataset = datasets::must_get(tx, *id)?;
            trashed(&mut dataset.stamp);
            datasets::put(tx, &dataset)?;
        }
        // They do not lie here before they go.
        Trashed::Run(_) | Trashed::Sweep(_) => {}
        Trashed::Image(removal) => {
            let mut dataset = datasets::must_get(tx, removal.version.dataset)?;
            manifests::remove(tx, &mut dataset, removal)?;
            dataset.stamp.touch(now);
            datasets::put(tx, &dataset)?;
        }
    }
    Ok((called, what))
}

/// Makes that it can be found again.
fn show(tx: &mut Tx<'_>, item: &TrashItem, name: Option<Name>, now: Timestamp) -> Result<()> {
    let model = must(models::get(tx, item.model)?)?;
    if model.stamp.trashed_at.is_some() && item.what != Trashed::Model {
        let message = format!("the model `{}` is in the trash itself; restore that first", model.name);
        return Err(Error::new(Code::Conflict, message));
    }
    let taken = |name: &Name| {
        let message = format!("the name `{name}` is taken by now; give another one as `name`");
        Err(Error::new(Code::AlreadyExists, message))
    };
    let back = |stamp: &mut Stamp| {
        stamp.touch(now);
        stamp.trashed_at = None;
    };
    match &item.what {
        Trashed::Model => {
            let mut model = model;
            model.name = name.unwrap_or(model.name);
            if models::id_of(tx, model.stamp.project, &model.name)?.is_some() {
                return taken(&model.name);
            }
            back(&mut model.stamp);
            models::put(tx, &model)
        }
        Trashed::Experiment(id) => {
            let mut experiment = must(experiments::get(tx, *id)?)?;
            experiment.name = name.unwrap_or(experiment.name);
            if experiments::id_of(tx, model.id, &experiment.name)?.is_some() {
                return taken(&experiment.name);
            }
            back(&mut experiment.stamp);
            experiments::put(tx, &experiment)
        }
        Trashed::Dataset(id) => {
            let mut dataset = datasets::must_get(tx, *id)?;
            dataset.name = name.or(dataset.name);
            if let Some(name) = &dataset.name
                && datasets::id_of(tx, model.id, name)?.is_some()
            {
                return taken(name);
            }
            back(&mut dataset.stamp);
            datasets::put(tx, &dataset)
        }
        Trashed::Run(_) | Trashed::Sweep(_) => {
            Err(Error::new(Code::Conflict, format!("{} is being removed for good", item.id)))
        }
        Trashed::Image(removal) => {
            if name.is_some() {
                return Err(Error::parameter("an image is restored under its own name"));
            }
            put_back(tx, removal.version, &removal.entry, now)
        }
    }
}

/// An image comes back as an addition of its own: the versions without it stay as they are.
fn put_back(tx: &mut Tx<'_>, version: DatasetVersion, entry: &Entry, now: Timestamp) -> Result<()> {
    let mut dataset = datasets::must_get(tx, version.dataset)?;
    if dataset.stamp.trashed_at.is_some() {
        let message = format!("the dataset `{}` is in the trash itself; restore that first", dataset.name_text());
        return Err(Error::new(Code::Conflict, message));
    }
    if manifests::find(tx, &dataset, entry.label.as_ref(), &entry.name)?.is_some() {
        let message = format!("the dataset has another image `{}` by now", entry.name.as_str());
        return Err(Error::new(Code::AlreadyExists, message));
    }
    manifests::append(tx, &mut dataset, entry)?;
    blobs::refer(tx, entry.hash)?;
    dataset.stamp.touch(now);
    datasets::put(tx, &dataset)
}

fn must<T>(found: Option<T>) -> Result<T> {
    found.ok_or_else(|| Error::internal("what is in the trash is not stored"))
}
