//! Control over what was submitted: cancelling and retrying by the sweep, clearing, pausing and reordering the queue.
//!
//! Cancels go to the scheduler, which alone changes the state of runs; a retry is a new run of the same specification.

use super::live::Tally;
use super::runs::no_run;
use super::{CHUNK, Services, access};
use crate::domain::account::{Access, Administer, Change, Permit, View};
use crate::domain::accuracy::Accuracy;
use crate::domain::error::{Code, Error, Result};
use crate::domain::event::EventKind;
use crate::domain::ids::{ModelId, RunId, SweepId};
use crate::domain::reference::Reference;
use crate::domain::run::{Outcome, Run, RunState};
use crate::domain::stamp::{Seen, Stamp, Timestamp};
use crate::domain::sweep::Sweep;
use crate::store::{Read, Tx, queue, runs, sweeps};
use futures::future::join_all;
use std::collections::HashMap;

/// The highest priority; 0 is the usual one.
pub const MAX_PRIORITY: u8 = 100;

/// A sweep and where its runs stand; of several runs of one experiment the last counts.
#[derive(Debug, Clone)]
pub struct SweepView {
    /// The sweep.
    pub sweep: Sweep,
    /// The name of its model.
    pub model: String,
    /// How many stand where, by the state's name.
    pub states: Vec<(&'static str, u64)>,
    /// The best result so far.
    pub best: Option<SweepBest>,
}

/// The best result of a sweep.
#[derive(Debug, Clone)]
pub struct SweepBest {
    /// The run that reached it.
    pub run: RunId,
    /// What it printed.
    pub accuracy: Accuracy,
}

impl Services {
    /// A sweep.
    ///
    /// # Errors
    /// `not_found`.
    pub fn sweep(&self, permit: Permit<View>, id: SweepId) -> Result<SweepView> {
        let store = &self.parts.store;
        sweep(store, permit, id)?;
        Tally::of(store, id)?.view(store, id)?.ok_or_else(|| no_sweep(id))
    }

    /// Stops all runs of a sweep that are not over. Returns how many were told.
    ///
    /// # Errors
    /// `not_found`; `forbidden`.
    pub async fn cancel_sweep(&self, permit: Permit<Change>, id: SweepId) -> Result<u64> {
        sweep(&self.parts.store, permit, id)?;
        let mut after = None;
        let mut told = 0;
        loop {
            let page = runs::of_sweep(&self.parts.store, id, after, CHUNK)?;
            let Some(last) = page.last() else { return Ok(told) };
            after = Some(last.id);
            let open = page.iter().filter(|run| !matches!(run.state, RunState::Done { .. })).map(|run| run.id);
            told += self.cancel_all(permit, open).await?;
        }
    }

    /// Takes everything that waits, or all of one model that waits, out of the queue, as far as the actor may. Returns how
    /// much that was.
    ///
    /// # Errors
    /// `not_found` for the model; `forbidden`.
    pub async fn cancel_queued(&self, permit: Permit<Change>, model: Option<&Reference<ModelId>>) -> Result<u64> {
        let only = model.map(|model| access::called_id(&self.parts.store, permit, model)).transpose()?;
        let mut reached: HashMap<ModelId, bool> = HashMap::new();
        let (mut after, mut told) = (None, 0);
        loop {
            let page = queue::page(&self.parts.store, after.take(), CHUNK)?;
            let Some((key, _)) = page.last() else { return Ok(told) };
            after = Some(key.clone());
            let mut mine = Vec::new();
            for (_, waiting) in page {
                let reaches = match (only, reached.get(&waiting.model)) {
                    (Some(only), _) => only == waiting.model,
                    (None, Some(known)) => *known,
                    // What may only be looked at is not one's own to cancel.
                    (None, None) => {
                        let reaches = access::reaches(&self.parts.store, permit, waiting.model).unwrap_or(false);
                        reached.insert(waiting.model, reaches);
                        reaches
                    }
                };
                if reaches {
                    mine.push(waiting.run);
                }
            }
            told += self.cancel_all(permit, mine.into_iter()).await?;
        }
    }

    /// Cancels runs in one step of the scheduler; one that ended meanwhile is none.
    async fn cancel_all(&self, permit: Permit<Change>, ids: impl Iterator<Item = RunId>) -> Result<u64> {
        let mut told = 0;
        for outcome in join_all(ids.map(|id| self.parts.scheduler.cancel(permit.actor(), id))).await {
            match outcome {
                Ok(()) => told += 1,
                Err(error) if error.code == Code::Conflict => {}
                Err(error) => return Err(error),
            }
        }
        Ok(told)
    }

    /// Submits anew the experiments of a sweep whose last run failed, on the same dataset version with the same seed.
    ///
    /// # Errors
    /// `not_found`; `forbidden`; `conflict` where none failed.
    pub async fn retry_sweep(&self, permit: Permit<Change>, id: SweepId) -> Result<Vec<RunId>> {
        sweep(&self.parts.store, permit, id)?;
        let last = runs::last_of_sweep(&self.parts.store, id)?;
        let mut failed: Vec<RunId> = last.values().filter(|run| has_failed(run)).map(|run| run.id).collect();
        if failed.is_empty() {
            return Err(Error::new(Code::Conflict, format!("no run of {id} has failed")));
        }
        failed.sort_unstable();
        let now = self.now();
        let mut made = Vec::with_capacity(failed.len());
        for chunk in failed.chunks(CHUNK) {
            let chunk = chunk.to_vec();
            let write = self
                .parts
                .store
                .write(move |tx| chunk.into_iter().map(|run| retry(tx, permit, run, now)).collect::<Result<Vec<_>>>());
            made.extend(write.await?);
            self.parts.scheduler.wake();
        }
        Ok(made)
    }

    /// Submits a run that failed or was cancelled anew, exactly as it was.
    ///
    /// # Errors
    /// `not_found`; `forbidden`; `conflict` for any other run.
    pub async fn retry_run(&self, permit: Permit<Change>, id: RunId) -> Result<RunId> {
        let now = self.now();
        let write = self.parts.store.write(move |tx| {
            let run = reached(tx, permit, id)?;
            if !matches!(run.state, RunState::Done { outcome: Outcome::Failed { .. } | Outcome::Cancelled, .. }) {
                let message =
                    format!("run {id} has {}; only what failed or was cancelled is retried", run.state.name());
                return Err(Error::new(Code::Conflict, message));
            }
            retry(tx, permit, id, now)
        });
        let made = write.await?;
        self.parts.scheduler.wake();
        Ok(made)
    }

    /// Moves a run that waits before those of a lower priority.
    ///
    /// # Errors
    /// `not_found`; `forbidden`; `stale` where it has changed since it was `seen`; `conflict` for a run that does not wait.
    pub async fn prioritise(&self, permit: Permit<Change>, id: RunId, seen: Seen, priority: u8) -> Result<()> {
        check_priority(priority)?;
        let (actor, now) = (permit.actor(), self.now());
        let write = self.parts.store.write(move |tx| {
            let run = reached(tx, permit, id)?;
            run.stamp.check(&seen)?;
            if run.state != RunState::Queued {
                return Err(Error::new(Code::Conflict, format!("run {id} does not wait: it is {}", run.state.name())));
            }
            let mut moved = run.clone();
            moved.priority = priority;
            moved.stamp.touch(now);
            runs::put(tx, Some(&run), &moved)?;
            tx.event(actor, now, EventKind::RunPrioritised, id.0, run.spec.model.0)
        });
        write.await?;
        self.parts.scheduler.wake();
        Ok(())
    }

    /// Starts nothing more until the queue is resumed; what runs goes on. It stays so over restarts.
    ///
    /// # Errors
    /// What the store says.
    pub async fn pause_queue(&self, permit: Permit<Administer>, paused: bool) -> Result<()> {
        let (actor, now) = (permit.actor(), self.now());
        let write = self.parts.store.settle(move |tx| {
            if queue::is_paused(tx)? != paused {
                queue::set_paused(tx, paused)?;
                let kind = if paused { EventKind::QueuePaused } else { EventKind::QueueResumed };
                tx.event(actor, now, kind, 0, 0)?;
            }
            Ok(())
        });
        write.await?;
        self.parts.scheduler.wake();
        Ok(())
    }
}

/// Checks a priority that a client gave.
///
/// # Errors
/// `invalid_parameter` beyond the highest.
pub fn check_priority(priority: u8) -> Result<()> {
    if priority <= MAX_PRIORITY {
        return Ok(());
    }
    Err(Error::parameter(format!("priority is a whole number from 0 to {MAX_PRIORITY}; 0 is the usual one")))
}

/// The sweep, if the actor may do with its model what the permit is for.
pub(super) fn sweep<A: Access>(reader: &impl Read, permit: Permit<A>, id: SweepId) -> Result<Sweep> {
    let sweep = sweeps::get(reader, id)?.ok_or_else(|| no_sweep(id))?;
    if access::reaches(reader, permit, sweep.model)? { Ok(sweep) } else { Err(no_sweep(id)) }
}

fn no_sweep(id: SweepId) -> Error {
    Error::new(Code::NotFound, format!("there is no sweep {id}"))
}

/// The run, if the actor may change its model.
pub(super) fn reached(reader: &impl Read, permit: Permit<Change>, id: RunId) -> Result<Run> {
    let run = runs::get(reader, id)?.ok_or_else(|| no_run(id))?;
    if access::reaches(reader, permit, run.spec.model)? { Ok(run) } else { Err(no_run(id)) }
}

fn has_failed(run: &Run) -> bool {
    matches!(run.state, RunState::Done { outcome: Outcome::Failed { .. }, .. })
}

/// A new run of an old one's specification; one that waits already stands for it.
fn retry(tx: &mut Tx<'_>, permit: Permit<Change>, id: RunId, now: Timestamp) -> Result<RunId> {
    let old = reached(tx, permit, id)?;
    if let Some(waiting) = runs::pending(tx, old.spec.experiment, old.spec.version)? {
        return Ok(waiting);
    }
    let actor = permit.actor();
    let new = Run {
        id: RunId(tx.next_id()?),
        stamp: Stamp::new(actor, now),
        spec: old.spec,
        sweep: old.sweep,
        priority: old.priority,
        attempts: 0,
        crashes: 0,
        first_started_at: None,
        last_started_at: None,
        state: RunState::Queued,
    };
    runs::put(tx, None, &new)?;
    tx.event(actor, now, EventKind::RunSubmitted, new.id.0, new.spec.model.0)?;
    Ok(new.id)
}
