//! Submitting what a client puts together: a grid, points of its own, experiments by name, or a single run.
//!
//! Points that no experiment of the model stands for get one, with a name that says what it is.

use super::experiments::{Place, new_experiment};
use super::runs::{Submitted, Terms, no_images};
use super::{CHUNK, Services, access};
use crate::domain::account::{Actor, Change, Permit};
use crate::domain::error::{Error, Result};
use crate::domain::experiment::{Experiment, HyperParameters};
use crate::domain::ids::{DatasetId, ExperimentId, ModelId};
use crate::domain::model::Model;
use crate::domain::name::Name;
use crate::domain::reference::Reference;
use crate::domain::stamp::Timestamp;
use crate::domain::sweep::MAX_GRID;
use crate::store::{Read, Store, Tx, experiments, models};
use std::collections::{HashMap, HashSet};

/// Experiments looked up at once.
const PAGE: usize = 500;

/// How many experiments may have taken the name that says what one is, before another one gets none.
const NAMESAKES: u32 = 100;

/// What is to be trained.
#[derive(Debug, Clone)]
pub enum Plan {
    /// The experiments that came with the model.
    Defaults,
    /// These, by name or id.
    Experiments(Vec<String>),
    /// Whatever experiments stand for these.
    Points(Vec<HyperParameters>),
}

/// What a point is known by.
type Coordinates = (u64, u32, u64);

fn coordinates(point: &HyperParameters) -> Coordinates {
    (point.learning_rate.get().to_bits(), point.layers, point.steps)
}

impl Services {
    /// Submits a sweep.
    ///
    /// # Errors
    /// `not_found` for what was named, `no_images` where there is nothing to train on, `invalid_parameter` where that is nothing
    /// or too much.
    pub async fn submit(
        &self,
        permit: Permit<Change>,
        model: impl Into<Reference<ModelId>>,
        dataset: Option<impl Into<Reference<DatasetId>>>,
        plan: Plan,
        terms: Terms,
    ) -> Result<Submitted> {
        let (model, dataset) = (model.into(), dataset.map(Into::into));
        if let Plan::Defaults = plan {
            return self.run_default_experiments(permit, model, dataset, terms).await;
        }
        let wanted = self.chosen(permit, &model, dataset.as_ref(), plan, terms).await?;
        self.submit_sweep(permit, model, dataset, terms, move |reader, model| found(reader, model, &wanted)).await
    }

    /// Submits a run of the one experiment that the plan has.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub async fn submit_one(
        &self,
        permit: Permit<Change>,
        model: impl Into<Reference<ModelId>>,
        dataset: Option<impl Into<Reference<DatasetId>>>,
        plan: Plan,
        terms: Terms,
    ) -> Result<Submitted> {
        let (model, dataset) = (model.into(), dataset.map(Into::into));
        let wanted = self.chosen(permit, &model, dataset.as_ref(), plan, terms).await?;
        self.submit_run(permit, model, dataset, terms, move |reader, model| found(reader, model, &wanted)).await
    }

    /// The experiments of a plan, in its order, each once; those that are missing are made.
    async fn chosen(
        &self,
        permit: Permit<Change>,
        model: &Reference<ModelId>,
        dataset: Option<&Reference<DatasetId>>,
        plan: Plan,
        terms: Terms,
    ) -> Result<Vec<ExperimentId>> {
        self.check_terms(terms)?;
        let store = &self.parts.store;
        let known = access::called(store, permit, model)?;
        let dataset = access::dataset_or_all(store, &known, dataset)?;
        // No experiments are made for what cannot be trained.
        if dataset.images == 0 {
            return Err(no_images(&known, &dataset));
        }
        match plan {
            Plan::Defaults => Err(Error::parameter("the experiments to run are missing")),
            Plan::Experiments(texts) => {
                check_size(texts.len())?;
                let ids = texts.iter().map(|text| named(store, known.id, text)).collect::<Result<Vec<_>>>()?;
                Ok(each_once(ids, |id| *id))
            }
            Plan::Points(points) => {
                check_size(points.len())?;
                self.standing_for(permit, known.id, each_once(points, coordinates)).await
            }
        }
    }

    /// The experiments that stand for these points.
    async fn standing_for(
        &self,
        permit: Permit<Change>,
        id: ModelId,
        points: Vec<HyperParameters>,
    ) -> Result<Vec<ExperimentId>> {
        let store = self.parts.store.clone();
        let looked = tokio::task::spawn_blocking(move || by_coordinates(&store, id));
        let mut known = looked.await.map_err(Error::internal)??;
        let missing: Vec<HyperParameters> =
            points.iter().filter(|point| !known.contains_key(&coordinates(point))).copied().collect();
        let (actor, now) = (permit.actor(), self.now());
        for chunk in missing.chunks(CHUNK) {
            let chunk = chunk.to_vec();
            let write = self.parts.store.write(move |tx| {
                let mut model = access::called(tx, permit, &Reference::Id(id))?;
                let made = chunk
                    .iter()
                    .map(|point| stand_for(tx, &mut model, actor, *point, now))
                    .collect::<Result<Vec<_>>>()?;
                model.stamp.touch(now);
                models::put(tx, &model)?;
                Ok(made)
            });
            let made = write.await?;
            known.extend(made.into_iter().map(|experiment| (coordinates(&experiment.parameters), experiment.id)));
        }
        let id = |point| known.get(&coordinates(point)).copied();
        points.iter().map(|point| id(point).ok_or_else(|| Error::internal("a point has no experiment"))).collect()
    }
}

fn check_size(size: usize) -> Result<()> {
    match size {
        0 => Err(Error::parameter("there is nothing to run: the list is empty")),
        1..=MAX_GRID => Ok(()),
        _ => Err(Error::parameter(format!("a sweep has at most {MAX_GRID} runs; this one would have {size}"))),
    }
}

fn each_once<T, K: std::hash::Hash + Eq>(all: Vec<T>, key: impl Fn(&T) -> K) -> Vec<T> {
    let mut seen = HashSet::new();
    all.into_iter().filter(|one| seen.insert(key(one))).collect()
}

/// An experiment of the model by its id or its name.
fn named(reader: &impl Read, model: ModelId, text: &str) -> Result<ExperimentId> {
    if let Ok(id) = text.parse() {
        let found = experiments::get(reader, id)?.filter(|found| is_there(found, model));
        return found.map(|found| found.id).ok_or_else(|| gone(id));
    }
    experiments::named(reader, model, &Name::parse("experiment", text)?).map(|found| found.id)
}

fn is_there(experiment: &Experiment, model: ModelId) -> bool {
    experiment.model == model && experiment.stamp.trashed_at.is_none()
}

fn gone(id: ExperimentId) -> Error {
    Error::not_found(format_args!("the model has no experiment {id}"))
}

/// The experiments with these ids, which may have gone meanwhile.
fn found(reader: &impl Read, model: &Model, ids: &[ExperimentId]) -> Result<Vec<Experiment>> {
    let one = |id: &ExperimentId| {
        let found = experiments::get(reader, *id)?.filter(|found| is_there(found, model.id));
        found.ok_or_else(|| gone(*id))
    };
    ids.iter().map(one).collect()
}

/// The first experiment of a model at each point.
fn by_coordinates(store: &Store, model: ModelId) -> Result<HashMap<Coordinates, ExperimentId>> {
    let (mut known, mut from) = (HashMap::new(), 0);
    loop {
        let page = experiments::page(store, model, from, PAGE)?;
        let Some(last) = page.last() else { return Ok(known) };
        from = last.ordinal + 1;
        for experiment in page {
            known.entry(coordinates(&experiment.parameters)).or_insert(experiment.id);
        }
    }
}

/// Makes an experiment for a point, unless somebody else has made it a moment ago.
fn stand_for(
    tx: &mut Tx<'_>,
    model: &mut Model,
    actor: Actor,
    point: HyperParameters,
    now: Timestamp,
) -> Result<Experiment> {
    let HyperParameters { learning_rate, layers, steps } = point;
    let plain = format!("lr{learning_rate}-layers{layers}-steps{steps}");
    for namesake in 1..=NAMESAKES {
        let text = if namesake == 1 { plain.clone() } else { format!("{plain}-{namesake}") };
        let name = Name::parse("experiment", &text)?;
        match experiments::id_of(tx, model.id, &name)?.map(|id| experiments::get(tx, id)).transpose()?.flatten() {
            Some(other) if coordinates(&other.parameters) == coordinates(&point) => return Ok(other),
            Some(_) => {}
            None => {
                let place = Place { model: model.id, ordinal: model.experiments, is_default: false };
                let id = new_experiment(tx, actor, place, name, point, now)?;
                model.experiments += 1;
                return experiments::get(tx, id)?.ok_or_else(|| gone(id));
            }
        }
    }
    Err(Error::parameter(format!("the names from {plain} on are taken by other experiments; name one yourself")))
}
