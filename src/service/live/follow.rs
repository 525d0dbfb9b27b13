//! One who follows: what it may see, what it wants to, and how far it is.
//!
//! What is told to all is taken as it is where it joins on to what was told before; what lies between is read here. Where
//! too much lies between, that is said, and the follower begins anew.

use super::place::{Followed, Place};
use super::tail::{self, Line, Piece};
use super::tally::Tallies;
use super::{Batch, Change, Item, Joined, LogWatch, Subject, round};
use crate::domain::account::{Permit, View};
use crate::domain::error::{Error, Result};
use crate::domain::ids::{ModelId, RunId, SweepId, TokenId};
use crate::domain::reference::Reference;
use crate::domain::run::{Run, RunState};
use crate::service::runs::view;
use crate::service::{Services, access, control};
use crate::store::{events, runs};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::broadcast::error::RecvError;

/// How long a stream lasts: a credential is looked at anew when the follower comes again.
const LASTS: Duration = Duration::from_secs(60 * 60);

/// What a follower wants.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of this model only.
    pub model: Option<Reference<ModelId>>,
    /// Of this sweep only.
    pub sweep: Option<SweepId>,
    /// Of this run only; all of its output then, not just what comes.
    pub run: Option<RunId>,
    /// The run's log as well.
    pub log: bool,
    /// How much of the run's points and of its log is known already, in bytes.
    pub known: (u64, u64),
}

/// What a follower is told.
#[derive(Debug)]
pub enum Told {
    /// Where something stands now.
    Item(Arc<Item>),
    /// One of the points of a run, and where one is after it.
    Point(RunId, Arc<Vec<Line>>, usize, Place),
    /// A piece of a run's log, and where one is after it.
    Log(RunId, Piece, Place),
    /// What lies between is not kept any more: load everything anew.
    Reset,
    /// The stream ends here; whoever comes again with the last id misses nothing.
    Bye,
}

/// What is to be told next.
enum Step {
    /// The points of a run, up to this offset or its end.
    Points(RunId, Option<u64>),
    /// The same of its log.
    Log(RunId, Option<u64>),
    /// What has changed up to this number.
    Changes(u64),
    /// What was told to all.
    Batch(Arc<Batch>),
    /// This, which leads up to that number.
    Say(Vec<Told>, u64),
    /// The end.
    Bye,
}

/// What a follower wants, found.
struct Wanted {
    model: Option<ModelId>,
    sweep: Option<SweepId>,
    run: Option<RunId>,
    log: bool,
}

impl Wanted {
    fn has(&self, about: &Subject) -> bool {
        self.model.is_none_or(|model| about.model == model)
            && self.sweep.is_none_or(|sweep| about.sweep == Some(sweep))
            && self.run.is_none_or(|run| about.run == Some(run))
    }
}

/// One who follows.
pub struct Follower {
    services: Arc<Services>,
    permit: Permit<View>,
    token: Option<TokenId>,
    /// Whether it came when there were no accounts.
    came_open: bool,
    wanted: Wanted,
    joined: Joined,
    place: Place,
    rights: HashMap<ModelId, bool>,
    steps: VecDeque<Step>,
    began: Instant,
    is_over: bool,
    _log: Option<LogWatch>,
}

impl Services {
    /// Follows what happens, from `after` on or from now.
    ///
    /// # Errors
    /// `not_found` for what the filter names; `unavailable` where too many follow.
    pub async fn follow(
        self: Arc<Self>,
        permit: Permit<View>,
        token: Option<TokenId>,
        filter: Filter,
        after: Option<Place>,
    ) -> Result<Follower> {
        let store = &self.parts.store;
        let model = filter.model.map(|model| access::called_id(store, permit, &model)).transpose()?;
        if let Some(sweep) = filter.sweep {
            control::sweep(store, permit, sweep)?;
        }
        if let Some(run) = filter.run {
            self.reached(permit, run)?;
        }
        let wanted = Wanted { model, sweep: filter.sweep, run: filter.run, log: filter.log && filter.run.is_some() };
        let joined = self.live.join().await?;
        let log = wanted.run.filter(|_| wanted.log).map(|run| self.live.follow_log(run));
        let came_open = self.parts.accounts.is_open();
        let mut follower = Follower {
            services: Arc::clone(&self),
            permit,
            token,
            came_open,
            wanted,
            joined,
            place: Place::default(),
            rights: HashMap::new(),
            steps: VecDeque::new(),
            began: Instant::now(),
            is_over: false,
            _log: log,
        };
        follower.begin(after, filter.known)?;
        Ok(follower)
    }
}

impl Follower {
    /// How far it is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// What is told first.
    fn begin(&mut self, after: Option<Place>, known: (u64, u64)) -> Result<()> {
        let services = Arc::clone(&self.services);
        let store = &services.parts.store;
        let now = store.last_event()?;
        let queue = Told::Item(round::queue(self.services.queue_status(self.permit)?));
        self.place.sequence = now;
        let Some(after) = after else {
            if let Some(id) = self.wanted.run {
                let run = self.services.reached(self.permit, id)?;
                let (points, log) = known;
                self.place.runs.insert(id, Followed { attempt: run.attempts, points, log });
                self.output(id);
                let view = view(store, run)?;
                let about = Subject { model: view.run.spec.model, sweep: view.run.sweep, run: Some(id) };
                let run = Item::new(Some(about), Change::Run(Box::new(view)));
                self.steps.push_front(Step::Say(vec![Told::Item(run)], now));
            }
            self.steps.push_front(Step::Say(vec![queue], now));
            return Ok(());
        };
        let is_kept = after.sequence.saturating_add(1) >= events::oldest(now) && after.sequence <= now;
        if !is_kept {
            self.steps.push_back(Step::Say(vec![Told::Reset, queue], now));
            return Ok(());
        }
        self.place.sequence = after.sequence;
        for (id, mut followed) in after.runs {
            let Some(run) = runs::get(store, id)? else { continue };
            let about = Subject { model: run.spec.model, sweep: run.sweep, run: Some(id) };
            if !self.wanted.has(&about) || !access::reaches(store, self.permit, about.model)? {
                continue;
            }
            followed.turn(run.attempts);
            self.place.runs.insert(id, followed);
            self.output(id);
        }
        if let Some(id) = self.wanted.run.filter(|id| !self.place.runs.contains_key(id)) {
            let run = self.services.reached(self.permit, id)?;
            self.place.runs.insert(id, Followed { attempt: run.attempts, points: known.0, log: known.1 });
            self.output(id);
        }
        self.steps.push_back(Step::Changes(now));
        self.steps.push_back(Step::Say(vec![queue], now));
        Ok(())
    }

    /// What a run has printed comes next.
    fn output(&mut self, run: RunId) {
        self.steps.push_back(Step::Points(run, None));
        if self.wanted.log {
            self.steps.push_back(Step::Log(run, None));
        }
    }

    /// Whether it may see what belongs to a model.
    fn sees(&mut self, model: ModelId) -> Result<bool> {
        if let Some(known) = self.rights.get(&model) {
            return Ok(*known);
        }
        let sees = access::reaches(&self.services.parts.store, self.permit, model)?;
        self.rights.insert(model, sees);
        Ok(sees)
    }

    fn concerns(&mut self, about: Option<&Subject>) -> Result<bool> {
        match about {
            None => Ok(true),
            Some(about) => Ok(self.wanted.has(about) && self.sees(about.model)?),
        }
    }

    /// What happens next; waits for it. Nothing once that was all. May be given up and asked for again.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub async fn next(&mut self) -> Result<Option<Vec<Told>>> {
        loop {
            if self.is_over {
                return Ok(None);
            }
            let Some(step) = self.steps.front() else {
                if self.began.elapsed() >= LASTS {
                    self.steps.push_back(Step::Bye);
                    continue;
                }
                match self.joined.batches.recv().await {
                    Ok(batch) => self.plan(batch)?,
                    // It is too slow, and is told no more.
                    Err(RecvError::Lagged(_)) => return Err(Error::internal("a follower is too slow")),
                    Err(RecvError::Closed) => self.is_over = true,
                }
                continue;
            };
            let told = match *step {
                Step::Points(run, until) => self.points(run, until).await?,
                Step::Log(run, until) => self.log(run, until).await?,
                Step::Changes(until) => self.changes(until).await?,
                Step::Batch(_) | Step::Say(..) | Step::Bye => match self.steps.pop_front() {
                    Some(Step::Batch(batch)) => self.take(&batch)?,
                    Some(Step::Say(told, sequence)) => self.say(told, sequence)?,
                    _ => {
                        self.is_over = true;
                        vec![Told::Bye]
                    }
                },
            };
            if !told.is_empty() {
                return Ok(Some(told));
            }
        }
    }

    /// What has to be read before a batch can be told.
    fn plan(&mut self, batch: Arc<Batch>) -> Result<()> {
        if batch.rights_changed {
            self.rights.clear();
        }
        let is_out = batch.ends
            || batch.accounts.contains(&self.permit.actor().account)
            || self.token.is_some_and(|token| batch.tokens.contains(&token))
            || (batch.account_created && self.came_open);
        if is_out {
            self.steps.push_back(Step::Bye);
            return Ok(());
        }
        if batch.from > self.place.sequence {
            self.steps.push_back(Step::Changes(batch.from));
        }
        for item in &batch.items {
            let Some(Subject { run: Some(run), .. }) = item.about else { continue };
            if !self.concerns(item.about.as_ref())? {
                continue;
            }
            let (attempt, start) = match &item.change {
                Change::Points(attempt, start, _) => (*attempt, *start),
                Change::Log(attempt, piece) if self.wanted.log => (*attempt, piece.start),
                _ => continue,
            };
            let Some(followed) = self.place.runs.get_mut(&run) else { continue };
            followed.turn(attempt);
            match &item.change {
                Change::Points(..) if start > followed.points => self.steps.push_back(Step::Points(run, Some(start))),
                // It may also have read on by itself, into the midst of this piece.
                Change::Log(_, piece) if start != followed.log && piece.end > followed.log => {
                    self.steps.push_back(Step::Log(run, Some(piece.end)));
                }
                // A piece without text says how far one may read.
                Change::Log(..) if start > followed.log => self.steps.push_back(Step::Log(run, Some(start))),
                _ => {}
            }
        }
        self.steps.push_back(Step::Batch(batch));
        Ok(())
    }

    /// What was told to all, as far as it concerns this one.
    fn take(&mut self, batch: &Batch) -> Result<Vec<Told>> {
        let is_new = batch.through > self.place.sequence;
        let mut told = Vec::new();
        for item in &batch.items {
            if !self.concerns(item.about.as_ref())? {
                continue;
            }
            let run = item.about.and_then(|about| about.run);
            match (&item.change, run) {
                (Change::Points(attempt, start, lines), Some(run)) => {
                    let followed =
                        self.place.runs.entry(run).or_insert(Followed { attempt: *attempt, points: *start, log: 0 });
                    let from = followed.points;
                    self.tell_points(run, lines, from, &mut told);
                }
                (Change::Log(attempt, piece), Some(run)) if self.wanted.log => {
                    let followed = self.place.runs.entry(run).or_insert(Followed {
                        attempt: *attempt,
                        points: 0,
                        log: piece.start,
                    });
                    if piece.start == followed.log && piece.end > piece.start {
                        followed.log = piece.end;
                        told.push(Told::Log(run, piece.clone(), self.place.clone()));
                    }
                }
                (Change::Points(..) | Change::Log(..), _) => {}
                _ if is_new => told.push(Told::Item(Arc::clone(item))),
                _ => {}
            }
        }
        self.say(told, batch.through)
    }

    /// Points that were not told yet.
    fn tell_points(&mut self, run: RunId, lines: &Arc<Vec<Line>>, from: u64, told: &mut Vec<Told>) {
        for (at, line) in lines.iter().enumerate().filter(|(_, line)| line.end > from) {
            if let Some(followed) = self.place.runs.get_mut(&run) {
                followed.points = line.end;
            }
            told.push(Told::Point(run, Arc::clone(lines), at, self.place.clone()));
        }
    }

    /// Says this, and is that far.
    fn say(&mut self, told: Vec<Told>, sequence: u64) -> Result<Vec<Told>> {
        self.place.sequence = self.place.sequence.max(sequence);
        for one in &told {
            let Told::Item(item) = one else { continue };
            // Where only one run is followed, it is not begun anew with when the follower comes again.
            if let Change::Run(view) = &item.change
                && !matches!(view.run.state, RunState::Running { .. })
                && self.wanted.run.is_none()
            {
                self.place.runs.remove(&view.run.id);
            }
        }
        Ok(told)
    }

    /// Some of the points that a run has in its file.
    async fn points(&mut self, run: RunId, until: Option<u64>) -> Result<Vec<Told>> {
        let from = self.place.runs.get(&run).map_or(0, |followed| followed.points);
        let path = self.services.parts.files.points(run);
        let read = tokio::task::spawn_blocking(move || tail::lines(&path, from));
        let mut lines = read.await.map_err(Error::internal)?.map_err(Error::internal)?;
        if let Some(until) = until {
            lines.retain(|line| line.end <= until);
        }
        if lines.is_empty() {
            self.steps.pop_front();
        }
        let mut told = Vec::new();
        self.tell_points(run, &Arc::new(lines), from, &mut told);
        Ok(told)
    }

    /// Some of the log that a run has.
    async fn log(&mut self, run: RunId, until: Option<u64>) -> Result<Vec<Told>> {
        let from = self.place.runs.get(&run).map_or(0, |followed| followed.log);
        let services = Arc::clone(&self.services);
        let read = tokio::task::spawn_blocking(move || {
            let is_over = runs::get(&services.parts.store, run)?
                .is_some_and(|run: Run| matches!(run.state, RunState::Done { .. }));
            tail::text(&services.log_of(run)?, from, is_over).map_err(Error::internal)
        });
        let piece = read.await.map_err(Error::internal)??;
        let Some(piece) = piece.filter(|_| until.is_none_or(|until| from < until)) else {
            self.steps.pop_front();
            return Ok(Vec::new());
        };
        if let Some(followed) = self.place.runs.get_mut(&run) {
            followed.log = piece.end;
        }
        Ok(vec![Told::Log(run, piece, self.place.clone())])
    }

    /// Some of what has changed, from the log of changes.
    async fn changes(&mut self, until: u64) -> Result<Vec<Told>> {
        let from = self.place.sequence;
        if from >= until {
            self.steps.pop_front();
            return Ok(Vec::new());
        }
        let services = Arc::clone(&self.services);
        let read = tokio::task::spawn_blocking(move || {
            let (digest, batch) = round::digest(&services, from)?;
            let items = digest.items(&services, &mut Tallies::default())?;
            Result::Ok((digest.began().collect::<Vec<_>>(), items, batch))
        });
        let (began, items, batch) = read.await.map_err(Error::internal)??;
        if batch.through == from {
            // They were kept a moment ago, and make room now.
            self.steps.pop_front();
            return Ok(Vec::new());
        }
        let mut told = Vec::new();
        let mut outputs = Vec::new();
        for item in items {
            if !self.concerns(item.about.as_ref())? {
                continue;
            }
            if let Change::Run(view) = &item.change {
                let (id, attempt) = (view.run.id, view.run.attempts);
                let is_known = self.place.runs.get(&id).is_some_and(|followed| followed.attempt == attempt);
                if began.contains(&id) && !is_known {
                    self.place.runs.insert(id, Followed { attempt, ..Followed::default() });
                    outputs.push(id);
                }
            }
            told.push(Told::Item(item));
        }
        self.steps.push_front(Step::Say(told, batch.through));
        for run in outputs {
            if self.wanted.log {
                self.steps.push_front(Step::Log(run, None));
            }
            self.steps.push_front(Step::Points(run, None));
        }
        Ok(Vec::new())
    }
}
