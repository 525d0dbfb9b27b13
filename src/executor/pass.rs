//! One job: a child that does one run, or several that differ in their steps, from empty folders to their endings.
//!
//! A run of a job of several is over as soon as its result line has come: it is reported then, with what had been printed
//! until then as its log, and what happens to the child later no longer concerns it. The longest one is judged by how
//! the child ends, as a run alone is. Knows commands and folders; not the store.

use super::admission::Ticket;
use super::custody::limits::size;
use super::local::Shared;
use super::process::{self, ChildEnd, ChildSpec, Control, Meter, OUT_OF_MEMORY, Order, Output};
use super::record::{LastWords, Record};
use super::sieve::Sieve;
use crate::domain::error::Code;
use crate::domain::ids::RunId;
use crate::domain::job::{Ending, JobRun, RunEvent};
use crate::trainer::command::Target;
use crate::trainer::output::{Outcome, OutputParser, Point, combine};
use crate::trainer::sharing::{JOB, JobEntry};
use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Reaches a job from other threads.
pub(super) struct JobControl {
    /// Its child.
    pub child: Control,
    cancelled: Mutex<HashSet<RunId>>,
}

impl JobControl {
    /// A control for one job.
    ///
    /// # Errors
    /// Where the system has no descriptors left.
    pub fn new() -> io::Result<Self> {
        Ok(Self { child: Control::new()?, cancelled: Mutex::default() })
    }

    /// Asks for one run to end. The child goes on for as long as another one needs it.
    pub fn cancel(&self, run: RunId) {
        self.cancelled.lock().unwrap_or_else(PoisonError::into_inner).insert(run);
        self.child.nudge();
    }

    fn is_cancelled(&self, run: RunId) -> bool {
        self.cancelled.lock().unwrap_or_else(PoisonError::into_inner).contains(&run)
    }
}

/// The report that a run is over.
pub(super) fn ended(run: &JobRun, ending: Ending, log: Option<Vec<u8>>) -> RunEvent {
    RunEvent::Ended { run: run.run, attempt: run.attempt, ending, log }
}

/// Carries out a job. Runs that end before it does are reported at once; returns the reports of the others.
pub(super) fn carry_out(pool: &Shared, mut runs: Vec<JobRun>, control: &JobControl, ticket: &Ticket) -> Vec<RunEvent> {
    runs.sort_by_key(|run| run.spec.parameters.steps);
    let version = runs.first().map(|run| run.spec.version);
    let Some(version) = version else { return Vec::new() };
    let view = match pool.views.open(version) {
        Ok(view) => view,
        Err(error) => {
            tracing::error!(%error, "no dataset folder");
            let is_full = error.code == Code::DiskFull;
            return runs.iter().map(|run| ended(run, unprepared(run, is_full, &error.message), None)).collect();
        }
    };
    let mut over = Vec::new();
    let mut live = Vec::with_capacity(runs.len());
    for run in runs {
        match pool.settings.folders.prepare(run.run) {
            Ok(folder) => {
                let record = Record::new(&pool.settings.folders, run.run, Arc::clone(&pool.settings.progress));
                live.push(Member { record, run, folder });
            }
            Err(error) => {
                let is_full = error.kind() == io::ErrorKind::StorageFull;
                let ending = unprepared(&run, is_full, &format!("the run's folder could not be made: {error}"));
                over.push(ended(&run, ending, None));
            }
        }
    }
    let mut pass = Pass {
        pool,
        control,
        ticket,
        shares: false,
        longest: 0,
        live,
        stdout: OutputParser::new(),
        stderr: OutputParser::new(),
        sieves: [Sieve::new(&pool.settings.secrets), Sieve::new(&pool.settings.secrets)],
        last_words: LastWords::default(),
    };
    // Orders may have come already.
    pass.drop_cancelled();
    (pass.shares, pass.longest) = (pass.live.len() > 1, pass.live.last().map_or(0, Member::steps));
    let mut images = view.folder.clone();
    // A trailing slash, as the contract's examples have it.
    images.push("");
    let end = match pass.child(images) {
        Ok(Some(spec)) => {
            process::run(&spec, &pool.custody, &control.child, &mut |which, bytes| pass.take(which, bytes))
        }
        Ok(None) => return over,
        Err(error) => ChildEnd::NotStarted(error),
    };
    over.extend(pass.finish(&end));
    over
}

/// How often a run that finds no room waits for some, before that is its end.
const MOST_WAITS: u32 = 5;

/// The end of a run that could not begin: on a full disk it goes back to the queue.
fn unprepared(run: &JobRun, is_full: bool, reason: &str) -> Ending {
    if is_full && run.attempt <= MOST_WAITS { Ending::Stopped } else { Ending::Failed(reason.to_owned()) }
}

/// A run whose ending is open.
struct Member {
    run: JobRun,
    folder: PathBuf,
    record: Record,
}

impl Member {
    fn steps(&self) -> u64 {
        self.run.spec.parameters.steps
    }

    /// Ends the files, makes durable what the run kept, and makes its report.
    fn end(self, pool: &Shared, ending: Ending) -> RunEvent {
        let folders = &pool.settings.folders;
        let log = self.record.finish(folders, self.run.run);
        let ending = match folders.sync(self.run.run) {
            Err(error) if matches!(ending, Ending::Succeeded { .. }) => {
                Ending::Failed(format!("what the run kept could not be written to the disk: {error}"))
            }
            _ => ending,
        };
        ended(&self.run, ending, log)
    }
}

/// A child at work and the runs that it still works for.
struct Pass<'a> {
    pool: &'a Shared,
    control: &'a JobControl,
    ticket: &'a Ticket,
    /// True for a job of several runs: result lines say whose they are.
    shares: bool,
    /// How many steps the child makes.
    longest: u64,
    /// The fewest steps first.
    live: Vec<Member>,
    stdout: OutputParser,
    stderr: OutputParser,
    /// For the log, of standard output and standard error.
    sieves: [Sieve; 2],
    last_words: LastWords,
}

impl Pass<'_> {
    /// What to start for the runs that are live; nothing where none is.
    fn child(&self, images: PathBuf) -> io::Result<Option<ChildSpec>> {
        let settings = &self.pool.settings;
        // What is told to one run alone is told of the longest.
        let Some(Member { run, folder, .. }) = self.live.last() else { return Ok(None) };
        let steps: Vec<u64> = self.live.iter().map(Member::steps).collect();
        let mut environment = settings.environment.for_run(run.run, &run.names, &run.spec, folder);
        if self.live.len() > 1 {
            let entries: Vec<JobEntry> = self.live.iter().map(entry).collect();
            // JSON has no path that is not UTF-8.
            environment.push((JOB.into(), serde_json::to_string(&entries)?.into()));
        }
        Ok(Some(ChildSpec {
            program: settings.train.program.clone(),
            arguments: settings.train.arguments_for_job(&run.spec.parameters, &steps, &Target::Images(images)),
            environment,
            folder: folder.clone(),
            timeout: self.timeout(),
            grace: settings.grace,
            limits: settings.limits,
        }))
    }

    /// How long the child may take; runs that share one have the same limit.
    fn timeout(&self) -> Duration {
        let most = self.pool.settings.timeout;
        let own = self.live.last().and_then(|member| member.run.spec.timeout_seconds);
        own.map_or(most, |seconds| Duration::from_secs(u64::from(seconds)).min(most))
    }

    /// Takes what the child printed; an empty piece says that it is no short one, or that a run was cancelled.
    fn take(&mut self, which: Output, bytes: &[u8]) {
        if bytes.is_empty() {
            self.live.iter_mut().for_each(|member| member.record.publish());
            self.drop_cancelled();
        } else if !self.shares {
            self.write(which, bytes);
        } else {
            for line in bytes.split_inclusive(|byte| *byte == b'\n') {
                self.write(which, line);
                if which == Output::Stdout && line.ends_with(b"\n") {
                    self.report_results();
                }
            }
        }
    }

    fn write(&mut self, which: Output, bytes: &[u8]) {
        let points = match which {
            Output::Stdout => self.stdout.feed(bytes),
            Output::Stderr => self.stderr.feed(bytes),
        };
        let [stdout, stderr] = &mut self.sieves;
        let readable = match which {
            Output::Stdout => stdout.sift(bytes),
            Output::Stderr => stderr.sift(bytes),
        };
        if which == Output::Stderr {
            self.last_words.hear(readable);
        }
        for member in &mut self.live {
            member.record.write(readable);
        }
        self.add(points);
    }

    /// Writes down what waited for more of a line.
    fn write_rest(&mut self) {
        let [stdout, stderr] = &mut self.sieves;
        let rest = [stdout.rest(), stderr.rest()];
        self.last_words.hear(rest[1]);
        for member in &mut self.live {
            rest.iter().for_each(|rest| member.record.write(rest));
        }
    }

    /// A point belongs to all runs that come as far as its step.
    fn add(&mut self, mut points: Vec<Point>) {
        // Whatever a run alone prints is its own.
        for member in self.live.iter_mut().rev() {
            if self.shares {
                points.retain(|point| point.step <= member.steps());
            }
            member.record.add(&points);
        }
    }

    /// Reports the runs whose result has come, all but the longest. Once the child is to end, none.
    fn report_results(&mut self) {
        let has_result = |member: &Member| {
            member.steps() < self.longest && self.stdout.outcome_for_steps(member.steps()) != Outcome::Nothing
        };
        if self.control.child.ordered().is_some() || !self.live.iter().any(has_result) {
            return;
        }
        let (over, live) = std::mem::take(&mut self.live).into_iter().partition(has_result);
        self.live = live;
        let over: Vec<Member> = over;
        for member in over {
            let ending = ending_of(self.stdout.outcome_for_steps(member.steps()));
            self.report(member, ending);
        }
        // What is left may have been cancelled, and then nobody needs the child any more.
        self.drop_cancelled();
    }

    /// Reports the runs that were cancelled for as long as another one is left; tells the child to end where none is.
    fn drop_cancelled(&mut self) {
        let is_cancelled = |member: &Member| self.control.is_cancelled(member.run.run);
        if self.live.iter().all(is_cancelled) {
            self.control.child.order(Order::Cancel);
            return;
        }
        let (cancelled, live) = std::mem::take(&mut self.live).into_iter().partition(is_cancelled);
        self.live = live;
        let cancelled: Vec<Member> = cancelled;
        for member in cancelled {
            self.report(member, Ending::Cancelled);
        }
    }

    fn report(&self, member: Member, ending: Ending) {
        self.pool.report(member.end(self.pool, ending));
    }

    /// The reports of the runs that were left when the child ended.
    fn finish(mut self, end: &ChildEnd) -> Vec<RunEvent> {
        self.write_rest();
        let (points, stdout) = std::mem::take(&mut self.stdout).finish();
        self.add(points);
        let (points, stderr) = std::mem::take(&mut self.stderr).finish();
        self.add(points);
        let why = self.failure(end);
        let (pool, shares, control) = (self.pool, self.shares, self.control);
        let alone = !self.ticket.had_company();
        let judged = self.live.into_iter().map(|member| {
            let ending = match (&why, end) {
                (_, ChildEnd::Ordered(Order::Stop)) if !control.is_cancelled(member.run.run) => Ending::Stopped,
                (_, ChildEnd::Ordered(_)) => Ending::Cancelled,
                (Some(reason), ChildEnd::OutOfMemory) => Ending::OutOfMemory { alone, reason: reason.clone() },
                (Some(reason), _) => Ending::Failed(reason.clone()),
                (None, _) if shares => match stdout.outcome_for_steps(member.steps()) {
                    Outcome::Nothing => Ending::Failed(format!(
                        "the trainer ended well, but printed no result for {} steps; submit the run again",
                        member.steps()
                    )),
                    outcome => ending_of(outcome),
                },
                (None, _) => ending_of(combine(&stdout, &stderr)),
            };
            member.end(pool, ending)
        });
        judged.collect()
    }

    /// Why whatever has no result has none, where the child's end says so.
    fn failure(&self, end: &ChildEnd) -> Option<String> {
        let settings = &self.pool.settings;
        match end {
            ChildEnd::TimedOut => Some(format!(
                "it took longer than {} s and was stopped; give it more time (timeout_seconds, jobs.timeout_seconds) or \
                 fewer steps",
                self.timeout().as_secs()
            )),
            ChildEnd::NotStarted(error) => {
                Some(format!("`{}` could not be started: {error}", settings.train.program.display()))
            }
            ChildEnd::OverLimit(breach) => Some(settings.limits.words(*breach)),
            ChildEnd::OutOfMemory => Some(out_of_memory(&self.control.child.meter)),
            ChildEnd::Ended(status) if !status.success() => {
                // What was killed had no last words.
                let words = status.code().and_then(|_| self.last_words.line());
                let status = process::describe(*status);
                let Some(words) = words else { return Some(status) };
                let hint = settings.limits.hint(&words).map(|hint| format!("; {hint}")).unwrap_or_default();
                Some(format!("{status}: {words}{hint}"))
            }
            ChildEnd::Ended(_) | ChildEnd::Ordered(_) => None,
        }
    }
}

/// Why a run failed that the kernel killed with nothing else to kill.
fn out_of_memory(meter: &Meter) -> String {
    let held = match meter.most() {
        0 => String::new(),
        most => format!(" when it held about {}", size(most)),
    };
    format!(
        "{OUT_OF_MEMORY}{held}, with no other run beside it; give it smaller batches or images, or a machine with more memory"
    )
}

fn entry(member: &Member) -> JobEntry {
    JobEntry { k: member.steps(), run: member.run.run.to_string(), folder: member.folder.clone() }
}

fn ending_of(outcome: Outcome) -> Ending {
    match outcome {
        Outcome::Result(result) => Ending::Succeeded { accuracy: result.accuracy, validation_loss: result.val_loss },
        other => Ending::Failed(other.failure_message().unwrap_or_default()),
    }
}
