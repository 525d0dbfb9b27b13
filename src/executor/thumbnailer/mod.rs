//! Small pictures by children: this same binary decodes, where a damaged or malicious file can harm nothing but itself.
//!
//! A child comes with the first question, is asked again while it is there, and goes when nothing was asked for a while.
//! It must not know pictures: pixels are the child's.

pub mod protocol;

use super::companion::{Companion, Patience, Silence};
use super::custody::{Custody, Limits};
use super::process::{ChildSpec, Control, Order};
use crate::domain::error::{Code, Error, Result};
use crate::domain::thumbnail::{PendingThumbnail, Thumbnail, Thumbnailer};
use crate::trainer::command::BaseEnvironment;
use protocol::Inbox;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// The subcommand that is the child.
pub const SUBCOMMAND: &str = "thumbnailer";

/// The most children at once.
pub const CHILDREN: usize = 2;

/// The most that wait for their turn; more are told to come again.
const MAX_WAITING: usize = 256;

/// After this long without a question a child is ended, so that an idle server is a small one.
const IDLE: Duration = Duration::from_secs(10);

/// How long one picture may take: the largest that is decoded takes two seconds, on a machine that has nothing else to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// How children are started.
pub struct Settings {
    /// This binary.
    pub own: PathBuf,
    /// What children are given.
    pub environment: BaseEnvironment,
    /// What one may take.
    pub limits: Limits,
}

/// Has children make small pictures.
pub struct ThumbnailChildren {
    shared: Arc<Shared>,
    turns: Arc<Semaphore>,
    places: Arc<Semaphore>,
}

struct Shared {
    settings: Settings,
    custody: Arc<Custody>,
    runtime: tokio::runtime::Handle,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Children without a question, and since when.
    idle: Vec<(Companion, Instant)>,
    /// What ends the questions that are asked.
    controls: Vec<Arc<Control>>,
    /// Whether somebody looks after those that are idle.
    is_tended: bool,
    stopping: bool,
}

impl ThumbnailChildren {
    /// Children whose threads are the blocking threads of `runtime`; none is started yet.
    pub fn new(settings: Settings, custody: Arc<Custody>, runtime: tokio::runtime::Handle) -> Self {
        Self {
            shared: Arc::new(Shared { settings, custody, runtime, state: Mutex::default() }),
            turns: Arc::new(Semaphore::new(CHILDREN)),
            places: Arc::new(Semaphore::new(CHILDREN + MAX_WAITING)),
        }
    }
}

impl Thumbnailer for ThumbnailChildren {
    fn make(&self, image: PathBuf) -> PendingThumbnail<'_> {
        Box::pin(async move {
            let _place = self.places.try_acquire().map_err(|_| crowded())?;
            let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(Error::internal)?;
            let shared = Arc::clone(&self.shared);
            // The threads of whoever asks are few, and this may take a while.
            let made = self.shared.runtime.spawn_blocking(move || {
                let _turn = turn;
                shared.make(&image)
            });
            made.await.map_err(Error::internal)?
        })
    }

    fn stop(&self) {
        let idle = {
            let mut state = self.shared.locked();
            state.stopping = true;
            state.controls.iter().for_each(|control| control.order(Order::Stop));
            std::mem::take(&mut state.idle)
        };
        drop(idle);
    }
}

fn crowded() -> Error {
    let message = "too many small pictures are being made already; try again in a moment";
    Error { retry_after: Some(1), ..Error::new(Code::TooMany, message) }
}

fn stopping() -> Error {
    Error::new(Code::Unavailable, "the server is stopping")
}

fn lost(silence: &Silence) -> Error {
    let why = match silence {
        Silence::Ordered => return stopping(),
        Silence::Died(why) => why.clone(),
        Silence::TimedOut => format!("it took longer than {} s", PATIENCE.as_secs()),
        Silence::Garbled(error) => error.to_string(),
    };
    tracing::warn!(%why, "a thumbnailer child was lost");
    Error::new(Code::Unavailable, format!("the small picture could not be made: {why}; look at the image itself"))
}

impl Shared {
    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks a child, and another one where that was gone already.
    fn make(self: &Arc<Self>, image: &Path) -> Result<Thumbnail> {
        let warm = self.locked().idle.pop();
        let warm = warm.map(|(child, _)| child).filter(|child| !child.is_gone());
        let mut child = warm.map_or_else(|| self.start(), Ok)?;
        let control = self.admit()?;
        let mut inbox = Inbox::default();
        let patience = Patience { limit: PATIENCE, renews: false };
        let end = child.ask(&protocol::question(image), patience, &control, &mut |bytes| inbox.feed(bytes));
        self.locked().controls.retain(|other| !Arc::ptr_eq(other, &control));
        match end {
            Ok(()) => {
                self.keep(child);
                inbox.answer().map_err(Error::internal)
            }
            Err(silence) => Err(lost(&silence)),
        }
    }

    fn admit(&self) -> Result<Arc<Control>> {
        let control = Arc::new(Control::new().map_err(Error::internal)?);
        let mut state = self.locked();
        if state.stopping {
            return Err(stopping());
        }
        state.controls.push(Arc::clone(&control));
        Ok(control)
    }

    fn start(&self) -> Result<Companion> {
        let spec = ChildSpec {
            program: self.settings.own.clone(),
            arguments: vec![SUBCOMMAND.into()],
            environment: self.settings.environment.for_helper(),
            folder: PathBuf::from("/"),
            timeout: PATIENCE,
            grace: Duration::ZERO,
            limits: self.settings.limits.for_helper(),
        };
        Companion::start(&spec, &self.custody).map_err(|error| {
            let message =
                "no small picture can be made: the process for it could not be started; try again in a moment";
            Error::new(Code::Unavailable, message).because(error)
        })
    }

    /// Keeps a child for the next question, for a while.
    fn keep(self: &Arc<Self>, child: Companion) {
        let mut state = self.locked();
        if state.stopping {
            drop(state);
            return drop(child);
        }
        state.idle.push((child, Instant::now()));
        if !std::mem::replace(&mut state.is_tended, true) {
            let shared = Arc::clone(self);
            self.runtime.spawn(async move { shared.tend().await });
        }
    }

    /// Ends children that were idle for long, until none is left.
    async fn tend(self: Arc<Self>) {
        loop {
            tokio::time::sleep(IDLE).await;
            let old: Vec<_> = {
                let mut state = self.locked();
                let old = state.idle.extract_if(.., |(_, since)| since.elapsed() >= IDLE).collect();
                if state.idle.is_empty() {
                    state.is_tended = false;
                }
                old
            };
            // A child is waited for when it is dropped. One that panics there has said so.
            let _ = tokio::task::spawn_blocking(move || drop(old)).await;
            if !self.locked().is_tended {
                return;
            }
        }
    }
}
