//! The one place that writes: whoever is at it drains what waits, makes it durable as one batch, applies it, answers all.
//!
//! A thread that may block commits what it hands in itself, with whatever else waits, which saves two thread switches;
//! for everybody else, and for checkpoints, there is a thread.
//!
//! A batch is synced in the write-ahead log before sled and so any reader sees it. Every few dozen batches, and when
//! nothing more comes, a checkpoint makes sled durable: its own `flush` does not survive a power cut (it never syncs
//! the file), and many flushes at once deadlock; one committer and an `fdatasync` of its file mend both. Knows nothing
//! of what is written.

use super::open::Mark;
use super::space::Space;
use super::tx::{Gate, Tx};
use super::wal::Wal;
use crate::domain::error::{Code, Error, Result};
use std::fs::File;
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
    writer: Writer,
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
    /// Somebody waits who cannot commit himself.
    rung: bool,
    /// When sled is to be made durable.
    due: Option<Instant>,
    closed: bool,
}

/// A write that is on its way to the disk. It is durable once this is answered.
pub struct Commit<T> {
    answer: oneshot::Receiver<Result<T>>,
    hand: Hand,
}

/// Sees to it that what was handed in is written, whether or not anybody waits for it.
struct Hand {
    shared: Arc<Shared>,
    is_full: bool,
}

impl Hand {
    fn ring(&mut self) {
        if !std::mem::replace(&mut self.is_full, true) {
            self.shared.ring();
        }
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        self.ring();
    }
}

impl<T> Commit<T> {
    /// Commits on a thread that may block.
    ///
    /// # Errors
    /// What the writer or the disk said.
    pub fn wait(self) -> Result<T> {
        let Self { answer, mut hand } = self;
        hand.is_full = true;
        hand.shared.lead();
        answer.blocking_recv().unwrap_or_else(|_| Err(gone()))
    }
}

impl<T> Future for Commit<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.hand.ring();
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
        let worker = Mutex::new(Worker { disk, space, health, failure: None });
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
        let (send, answer) = oneshot::channel();
        let writer: Writer = Box::new(move |tx, allowed| {
            let outcome = allowed.and_then(|()| tx.attempt(writer));
            Box::new(move |committed: Result<(), Error>| {
                // A client that went away does not want its answer.
                let _ = send.send(committed.and(outcome));
            })
        });
        let shared = Arc::clone(&self.door.0);
        shared.inbox().requests.push(Request { urgency, writer });
        Commit { answer, hand: Hand { shared, is_full: false } }
    }
}

impl Shared {
    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves what waits to the thread.
    fn ring(&self) {
        self.inbox().rung = true;
        self.bell.notify_one();
    }

    /// Commits everything that waits.
    fn lead(&self) {
        let Ok(mut worker) = self.worker.lock() else {
            // A commit panicked: what it left in memory is not to be trusted, and whoever asks is told.
            self.inbox().requests.clear();
            return;
        };
        loop {
            let waiting = std::mem::take(&mut self.inbox().requests);
            if waiting.is_empty() {
                break;
            }
            worker.commit_all(waiting);
        }
        let due = worker.due();
        drop(worker);
        let mut inbox = self.inbox();
        let sooner = due.is_some_and(|due| inbox.due.is_none_or(|known| due < known));
        inbox.due = due;
        drop(inbox);
        if sooner {
            self.bell.notify_one();
        }
    }

    fn checkpoint(&self) {
        if let Ok(mut worker) = self.worker.lock() {
            worker.checkpoint();
        }
    }

    /// The thread's life.
    fn serve(&self) {
        loop {
            let duty = self.next_duty();
            self.lead();
            if duty != Duty::Commit {
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
            if std::mem::take(&mut inbox.rung) {
                return Duty::Commit;
            }
            inbox = match inbox.due.map(|due| due.saturating_duration_since(Instant::now())) {
                None => self.bell.wait(inbox).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => {
                    inbox.due = None;
                    return Duty::Settle;
                }
                Some(left) => self.bell.wait_timeout(inbox, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
    }
}

/// What the thread is needed for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Duty {
    /// Somebody waits.
    Commit,
    /// It is time to make sled durable.
    Settle,
    /// The last handle is gone.
    Close,
}

/// What a commit goes through.
pub(super) struct Disk {
    pub db: sled::Db,
    /// sled's file, opened a second time so that we can sync it.
    pub log: File,
    pub wal: Wal,
    pub mark: Mark,
    pub gate: Gate,
    /// The number of the last change.
    pub last_event: u64,
}

impl Disk {
    /// Makes a batch durable and visible, in this order wherever it fits into the write-ahead log.
    fn commit(&mut self, tree: &sled::Tree, tx: Tx<'_>) -> std::io::Result<()> {
        let is_logged = self.wal.append(tx.writes())?;
        self.last_event = tx.last_event();
        if is_logged {
            self.gate.apply(tree, tx).map_err(io_error)?;
        } else {
            tree.apply_batch(tx.into_batch()).map_err(io_error)?;
            self.checkpoint()?;
        }
        self.mark.write(self.last_event)
    }

    /// Makes sled durable and begins the write-ahead log anew.
    pub fn checkpoint(&mut self) -> std::io::Result<()> {
        self.db.flush().map_err(io_error)?;
        self.log.sync_data()?;
        self.wal.reset(self.last_event);
        Ok(())
    }
}

struct Worker {
    disk: Disk,
    space: Arc<Space>,
    health: watch::Sender<Option<Failure>>,
    failure: Option<Failure>,
}

impl Worker {
    fn commit_all(&mut self, requests: Vec<Request>) {
        let mut left = requests.into_iter().peekable();
        while left.peek().is_some() {
            let tree: sled::Tree = (*self.disk.db).clone();
            let mut tx = Tx::new(&tree, self.disk.last_event);
            let has_room = self.space.has_room();
            let mut answers = Vec::new();
            while answers.len() < MAX_GROUP
                && tx.len() < MAX_KEYS
                && let Some(Request { urgency, writer }) = left.next()
            {
                answers.push(writer(&mut tx, self.allowed(urgency, has_room)));
            }
            let committed = self.commit(&tree, tx);
            for answer in answers {
                answer(committed.clone());
            }
        }
    }

    /// When a checkpoint is wanted.
    fn due(&self) -> Option<Instant> {
        let is_wanted = self.failure.is_none() && self.disk.wal.is_dirty();
        let delay = if self.disk.wal.is_due() { Duration::ZERO } else { QUIET };
        is_wanted.then(|| Instant::now() + delay)
    }

    fn allowed(&self, urgency: Urgency, has_room: bool) -> Result<(), Error> {
        match &self.failure {
            Some(failure) => Err(failure.error()),
            None if urgency == Urgency::Growth && !has_room => Err(disk_full()),
            None => Ok(()),
        }
    }

    /// Commits a group; nobody is answered before this returns.
    fn commit(&mut self, tree: &sled::Tree, tx: Tx<'_>) -> Result<(), Error> {
        if let Some(failure) = &self.failure {
            return Err(failure.error());
        }
        if tx.len() == 0 {
            return Ok(());
        }
        self.disk.commit(tree, tx).map_err(|error| self.fail(&error))
    }

    /// What was answered before is in the write-ahead log, whatever comes of this.
    fn checkpoint(&mut self) {
        if self.failure.is_none()
            && self.disk.wal.is_dirty()
            && let Err(error) = self.disk.checkpoint()
        {
            self.fail(&error);
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

fn io_error(error: sled::Error) -> std::io::Error {
    match error {
        sled::Error::Io(error) => error,
        other => std::io::Error::other(other.to_string()),
    }
}
