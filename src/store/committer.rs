//! The one place that writes: whoever is at it drains what waits, writes it as one batch, and answers.
//!
//! The scheduler's workers write themselves what they report, which saves them two thread switches and the wait for the
//! sync between two children: they need to know no more than that kill -9 cannot undo it. Everybody else is answered by
//! the thread, after the sync. Knows nothing of what is written, and leaves how to `disk`.

use super::disk::{Disk, Unsynced};
use super::space::Space;
use super::tx::{Tx, Writes};
use crate::domain::error::{Code, Error, Result};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};

/// The most writers in one group, and the keys after which a group is closed: sled holds every page that a batch
/// changes until the batch is done, several KiB a key.
const MAX_GROUP: usize = 512;
const MAX_KEYS: usize = 1_000;

/// How long after the last batch a checkpoint is made.
const QUIET: Duration = Duration::from_millis(250);

/// How long after one sync that nobody waits for the next one is made: in a burst, others join it.
const PACE: Duration = Duration::from_millis(5);

/// Whether a write may use the room that is kept free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// New things: refused when the disk is nearly full.
    Growth,
    /// The end of what was accepted before: the reserve is for this.
    Settle,
}

type Answer = Box<dyn FnOnce(Result<(), Error>) + Send>;
type Writer = Box<dyn FnOnce(&mut Tx<'_>, Result<(), Error>) -> Answer + Send>;

struct Request {
    urgency: Urgency,
    until: Until,
    writer: Writer,
}

/// What an answer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    /// kill -9 cannot undo it.
    Written,
    /// A power cut cannot undo it, and readers see it.
    Synced,
}

/// Where writes are handed in. The thread ends with the last clone.
#[derive(Clone)]
pub struct Committer {
    door: Arc<Door>,
}

struct Door(Arc<Shared>);

impl Drop for Door {
    fn drop(&mut self) {
        self.0.inbox().closed = true;
        self.0.bell.notify_one();
    }
}

struct Shared {
    inbox: Mutex<Inbox>,
    /// Wakes the thread.
    bell: Condvar,
    worker: Mutex<Worker>,
}

#[derive(Default)]
struct Inbox {
    requests: Vec<Request>,
    /// Requests wait for the thread.
    rung: bool,
    /// When what is written has to be synced.
    sync_at: Option<Instant>,
    /// When sled has to be made durable.
    checkpoint_at: Option<Instant>,
    closed: bool,
}

impl Inbox {
    /// When the thread has to wake up by itself.
    fn alarm(&self) -> Option<Instant> {
        self.sync_at.into_iter().chain(self.checkpoint_at).min()
    }
}

/// A write that is on its way to the disk. It is durable once this is answered.
pub struct Commit<T> {
    answer: oneshot::Receiver<Result<T>>,
}

impl<T> Commit<T> {
    /// Waits on a thread that may block.
    ///
    /// # Errors
    /// What the writer or the disk said.
    pub fn wait(self) -> Result<T> {
        self.answer.blocking_recv().unwrap_or_else(|_| Err(gone()))
    }
}

impl<T> Future for Commit<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.answer).poll(context).map(|answer| answer.unwrap_or_else(|_| Err(gone())))
    }
}

fn gone() -> Error {
    Error::new(Code::Unavailable, "the server is stopping; try again in a moment")
}

/// Why nothing can be written any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The disk is full; reads go on.
    Full,
    /// The disk failed; nothing that follows can be trusted.
    Broken(String),
}

impl Failure {
    fn error(&self) -> Error {
        match self {
            Self::Full => disk_full(),
            Self::Broken(cause) => {
                Error::new(Code::Unavailable, "the server cannot write to its disk; its log says why").because(cause)
            }
        }
    }
}

/// The failure of a write that found no room.
pub fn disk_full() -> Error {
    Error::new(
        Code::DiskFull,
        "the disk that holds the data folder is nearly full; make room on it, or move data_dir to a larger one",
    )
}

impl Committer {
    /// Starts the thread. It ends when the last handle is gone.
    ///
    /// # Errors
    /// Where the thread cannot be made.
    pub fn start(
        disk: Disk,
        space: Arc<Space>,
        health: watch::Sender<Option<Failure>>,
    ) -> std::io::Result<(Self, std::thread::JoinHandle<()>)> {
        let worker =
            Mutex::new(Worker { disk, space, health, failure: None, waiting: Vec::new(), last_sync: Instant::now() });
        let shared = Arc::new(Shared { inbox: Mutex::default(), bell: Condvar::new(), worker });
        let door = Arc::new(Door(Arc::clone(&shared)));
        let thread = std::thread::Builder::new().name("committer".to_owned()).spawn(move || shared.serve())?;
        Ok((Self { door }, thread))
    }

    /// Hands in a write.
    pub fn write<T, F>(&self, urgency: Urgency, writer: F) -> Commit<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T> + Send + 'static,
    {
        let answer = self.push(urgency, Until::Synced, writer);
        self.door.0.ring();
        Commit { answer }
    }

    /// Writes at once, on a thread that may block.
    ///
    /// # Errors
    /// What the writer or the disk said.
    pub fn note<T, F>(&self, urgency: Urgency, writer: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T> + Send + 'static,
    {
        let answer = self.push(urgency, Until::Written, writer);
        self.door.0.lead();
        answer.blocking_recv().unwrap_or_else(|_| Err(gone()))
    }

    fn push<T, F>(&self, urgency: Urgency, until: Until, writer: F) -> oneshot::Receiver<Result<T>>
    where
        T: Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T> + Send + 'static,
    {
        let (send, answer) = oneshot::channel();
        let writer: Writer = Box::new(move |tx, allowed| {
            let outcome = allowed.and_then(|()| tx.attempt(writer));
            Box::new(move |committed: Result<(), Error>| {
                // A client that went away does not want its answer.
                let _ = send.send(committed.and(outcome));
            })
        });
        self.door.0.inbox().requests.push(Request { urgency, until, writer });
        answer
    }
}

impl Shared {
    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The worker; `None` where a write panicked: what it left in memory is not to be trusted, and whoever asks is told.
    fn worker(&self) -> Option<MutexGuard<'_, Worker>> {
        match self.worker.lock() {
            Ok(worker) => Some(worker),
            Err(poisoned) => {
                poisoned.into_inner().waiting.clear();
                self.inbox().requests.clear();
                None
            }
        }
    }

    /// Leaves what waits to the thread.
    fn ring(&self) {
        self.inbox().rung = true;
        self.bell.notify_one();
    }

    /// Writes everything that waits.
    fn lead(&self) {
        let Some(mut worker) = self.worker() else { return };
        loop {
            let requests = std::mem::take(&mut self.inbox().requests);
            if requests.is_empty() {
                break;
            }
            worker.write_all(requests);
        }
        let (sync_at, checkpoint_at) = worker.wants();
        drop(worker);
        let mut inbox = self.inbox();
        let before = inbox.alarm();
        inbox.sync_at = inbox.sync_at.into_iter().chain(sync_at).min();
        inbox.checkpoint_at = checkpoint_at;
        let is_sooner = inbox.alarm().is_some_and(|at| before.is_none_or(|before| at < before));
        drop(inbox);
        if is_sooner {
            self.bell.notify_one();
        }
    }

    /// Syncs what is written, and answers those who wait for it. Only the thread does this.
    fn sync(&self) {
        self.inbox().sync_at = None;
        let Some(mut worker) = self.worker() else { return };
        let (unsynced, waiting) = worker.hand_out();
        drop(worker);
        // Others write on meanwhile.
        let synced = unsynced.as_ref().map_or(Ok(()), Unsynced::sync);
        let Some(mut worker) = self.worker() else { return };
        let outcome = worker.synced(unsynced.as_ref(), synced);
        drop(worker);
        waiting.into_iter().for_each(|answer| answer(outcome.clone()));
    }

    fn checkpoint(&self) {
        let Some(mut worker) = self.worker() else { return };
        let waiting = std::mem::take(&mut worker.waiting);
        let outcome = worker.checkpoint();
        drop(worker);
        waiting.into_iter().for_each(|answer| answer(outcome.clone()));
    }

    /// The thread's life.
    fn serve(&self) {
        loop {
            let duty = self.next_duty();
            self.lead();
            self.sync();
            if duty != Duty::Sync {
                self.checkpoint();
            }
            if duty == Duty::Close {
                return;
            }
        }
    }

    /// Sleeps until there is something for the thread to do.
    fn next_duty(&self) -> Duty {
        let mut inbox = self.inbox();
        loop {
            if inbox.closed {
                return Duty::Close;
            }
            let now = Instant::now();
            if inbox.checkpoint_at.is_some_and(|at| at <= now) {
                inbox.checkpoint_at = None;
                return Duty::Checkpoint;
            }
            if std::mem::take(&mut inbox.rung) || inbox.sync_at.is_some_and(|at| at <= now) {
                return Duty::Sync;
            }
            inbox = match inbox.alarm() {
                None => self.bell.wait(inbox).unwrap_or_else(PoisonError::into_inner),
                Some(at) => self.bell.wait_timeout(inbox, at - now).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
    }
}

/// What the thread is needed for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Duty {
    /// Somebody waits, or something has lain unsynced for long enough.
    Sync,
    /// It is time to make sled durable.
    Checkpoint,
    /// The last handle is gone.
    Close,
}

struct Worker {
    disk: Disk,
    space: Arc<Space>,
    health: watch::Sender<Option<Failure>>,
    failure: Option<Failure>,
    /// The answers of what is written and not synced.
    waiting: Vec<Answer>,
    /// When there was a sync last that nobody waited for.
    last_sync: Instant,
}

impl Worker {
    fn write_all(&mut self, requests: Vec<Request>) {
        let has_room = requests.iter().all(|request| request.urgency == Urgency::Settle) || self.space.has_room();
        let mut left = requests.into_iter().peekable();
        while left.peek().is_some() {
            let mut tx = self.disk.begin();
            let mut answers = Vec::new();
            while answers.len() < MAX_GROUP
                && tx.len() < MAX_KEYS
                && let Some(Request { urgency, until, writer }) = left.next()
            {
                answers.push((until, writer(&mut tx, self.allowed(urgency, has_room))));
            }
            let (writes, last_event) = tx.finish();
            let written = self.write(writes, last_event);
            for (until, answer) in answers {
                match (until, &written) {
                    (Until::Synced, Ok(())) => self.waiting.push(answer),
                    _ => answer(written.clone()),
                }
            }
        }
    }

    fn write(&mut self, writes: Writes, last_event: u64) -> Result<(), Error> {
        match &self.failure {
            Some(failure) => Err(failure.error()),
            None if writes.is_empty() => Ok(()),
            None => self.disk.write(writes, last_event).map_err(|error| self.fail(&error)),
        }
    }

    /// When a sync and a checkpoint are wanted.
    fn wants(&self) -> (Option<Instant>, Option<Instant>) {
        let now = Instant::now();
        let is_dirty = self.failure.is_none() && self.disk.is_dirty();
        let sync_at = match () {
            () if !self.waiting.is_empty() => Some(now),
            () => (is_dirty && self.disk.has_unsynced()).then(|| self.last_sync + PACE),
        };
        let delay = if self.disk.is_due() { Duration::ZERO } else { QUIET };
        (sync_at, is_dirty.then(|| now + delay))
    }

    /// What is to be synced, with the answers that wait for it.
    fn hand_out(&mut self) -> (Option<Unsynced>, Vec<Answer>) {
        let unsynced = if self.failure.is_none() { self.disk.unsynced() } else { None };
        if self.waiting.is_empty() {
            self.last_sync = Instant::now();
        }
        (unsynced, std::mem::take(&mut self.waiting))
    }

    /// Takes note of a sync that went like this.
    fn synced(&mut self, unsynced: Option<&Unsynced>, synced: std::io::Result<()>) -> Result<(), Error> {
        if let Some(failure) = &self.failure {
            return Err(failure.error());
        }
        let Some(done) = unsynced else { return Ok(()) };
        synced.and_then(|()| self.disk.synced(done)).map_err(|error| self.fail(&error))
    }

    fn allowed(&self, urgency: Urgency, has_room: bool) -> Result<(), Error> {
        match &self.failure {
            Some(failure) => Err(failure.error()),
            None if urgency == Urgency::Growth && !has_room => Err(disk_full()),
            None => Ok(()),
        }
    }

    /// What was answered before is in the write-ahead log, whatever comes of this.
    fn checkpoint(&mut self) -> Result<(), Error> {
        match &self.failure {
            Some(failure) => Err(failure.error()),
            None if !self.disk.is_dirty() => Ok(()),
            None => self.disk.checkpoint().map_err(|error| self.fail(&error)),
        }
    }

    /// Notes that the store cannot be written any more. An error of fsync is final: the kernel may have dropped what it
    /// could not write.
    fn fail(&mut self, error: &std::io::Error) -> Error {
        let failure = if error.kind() == std::io::ErrorKind::StorageFull {
            self.space.release_ballast();
            Failure::Full
        } else {
            Failure::Broken(error.to_string())
        };
        tracing::error!(%error, "the store cannot be written");
        let answer = failure.error().because(error);
        self.failure = Some(failure.clone());
        self.health.send_replace(Some(failure));
        answer
    }
}
