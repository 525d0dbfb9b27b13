//! Models at a glance: all of them with what they reached, one of them with its datasets, its leaderboard and its last sweep.
//!
//! Everything here is a page of something or bounded by what a sweep may hold. Knows nothing of how it is shown.

use super::{Services, access};
use crate::domain::account::{Permit, View};
use crate::domain::dataset::Dataset;
use crate::domain::error::{Error, Result};
use crate::domain::experiment::HyperParameters;
use crate::domain::ids::{DatasetId, ModelId, RunId, SweepId};
use crate::domain::model::Model;
use crate::domain::name::Name;
use crate::domain::result::Best;
use crate::domain::run::{Outcome, Run, RunState};
use crate::domain::stamp::Timestamp;
use crate::domain::sweep::Sweep;
use crate::store::columns::{self, Order};
use crate::store::results::Scope;
use crate::store::{Store, datasets, experiments, lists, models, results, runs, sweeps};
use std::collections::HashMap;

/// Runs that a model's line of results looks back over.
const HISTORY: usize = 40;

/// Names that are looked at for one page of models, where most are others'.
const NAMES: usize = 1000;

/// Points of a sweep that are read to be shown one by one; of a larger one it is only known how many are not over.
const MOST_POINTS: usize = 400;

/// Datasets that are listed with a model.
const DATASETS: usize = 200;

/// A model and how it stands.
#[derive(Debug, Clone)]
pub struct ModelCard {
    /// The model.
    pub model: Model,
    /// Images that it has.
    pub images: u64,
    /// Its best result.
    pub best: Option<Best>,
    /// What its last runs reached, the oldest first.
    pub history: Vec<f64>,
    /// How many of its last runs run.
    pub running: usize,
    /// How many of its last runs wait.
    pub queued: usize,
}

/// A model with its datasets.
#[derive(Debug, Clone)]
pub struct ModelView {
    /// The model.
    pub model: Model,
    /// All of its images.
    pub all_images: Dataset,
    /// Those of its datasets that have a name, in the order of their names; at most 200.
    pub datasets: Vec<Dataset>,
    /// Its best result.
    pub best: Option<Best>,
}

/// A line of a leaderboard.
#[derive(Debug, Clone)]
pub struct Row {
    /// The experiment's name.
    pub experiment: String,
    /// What it is told.
    pub parameters: HyperParameters,
    /// The dataset's name; empty for all images.
    pub dataset: String,
    /// By which run.
    pub run: RunId,
    /// What it printed.
    pub accuracy: String,
    /// The same as a number.
    pub value: f64,
    /// What else it printed.
    pub validation_loss: Option<f64>,
}

/// Some lines of a leaderboard.
#[derive(Debug, Clone)]
pub struct Board {
    /// The lines.
    pub rows: Vec<Row>,
    /// Whether there are more behind them.
    pub has_more: bool,
}

/// One point of a sweep.
#[derive(Debug, Clone)]
pub struct Cell {
    /// The experiment's name.
    pub experiment: String,
    /// What it is told.
    pub parameters: HyperParameters,
    /// Its last run in the sweep; nothing where it has not been submitted.
    pub run: Option<Run>,
}

impl Cell {
    /// Where it stands, in the API's words; `new` without a run.
    pub fn state(&self) -> &'static str {
        self.run.as_ref().map_or("new", |run| run.state.name())
    }

    /// What it reached.
    pub fn accuracy(&self) -> Option<(&str, f64)> {
        match &self.run.as_ref()?.state {
            RunState::Done { outcome: Outcome::Succeeded { accuracy, .. }, .. } => {
                Some((accuracy.text(), accuracy.value()))
            }
            _ => None,
        }
    }
}

/// The last sweep of a model, or what its first one would be.
#[derive(Debug, Clone)]
pub struct LastSweep {
    /// Its id; nothing before the first one.
    pub id: Option<SweepId>,
    /// When it was submitted.
    pub submitted_at: Option<Timestamp>,
    /// How many points it has.
    pub total: usize,
    /// How many of them are not over.
    pub open: usize,
    /// Its points in the order of creation; none where there are more than 400.
    pub cells: Vec<Cell>,
}

impl LastSweep {
    /// The run that reached the most; of equals the first.
    pub fn best(&self) -> Option<RunId> {
        let reached = self.cells.iter().filter_map(|cell| Some((cell.run.as_ref()?.id, cell.accuracy()?.1)));
        reached.reduce(|best, next| if next.1 > best.1 { next } else { best }).map(|(run, _)| run)
    }
}

impl Services {
    /// Up to `limit` of the models that the actor may look at, by name, after `after`; and the name to go on after, where
    /// there may be more.
    ///
    /// # Errors
    /// `internal` where the store cannot be read.
    pub fn model_cards(
        &self,
        permit: Permit<View>,
        after: Option<&Name>,
        limit: usize,
    ) -> Result<(Vec<ModelCard>, Option<Name>)> {
        let store = &self.parts.store;
        let mut cards = Vec::new();
        let ids = lists::models(store, permit.actor().project, after, NAMES)?;
        let has_all = ids.len() < NAMES;
        let mut last = None;
        for id in ids {
            let Some(model) = models::get(store, id)? else { continue };
            if cards.len() == limit {
                return Ok((cards, last));
            }
            last = Some(model.name.clone());
            if access::reaches(store, permit, id)? {
                cards.push(card(store, model)?);
            }
        }
        Ok((cards, last.filter(|_| !has_all)))
    }

    /// One model.
    ///
    /// # Errors
    /// `not_found`.
    pub fn model_overview(&self, permit: Permit<View>, name: &Name) -> Result<ModelView> {
        let store = &self.parts.store;
        let model = access::model(store, permit, name)?;
        let named = datasets::of_model(store, model.id)?;
        let named = named.into_iter().take(DATASETS).map(|id| datasets::must_get(store, id));
        Ok(ModelView {
            all_images: datasets::must_get(store, model.all_images)?,
            datasets: named.collect::<Result<Vec<_>>>()?,
            best: results::best(store, Scope::Model(model.id))?,
            model,
        })
    }

    /// Up to `limit` lines of a model's leaderboard after the first `skipped`.
    ///
    /// # Errors
    /// `not_found` for the model.
    pub fn board(
        &self,
        permit: Permit<View>,
        model: &Name,
        order: Order,
        skipped: usize,
        limit: usize,
    ) -> Result<Board> {
        let store = &self.parts.store;
        let model = access::model_id(store, permit, model)?;
        let mut names = HashMap::new();
        let mut rows = Vec::new();
        for place in columns::sorted(store, model, order, None, skipped).take(limit.saturating_add(1)) {
            let (_, result) = place?;
            let Some(experiment) = experiments::get(store, result.experiment)? else { continue };
            rows.push(Row {
                experiment: experiment.name.as_str().to_owned(),
                parameters: experiment.parameters,
                dataset: dataset_name(store, &mut names, result.dataset)?,
                run: result.run,
                value: result.accuracy.value(),
                accuracy: result.accuracy.text().to_owned(),
                validation_loss: result.validation_loss,
            });
        }
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        Ok(Board { rows, has_more })
    }

    /// The last sweep of a model; before the first one, the experiments that it would run.
    ///
    /// # Errors
    /// `not_found` for the model.
    pub fn last_sweep(&self, permit: Permit<View>, model: &Name) -> Result<LastSweep> {
        let store = &self.parts.store;
        let model = access::model_id(store, permit, model)?;
        match sweeps::newest(store, model, None, 1)?.first() {
            Some(sweep) => points_of(store, sweep),
            None => first_sweep(store, model),
        }
    }

    /// A sweep with its points, and the name of its model.
    ///
    /// # Errors
    /// `not_found`.
    pub fn sweep_points(&self, permit: Permit<View>, id: SweepId) -> Result<(String, LastSweep)> {
        let store = &self.parts.store;
        let sweep = super::control::sweep(store, permit, id)?;
        let model = models::get(store, sweep.model)?.ok_or_else(|| Error::internal("a sweep without its model"))?;
        Ok((model.name.as_str().to_owned(), points_of(store, &sweep)?))
    }

    /// Up to `limit` of a model's runs, the newest first.
    ///
    /// # Errors
    /// `not_found` for the model.
    pub fn newest_runs(&self, permit: Permit<View>, model: &Name, limit: usize) -> Result<Vec<super::runs::RunView>> {
        let store = &self.parts.store;
        let model = access::model_id(store, permit, model)?;
        lists::newest_runs(store, model, limit)?.into_iter().map(|run| super::runs::view(store, run)).collect()
    }

    /// What all children of the server hold now, in bytes, where the system says.
    pub fn children_memory(&self) -> Option<u64> {
        (self.parts.children_resident)()
    }

    /// What has a slot, and up to `limit` of what waits, in the order in which it is taken, as far as the actor may look.
    ///
    /// # Errors
    /// `internal` where the store cannot be read.
    pub fn queue(
        &self,
        permit: Permit<View>,
        limit: usize,
    ) -> Result<(Vec<super::runs::RunView>, Vec<super::runs::RunView>)> {
        let store = &self.parts.store;
        let shown = |run: Run| match access::reaches(store, permit, run.spec.model) {
            Ok(true) => super::runs::view(store, run).map(Some),
            Ok(false) => Ok(None),
            Err(error) => Err(error),
        };
        let running = runs::leased(store)?.into_iter().filter_map(|run| shown(run).transpose());
        let running = running.collect::<Result<Vec<_>>>()?;
        let mut waiting = Vec::new();
        for (_, next) in crate::store::queue::page(store, None, limit)? {
            if let Some(run) = runs::get(store, next.run)? {
                waiting.extend(shown(run)?);
            }
        }
        Ok((running, waiting))
    }
}

/// What the first sweep would be.
fn first_sweep(store: &Store, model: ModelId) -> Result<LastSweep> {
    let found = experiments::page(store, model, 0, MOST_POINTS + 1)?;
    let total = match found.len() > MOST_POINTS {
        true => models::get(store, model)?.map_or(found.len(), |model| model.experiments as usize),
        false => found.iter().filter(|experiment| experiment.is_default).count(),
    };
    let found = found.into_iter().filter(|found| total <= MOST_POINTS && found.is_default);
    let cells = found.map(|experiment| Cell {
        experiment: experiment.name.as_str().to_owned(),
        parameters: experiment.parameters,
        run: None,
    });
    Ok(LastSweep { id: None, submitted_at: None, total, open: 0, cells: cells.collect() })
}

fn points_of(store: &Store, sweep: &Sweep) -> Result<LastSweep> {
    let (id, submitted_at) = (Some(sweep.id), Some(sweep.stamp.created_at));
    let total = sweep.runs as usize;
    if total > MOST_POINTS {
        let open = sweeps::open_runs(store, sweep.id)?.unwrap_or(0);
        let open = usize::try_from(open).unwrap_or(usize::MAX);
        return Ok(LastSweep { id, submitted_at, total, open, cells: Vec::new() });
    }
    let mut found = Vec::new();
    for (experiment, run) in runs::last_of_sweep(store, sweep.id)? {
        let Some(experiment) = experiments::get(store, experiment)? else { continue };
        let name = experiment.name.as_str().to_owned();
        found.push((experiment.ordinal, Cell { experiment: name, parameters: experiment.parameters, run: Some(run) }));
    }
    found.sort_by_key(|(ordinal, _)| *ordinal);
    let cells: Vec<_> = found.into_iter().map(|(_, cell)| cell).collect();
    let open = cells.iter().filter(|cell| matches!(cell.state(), "queued" | "running")).count();
    Ok(LastSweep { id, submitted_at, total: cells.len(), open, cells })
}

fn card(store: &Store, model: Model) -> Result<ModelCard> {
    let last = lists::newest_runs(store, model.id, HISTORY)?;
    let count = |state: &str| last.iter().filter(|run| run.state.name() == state).count();
    let reached = |run: &Run| match &run.state {
        RunState::Done { outcome: Outcome::Succeeded { accuracy, .. }, .. } => Some(accuracy.value()),
        _ => None,
    };
    Ok(ModelCard {
        images: datasets::must_get(store, model.all_images)?.images,
        best: results::best(store, Scope::Model(model.id))?,
        history: last.iter().rev().filter_map(reached).collect(),
        running: count("running"),
        queued: count("queued"),
        model,
    })
}

fn dataset_name(store: &Store, known: &mut HashMap<DatasetId, String>, id: DatasetId) -> Result<String> {
    if let Some(name) = known.get(&id) {
        return Ok(name.clone());
    }
    let found =
        datasets::get(store, id)?.ok_or_else(|| Error::internal(format!("{id} has results but is not stored")))?;
    let name = found.name_text().to_owned();
    known.insert(id, name.clone());
    Ok(name)
}
