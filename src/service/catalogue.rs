//! What there is: models, their experiments and their datasets, listed, looked at and edited.
//!
//! Lists are pages from indexes: what an asker may not see is passed over, and a page looks at no more than so many
//! records, whoever asks. Making things is in the nouns' own files.

use super::{Services, access};
use crate::domain::account::{Change, LOCAL_ACCOUNT, Permit, View};
use crate::domain::dataset::Dataset;
use crate::domain::error::{Code, Error, Result};
use crate::domain::event::EventKind;
use crate::domain::experiment::Experiment;
use crate::domain::ids::{AccountId, DatasetId, ExperimentId, ModelId};
use crate::domain::model::{Description, Model};
use crate::domain::name::Name;
use crate::domain::reference::Reference;
use crate::domain::result::Best;
use crate::domain::stamp::Seen;
use crate::store::results::{self, Scope};
use crate::store::{Read, accounts, datasets, experiments, models};

/// How many models one page looks at, most of which the asker may not see.
const LOOKED_AT: usize = 2000;

/// A model with what is known of it at a glance.
#[derive(Debug)]
pub struct ModelView {
    /// The model.
    pub model: Model,
    /// The name of whoever made it; nothing for the machine's owner.
    pub owner: Option<String>,
    /// All of its images.
    pub images: Dataset,
    /// Its best result so far.
    pub best: Option<Best>,
}

/// An experiment with its best result so far.
#[derive(Debug)]
pub struct ExperimentView {
    /// The experiment.
    pub experiment: Experiment,
    /// Its best result.
    pub best: Option<Best>,
}

/// In which order models are listed, and after which one.
#[derive(Debug, Clone)]
pub enum ModelOrder {
    /// By their names.
    Name(Option<Name>),
    /// By when they were made.
    Created(Option<ModelId>),
}

impl Services {
    /// Up to `limit` models that the actor may see and whose names begin with `prefix`, and after which one to go on.
    ///
    /// # Errors
    /// `internal` where the store cannot be read.
    pub fn models(
        &self,
        permit: Permit<View>,
        prefix: &str,
        order: ModelOrder,
        limit: usize,
    ) -> Result<(Vec<ModelView>, Option<ModelOrder>)> {
        let store = &self.parts.store;
        let after = |model: &Model| match order {
            ModelOrder::Name(_) => ModelOrder::Name(Some(model.name.clone())),
            ModelOrder::Created(_) => ModelOrder::Created(Some(model.id)),
        };
        let all: Box<dyn Iterator<Item = Result<Model>>> = match &order {
            ModelOrder::Name(last) => Box::new(models::by_name(store, permit.actor().project, prefix, last.as_ref())),
            ModelOrder::Created(last) => Box::new(models::by_id(store, *last)),
        };
        let (mut found, mut last) = (Vec::new(), None);
        for (looked_at, model) in all.enumerate() {
            if found.len() == limit || looked_at == LOOKED_AT {
                return Ok((found, last));
            }
            let model = model?;
            last = Some(after(&model));
            let is_meant = model.stamp.trashed_at.is_none() && model.name.as_str().starts_with(prefix);
            if is_meant && access::shows(store, permit, &model)? {
                found.push(self.model_view(model)?);
            }
        }
        Ok((found, None))
    }

    /// A model.
    ///
    /// # Errors
    /// `not_found`.
    pub fn model(&self, permit: Permit<View>, model: &Reference<ModelId>) -> Result<ModelView> {
        self.model_view(access::called(&self.parts.store, permit, model)?)
    }

    fn model_view(&self, model: Model) -> Result<ModelView> {
        let store = &self.parts.store;
        Ok(ModelView {
            owner: self.account_name(model.stamp.owner)?,
            images: datasets::must_get(store, model.all_images)?,
            best: results::best(store, Scope::Model(model.id))?,
            model,
        })
    }

    fn account_name(&self, id: AccountId) -> Result<Option<String>> {
        if id == LOCAL_ACCOUNT {
            return Ok(None);
        }
        Ok(accounts::get(&self.parts.store, id)?.map(|account| account.name.as_str().to_owned()))
    }

    /// Changes a model's name or what it is for.
    ///
    /// # Errors
    /// `not_found`; `forbidden`; `stale` where it has changed since it was `seen`; `already_exists` where the name is taken.
    pub async fn change_model(
        &self,
        permit: Permit<Change>,
        model: Reference<ModelId>,
        seen: Seen,
        name: Option<Name>,
        description: Option<Description>,
    ) -> Result<ModelView> {
        let (actor, now) = (permit.actor(), self.now());
        let write = self.parts.store.write(move |tx| {
            let mut model = access::called(tx, permit, &model)?;
            model.stamp.check(&seen)?;
            if let Some(name) = name.filter(|name| *name != model.name) {
                if models::id_of(tx, model.stamp.project, &name)?.is_some() {
                    return Err(taken("a model", &name));
                }
                models::rename(tx, &mut model, name)?;
            }
            model.description = description.unwrap_or(model.description);
            model.stamp.touch(now);
            models::put(tx, &model)?;
            tx.event(actor, now, EventKind::ModelChanged, model.id.0, model.id.0)?;
            Ok(model)
        });
        self.model_view(write.await?)
    }

    /// Up to `limit` experiments of a model in the order in which they were made, from the ordinal `from` on.
    ///
    /// # Errors
    /// `not_found` for the model.
    pub fn experiments(
        &self,
        permit: Permit<View>,
        model: &Reference<ModelId>,
        from: u32,
        limit: usize,
    ) -> Result<Vec<ExperimentView>> {
        let store = &self.parts.store;
        let model = access::called(store, permit, model)?;
        let found = experiments::page(store, model.id, from, limit)?;
        found.into_iter().map(|experiment| experiment_view(store, experiment)).collect()
    }

    /// An experiment of a model.
    ///
    /// # Errors
    /// `not_found` for what was named.
    pub fn experiment(
        &self,
        permit: Permit<View>,
        model: &Reference<ModelId>,
        experiment: &Reference<ExperimentId>,
    ) -> Result<ExperimentView> {
        let store = &self.parts.store;
        let model = access::called(store, permit, model)?;
        experiment_view(store, access::experiment(store, model.id, experiment)?)
    }

    /// Gives an experiment another name. What it is told never changes: its results are of that.
    ///
    /// # Errors
    /// `not_found`; `forbidden`; `stale` where it has changed since it was `seen`; `already_exists` where the name is taken.
    pub async fn rename_experiment(
        &self,
        permit: Permit<Change>,
        model: Reference<ModelId>,
        experiment: Reference<ExperimentId>,
        seen: Seen,
        name: Name,
    ) -> Result<ExperimentView> {
        let (actor, now) = (permit.actor(), self.now());
        let write = self.parts.store.write(move |tx| {
            let model = access::called(tx, permit, &model)?;
            let mut experiment = access::experiment(tx, model.id, &experiment)?;
            experiment.stamp.check(&seen)?;
            if experiments::id_of(tx, model.id, &name)?.is_some_and(|id| id != experiment.id) {
                return Err(taken("an experiment", &name));
            }
            let before = experiment.clone();
            experiments::rename(tx, &mut experiment, name)?;
            experiment.stamp.touch(now);
            experiments::put(tx, &experiment)?;
            results::moved(tx, &before, &experiment)?;
            tx.event(actor, now, EventKind::ExperimentChanged, experiment.id.0, model.id.0)?;
            Ok(experiment)
        });
        experiment_view(&self.parts.store, write.await?)
    }

    /// Up to `limit` datasets of a model in the order of their names, after the one named `after`.
    ///
    /// # Errors
    /// `not_found` for the model.
    pub fn datasets(
        &self,
        permit: Permit<View>,
        model: &Reference<ModelId>,
        after: Option<&Name>,
        limit: usize,
    ) -> Result<Vec<Dataset>> {
        let store = &self.parts.store;
        let model = access::called(store, permit, model)?;
        datasets::page(store, model.id, after, limit)
    }

    /// A dataset of a model; without a reference, the one of all of its images.
    ///
    /// # Errors
    /// `not_found` for what was named.
    pub fn dataset(
        &self,
        permit: Permit<View>,
        model: &Reference<ModelId>,
        dataset: Option<&Reference<DatasetId>>,
    ) -> Result<Dataset> {
        let store = &self.parts.store;
        let model = access::called(store, permit, model)?;
        dataset_of(store, &model, dataset)
    }

    /// Gives a dataset another name.
    ///
    /// # Errors
    /// `not_found`; `forbidden`; `stale` where it has changed since it was `seen`; `already_exists` where the name is taken.
    pub async fn rename_dataset(
        &self,
        permit: Permit<Change>,
        model: Reference<ModelId>,
        dataset: Reference<DatasetId>,
        seen: Seen,
        name: Name,
    ) -> Result<Dataset> {
        let (actor, now) = (permit.actor(), self.now());
        let write = self.parts.store.write(move |tx| {
            let model = access::called(tx, permit, &model)?;
            let mut dataset = access::dataset(tx, model.id, &dataset)?;
            dataset.stamp.check(&seen)?;
            if datasets::id_of(tx, model.id, &name)?.is_some_and(|id| id != dataset.id) {
                return Err(taken("a dataset", &name));
            }
            datasets::rename(tx, &mut dataset, name)?;
            dataset.stamp.touch(now);
            datasets::put(tx, &dataset)?;
            results::renamed(tx, model.id)?;
            tx.event(actor, now, EventKind::DatasetChanged, dataset.id.0, model.id.0)?;
            Ok(dataset)
        });
        write.await
    }
}

/// One of a model's datasets, or the one of all of its images.
///
/// # Errors
/// `not_found` naming it.
pub(super) fn dataset_of(reader: &impl Read, model: &Model, dataset: Option<&Reference<DatasetId>>) -> Result<Dataset> {
    match dataset {
        // By its id it can be looked at like any other.
        Some(Reference::Id(id)) if *id == model.all_images => datasets::must_get(reader, *id),
        Some(dataset) => access::dataset(reader, model.id, dataset),
        None => datasets::must_get(reader, model.all_images),
    }
}

fn experiment_view(reader: &impl Read, experiment: Experiment) -> Result<ExperimentView> {
    let best = results::best(reader, Scope::Experiment(experiment.id))?;
    Ok(ExperimentView { experiment, best })
}

/// The failure of a name that another thing has.
pub(super) fn taken(what: &str, name: &Name) -> Error {
    Error::new(Code::AlreadyExists, format!("{what} named `{name}` exists already; choose another name"))
}
