//! Predictions by the built-in trainer: a warm child, this same binary, keeps the model loaded and answers question after
//! question without a process start, with the very line that `trainyard test` would print.
//!
//! A thread of the runtime's pool serves a lane of the [`queue`]; it and its child come with the first question and go
//! when nothing was asked for a while. It must not know models: pixels and weights are the child's.

mod batch;
pub mod protocol;
mod queue;

use super::companion::{Companion, Patience, Silence};
use super::custody::{Custody, Limits};
use super::process::{ChildSpec, Control, Order};
use super::run_folder::RunFolders;
use crate::domain::error::{Code, Error, Result};
use crate::domain::prediction::{PendingPrediction, PredictionRequest, Predictor};
use crate::trainer::command::BaseEnvironment;
use batch::{Batch, failed};
use protocol::MAX_IMAGES;
use queue::{Lane, Queue, Waiting, stopping};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// The subcommand that is the child.
pub const SUBCOMMAND: &str = "predictor";

/// The most questions at once; more are told to come again.
const MAX_QUESTIONS: usize = 128;

/// After this long without a question a child is ended, so that an idle server is a small one.
const IDLE: Duration = Duration::from_secs(10);

/// How long a child of the swift lane may say nothing.
const STALL: Duration = Duration::from_secs(2);

/// Over how many children one question may go.
const MAX_LOSSES: u8 = 2;

/// How predictions are made.
pub struct Settings {
    /// This binary.
    pub own: PathBuf,
    /// What children are given.
    pub environment: BaseEnvironment,
    /// How long one may take.
    pub timeout: Duration,
    /// Where runs keep their files.
    pub folders: RunFolders,
    /// How many children there may be; two have work.
    pub concurrency: usize,
    /// What one may take.
    pub limits: Limits,
}

/// Asks warm children.
pub struct WarmPredictor {
    shared: Arc<Shared>,
    places: Arc<Semaphore>,
}

struct Shared {
    settings: Settings,
    custody: Arc<Custody>,
    runtime: tokio::runtime::Handle,
    state: Mutex<State>,
    /// Rung when something is to be done in a lane, or the server stops.
    bells: [Condvar; 2],
}

#[derive(Default)]
struct State {
    queue: Queue,
    /// The control of each lane's child, where its thread runs.
    controls: [Option<Arc<Control>>; 2],
    stopping: bool,
}

impl WarmPredictor {
    /// A predictor whose threads are the blocking threads of `runtime`.
    pub fn new(settings: Settings, custody: Arc<Custody>, runtime: tokio::runtime::Handle) -> Self {
        let shared = Shared { settings, custody, runtime, state: Mutex::default(), bells: <[Condvar; 2]>::default() };
        Self { shared: Arc::new(shared), places: Arc::new(Semaphore::new(MAX_QUESTIONS)) }
    }
}

impl Predictor for WarmPredictor {
    fn takes_bytes(&self) -> bool {
        true
    }

    fn predict(&self, request: PredictionRequest) -> PendingPrediction<'_> {
        Box::pin(async move {
            let place = Arc::clone(&self.places)
                .try_acquire_owned()
                .map_err(|_| Error::new(Code::TooMany, "too many predictions wait already; try again in a moment"))?;
            let answer = {
                let mut state = self.shared.locked();
                if state.stopping {
                    return Err(stopping());
                }
                let (lane, answer) = state.queue.ask(request.run, request.image, request.pixels, place);
                self.shared.wake(&mut state, lane)?;
                answer
            };
            answer.await.map_err(Error::internal)?
        })
    }

    fn stop(&self) {
        let mut state = self.shared.locked();
        state.stopping = true;
        state.queue.stop();
        state.controls.iter().flatten().for_each(|control| control.order(Order::Stop));
        self.shared.bells.iter().for_each(Condvar::notify_all);
    }
}

impl Shared {
    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which thread serves a lane; where only one child is allowed, it is one thread for both.
    fn thread_of(&self, lane: Lane) -> usize {
        usize::from(lane == Lane::Slow && self.settings.concurrency > 1)
    }

    /// Sees to it that a thread serves the lane.
    fn wake(self: &Arc<Self>, state: &mut State, lane: Lane) -> Result<()> {
        let thread = self.thread_of(lane);
        if state.controls[thread].is_none() {
            let control = Arc::new(Control::new().map_err(Error::internal)?);
            state.controls[thread] = Some(Arc::clone(&control));
            let shared = Arc::clone(self);
            self.runtime.spawn_blocking(move || shared.serve(thread, &control));
        } else if lane == Lane::Slow || state.queue.is_worth_waking() {
            self.bells[thread].notify_one();
        }
        Ok(())
    }

    /// A thread's life: batch after batch, until nothing came for a while.
    fn serve(self: &Arc<Self>, thread: usize, control: &Control) {
        let (mut child, mut last) = (None, Lane::Slow);
        while let Some((lane, batch)) = self.next(thread, last) {
            last = lane;
            if !batch.is_empty() {
                self.answer(lane, batch, &mut child, control);
            }
        }
    }

    /// Waits for the next batch, of the other lane than the last where this thread serves both; none once the thread is
    /// to end, which is recorded by then.
    fn next(&self, thread: usize, last: Lane) -> Option<(Lane, Vec<Waiting>)> {
        let mut state = self.locked();
        let began = Instant::now();
        let mut found = None;
        loop {
            let lanes = if last == Lane::Swift { [Lane::Slow, Lane::Swift] } else { [Lane::Swift, Lane::Slow] };
            let lane = lanes.into_iter().find(|lane| self.thread_of(*lane) == thread && state.queue.has(*lane));
            let now = Instant::now();
            let until = match lane {
                _ if state.stopping => None,
                None => Some(began + IDLE).filter(|until| now < *until),
                Some(lane) => match state.queue.gathers(lane, *found.get_or_insert(now)) {
                    Some(until) => Some(until),
                    None => return Some((lane, state.queue.next(lane, MAX_IMAGES))),
                },
            };
            let Some(until) = until else {
                state.controls[thread] = None;
                return None;
            };
            let waited = self.bells[thread].wait_timeout(state, until.saturating_duration_since(now));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn patience(&self, lane: Lane) -> Patience {
        match lane {
            Lane::Swift => Patience { limit: STALL.min(self.settings.timeout), renews: true },
            Lane::Slow => Patience { limit: self.settings.timeout, renews: false },
        }
    }

    fn start(&self) -> Result<Companion> {
        let spec = ChildSpec {
            program: self.settings.own.clone(),
            arguments: vec![SUBCOMMAND.into()],
            environment: self.settings.environment.for_helper(),
            folder: PathBuf::from("/"),
            timeout: self.settings.timeout,
            grace: Duration::ZERO,
            limits: self.settings.limits.for_helper(),
        };
        Companion::start(&spec, &self.custody).map_err(|error| {
            let program = self.settings.own.display();
            failed(&format!("`{program} {SUBCOMMAND}` could not be started: {error}"))
        })
    }

    /// Asks the child about a batch, a new one where there is none or it is gone, and answers whoever asked.
    fn answer(self: &Arc<Self>, lane: Lane, batch: Vec<Waiting>, child: &mut Option<Companion>, control: &Control) {
        let began = Instant::now();
        let warm = child.take().filter(|child| !child.is_gone());
        let mut companion = match warm.map_or_else(|| self.start(), Ok) {
            Ok(companion) => companion,
            Err(error) => return batch.into_iter().for_each(|waiting| waiting.answer(Err(error.clone()))),
        };
        let folder = self.settings.folders.model(batch[0].run);
        let question = protocol::question(&folder, batch.iter().map(|waiting| &waiting.image));
        let together = batch.len();
        let mut batch = Batch::new(batch);
        let end = companion.ask(&question, self.patience(lane), control, &mut |bytes| batch.take(bytes));
        match end {
            Ok(()) => {
                *child = Some(companion);
                if lane == Lane::Swift {
                    self.locked().queue.answered(together, began.elapsed());
                }
            }
            Err(silence) => {
                // The child goes before anybody is told.
                drop(companion);
                self.lose(lane, batch, &silence);
            }
        }
    }

    /// A child was lost: its questions go again, and those that may be the reason go alone, or fail.
    fn lose(self: &Arc<Self>, lane: Lane, batch: Batch, silence: &Silence) {
        let why = match silence {
            Silence::Ordered => return batch.left().for_each(|(_, waiting)| waiting.answer(Err(stopping()))),
            Silence::Died(why) => why.clone(),
            Silence::TimedOut => format!("it took longer than {} s", self.patience(lane).limit.as_secs()),
            Silence::Garbled(error) => error.to_string(),
        };
        tracing::warn!(%why, "a predictor child was lost");
        let final_word = lane == Lane::Slow && matches!(silence, Silence::TimedOut);
        let current = batch.current;
        let (mut innocent, mut suspect) = (Vec::new(), Vec::new());
        for (number, mut waiting) in batch.left() {
            if current.is_some_and(|current| current != number) {
                innocent.push(waiting);
                continue;
            }
            waiting.losses += 1;
            if final_word || waiting.losses >= MAX_LOSSES {
                waiting.answer(Err(failed(&why)));
            } else {
                suspect.push(waiting);
            }
        }
        let mut state = self.locked();
        if state.stopping {
            return innocent.into_iter().chain(suspect).for_each(|waiting| waiting.answer(Err(stopping())));
        }
        for (lane, unanswered) in [(Lane::Swift, innocent), (Lane::Slow, suspect)] {
            if unanswered.is_empty() {
                continue;
            }
            state.queue.again(lane, unanswered);
            // Where no thread can be had, whoever asked next tries again.
            if let Err(error) = self.wake(&mut state, lane) {
                tracing::error!(%error, "no thread for predictions");
            }
        }
    }
}
