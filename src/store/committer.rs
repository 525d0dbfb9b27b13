//! The one thread that writes: it drains what waits, makes it durable as one batch, applies it, answers all.
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
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::task::{Context, Poll};
use std::time::Duration;
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

/// Where writes are handed in.
#[derive(Clone)]
pub struct Committer {
    requests: mpsc::Sender<Request>,
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
        let (requests, inbox) = mpsc::channel();
        let worker = Worker { disk, space, health, failure: None };
        let thread = std::thread::Builder::new().name("committer".to_owned()).spawn(move || worker.run(&inbox))?;
        Ok((Self { requests }, thread))
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
        // Where the thread is gone, the dropped sender answers for it.
        let _ = self.requests.send(Request { urgency, writer });
        Commit { answer }
    }
}

/// What a commit goes through.
pub(super) struct Disk {
    pub db: sled::Db,
    /// sled's file, opened a second time so that we can sync it.
    pub log: File,
    pub wal: Wal,
    pub mark: Mark,
    pub gate: Gate,
}

impl Disk {
    /// Makes a batch durable and visible, in this order wherever it fits into the write-ahead log.
    fn commit(&mut self, tree: &sled::Tree, tx: Tx<'_>) -> std::io::Result<()> {
        if self.wal.append(tx.writes())? {
            self.gate.apply(tree, tx).map_err(io_error)?;
        } else {
            tree.apply_batch(tx.into_batch()).map_err(io_error)?;
            self.checkpoint()?;
        }
        self.mark.write(super::tx::last_event(tree))
    }

    /// Makes sled durable and begins the write-ahead log anew.
    pub fn checkpoint(&mut self) -> std::io::Result<()> {
        self.db.flush().map_err(io_error)?;
        self.log.sync_data()?;
        self.wal.reset(super::tx::last_event(&self.db));
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
    fn run(mut self, inbox: &mpsc::Receiver<Request>) {
        while let Some(first) = self.next(inbox) {
            let tree: sled::Tree = (*self.disk.db).clone();
            let mut tx = Tx::new(&tree);
            let has_room = self.space.has_room();
            let mut answers = Vec::new();
            let mut next = Some(first);
            while let Some(Request { urgency, writer }) = next {
                answers.push(writer(&mut tx, self.allowed(urgency, has_room)));
                let is_open = answers.len() < MAX_GROUP && tx.len() < MAX_KEYS;
                next = if is_open { inbox.try_recv().ok() } else { None };
            }
            let committed = self.commit(&tree, tx);
            for answer in answers {
                answer(committed.clone());
            }
            if self.disk.wal.is_due() {
                self.checkpoint();
            }
        }
    }

    /// Waits for a request; `None` once there will be no more. What was written is settled when it gets quiet.
    fn next(&mut self, inbox: &mpsc::Receiver<Request>) -> Option<Request> {
        if self.disk.wal.is_dirty() && self.failure.is_none() {
            match inbox.recv_timeout(QUIET) {
                Ok(request) => return Some(request),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => self.checkpoint(),
            }
        }
        inbox.recv().ok()
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
