//! The pool: at most `concurrency` jobs at once, each on a thread of the runtime's bounded blocking pool.
//!
//! Takes jobs from the scheduler and reports back by message. Knows commands and folders; not the store.

use super::admission::{Admission, Ticket};
use super::custody::{Custody, Limits};
use super::pass::{self, JobControl};
use super::process::Order;
use super::run_folder::RunFolders;
use super::sieve::Secrets;
use super::view::Views;
use super::{EventSink, Executor};
use crate::blob::BlobStore;
use crate::domain::dataset::Manifests;
use crate::domain::ids::RunId;
use crate::domain::job::{Ending, Job, JobRun, Room, RunEvent};
use crate::domain::progress::Progress;
use crate::trainer::command::{BaseEnvironment, Command};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What every run has in common.
pub struct Settings {
    /// The train command.
    pub train: Command,
    /// What children are given.
    pub environment: BaseEnvironment,
    /// How long a run may take.
    pub timeout: Duration,
    /// How long it may take to end once told.
    pub grace: Duration,
    /// What it may take.
    pub limits: Limits,
    /// What its log does not show.
    pub secrets: Secrets,
    /// How many the machine has memory for.
    pub admission: Arc<Admission>,
    /// Where runs keep their files.
    pub folders: RunFolders,
    /// Where dataset folders are made.
    pub views: PathBuf,
    /// Who is told that a run's files have grown.
    pub progress: Arc<dyn Progress>,
}

/// The pool.
pub struct LocalPool {
    shared: Arc<Shared>,
    runtime: tokio::runtime::Handle,
}

/// What the slots' threads share.
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) views: Views,
    pub(super) custody: Arc<Custody>,
    sink: EventSink,
    running: Mutex<Running>,
}

#[derive(Default)]
struct Running {
    /// Where the job of a running run is reached; all runs of a job have the same.
    controls: HashMap<RunId, Arc<JobControl>>,
    stopping: bool,
    /// Slots' threads that report the end of their job, and will look for another one when that is done.
    reporting: usize,
    /// Jobs for them, never more than they are: it saves waking other threads.
    ready: VecDeque<Admitted>,
}

impl Running {
    /// Keeps a job for a thread that will come for it; gives it back where there is none.
    fn hand_over(&mut self, job: Admitted) -> Option<Admitted> {
        if self.ready.len() < self.reporting {
            self.ready.push_back(job);
            return None;
        }
        Some(job)
    }
}

impl LocalPool {
    /// A pool whose threads are the blocking threads of `runtime`.
    pub fn new(
        settings: Settings,
        manifests: Arc<dyn Manifests>,
        blobs: Arc<dyn BlobStore>,
        custody: Arc<Custody>,
        runtime: tokio::runtime::Handle,
        sink: EventSink,
    ) -> Self {
        let views = Views::new(settings.views.clone(), manifests, blobs);
        Self { shared: Arc::new(Shared { settings, views, custody, sink, running: Mutex::default() }), runtime }
    }
}

/// A job whose runs can be reached, though no thread may have it yet.
struct Admitted {
    runs: Vec<JobRun>,
    control: io::Result<Arc<JobControl>>,
    ticket: Ticket,
}

impl Executor for LocalPool {
    fn start(&self, job: Job) {
        // Orders that come before the thread is there are kept.
        let admitted = self.shared.admit(job);
        if let Some(admitted) = self.shared.locked().hand_over(admitted) {
            let shared = Arc::clone(&self.shared);
            self.runtime.spawn_blocking(move || shared.slot(admitted));
        }
    }

    fn room(&self, most: usize) -> Room {
        self.shared.settings.admission.room(most)
    }

    fn cancel(&self, run: RunId) {
        if let Some(control) = self.shared.locked().controls.get(&run) {
            control.cancel(run);
        }
    }

    fn stop(&self) {
        let mut running = self.shared.locked();
        running.stopping = true;
        running.controls.values().for_each(|control| control.child.order(Order::Stop));
    }
}

impl Shared {
    fn locked(&self) -> std::sync::MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admit(&self, job: Job) -> Admitted {
        let control = JobControl::new().map(Arc::new);
        if let Ok(control) = &control {
            let mut running = self.locked();
            if running.stopping {
                control.child.order(Order::Stop);
            }
            running.controls.extend(job.runs.iter().map(|run| (run.run, Arc::clone(control))));
        }
        let meter = control.as_ref().map(|control| Arc::clone(&control.child.meter)).unwrap_or_default();
        Admitted { runs: job.runs, control, ticket: self.settings.admission.enter(meter) }
    }

    /// A slot's thread: a job, and the one that follows it.
    fn slot(&self, first: Admitted) {
        let mut next = Some(first);
        while let Some(Admitted { runs, control, ticket }) = next {
            let mut events = match control {
                Ok(control) => pass::carry_out(self, runs, &control, &ticket),
                Err(error) => {
                    let ending = Ending::Failed(format!("the run could not be started: {error}"));
                    let ended = |run: JobRun| pass::ended(&run, ending.clone(), None);
                    runs.into_iter().map(ended).collect()
                }
            };
            self.forget(&events);
            // Whoever hears of the free slot may ask whether there is memory for the next job.
            drop(ticket);
            events.push(RunEvent::SlotFree);
            self.locked().reporting += 1;
            (self.sink)(events);
            let mut running = self.locked();
            running.reporting -= 1;
            next = running.ready.pop_front();
        }
    }

    /// Reports a run that is over while its job goes on.
    pub(super) fn report(&self, event: RunEvent) {
        let events = vec![event];
        self.forget(&events);
        (self.sink)(events);
    }

    /// What is over can no longer be cancelled.
    fn forget(&self, events: &[RunEvent]) {
        let mut running = self.locked();
        for event in events {
            if let RunEvent::Ended { run, .. } = event {
                running.controls.remove(run);
            }
        }
    }
}

#[cfg(test)]
mod tests;
