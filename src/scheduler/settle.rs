//! What the scheduler writes: every change of a run's state goes through here.
//!
//! A report that does not fit the record, from a worker that was overtaken, changes nothing. Knows records and
//! transitions; not when they are due.

use crate::domain::account::Actor;
use crate::domain::error::{Code, Error, Result};
use crate::domain::event::EventKind;
use crate::domain::ids::RunId;
use crate::domain::job::{Ending, Job, JobRun, RunNames, Sharing};
use crate::domain::result::ExperimentResult;
use crate::domain::run::{Action, Outcome, Run, RunState, transition};
use crate::domain::stamp::Timestamp;
use crate::store::{Read, Tx, datasets, experiments, logs, models, queue, results, runs, sweeps};
use std::sync::Arc;
use tokio::sync::oneshot;

/// How many waiting runs are looked at for each that a job may hold, so that a claim is bounded however many wait.
const LOOK_AHEAD: usize = 4;

/// The answer to a request to cancel.
pub type CancelAnswer = oneshot::Sender<Result<()>>;

/// The end of an attempt.
#[derive(Clone)]
pub(super) struct Ended {
    pub run: RunId,
    pub attempt: u32,
    pub ending: Ending,
    pub log: Option<Vec<u8>>,
}

/// What the messages of one step ask for.
#[derive(Default)]
pub(super) struct Settlement {
    pub endings: Vec<Ended>,
    pub cancels: Vec<(RunId, Actor, CancelAnswer)>,
    /// The cancels that were refused, by their place.
    pub refusals: Vec<Option<Error>>,
}

impl Settlement {
    /// The part that goes into the transaction.
    pub fn writes(&mut self) -> (Arc<Vec<Ended>>, Vec<(RunId, Actor)>) {
        let cancels = self.cancels.iter().map(|(run, actor, _)| (*run, *actor)).collect();
        (Arc::new(std::mem::take(&mut self.endings)), cancels)
    }

    /// Tells those who asked what became of it.
    pub fn answer(&mut self, committed: Result<()>) {
        let mut refusals = std::mem::take(&mut self.refusals).into_iter();
        for (_, _, answer) in self.cancels.drain(..) {
            let outcome = match refusals.next().flatten() {
                Some(refusal) => Err(refusal),
                None => committed.clone(),
            };
            // Whoever asked may have gone.
            let _ = answer.send(outcome);
        }
    }
}

/// Applies one action; a refused one is logged and changes nothing.
fn apply(tx: &mut Tx<'_>, run: &Run, action: Action, now: Timestamp) -> Result<Option<Run>> {
    match transition(run, action, now) {
        Ok(next) => {
            runs::put(tx, Some(run), &next)?;
            let kind = match (&run.state, &next.state) {
                (_, RunState::Queued) => EventKind::RunRequeued,
                (RunState::Queued, RunState::Running { .. }) => EventKind::RunStarted,
                (_, RunState::Running { .. }) => EventKind::RunCancelRequested,
                (_, RunState::Done { outcome, .. }) => match outcome {
                    Outcome::Succeeded { .. } => EventKind::RunSucceeded,
                    Outcome::Failed { .. } => EventKind::RunFailed,
                    Outcome::Cancelled => EventKind::RunCancelled,
                },
            };
            let (actor, model) = (Actor::owner_of(&run.stamp), run.spec.model.0);
            tx.event(actor, now, kind, run.id.0, model)?;
            if let (RunState::Done { .. }, Some(sweep)) = (&next.state, run.sweep)
                && sweeps::closed(tx, sweep)?
            {
                tx.event(actor, now, EventKind::SweepFinished, sweep.0, model)?;
            }
            Ok(Some(next))
        }
        Err(refused) => {
            tracing::warn!(run = %run.id, %refused, "a report was ignored");
            Ok(None)
        }
    }
}

/// Writes down how attempts ended.
pub(super) fn end(tx: &mut Tx<'_>, endings: &[Ended], now: Timestamp) -> Result<()> {
    for Ended { run: id, attempt, ending, log } in endings.iter().cloned() {
        let Some(run) = runs::get(tx, id)? else {
            tracing::warn!(run = %id, "a run that is not stored was reported");
            continue;
        };
        let action = match ending {
            Ending::Succeeded { accuracy, validation_loss } => {
                Action::Finish { attempt, outcome: Outcome::Succeeded { accuracy, validation_loss } }
            }
            Ending::Failed(reason) => Action::Finish { attempt, outcome: Outcome::Failed { reason } },
            Ending::Cancelled => Action::Finish { attempt, outcome: Outcome::Cancelled },
            Ending::Stopped => Action::Yield { attempt },
            Ending::OutOfMemory { alone, reason } => Action::OutOfMemory { attempt, alone, reason },
        };
        if let Some(done) = apply(tx, &run, action, now)? {
            logs::set(tx, id, log.as_deref())?;
            record_result(tx, &done)?;
        }
    }
    Ok(())
}

fn record_result(tx: &mut Tx<'_>, run: &Run) -> Result<()> {
    let experiment = experiments::get(tx, run.spec.experiment)?
        .ok_or_else(|| Error::internal(format!("{} of {} is not stored", run.spec.experiment, run.id)))?;
    match ExperimentResult::of(run, experiment.ordinal) {
        Some(result) => results::record(tx, run.spec.model, &result),
        None => Ok(()),
    }
}

/// Writes down what somebody wants stopped. Returns the runs to be told, and for each request its refusal.
pub(super) fn cancel(
    tx: &mut Tx<'_>,
    cancels: &[(RunId, Actor)],
    now: Timestamp,
) -> Result<(Vec<RunId>, Vec<Option<Error>>)> {
    let mut to_tell = Vec::new();
    let mut refusals = Vec::new();
    for (id, actor) in cancels {
        let refusal = match runs::get(tx, *id)? {
            None => Some(Error::new(Code::NotFound, format!("there is no run {id}"))),
            Some(run) if matches!(run.state, RunState::Done { .. }) => {
                Some(Error::new(Code::Conflict, format!("run {id} is over: it has {}", run.state.name())))
            }
            Some(run) => {
                let next = apply(tx, &run, Action::Cancel, now)?;
                if next.is_some() {
                    tx.audit(*actor, now, EventKind::RunCancelRequested, id.0, run.spec.model.0)?;
                }
                if next.is_some_and(|next| matches!(next.state, RunState::Running { .. })) {
                    to_tell.push(*id);
                }
                None
            }
        };
        refusals.push(refusal);
    }
    Ok((to_tell, refusals))
}

/// What became of a claim.
pub(super) enum Claim {
    /// A job for a slot.
    Job(Job),
    /// What the run belongs to is in the trash, so it is cancelled.
    Dropped,
    /// The record does not allow it.
    Refused,
}

/// Takes a run and those that may share its job.
pub(super) fn claim(tx: &mut Tx<'_>, id: RunId, sharing: &dyn Sharing, now: Timestamp) -> Result<Claim> {
    let first = runs::get(tx, id)?.ok_or_else(|| Error::internal(format!("{id} waits but is not stored")))?;
    let mut members = vec![first.clone()];
    // What the server went down under twice runs alone, so that nothing else is blamed.
    if sharing.most() > 1 && !first.is_suspect() {
        for other in queue::behind(tx, &first, sharing.most() * LOOK_AHEAD)? {
            if members.len() >= sharing.most() {
                break;
            }
            let Some(other) = runs::get(tx, other)? else { continue };
            if members.iter().all(|member| sharing.can_share(&member.spec, &other.spec)) {
                members.push(other);
            }
        }
    }
    let mut job = Job { runs: Vec::with_capacity(members.len()) };
    let mut is_dropped = false;
    for run in members {
        let Some(names) = names_of(tx, &run)? else {
            is_dropped |= apply(tx, &run, Action::Cancel, now)?.is_some();
            continue;
        };
        if let Some(claimed) = apply(tx, &run, Action::Claim, now)? {
            job.runs.push(JobRun { run: run.id, attempt: claimed.attempts, spec: run.spec, names });
        }
    }
    Ok(match job.runs.is_empty() {
        false => Claim::Job(job),
        true if is_dropped => Claim::Dropped,
        true => Claim::Refused,
    })
}

/// The names that a run's script is told; `None` where one of them is in the trash.
fn names_of(reader: &impl Read, run: &Run) -> Result<Option<RunNames>> {
    let model = models::get(reader, run.spec.model)?;
    let experiment = experiments::get(reader, run.spec.experiment)?;
    let dataset = datasets::must_get(reader, run.spec.version.dataset)?;
    let stamps = [model.as_ref().map(|model| &model.stamp), experiment.as_ref().map(|experiment| &experiment.stamp)];
    if stamps.into_iter().flatten().chain([&dataset.stamp]).any(|stamp| stamp.trashed_at.is_some()) {
        return Ok(None);
    }
    Ok(Some(RunNames {
        model: model.map(|model| model.name.as_str().to_owned()).unwrap_or_default(),
        experiment: experiment.map(|experiment| experiment.name.as_str().to_owned()).unwrap_or_default(),
        dataset: dataset.name_text().to_owned(),
    }))
}

/// Settles what had a slot when the server went down.
pub(super) fn recover(tx: &mut Tx<'_>, now: Timestamp) -> Result<usize> {
    let leased = runs::leased(tx)?;
    for run in &leased {
        apply(tx, run, Action::Crash, now)?;
    }
    for id in sweeps::held(tx)? {
        // Whoever submitted it was not answered; what it got so far is what it has.
        if let (true, Some(sweep)) = (sweeps::release(tx, id)?, sweeps::get(tx, id)?) {
            tx.event(Actor::owner_of(&sweep.stamp), now, EventKind::SweepFinished, id.0, sweep.model.0)?;
        }
    }
    Ok(leased.len())
}
