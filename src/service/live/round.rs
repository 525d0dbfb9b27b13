//! One look: what has changed since the last one, and what runs have printed. Blocks for as long as the disk takes.

use super::tail;
use super::tally::Tallies;
use super::{Batch, Change, Item, Subject};
use crate::domain::account::{Actor, View};
use crate::domain::error::{Error, Result};
use crate::domain::event::{Event, EventKind};
use crate::domain::ids::{AccountId, RunId, SweepId, TokenId};
use crate::domain::run::{Run, RunState};
use crate::service::Services;
use crate::service::runs::view;
use crate::service::status::QueueStatus;
use crate::store::{events, runs};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// The most changes in one batch.
const PAGE: usize = 128;

/// How often a run is looked for that has news and is not seen to have begun.
const TRIES: u32 = 25;

/// What happened to runs and sweeps, by what happened last; only the last of several things counts.
#[derive(Debug, Default)]
pub(super) struct Digest {
    /// Runs by the number of their last change.
    runs: BTreeMap<u64, RunId>,
    /// Runs that began anew or are no longer at work.
    began: HashSet<RunId>,
    ended: HashSet<RunId>,
    /// Sweeps with the number of their last change.
    sweeps: HashMap<SweepId, u64>,
    /// Whether the queue may be another one.
    queue: bool,
}

impl Digest {
    /// Takes a page of changes together; `batch` learns what concerns everybody.
    fn of(page: &[Event], batch: &mut Batch) -> Self {
        let mut digest = Self::default();
        let mut last = HashMap::new();
        for event in page {
            batch.through = event.sequence;
            let run = RunId(event.subject);
            match event.kind {
                EventKind::RunStarted => {
                    digest.began.insert(run);
                }
                EventKind::RunSucceeded | EventKind::RunFailed | EventKind::RunCancelled | EventKind::RunRequeued => {
                    digest.ended.insert(run);
                }
                EventKind::RunSubmitted | EventKind::RunCancelRequested | EventKind::RunPrioritised => {}
                EventKind::SweepSubmitted | EventKind::SweepFinished => {
                    digest.sweeps.insert(SweepId(event.subject), event.sequence);
                    continue;
                }
                EventKind::QueuePaused | EventKind::QueueResumed => {
                    digest.queue = true;
                    continue;
                }
                EventKind::ModelShared
                | EventKind::ModelUnshared
                | EventKind::Trashed
                | EventKind::Restored
                | EventKind::Purged
                | EventKind::RunDeleted
                | EventKind::SweepDeleted => {
                    // Who looks at what is gone looks again.
                    digest.queue |= matches!(event.kind, EventKind::RunDeleted | EventKind::SweepDeleted);
                    batch.rights_changed = true;
                    continue;
                }
                EventKind::AccountCreated => {
                    batch.account_created = true;
                    continue;
                }
                EventKind::AccountChanged | EventKind::AccountRemoved => {
                    batch.accounts.push(AccountId(event.subject));
                    continue;
                }
                EventKind::TokenRevoked => {
                    batch.tokens.push(TokenId(event.subject));
                    continue;
                }
                _ => continue,
            }
            digest.queue = true;
            last.insert(run, event.sequence);
        }
        digest.runs = last.into_iter().map(|(run, sequence)| (sequence, run)).collect();
        digest
    }

    /// The runs that began in these changes.
    pub fn began(&self) -> impl Iterator<Item = RunId> + '_ {
        self.began.iter().copied()
    }

    /// Where everything stands that changed, in the order of the last changes.
    pub fn items(&self, services: &Services, tallies: &mut Tallies) -> Result<Vec<Arc<Item>>> {
        let store = &services.parts.store;
        let mut found = BTreeMap::new();
        let mut sweeps: HashMap<SweepId, (u64, Vec<Run>)> =
            self.sweeps.iter().map(|(sweep, sequence)| (*sweep, (*sequence, Vec::new()))).collect();
        for (sequence, id) in &self.runs {
            let Some(run) = runs::get(store, *id)? else { continue };
            if let Some(sweep) = run.sweep {
                let (last, changed) = sweeps.entry(sweep).or_default();
                *last = (*last).max(*sequence);
                changed.push(run.clone());
            }
            let about = about(&run);
            found.insert((*sequence, 0), Item::new(Some(about), Change::Run(Box::new(view(store, run)?))));
        }
        for (id, (sequence, changed)) in sweeps {
            let changed: Vec<&Run> = changed.iter().collect();
            let Some(view) = tallies.after(store, id, &changed)? else { continue };
            let about = Subject { model: view.sweep.model, sweep: Some(id), run: None };
            found.insert((sequence, id.0), Item::new(Some(about), Change::Sweep(Box::new(view))));
        }
        Ok(found.into_values().collect())
    }
}

/// A page of changes behind `sequence`, digested, with an otherwise empty batch for it.
pub(super) fn digest(services: &Services, sequence: u64) -> Result<(Digest, Batch)> {
    let page = events::page(&services.parts.store, sequence, PAGE)?;
    let mut batch = Batch { from: sequence, through: sequence, ..Batch::default() };
    let digest = Digest::of(&page, &mut batch);
    Ok((digest, batch))
}

fn about(run: &Run) -> Subject {
    Subject { model: run.spec.model, sweep: run.sweep, run: Some(run.id) }
}

/// The queue, as an item.
pub(super) fn queue(status: QueueStatus) -> Arc<Item> {
    Item::new(None, Change::Queue(status))
}

/// A run at work, and how far its files were read.
struct Tail {
    about: Subject,
    attempt: u32,
    points: u64,
    /// Nothing while nobody follows the log.
    log: Option<u64>,
}

/// What is known from one look to the next.
pub(super) struct Rounds {
    sequence: u64,
    tails: HashMap<RunId, Tail>,
    tallies: Tallies,
    queue: Option<QueueStatus>,
    /// Runs that are to be looked at again, and how often that was for nothing.
    due: HashMap<RunId, u32>,
}

impl Rounds {
    /// From now on.
    pub fn begin(services: &Services) -> Result<Self> {
        let store = &services.parts.store;
        let sequence = store.last_event()?;
        let mut tails = HashMap::new();
        for run in runs::leased(store)? {
            let points = tail::length(&services.parts.files.points(run.id)).map_err(Error::internal)?;
            tails.insert(run.id, Tail { points, ..Tail::new(&run) });
        }
        Ok(Self { sequence, tails, tallies: Tallies::default(), queue: None, due: HashMap::new() })
    }

    /// A batch that says where this begins.
    pub fn nothing(&self) -> Batch {
        Batch { from: self.sequence, through: self.sequence, ..Batch::default() }
    }

    /// Tells what has changed and what the runs with news have printed. True where there may be more at once.
    pub fn round(&mut self, services: &Services, news: HashSet<RunId>, tell: &dyn Fn(Batch)) -> Result<bool> {
        let (digest, mut batch) = digest(services, self.sequence)?;
        if batch.rights_changed {
            self.tallies.forget();
        }
        let mut more = batch.through - batch.from >= PAGE as u64;
        for id in digest.began.union(&digest.ended) {
            self.turn(services, *id, &digest, &mut batch, tell)?;
        }
        let mut due = std::mem::take(&mut self.due);
        due.extend(news.into_iter().map(|run| (run, 0)));
        for (id, tries) in due {
            if self.read(services, id, &mut batch.items)? && tries < TRIES {
                let tries = if self.tails.contains_key(&id) { 0 } else { tries + 1 };
                self.due.insert(id, tries);
                more = true;
            }
        }
        batch.items.extend(digest.items(services, &mut self.tallies)?);
        if digest.queue {
            let status = services.queue_status(Actor::LOCAL.permit::<View>()?)?;
            if self.queue.replace(status) != Some(status) {
                batch.items.push(queue(status));
            }
        }
        self.sequence = batch.through;
        if batch.through > batch.from || !batch.items.is_empty() {
            tell(batch);
        }
        Ok(more)
    }

    /// A run began an attempt, or ended one, or both: what was printed is told before its end is.
    fn turn(
        &mut self,
        services: &Services,
        id: RunId,
        digest: &Digest,
        batch: &mut Batch,
        tell: &dyn Fn(Batch),
    ) -> Result<()> {
        let before = self.tails.remove(&id);
        let Some(run) = runs::get(&services.parts.store, id)? else { return Ok(()) };
        let runs = matches!(run.state, RunState::Running { .. });
        let tail = if digest.ended.contains(&id) {
            // Of an attempt that nobody saw begin there is nothing left once the next one has.
            let ended = before.or_else(|| (!runs).then(|| Tail::new(&run)));
            if let Some(mut tail) = ended {
                tail.finish(services, id, batch.from, &mut batch.items, tell)?;
            }
            None
        } else {
            before.filter(|tail| tail.attempt == run.attempts)
        };
        if runs || tail.is_some() {
            self.tails.insert(id, tail.unwrap_or_else(|| Tail::new(&run)));
        }
        Ok(())
    }

    /// What a run has printed since the last time, as far as one go leads. True where there may be more.
    fn read(&mut self, services: &Services, id: RunId, items: &mut Vec<Arc<Item>>) -> Result<bool> {
        if let Some(tail) = self.tails.get_mut(&id) {
            let read = [tail.read_points(services, id, items)?, tail.read_log(services, id, false, items)?];
            return Ok(read.iter().any(|bytes| *bytes >= tail::FULL));
        }
        // It was started a moment ago, and the store does not show that yet; or it is over.
        let run = runs::get(&services.parts.store, id)?;
        Ok(run.is_some_and(|run| !matches!(run.state, RunState::Done { .. })))
    }
}

impl Tail {
    fn new(run: &Run) -> Self {
        Self { about: about(run), attempt: run.attempts, points: 0, log: None }
    }

    /// Points that were added. Returns how many bytes those are.
    fn read_points(&mut self, services: &Services, id: RunId, items: &mut Vec<Arc<Item>>) -> Result<u64> {
        let start = self.points;
        let lines = tail::lines(&services.parts.files.points(id), start).map_err(Error::internal)?;
        let Some(end) = lines.last().map(|line| line.end) else { return Ok(0) };
        self.points = end;
        items.push(Item::new(Some(self.about), Change::Points(self.attempt, start, Arc::new(lines))));
        Ok(end - start)
    }

    /// What was added to the log. Returns how many bytes that is.
    fn read_log(&mut self, services: &Services, id: RunId, all: bool, items: &mut Vec<Arc<Item>>) -> Result<u64> {
        if !services.live.is_log_followed(id) {
            self.log = None;
            return Ok(0);
        }
        let log = services.log_of(id)?;
        let offset = match self.log {
            Some(offset) => offset,
            // Whoever follows has read what was there when it came; what came since, it is to read now.
            None => {
                let offset = tail::length(&services.parts.files.log(id)).map_err(Error::internal)?;
                self.log = Some(offset);
                let piece = tail::Piece { text: String::new(), start: offset, end: offset };
                items.push(Item::new(Some(self.about), Change::Log(self.attempt, piece)));
                offset
            }
        };
        let Some(piece) = tail::text(&log, offset, all).map_err(Error::internal)? else { return Ok(0) };
        let read = piece.end - piece.start;
        self.log = Some(piece.end);
        items.push(Item::new(Some(self.about), Change::Log(self.attempt, piece)));
        Ok(read)
    }

    /// All that the attempt has printed and was not told, before its end is.
    fn finish(
        &mut self,
        services: &Services,
        id: RunId,
        sequence: u64,
        items: &mut Vec<Arc<Item>>,
        tell: &dyn Fn(Batch),
    ) -> Result<()> {
        loop {
            let read = self.read_points(services, id, items)? + self.read_log(services, id, true, items)?;
            if read == 0 {
                return Ok(());
            }
            let items = std::mem::take(items);
            tell(Batch { from: sequence, through: sequence, items, ..Batch::default() });
        }
    }
}
