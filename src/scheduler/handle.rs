//! The thread that the scheduler lives on, and the handle by which others reach it.

use super::settle::CancelAnswer;
use super::{Scheduler, Step};
use crate::domain::account::Actor;
use crate::domain::error::{Code, Error, Result};
use crate::domain::ids::RunId;
use crate::domain::job::RunEvent;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

/// What the scheduler is told.
pub enum Message {
    /// Something was submitted.
    Wake,
    /// A worker reports.
    Event(RunEvent),
    /// Somebody wants a run to stop.
    Cancel {
        /// Which.
        run: RunId,
        /// Who.
        actor: Actor,
        /// Where the answer goes.
        answer: CancelAnswer,
    },
    /// The server stops: start nothing more, let what runs end.
    Stop,
}

/// Reaches the scheduler. Clones reach the same one.
#[derive(Clone)]
pub struct Handle {
    messages: mpsc::Sender<Message>,
}

impl Handle {
    /// A handle and the inbox that it fills.
    pub fn new() -> (Self, mpsc::Receiver<Message>) {
        let (messages, inbox) = mpsc::channel();
        (Self { messages }, inbox)
    }

    fn send(&self, message: Message) {
        // A scheduler that is gone has said so in the log; what waits is in the store.
        let _ = self.messages.send(message);
    }

    /// Says that something was submitted.
    pub fn wake(&self) {
        self.send(Message::Wake);
    }

    /// Passes a worker's report on.
    pub fn report(&self, event: RunEvent) {
        self.send(Message::Event(event));
    }

    /// Asks for a run to stop; answered once that is durable. A running run may take its grace period to end.
    ///
    /// # Errors
    /// `not_found`, or `conflict` for a run that is over.
    pub async fn cancel(&self, actor: Actor, run: RunId) -> Result<()> {
        let (answer, answered) = oneshot::channel();
        self.send(Message::Cancel { run, actor, answer });
        answered
            .await
            .unwrap_or_else(|_| Err(Error::new(Code::Unavailable, "the server is stopping; try again in a moment")))
    }

    /// Says that the server stops.
    pub fn stop(&self) {
        self.send(Message::Stop);
    }
}

/// A scheduler at work.
pub struct Scheduled {
    thread: JoinHandle<()>,
}

impl Scheduled {
    /// Waits until every slot is free after a stop.
    pub fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("the scheduler panicked");
        }
    }
}

/// Starts the thread: it runs `prepare`, settles what an unclean end left, and goes to work.
///
/// # Errors
/// Where it cannot be made.
pub fn start(
    scheduler: Scheduler,
    inbox: mpsc::Receiver<Message>,
    prepare: impl FnOnce() + Send + 'static,
) -> std::io::Result<Scheduled> {
    let thread = std::thread::Builder::new().name("scheduler".to_owned()).spawn(move || {
        prepare();
        match scheduler.recover() {
            Ok(0) => {}
            Ok(runs) => tracing::warn!(runs, "the last server went down while runs were running; they were settled"),
            Err(error) => tracing::error!(%error, "runs of the last server could not be settled"),
        }
        run(scheduler, &inbox);
    })?;
    Ok(Scheduled { thread })
}

fn run(mut scheduler: Scheduler, inbox: &mpsc::Receiver<Message>) {
    let mut first = Some(Message::Wake);
    loop {
        let mut messages: Vec<Message> = first.take().into_iter().collect();
        messages.extend(inbox.try_iter());
        match scheduler.tick(messages) {
            Ok(Step::Done) => {}
            Ok(Step::Crashed) => return,
            Err(error) => tracing::error!(%error, "the scheduler could not write; runs wait for a restart"),
        }
        if scheduler.is_drained() {
            return;
        }
        first = match scheduler.look_again_in_ms() {
            None => match inbox.recv() {
                Ok(message) => Some(message),
                Err(mpsc::RecvError) => return,
            },
            Some(delay) => match inbox.recv_timeout(Duration::from_millis(delay)) {
                Ok(message) => Some(message),
                Err(mpsc::RecvTimeoutError::Timeout) => Some(Message::Wake),
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            },
        };
    }
}
