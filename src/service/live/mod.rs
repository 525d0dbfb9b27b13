//! What happens, as it happens: one thread looks at what changed and tells it to everybody who follows.
//!
//! The thread reads the sequenced log of changes, and of runs at work what they printed; it sleeps while nobody follows. Each
//! follower gets what is shared, keeps its own place, and reads by itself what lies between its place and what is told. Knows
//! the store and the files of runs; not how anything is written out.

mod follow;
mod news;
mod place;
mod round;
mod tail;
mod tally;

pub use follow::{Filter, Follower, Told};
pub use news::News;
pub use place::{Followed, Place};
pub use tail::{Line, Piece};
pub(super) use tally::Tally;

use super::Services;
use super::control::SweepView;
use super::runs::RunView;
use super::status::QueueStatus;
use crate::domain::error::{Code, Error, Result};
use crate::domain::ids::{AccountId, ModelId, RunId, SweepId, TokenId};
use round::Rounds;
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, watch};

/// How many batches a follower may be behind; then it is cut off, and comes again. All of them are kept for the slowest.
const BEHIND: usize = 128;

/// How often batches are made at the most; less often for a crowd, since each wakes everybody.
const PACE: Duration = Duration::from_millis(40);
const CROWD_PACE: Duration = Duration::from_millis(100);

/// How many are a crowd.
const CROWD: usize = 32;

/// How long to leave a store alone that cannot be read.
const PAUSE: Duration = Duration::from_secs(1);

/// After how many seconds a follower for whom there is no place may ask again.
const RETRY_SECONDS: u64 = 5;

/// What something is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject {
    /// Whose it is.
    pub model: ModelId,
    /// The sweep, or that of the run.
    pub sweep: Option<SweepId>,
    /// The run.
    pub run: Option<RunId>,
}

/// Where something stands now, or what was printed.
#[derive(Debug)]
pub enum Change {
    /// The queue.
    Queue(QueueStatus),
    /// A sweep.
    Sweep(Box<SweepView>),
    /// A run.
    Run(Box<RunView>),
    /// Points of a run, in an attempt, from this offset on.
    Points(u32, u64, Arc<Vec<Line>>),
    /// A piece of a run's log, in an attempt.
    Log(u32, Piece),
}

/// A change, told to many.
#[derive(Debug)]
pub struct Item {
    /// What it is about; nothing for the queue.
    pub about: Option<Subject>,
    /// What it is.
    pub change: Change,
    /// What it was written out as, once somebody has done so: all others copy that.
    pub written: OnceLock<String>,
}

impl Item {
    fn new(about: Option<Subject>, change: Change) -> Arc<Self> {
        Arc::new(Self { about, change, written: OnceLock::new() })
    }
}

/// What was found in one look.
#[derive(Debug, Default)]
struct Batch {
    /// The changes behind the first number up to the second one.
    from: u64,
    through: u64,
    /// What was printed, then what stands where.
    items: Vec<Arc<Item>>,
    /// Who may see what is another thing now.
    rights_changed: bool,
    /// Whose credentials may be worth nothing any more.
    accounts: Vec<AccountId>,
    tokens: Vec<TokenId>,
    /// There may be accounts where there were none.
    account_created: bool,
    /// The server stops.
    ends: bool,
}

/// What the thread is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Asleep,
    Awake,
    Stopped,
}

/// Where followers come to.
pub struct Live {
    news: Arc<News>,
    batches: broadcast::Sender<Arc<Batch>>,
    phase: watch::Sender<Phase>,
    places: Arc<Semaphore>,
    most: usize,
    /// How many follow a run's log.
    logs: Arc<Mutex<HashMap<RunId, usize>>>,
}

/// A place among the followers.
struct Joined {
    batches: broadcast::Receiver<Arc<Batch>>,
    _place: OwnedSemaphorePermit,
}

/// Follows a run's log for as long as it lives.
struct LogWatch {
    logs: Arc<Mutex<HashMap<RunId, usize>>>,
    run: RunId,
}

impl Drop for LogWatch {
    fn drop(&mut self) {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = logs.get_mut(&self.run) {
            *count -= 1;
            if *count == 0 {
                logs.remove(&self.run);
            }
        }
    }
}

impl Live {
    /// Nobody follows yet.
    pub(super) fn new(news: Arc<News>, most: usize) -> Self {
        let (places, phase) = (Arc::new(Semaphore::new(most)), watch::Sender::new(Phase::Asleep));
        Self { news, batches: broadcast::Sender::new(BEHIND), phase, places, most, logs: Arc::default() }
    }

    fn logs(&self) -> MutexGuard<'_, HashMap<RunId, usize>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the thread that looks. It ends with [`stop`](Self::stop).
    ///
    /// # Errors
    /// Where there can be no thread.
    pub fn start(services: Arc<Services>, runtime: Handle) -> io::Result<JoinHandle<()>> {
        std::thread::Builder::new().name("live".to_owned()).spawn(move || services.live.look(&services, &runtime))
    }

    /// Everybody is told that the server stops; nobody follows from now on.
    pub fn stop(&self) {
        self.phase.send_replace(Phase::Stopped);
        self.news.ring();
        // Nobody need be there.
        let _ = self.batches.send(Arc::new(Batch { ends: true, ..Batch::default() }));
    }

    fn is(&self, phase: Phase) -> bool {
        *self.phase.borrow() == phase
    }

    fn enter(&self, phase: Phase) {
        self.phase.send_if_modified(|now| {
            let moves = *now != Phase::Stopped && *now != phase;
            if moves {
                *now = phase;
            }
            moves
        });
    }

    /// The thread's life.
    fn look(&self, services: &Services, runtime: &Handle) {
        let mut changes = services.parts.store.changes();
        while !self.is(Phase::Stopped) {
            if self.batches.receiver_count() == 0 {
                self.enter(Phase::Asleep);
                self.news.hear(false);
                runtime.block_on(self.news.rung());
                continue;
            }
            self.news.hear(true);
            match Rounds::begin(services) {
                Ok(mut rounds) => {
                    // Those who came before this look for what lies between.
                    self.tell(rounds.nothing());
                    self.enter(Phase::Awake);
                    self.look_on(&mut rounds, services, runtime, &mut changes);
                }
                Err(error) => {
                    tracing::error!(%error, "live streams cannot read the store");
                    std::thread::sleep(PAUSE);
                }
            }
        }
    }

    /// Looks at each change until nobody follows.
    fn look_on(&self, rounds: &mut Rounds, services: &Services, runtime: &Handle, changes: &mut watch::Receiver<()>) {
        let mut again = true;
        while self.batches.receiver_count() > 0 && !self.is(Phase::Stopped) {
            if !again {
                runtime.block_on(async {
                    tokio::select! {
                        // The store outlives this.
                        _ = changes.changed() => {}
                        () = self.news.rung() => {}
                    }
                });
            }
            changes.mark_unchanged();
            again = match rounds.round(services, self.news.take(), &|batch| self.tell(batch)) {
                Ok(more) => more,
                Err(error) => {
                    tracing::error!(%error, "live streams cannot read the store");
                    std::thread::sleep(PAUSE);
                    true
                }
            };
            std::thread::sleep(if self.batches.receiver_count() > CROWD { CROWD_PACE } else { PACE });
        }
    }

    fn tell(&self, batch: Batch) {
        // Nobody need be there.
        let _ = self.batches.send(Arc::new(batch));
    }

    /// Whether somebody follows a run's log.
    fn is_log_followed(&self, run: RunId) -> bool {
        self.logs().contains_key(&run)
    }

    fn follow_log(&self, run: RunId) -> LogWatch {
        *self.logs().entry(run).or_default() += 1;
        LogWatch { logs: Arc::clone(&self.logs), run }
    }

    /// Takes a follower in: whatever happens from now on is told to it.
    async fn join(&self) -> Result<Joined> {
        let full = || {
            let most = self.most;
            let message =
                format!("{most} live streams are open, which is server.max_streams; close one, or try again later");
            Error { retry_after: Some(RETRY_SECONDS), ..Error::new(Code::Unavailable, message) }
        };
        let stopping =
            || Error { retry_after: Some(RETRY_SECONDS), ..Error::new(Code::Unavailable, "the server is stopping") };
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| full())?;
        let batches = self.batches.subscribe();
        self.news.ring();
        let mut phase = self.phase.subscribe();
        let now = phase.wait_for(|phase| *phase != Phase::Asleep).await.map(|phase| *phase);
        if matches!(now, Ok(Phase::Awake)) { Ok(Joined { batches, _place: place }) } else { Err(stopping()) }
    }
}
