//! How others reach the scheduler, and who calls it: whoever brings a report, and for all else its own thread.
//!
//! A worker that reports the end of its job steps the scheduler itself and so learns at once what to run next: two
//! thread switches in place of six between two children. Everything else waits for the scheduler's thread.

use super::settle::CancelAnswer;
use super::{Scheduler, Step};
use crate::domain::account::Actor;
use crate::domain::error::{Code, Error, Result};
use crate::domain::ids::RunId;
use crate::domain::job::{MemoryWait, RunEvent};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
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
#[derive(Clone, Default)]
pub struct Handle {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    inbox: Mutex<Inbox>,
    bell: Condvar,
    /// `None` before the start and after the end.
    scheduler: Mutex<Option<Scheduler>>,
    /// What the next job waits for, as of the last step.
    waits: Mutex<Option<MemoryWait>>,
}

#[derive(Default)]
struct Inbox {
    messages: Vec<Message>,
    /// The thread has to look at the scheduler though no message waits.
    nudged: bool,
}

impl Shared {
    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn nudge(&self) {
        self.inbox().nudged = true;
        self.bell.notify_one();
    }

    /// Steps the scheduler once with everything that waits.
    fn step(&self, scheduler: &mut Option<Scheduler>) {
        let Some(working) = scheduler else { return };
        let messages = std::mem::take(&mut self.inbox().messages);
        let step = working.tick(messages);
        *self.waits.lock().unwrap_or_else(PoisonError::into_inner) = working.waits_for_memory();
        match step {
            Ok(Step::Done | Step::Waiting) => {}
            Ok(Step::Crashed) => *scheduler = None,
            Err(error) => tracing::error!(%error, "the scheduler could not write; runs wait for a restart"),
        }
    }

    /// Steps the scheduler from a worker's thread.
    fn lead(&self) {
        let needs_thread = match self.scheduler.lock() {
            Err(_) => true,
            Ok(mut scheduler) => {
                // Whoever was at it meanwhile may have done this worker's report as well.
                if !self.inbox().messages.is_empty() {
                    self.step(&mut scheduler);
                }
                scheduler
                    .as_ref()
                    .is_none_or(|scheduler| scheduler.is_drained() || scheduler.look_again_in_ms().is_some())
            }
        };
        if needs_thread {
            self.nudge();
        }
    }

    /// The thread's life: steps, then sleeps until there is something to do.
    fn serve(&self) {
        loop {
            let delay = {
                let mut scheduler = self.scheduler.lock().unwrap_or_else(PoisonError::into_inner);
                self.step(&mut scheduler);
                match &*scheduler {
                    Some(working) if !working.is_drained() => working.look_again_in_ms(),
                    _ => {
                        *scheduler = None;
                        return;
                    }
                }
            };
            self.sleep(delay);
        }
    }

    fn sleep(&self, delay: Option<u64>) {
        let mut inbox = self.inbox();
        while inbox.messages.is_empty() && !inbox.nudged {
            let Some(delay) = delay else {
                inbox = self.bell.wait(inbox).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let waited = self.bell.wait_timeout(inbox, Duration::from_millis(delay));
            let (woken, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            inbox = woken;
            if timeout.timed_out() {
                break;
            }
        }
        inbox.nudged = false;
    }
}

impl Handle {
    /// Leaves a message for the scheduler's thread.
    fn send(&self, message: Message) {
        self.shared.inbox().messages.push(message);
        self.shared.bell.notify_one();
    }

    /// What the next job waits for, where it could have a slot but the machine has no memory for it.
    pub fn waits_for_memory(&self) -> Option<MemoryWait> {
        *self.shared.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that something was submitted.
    pub fn wake(&self) {
        self.send(Message::Wake);
    }

    /// Passes a worker's reports on and steps the scheduler. The thread must be one that may block.
    pub fn report(&self, events: Vec<RunEvent>) {
        self.shared.inbox().messages.extend(events.into_iter().map(Message::Event));
        self.shared.lead();
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

    /// Starts the thread: it runs `prepare`, settles what an unclean end left, and goes to work. Returns once that is
    /// settled, so that nobody is shown a run as running that is not.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn start(
        &self,
        mut scheduler: Scheduler,
        prepare: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<Scheduled> {
        let shared = Arc::clone(&self.shared);
        let (settled, is_settled) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::Builder::new().name("scheduler".to_owned()).spawn(move || {
            prepare();
            match scheduler.recover() {
                Ok(0) => {}
                Ok(runs) => {
                    tracing::warn!(runs, "the last server went down while runs were running; they were settled")
                }
                Err(error) => tracing::error!(%error, "runs of the last server could not be settled"),
            }
            drop(settled);
            *shared.scheduler.lock().unwrap_or_else(PoisonError::into_inner) = Some(scheduler);
            shared.serve();
        })?;
        // The thread says so by letting go of its end.
        let _ = is_settled.recv();
        Ok(Scheduled { thread })
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
