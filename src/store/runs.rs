//! Run records, what waits for a slot and what has one. `queue` says what is next.
//!
//! [`put`] keeps every index in step with the state, so that no caller can forget one.

use super::codec::{self, CodecError};
use super::key::{self, Key};
use super::record::{self, ParametersV1, StampV1, VersionV1};
use super::tx::{Read, ReadBack, Tx, damaged};
use crate::domain::dataset::DatasetVersion;
use crate::domain::error::Result;
use crate::domain::ids::{ExperimentId, ModelId, RunId, SweepId};
use crate::domain::run::{Outcome, Run, RunSpec, RunState, StateKind};
use crate::domain::stamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

#[derive(Serialize, Deserialize)]
struct RunV1 {
    id: u64,
    stamp: StampV1,
    model: u64,
    experiment: u64,
    version: VersionV1,
    parameters: ParametersV1,
    seed: u32,
    sweep: Option<u64>,
    priority: u8,
    attempts: u32,
    crashes: u32,
    first_started_at: Option<u64>,
    last_started_at: Option<u64>,
    state: StateV1,
}

#[derive(Serialize, Deserialize)]
enum StateV1 {
    Queued,
    Running { attempt: u32, started_at: u64, cancelling: bool },
    Succeeded { accuracy: String, validation_loss: Option<f64>, finished_at: u64 },
    Failed { reason: String, finished_at: u64 },
    Cancelled { finished_at: u64 },
}

/// The longest reason that is stored, in bytes; the log has the rest.
const MAX_REASON: usize = 2000;

impl From<&RunState> for StateV1 {
    fn from(state: &RunState) -> Self {
        match state {
            RunState::Queued => Self::Queued,
            RunState::Running { attempt, started_at, cancelling } => {
                Self::Running { attempt: *attempt, started_at: started_at.0, cancelling: *cancelling }
            }
            RunState::Done { outcome, finished_at } => match outcome {
                Outcome::Succeeded { accuracy, validation_loss } => Self::Succeeded {
                    accuracy: accuracy.text().to_owned(),
                    validation_loss: *validation_loss,
                    finished_at: finished_at.0,
                },
                Outcome::Failed { reason } => Self::Failed { reason: cut(reason), finished_at: finished_at.0 },
                Outcome::Cancelled => Self::Cancelled { finished_at: finished_at.0 },
            },
        }
    }
}

fn cut(reason: &str) -> String {
    let mut end = reason.len().min(MAX_REASON);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    reason[..end].to_owned()
}

impl TryFrom<StateV1> for RunState {
    type Error = CodecError;

    fn try_from(stored: StateV1) -> Result<Self, CodecError> {
        let done = |outcome, at| Self::Done { outcome, finished_at: Timestamp(at) };
        Ok(match stored {
            StateV1::Queued => Self::Queued,
            StateV1::Running { attempt, started_at, cancelling } => {
                Self::Running { attempt, started_at: Timestamp(started_at), cancelling }
            }
            StateV1::Succeeded { accuracy, validation_loss, finished_at } => {
                done(Outcome::Succeeded { accuracy: record::accuracy(&accuracy)?, validation_loss }, finished_at)
            }
            StateV1::Failed { reason, finished_at } => done(Outcome::Failed { reason }, finished_at),
            StateV1::Cancelled { finished_at } => done(Outcome::Cancelled, finished_at),
        })
    }
}

/// A run with a time limit of its own; all others are written as ever.
#[derive(Serialize, Deserialize)]
struct RunV2 {
    run: RunV1,
    timeout_seconds: u32,
}

fn encode(run: &Run) -> Result<Vec<u8>, CodecError> {
    let stored = RunV1 {
        id: run.id.0,
        stamp: (&run.stamp).into(),
        model: run.spec.model.0,
        experiment: run.spec.experiment.0,
        version: run.spec.version.into(),
        parameters: (&run.spec.parameters).into(),
        seed: run.spec.seed,
        sweep: run.sweep.map(|sweep| sweep.0),
        priority: run.priority,
        attempts: run.attempts,
        crashes: run.crashes,
        first_started_at: run.first_started_at.map(|at| at.0),
        last_started_at: run.last_started_at.map(|at| at.0),
        state: (&run.state).into(),
    };
    match run.spec.timeout_seconds {
        None => codec::encode(1, &stored),
        Some(timeout_seconds) => codec::encode(2, &RunV2 { run: stored, timeout_seconds }),
    }
}

pub(super) fn decode(bytes: &[u8]) -> Result<Run, CodecError> {
    let (stored, timeout_seconds): (RunV1, _) = match codec::open(bytes)? {
        (1, body) => (codec::payload(body)?, None),
        (2, body) => codec::payload(body).map(|stored: RunV2| (stored.run, Some(stored.timeout_seconds)))?,
        (found, _) => return Err(CodecError::Newer { found, known: 2 }),
    };
    Ok(Run {
        id: RunId(stored.id),
        stamp: stored.stamp.into(),
        spec: RunSpec {
            model: ModelId(stored.model),
            experiment: ExperimentId(stored.experiment),
            version: stored.version.into(),
            parameters: stored.parameters.try_into()?,
            seed: stored.seed,
            timeout_seconds,
        },
        sweep: stored.sweep.map(SweepId),
        priority: stored.priority,
        attempts: stored.attempts,
        crashes: stored.crashes,
        first_started_at: stored.first_started_at.map(Timestamp),
        last_started_at: stored.last_started_at.map(Timestamp),
        state: stored.state.try_into()?,
    })
}

pub(super) fn record_key(id: RunId) -> Vec<u8> {
    Key::new(key::RUN).id(id.0).done()
}

pub(super) fn lease_key(id: RunId) -> Vec<u8> {
    Key::new(key::LEASE).id(id.0).done()
}

fn pending_key(experiment: ExperimentId, version: DatasetVersion) -> Vec<u8> {
    Key::new(key::PENDING).id(experiment.0).id(version.dataset.0).id(version.number.0).done()
}

/// The run with this id.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn get(reader: &impl Read, id: RunId) -> Result<Option<Run>> {
    reader.get(&record_key(id))?.map(|bytes| decode(&bytes).map_err(damaged("run"))).transpose()
}

/// The run of this experiment on this version that still waits.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn pending(reader: &impl Read, experiment: ExperimentId, version: DatasetVersion) -> Result<Option<RunId>> {
    Ok(reader.get(&pending_key(experiment, version))?.map(|id| RunId(key::last_id(&id))))
}

/// Up to `limit` runs of a model in the order of submission, after the run `after`.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn page(reader: &impl Read, model: ModelId, after: Option<RunId>, limit: usize) -> Result<Vec<Run>> {
    listed(reader, Listed::OfModel(model), after, limit)
}

/// A list of runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listed {
    /// All of a model's.
    OfModel(ModelId),
    /// All of a sweep's.
    OfSweep(SweepId),
    /// All of an experiment's.
    OfExperiment(ExperimentId),
    /// Those of a model that are in a state other than succeeded.
    InState(ModelId, StateKind),
}

impl Listed {
    /// Where a run stands in it.
    pub(super) fn key_of(self, run: RunId) -> Vec<u8> {
        self.prefix().id(run.0).done()
    }

    fn prefix(self) -> Key {
        match self {
            Self::OfModel(model) => Key::new(key::RUN_OF_MODEL).id(model.0),
            Self::OfSweep(sweep) => Key::new(key::RUN_OF_SWEEP).id(sweep.0),
            Self::OfExperiment(experiment) => Key::new(key::RUN_OF_EXPERIMENT).id(experiment.0),
            Self::InState(model, state) => Key::new(key::RUN_IN_STATE).id(model.0).byte(state as u8),
        }
    }
}

/// Up to `limit` runs of a list before the run `before`, the newest first.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn newest(reader: &impl ReadBack, list: Listed, before: Option<RunId>, limit: usize) -> Result<Vec<Run>> {
    let mut runs = Vec::new();
    for id in super::lists::newest_ids(reader, &list.prefix(), before.map(|run| run.0), limit)? {
        runs.extend(get(reader, RunId(id))?);
    }
    Ok(runs)
}

/// Up to `limit` runs of a list in the order of submission, after the run `after`.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn listed(reader: &impl Read, list: Listed, after: Option<RunId>, limit: usize) -> Result<Vec<Run>> {
    let prefix = list.prefix();
    let end = key::after_prefix(&prefix.clone().done());
    let from = prefix.id(after.map_or(0, |run| run.0.saturating_add(1))).done();
    let mut runs = Vec::new();
    for pair in reader.range(from, end).take(limit) {
        if let Some(run) = get(reader, RunId(key::last_id(&pair?.0)))? {
            runs.push(run);
        }
    }
    Ok(runs)
}

/// Up to `limit` runs of a sweep in the order of submission, after the run `after`.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn of_sweep(reader: &impl Read, sweep: SweepId, after: Option<RunId>, limit: usize) -> Result<Vec<Run>> {
    listed(reader, Listed::OfSweep(sweep), after, limit)
}

/// The last run of each experiment of a sweep; a grid bounds how many there are.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn last_of_sweep(reader: &impl Read, id: SweepId) -> Result<HashMap<ExperimentId, Run>> {
    let mut last = HashMap::new();
    let mut after = None;
    loop {
        let page = of_sweep(reader, id, after, 500)?;
        let Some(run) = page.last() else { return Ok(last) };
        after = Some(run.id);
        last.extend(page.into_iter().map(|run| (run.spec.experiment, run)));
    }
}

/// The runs that are over, in the order of submission.
pub fn finished(reader: &impl Read) -> impl Iterator<Item = Result<RunId>> + '_ {
    let all = reader.prefix(Key::new(key::RUN).done());
    let over = |run: &Result<Run>| run.as_ref().map_or(true, |run| matches!(run.state, RunState::Done { .. }));
    all.map(|pair| decode(&pair?.1).map_err(damaged("run"))).filter(over).map(|run| Ok(run?.id))
}

/// The runs that have a slot, or had one when the server went down.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn leased(reader: &impl Read) -> Result<Vec<Run>> {
    let ids = reader
        .prefix(Key::new(key::LEASE).done())
        .map(|pair| Ok(RunId(key::last_id(&pair?.0))))
        .collect::<Result<Vec<_>>>()?;
    let mut runs = Vec::with_capacity(ids.len());
    for id in ids {
        runs.extend(get(reader, id)?);
    }
    Ok(runs)
}

/// How many runs wait.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn queued(reader: &impl Read) -> Result<u64> {
    reader.counter("queued")
}

/// How many runs have a slot.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn running(reader: &impl Read) -> Result<u64> {
    reader.prefix(Key::new(key::LEASE).done()).try_fold(0, |count, pair| pair.map(|_| count + 1))
}

/// Writes a run and moves it from the indexes of `before` to those of its state.
///
/// # Errors
/// `internal` where it does not encode.
pub fn put(tx: &mut Tx<'_>, before: Option<&Run>, run: &Run) -> Result<()> {
    if let Some(before) = before {
        leave(tx, before)?;
    } else {
        tx.mark(Listed::OfModel(run.spec.model).key_of(run.id), &[]);
        tx.mark(Listed::OfExperiment(run.spec.experiment).key_of(run.id), &[]);
        if let Some(sweep) = run.sweep {
            tx.mark(Listed::OfSweep(sweep).key_of(run.id), &[]);
            super::sweeps::opened(tx, sweep)?;
        }
    }
    enter(tx, run)?;
    tx.put(record_key(run.id), encode(run))
}

/// Removes a run, with its place in every list; a sweep goes with its last run.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn delete(tx: &mut Tx<'_>, run: &Run) -> Result<()> {
    leave(tx, run)?;
    tx.delete(record_key(run.id));
    tx.delete(Listed::OfModel(run.spec.model).key_of(run.id));
    tx.delete(Listed::OfExperiment(run.spec.experiment).key_of(run.id));
    super::logs::set(tx, run.id, None)?;
    let Some(sweep) = run.sweep else { return Ok(()) };
    tx.delete(Listed::OfSweep(sweep).key_of(run.id));
    if of_sweep(tx, sweep, None, 1)?.is_empty() {
        super::sweeps::delete(tx, sweep)?;
    } else if !matches!(run.state, RunState::Done { .. }) {
        super::sweeps::closed(tx, sweep)?;
    }
    Ok(())
}

/// Where a run stands among those in its state. Most have succeeded, and are found among all.
pub(super) fn in_state(run: &Run) -> Option<Vec<u8>> {
    let kind = Some(run.state.kind()).filter(|kind| *kind != StateKind::Succeeded)?;
    Some(Listed::InState(run.spec.model, kind).key_of(run.id))
}

fn leave(tx: &mut Tx<'_>, run: &Run) -> Result<()> {
    if let Some(key) = in_state(run) {
        tx.delete(key);
    }
    match run.state {
        RunState::Queued => {
            tx.delete(super::queue::key_of(run));
            // A run that came back after an interruption may wait beside a later one of the same kind.
            if pending(tx, run.spec.experiment, run.spec.version)? == Some(run.id) {
                tx.delete(pending_key(run.spec.experiment, run.spec.version));
            }
            count_queued(tx, -1)
        }
        RunState::Running { .. } => {
            tx.delete(lease_key(run.id));
            Ok(())
        }
        RunState::Done { .. } => Ok(()),
    }
}

fn enter(tx: &mut Tx<'_>, run: &Run) -> Result<()> {
    if let Some(key) = in_state(run) {
        tx.mark(key, &[]);
    }
    match run.state {
        RunState::Queued => {
            tx.mark(super::queue::key_of(run), &[]);
            if pending(tx, run.spec.experiment, run.spec.version)?.is_none() {
                tx.mark(pending_key(run.spec.experiment, run.spec.version), &run.id.0.to_be_bytes());
            }
            count_queued(tx, 1)
        }
        RunState::Running { .. } => {
            tx.mark(lease_key(run.id), &[]);
            Ok(())
        }
        RunState::Done { .. } => Ok(()),
    }
}

fn count_queued(tx: &mut Tx<'_>, change: i64) -> Result<()> {
    let value = queued(tx)?.saturating_add_signed(change);
    tx.set_counter("queued", value)
}
