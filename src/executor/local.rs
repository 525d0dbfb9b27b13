//! The pool: at most `concurrency` jobs at once, each on a thread of the runtime's bounded blocking pool.
//!
//! Takes jobs from the scheduler and reports back by message. Knows commands and folders; not the store.

use super::guard::Guard;
use super::log::LogWriter;
use super::points::PointsWriter;
use super::process::{self, ChildEnd, ChildSpec, Control, Order, Output};
use super::run_folder::RunFolders;
use super::view::Views;
use super::{EventSink, Executor};
use crate::blob::BlobStore;
use crate::domain::dataset::Manifests;
use crate::domain::ids::RunId;
use crate::domain::job::{Ending, Job, JobRun, RunEvent};
use crate::domain::run_files::RunFiles;
use crate::trainer::command::{BaseEnvironment, Command, Target};
use crate::trainer::output::{Outcome, OutputParser, combine};
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
    /// Where runs keep their files.
    pub folders: RunFolders,
    /// Where dataset folders are made.
    pub views: PathBuf,
}

/// The pool.
pub struct LocalPool {
    shared: Arc<Shared>,
    runtime: tokio::runtime::Handle,
}

struct Shared {
    settings: Settings,
    views: Views,
    guard: Arc<Guard>,
    sink: EventSink,
    running: Mutex<Running>,
}

#[derive(Default)]
struct Running {
    controls: HashMap<RunId, Arc<Control>>,
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
        guard: Arc<Guard>,
        runtime: tokio::runtime::Handle,
        sink: EventSink,
    ) -> Self {
        let views = Views::new(settings.views.clone(), manifests, blobs);
        Self { shared: Arc::new(Shared { settings, views, guard, sink, running: Mutex::default() }), runtime }
    }
}

/// A job whose runs can be reached, though no thread may have it yet.
type Admitted = Vec<(JobRun, io::Result<Arc<Control>>)>;

impl Executor for LocalPool {
    fn start(&self, job: Job) {
        // Orders that come before the thread is there are kept.
        let admitted: Admitted = job.runs.into_iter().map(|run| (run.clone(), self.shared.admit(run.run))).collect();
        if let Some(admitted) = self.shared.locked().hand_over(admitted) {
            let shared = Arc::clone(&self.shared);
            self.runtime.spawn_blocking(move || shared.slot(admitted));
        }
    }

    fn cancel(&self, run: RunId) {
        if let Some(control) = self.shared.locked().controls.get(&run) {
            control.order(Order::Cancel);
        }
    }

    fn stop(&self) {
        let mut running = self.shared.locked();
        running.stopping = true;
        running.controls.values().for_each(|control| control.order(Order::Stop));
    }
}

impl Shared {
    fn locked(&self) -> std::sync::MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admit(&self, run: RunId) -> io::Result<Arc<Control>> {
        let control = Arc::new(Control::new()?);
        let mut running = self.locked();
        if running.stopping {
            control.order(Order::Stop);
        }
        running.controls.insert(run, Arc::clone(&control));
        Ok(control)
    }

    /// A slot's thread: a job, and the one that follows it.
    fn slot(&self, first: Admitted) {
        let mut next = Some(first);
        while let Some(job) = next {
            let mut events = Vec::with_capacity(job.len() + 1);
            let last = job.len().saturating_sub(1);
            for (number, (run, control)) in job.into_iter().enumerate() {
                let (ending, log) = match control {
                    Ok(control) => self.carry_out(&run, &control),
                    Err(error) => failed(format!("the run could not be started: {error}")),
                };
                self.locked().controls.remove(&run.run);
                events.push(RunEvent::Ended { run: run.run, attempt: run.attempt, ending, log });
                if number < last {
                    (self.sink)(std::mem::take(&mut events));
                }
            }
            events.push(RunEvent::SlotFree);
            self.locked().reporting += 1;
            (self.sink)(events);
            let mut running = self.locked();
            running.reporting -= 1;
            next = running.ready.pop_front();
        }
    }

    /// One attempt at one run, from the empty folder to its ending.
    fn carry_out(&self, run: &JobRun, control: &Control) -> (Ending, Option<Vec<u8>>) {
        let view = match self.views.open(run.spec.version) {
            Ok(view) => view,
            Err(error) => {
                tracing::error!(run = %run.run, %error, "no dataset folder");
                return failed(error.message);
            }
        };
        let folder = match self.settings.folders.prepare(run.run) {
            Ok(folder) => folder,
            Err(error) => return failed(format!("the run's folder could not be made: {error}")),
        };
        let mut images = view.folder.clone();
        // A trailing slash, as the contract's examples have it.
        images.push("");
        let spec = ChildSpec {
            program: self.settings.train.program.clone(),
            arguments: self.settings.train.arguments_for(&run.spec.parameters, &Target::Images(images)),
            environment: self.settings.environment.for_run(run.run, &run.names, &run.spec, &folder),
            folder,
            timeout: self.settings.timeout,
            grace: self.settings.grace,
        };
        let mut record = Record::new(&self.settings.folders, run.run);
        let end = process::run(&spec, &self.guard, control, &mut |which, bytes| record.take(which, bytes));
        let (outcome, log) = record.finish(&self.settings.folders, run.run);
        let ending = self.judge(end, outcome);
        let ending = match self.settings.folders.sync(run.run) {
            Ok(()) => ending,
            Err(error) if matches!(ending, Ending::Succeeded { .. }) => {
                Ending::Failed(format!("what the run kept could not be written to the disk: {error}"))
            }
            Err(_) => ending,
        };
        (ending, log)
    }

    fn judge(&self, end: ChildEnd, outcome: Outcome) -> Ending {
        match end {
            ChildEnd::Ordered(Order::Cancel) => Ending::Cancelled,
            ChildEnd::Ordered(Order::Stop) => Ending::Stopped,
            ChildEnd::TimedOut => Ending::Failed(format!(
                "it took longer than {} s and was stopped; raise jobs.timeout_seconds, or give it fewer steps",
                self.settings.timeout.as_secs()
            )),
            ChildEnd::NotStarted(error) => {
                Ending::Failed(format!("`{}` could not be started: {error}", self.settings.train.program.display()))
            }
            ChildEnd::Ended(status) if !status.success() => Ending::Failed(process::describe(status)),
            ChildEnd::Ended(_) => match outcome {
                Outcome::Result(result) => {
                    Ending::Succeeded { accuracy: result.accuracy, validation_loss: result.val_loss }
                }
                other => Ending::Failed(other.failure_message().unwrap_or_default()),
            },
        }
    }
}

fn failed(reason: String) -> (Ending, Option<Vec<u8>>) {
    (Ending::Failed(reason), None)
}

/// What a child prints, on its way into the log, the points and the result.
struct Record {
    log: Option<LogWriter>,
    points: Option<PointsWriter>,
    stdout: OutputParser,
    stderr: OutputParser,
}

impl Record {
    fn new(folders: &RunFolders, run: RunId) -> Self {
        Self {
            log: Some(LogWriter::new(folders.log(run))),
            points: Some(PointsWriter::new(folders.points(run))),
            stdout: OutputParser::new(),
            stderr: OutputParser::new(),
        }
    }

    fn take(&mut self, which: Output, bytes: &[u8]) {
        if bytes.is_empty() {
            keep(&mut self.log, LogWriter::publish);
            return;
        }
        keep(&mut self.log, |log| log.write(bytes));
        let points = match which {
            Output::Stdout => self.stdout.feed(bytes),
            Output::Stderr => self.stderr.feed(bytes),
        };
        if !points.is_empty() {
            keep(&mut self.points, |file| file.write(&points));
        }
    }

    /// Ends the files and makes them durable: a run that has a result has its log.
    fn finish(mut self, folders: &RunFolders, run: RunId) -> (Outcome, Option<Vec<u8>>) {
        let (last, stdout) = self.stdout.finish();
        let (more, stderr) = self.stderr.finish();
        let points = [last, more].concat();
        if !points.is_empty() {
            keep(&mut self.points, |file| file.write(&points));
        }
        let log = match self.log.take().map(LogWriter::finish) {
            Some(Ok(small)) => small,
            Some(Err(error)) => {
                tracing::warn!(%run, %error, "the end of a log could not be written");
                None
            }
            None => None,
        };
        let has_files = log.is_none() || self.points.is_some_and(|points| points.has_file());
        if has_files && let Err(error) = folders.sync_records(run) {
            tracing::warn!(%run, %error, "a log may be lost if the power fails now");
        }
        (combine(&stdout, &stderr), log)
    }
}

/// Writes until the first failure: a disk without room costs the log, not the run.
fn keep<W>(writer: &mut Option<W>, write: impl FnOnce(&mut W) -> io::Result<()>) {
    if let Some(Err(error)) = writer.as_mut().map(write) {
        tracing::warn!(%error, "a run's output is no longer kept");
        *writer = None;
    }
}
