//! The one way to write: whoever is at it drains what waits, has it written as one batch, and answers.
//!
//! The scheduler's workers write themselves what they report, which saves them two thread switches and the wait for the
//! sync between two children: they need to know no more than that kill -9 cannot undo it. Everybody else is answered by
//! the thread, after the sync. Knows nothing of what is written; `worker` knows what becomes of it.

use super::disk::{Disk, Unsynced};
use super::space::Space;
use super::tx::Tx;
use super::worker::{Failure, Worker};
use crate::domain::error::{Code, Error, Result};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::sync::{oneshot, watch};

/// Whether a write may use the room that is kept free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// New things: refused when the disk is nearly full.
    Growth,
    /// The end of what was accepted before: the reserve is for this.
    Settle,
}

/// Tells whoever waits what became of a write.
pub(super) type Answer = Box<dyn FnOnce(Result<(), Error>) + Send>;
type Writer = Box<dyn FnOnce(&mut Tx<'_>, Result<(), Error>) -> Answer + Send>;

/// A write that was handed in.
pub(super) struct Request {
    /// Whether it may use the reserve.
    pub urgency: Urgency,
    /// What its answer waits for.
    pub until: Until,
    /// What it does, where it may.
    pub writer: Writer,
}

/// What an answer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
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
        let worker = Mutex::new(Worker::new(disk, space, health));
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
                poisoned.into_inner().abandon();
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

    /// Makes sled durable, or opens it again where it has to be. Only the thread does this.
    fn checkpoint(&self) {
        let Some(mut worker) = self.worker() else { return };
        let (outcome, waiting) = worker.checkpoint();
        drop(worker);
        waiting.into_iter().for_each(|answer| answer(outcome.clone()));
        self.lead();
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
