//! Runs: submitting them, alone or as a sweep, looking at them, stopping them.

use super::control::check_priority;
use super::{CHUNK, Services, access};
use crate::domain::account::{Access, Actor, Change, Permit, View};
use crate::domain::dataset::{Dataset, FrozenVersion};
use crate::domain::error::{Code, Error, Result};
use crate::domain::event::EventKind;
use crate::domain::experiment::Experiment;
use crate::domain::ids::{DatasetId, ModelId, RunId, SweepId};
use crate::domain::model::Model;
use crate::domain::name::Name;
use crate::domain::reference::Reference;
use crate::domain::run::{Run, RunSpec, RunState};
use crate::domain::stamp::{Stamp, Timestamp};
use crate::domain::sweep::Sweep;
use crate::store::{Read, Store, Tx, datasets, experiments, logs, models, runs, sweeps};
use std::path::PathBuf;
use std::sync::Arc;

/// Experiments looked up at once.
const PAGE: usize = 500;

/// What became of a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submitted {
    /// The sweep, where several were submitted.
    pub sweep: Option<SweepId>,
    /// The runs in order; one that was waiting already stands for its repetition.
    pub runs: Vec<RunId>,
}

/// On which terms runs are submitted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Terms {
    /// Higher goes first.
    pub priority: u8,
    /// How long each may take, where that is less than any run may.
    pub timeout_seconds: Option<u32>,
    /// The seed, where that is not to be the dataset version's own.
    pub seed: Option<u32>,
}

/// What a run printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunLog {
    /// All of it.
    Text(Vec<u8>),
    /// Where it lies; the file may not be there yet.
    File(PathBuf),
}

/// A run with the names of what it refers to.
#[derive(Debug, Clone, PartialEq)]
pub struct RunView {
    /// The run.
    pub run: Run,
    /// The name of its model.
    pub model: String,
    /// The name of its experiment.
    pub experiment: String,
    /// The name of its dataset, empty for all images of the model.
    pub dataset: String,
}

impl Services {
    /// Submits one run.
    ///
    /// # Errors
    /// `not_found` for what was named, `no_images` where there is nothing to train on.
    pub async fn train(
        &self,
        permit: Permit<Change>,
        model: impl Into<Reference<ModelId>>,
        experiment: Name,
        dataset: Option<impl Into<Reference<DatasetId>>>,
        terms: Terms,
    ) -> Result<Submitted> {
        let select = move |reader: &Tx<'_>, model: &Model| {
            experiments::named(reader, model.id, &experiment).map(|found| vec![found])
        };
        self.submit_run(permit, model, dataset, terms, select).await
    }

    /// Submits a run of the first of the experiments that `select` finds.
    pub(super) async fn submit_run(
        &self,
        permit: Permit<Change>,
        model: impl Into<Reference<ModelId>>,
        dataset: Option<impl Into<Reference<DatasetId>>>,
        terms: Terms,
        select: impl FnOnce(&Tx<'_>, &Model) -> Result<Vec<Experiment>> + Send + 'static,
    ) -> Result<Submitted> {
        self.check_terms(terms)?;
        let (actor, now) = (permit.actor(), self.now());
        let (model, dataset) = (model.into(), dataset.map(Into::into));
        let write = self.parts.store.write(move |tx| {
            let target = Target::find(tx, permit, &model, dataset.as_ref(), now, terms, select)?;
            let run = target.submit(tx, actor, &target.experiments[0], None, now)?;
            Ok(Submitted { sweep: None, runs: vec![run] })
        });
        let submitted = write.await?;
        self.parts.scheduler.wake();
        Ok(submitted)
    }

    /// Submits the experiments that came with the model. A large sweep is written in several transactions, and its first
    /// runs start meanwhile; it is answered when all of them are durable.
    ///
    /// # Errors
    /// `not_found` for what was named, `no_images` where there is nothing to train on.
    pub async fn run_default_experiments(
        &self,
        permit: Permit<Change>,
        model: impl Into<Reference<ModelId>>,
        dataset: Option<impl Into<Reference<DatasetId>>>,
        terms: Terms,
    ) -> Result<Submitted> {
        let select = |reader: &Tx<'_>, model: &Model| default_experiments(reader, model);
        self.submit_sweep(permit, model, dataset, terms, select).await
    }

    /// Submits the experiments that `select` finds; see [`run_default_experiments`](Self::run_default_experiments).
    pub(super) async fn submit_sweep(
        &self,
        permit: Permit<Change>,
        model: impl Into<Reference<ModelId>>,
        dataset: Option<impl Into<Reference<DatasetId>>>,
        terms: Terms,
        select: impl FnOnce(&Tx<'_>, &Model) -> Result<Vec<Experiment>> + Send + 'static,
    ) -> Result<Submitted> {
        self.check_terms(terms)?;
        let (actor, now) = (permit.actor(), self.now());
        let (model, dataset) = (model.into(), dataset.map(Into::into));
        let write = self.parts.store.write(move |tx| {
            let target = Target::find(tx, permit, &model, dataset.as_ref(), now, terms, select)?;
            let sweep = Sweep {
                id: SweepId(tx.next_id()?),
                stamp: Stamp::new(actor, now),
                model: target.model.id,
                version: target.frozen.version,
                runs: u32::try_from(target.experiments.len()).unwrap_or(u32::MAX),
            };
            sweeps::put(tx, &sweep)?;
            sweeps::hold(tx, sweep.id)?;
            tx.event(actor, now, EventKind::SweepSubmitted, sweep.id.0, target.model.id.0)?;
            Ok((target, sweep.id))
        });
        let (target, sweep) = write.await?;
        let target = Arc::new(target);
        let mut runs = Vec::with_capacity(target.experiments.len());
        for from in (0..target.experiments.len()).step_by(CHUNK) {
            let target = Arc::clone(&target);
            let write = self.parts.store.write(move |tx| {
                let chunk = target.experiments.iter().skip(from).take(CHUNK);
                chunk
                    .map(|experiment| target.submit(tx, actor, experiment, Some(sweep), now))
                    .collect::<Result<Vec<_>>>()
            });
            runs.extend(write.await?);
            self.parts.scheduler.wake();
        }
        let write = self.parts.store.settle(move |tx| {
            if sweeps::release(tx, sweep)? {
                tx.event(actor, now, EventKind::SweepFinished, sweep.0, target.model.id.0)?;
            }
            Ok(())
        });
        write.await?;
        Ok(Submitted { sweep: Some(sweep), runs })
    }

    pub(super) fn check_terms(&self, terms: Terms) -> Result<()> {
        check_priority(terms.priority)?;
        let most = self.parts.limits.timeout_seconds;
        match terms.timeout_seconds.map(u64::from) {
            Some(seconds) if seconds == 0 || seconds > most => Err(Error::parameter(format!(
                "timeout_seconds is a whole number from 1 to {most}, which is jobs.timeout_seconds"
            ))),
            _ => Ok(()),
        }
    }

    /// One run.
    ///
    /// # Errors
    /// `not_found`.
    pub fn run(&self, permit: Permit<View>, id: RunId) -> Result<RunView> {
        view(&self.parts.store, self.reached(permit, id)?)
    }

    /// The run, if the actor may do with it what the permit is for.
    pub(super) fn reached<A: Access>(&self, permit: Permit<A>, id: RunId) -> Result<Run> {
        let run = runs::get(&self.parts.store, id)?.ok_or_else(|| no_run(id))?;
        if access::reaches(&self.parts.store, permit, run.spec.model)? { Ok(run) } else { Err(no_run(id)) }
    }

    /// The log of a run.
    ///
    /// # Errors
    /// `not_found`.
    pub fn run_log(&self, permit: Permit<View>, id: RunId) -> Result<RunLog> {
        self.reached(permit, id)?;
        self.log_of(id)
    }

    /// Where the log of a run is now; that may change while it runs.
    pub(super) fn log_of(&self, id: RunId) -> Result<RunLog> {
        Ok(match logs::get(&self.parts.store, id)? {
            Some(text) => RunLog::Text(text),
            None => RunLog::File(self.parts.files.log(id)),
        })
    }

    /// Where the points of a run's metrics lie; the file may not be there yet.
    ///
    /// # Errors
    /// `not_found`.
    pub fn run_points(&self, permit: Permit<View>, id: RunId) -> Result<PathBuf> {
        self.reached(permit, id)?;
        Ok(self.parts.files.points(id))
    }

    /// Stops a run: one that waits at once, one that runs after its grace period.
    ///
    /// # Errors
    /// `not_found`, or `conflict` for a run that is over.
    pub async fn cancel_run(&self, permit: Permit<Change>, id: RunId) -> Result<()> {
        self.reached(permit, id)?;
        self.parts.scheduler.cancel(permit.actor(), id).await
    }
}

pub(super) fn no_run(id: RunId) -> Error {
    Error::new(Code::NotFound, format!("there is no run {id}"))
}

pub(super) fn view(store: &Store, run: Run) -> Result<RunView> {
    let model = models::get(store, run.spec.model)?;
    let experiment = experiments::get(store, run.spec.experiment)?;
    let dataset = datasets::get(store, run.spec.version.dataset)?;
    Ok(RunView {
        model: model.map(|model| model.name.as_str().to_owned()).unwrap_or_default(),
        experiment: experiment.map(|experiment| experiment.name.as_str().to_owned()).unwrap_or_default(),
        dataset: dataset.map(|dataset| dataset.name_text().to_owned()).unwrap_or_default(),
        run,
    })
}

/// What runs are submitted for: everything that was named, found.
struct Target {
    model: Model,
    experiments: Vec<Experiment>,
    frozen: FrozenVersion,
    terms: Terms,
}

impl Target {
    fn find(
        tx: &mut Tx<'_>,
        permit: Permit<Change>,
        model: &Reference<ModelId>,
        dataset: Option<&Reference<DatasetId>>,
        now: Timestamp,
        terms: Terms,
        select: impl FnOnce(&Tx<'_>, &Model) -> Result<Vec<Experiment>>,
    ) -> Result<Self> {
        let model = access::called(tx, permit, model)?;
        let experiments = select(tx, &model)?;
        if experiments.is_empty() {
            return Err(Error::not_found("the model has no experiments"));
        }
        let dataset = access::dataset_or_all(tx, &model, dataset)?;
        if dataset.images == 0 {
            return Err(no_images(&model, &dataset));
        }
        let frozen = datasets::freeze(tx, &dataset, now)?;
        Ok(Self { model, experiments, frozen, terms })
    }

    /// Submits a run of one experiment, unless one on the same version waits already.
    fn submit(
        &self,
        tx: &mut Tx<'_>,
        actor: Actor,
        experiment: &Experiment,
        sweep: Option<SweepId>,
        now: Timestamp,
    ) -> Result<RunId> {
        if let Some(waiting) = runs::pending(tx, experiment.id, self.frozen.version)? {
            return Ok(waiting);
        }
        let id = RunId(tx.next_id()?);
        let run = Run {
            id,
            stamp: Stamp::new(actor, now),
            spec: RunSpec {
                model: self.model.id,
                experiment: experiment.id,
                version: self.frozen.version,
                parameters: experiment.parameters,
                seed: self.terms.seed.unwrap_or_else(|| self.frozen.digest.seed()),
                timeout_seconds: self.terms.timeout_seconds,
            },
            sweep,
            priority: self.terms.priority,
            attempts: 0,
            crashes: 0,
            first_started_at: None,
            last_started_at: None,
            state: RunState::Queued,
        };
        runs::put(tx, None, &run)?;
        tx.event(actor, now, EventKind::RunSubmitted, id.0, self.model.id.0)?;
        Ok(id)
    }
}

pub(super) fn no_images(model: &Model, dataset: &Dataset) -> Error {
    let what = match &dataset.name {
        Some(name) => format!("the dataset `{name}`"),
        None => format!("the model `{}`", model.name),
    };
    Error::new(Code::NoImages, format!("{what} has no images to train on; upload some with /uploadTrainingImage"))
}

/// The experiments that came with the model: they were made first.
fn default_experiments(reader: &impl Read, model: &Model) -> Result<Vec<Experiment>> {
    let mut found = Vec::new();
    let mut from = 0;
    loop {
        let page = experiments::page(reader, model.id, from, PAGE)?;
        let is_last = page.len() < PAGE;
        from = page.last().map_or(from, |last| last.ordinal + 1);
        let before = found.len();
        found.extend(page.into_iter().filter(|experiment| experiment.is_default));
        if is_last || found.len() == before {
            return Ok(found);
        }
    }
}
