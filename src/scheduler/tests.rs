//! The scheduler, stepped: whatever happens in whatever order, and wherever the plug is pulled, no run is lost, none has
//! two results, and no more run at once than may.

use super::{Message, Parts, Point, Probe, Scheduler, Step};
use crate::domain::account::Actor;
use crate::domain::dataset::{Dataset, DatasetVersion, Digest, VersionNumber};
use crate::domain::experiment::{Experiment, HyperParameters};
use crate::domain::ids::{DatasetId, ExperimentId, ModelId, RunId};
use crate::domain::job::{Ending, Job, JobRun, MemoryWait, NoSharing, Room, RunEvent, Sharing};
use crate::domain::model::{Description, Model};
use crate::domain::name::Name;
use crate::domain::run::{MAX_CRASHES, Outcome, Run, RunSpec, RunState};
use crate::domain::stamp::{Clock, Stamp, Timestamp};
use crate::executor::Executor;
use crate::store::{Options, Store, datasets, experiments, models, results, runs};
use proptest::prelude::*;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

const SLOTS: usize = 2;

const WAIT: MemoryWait = MemoryWait { needed_bytes: 300, available_bytes: 200 };

#[derive(Default)]
struct Turnable(AtomicU64);

impl Clock for Turnable {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

/// Remembers what it was given; a test says when it ends.
#[derive(Default)]
struct Paper {
    running: Mutex<Vec<Job>>,
    starts: Mutex<HashMap<RunId, usize>>,
    cancelled: Mutex<Vec<RunId>>,
    /// How many more jobs there is memory for; any number unless set.
    room: Mutex<Option<usize>>,
}

impl Executor for Paper {
    fn start(&self, job: Job) {
        for run in &job.runs {
            *self.starts.lock().unwrap().entry(run.run).or_default() += 1;
        }
        self.running.lock().unwrap().push(job);
    }

    fn room(&self, most: usize) -> Room {
        let Some(jobs) = *self.room.lock().unwrap() else { return Room::ANY };
        Room { jobs, wait: (jobs < most).then_some(WAIT) }
    }

    fn cancel(&self, run: RunId) {
        self.cancelled.lock().unwrap().push(run);
    }

    fn stop(&self) {}
}

/// As the built-in trainer does: runs of a model that differ in their steps, at most three.
struct Threes;

impl Sharing for Threes {
    fn most(&self) -> usize {
        3
    }

    fn can_share(&self, first: &RunSpec, other: &RunSpec) -> bool {
        first.version == other.version && first.parameters.steps != other.parameters.steps
    }
}

/// A server in miniature: a store on the disk, a scheduler, an executor of paper.
struct Bench {
    folder: tempfile::TempDir,
    clock: Arc<Turnable>,
    store: Option<Store>,
    scheduler: Option<Scheduler>,
    executor: Arc<Paper>,
    sharing: Arc<dyn Sharing>,
    starts: HashMap<RunId, usize>,
}

fn open(folder: &Path) -> Store {
    Store::open(folder, Options { cache_bytes: 1 << 20, min_free_bytes: 0, ..Options::default() }).unwrap()
}

impl Bench {
    fn new() -> Self {
        Self::with(Arc::new(NoSharing))
    }

    fn with(sharing: Arc<dyn Sharing>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        let clock = Arc::new(Turnable(AtomicU64::new(1_000)));
        let mut bench = Self {
            folder,
            clock,
            store: Some(store),
            scheduler: None,
            executor: Arc::default(),
            sharing,
            starts: HashMap::new(),
        };
        bench.boot(None);
        bench
    }

    /// The store, once everything that was written shows.
    fn store(&self) -> &Store {
        let store = self.store.as_ref().unwrap();
        store.settle(|_| Ok(())).wait().unwrap();
        store
    }

    fn boot(&mut self, probe: Option<Probe>) {
        self.executor = Arc::default();
        let parts = Parts {
            store: self.store().clone(),
            executor: Arc::clone(&self.executor) as Arc<dyn Executor>,
            sharing: Arc::clone(&self.sharing),
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            concurrency: SLOTS,
        };
        let mut scheduler = Scheduler::new(parts, probe);
        scheduler.recover().unwrap();
        self.scheduler = Some(scheduler);
    }

    /// The server dies here; another one takes the folder over.
    fn crash_and_boot(&mut self) {
        for (run, count) in self.executor.starts.lock().unwrap().drain() {
            *self.starts.entry(run).or_default() += count;
        }
        self.scheduler = None;
        self.store.take().unwrap().close();
        self.store = Some(open(self.folder.path()));
        self.boot(None);
    }

    fn submit(&self, model: u64) -> RunId {
        self.submit_steps(model, 1)
    }

    fn submit_steps(&self, model: u64, steps: u64) -> RunId {
        let store = self.store();
        store.write(move |tx| submit(tx, model, steps)).wait().unwrap()
    }

    fn tick(&mut self, messages: Vec<Message>) -> Step {
        self.scheduler.as_mut().unwrap().tick(messages).unwrap()
    }

    /// The job that has run for longest ends so, with all its runs.
    fn end_one(&mut self, ending: Ending) -> Option<Step> {
        let job = {
            let mut running = self.executor.running.lock().unwrap();
            if running.is_empty() {
                return None;
            }
            running.remove(0)
        };
        let mut messages: Vec<Message> = job.runs.iter().map(|run| report(run, ending.clone())).collect();
        messages.push(Message::Event(RunEvent::SlotFree));
        Some(self.tick(messages))
    }

    /// The first run of the job that has run for longest ends so; the job goes on with the others, if there are any.
    fn end_first_of_one(&mut self, ending: Ending) -> Option<Step> {
        let first = {
            let mut running = self.executor.running.lock().unwrap();
            running.first_mut().filter(|job| job.runs.len() > 1).map(|job| job.runs.remove(0))
        };
        first.map(|run| self.tick(vec![report(&run, ending)]))
    }

    /// The runs of each job, in the order in which they were started.
    fn jobs(&self) -> Vec<Vec<RunId>> {
        let running = self.executor.running.lock().unwrap();
        running.iter().map(|job| job.runs.iter().map(|run| run.run).collect()).collect()
    }

    fn running(&self) -> usize {
        self.executor.running.lock().unwrap().len()
    }

    fn run(&self, id: RunId) -> Run {
        runs::get(self.store(), id).unwrap().unwrap()
    }

    fn check(&self, all: &[RunId]) {
        assert!(self.running() <= SLOTS);
        let states: Vec<_> = all.iter().map(|id| self.run(*id).state).collect();
        let count = |name: &str| states.iter().filter(|state| state.name() == name).count() as u64;
        assert_eq!(runs::queued(self.store()).unwrap(), count("queued"), "the queue's length is what waits");
        assert_eq!(runs::running(self.store()).unwrap(), count("running"));
        assert_eq!(runs::leased(self.store()).unwrap().len() as u64, count("running"));
    }
}

fn report(run: &JobRun, ending: Ending) -> Message {
    Message::Event(RunEvent::Ended { run: run.run, attempt: run.attempt, ending, log: Some(b"ok".to_vec()) })
}

/// Makes a run of a model of its own experiment, so that every run has its own result.
fn submit(tx: &mut crate::store::Tx<'_>, model: u64, steps: u64) -> crate::domain::error::Result<RunId> {
    let stamp = Stamp::new(Actor::LOCAL, Timestamp(1));
    let (model_id, dataset_id) = (ModelId(model), DatasetId(model + 100));
    let mut model = models::get(tx, model_id)?.unwrap_or(Model {
        id: model_id,
        stamp: stamp.clone(),
        name: Name::parse("m", &format!("m{model}"))?,
        all_images: dataset_id,
        description: Description::default(),
        experiments: 0,
    });
    let experiment = ExperimentId(tx.next_id()?);
    let parameters = HyperParameters::parse("0.1", "1", &steps.to_string())?;
    let ordinal = model.experiments;
    model.experiments += 1;
    let name = Name::parse("e", &format!("e{}", experiment.0))?;
    let stamp2 = stamp.clone();
    experiments::put(
        tx,
        &Experiment { id: experiment, stamp: stamp2, model: model_id, name, ordinal, is_default: false, parameters },
    )?;
    models::put(tx, &model)?;
    let dataset = Dataset {
        id: dataset_id,
        stamp: stamp.clone(),
        model: model_id,
        name: None,
        base: None,
        head: VersionNumber(1),
        images: 1,
        labelled: 1,
        digest: Digest(1),
    };
    datasets::put(tx, &dataset)?;
    let version = DatasetVersion { dataset: dataset_id, number: VersionNumber(1) };
    let id = RunId(tx.next_id()?);
    let run = Run {
        id,
        stamp,
        spec: RunSpec { model: model_id, experiment, version, parameters, seed: 1, timeout_seconds: None },
        sweep: None,
        priority: 0,
        attempts: 0,
        crashes: 0,
        first_started_at: None,
        last_started_at: None,
        state: RunState::Queued,
    };
    runs::put(tx, None, &run)?;
    Ok(id)
}

fn success() -> Ending {
    Ending::Succeeded { accuracy: "0.5".parse().unwrap(), validation_loss: None }
}

#[test]
fn models_take_turns_and_each_goes_in_order() {
    let mut bench = Bench::new();
    let first: Vec<RunId> = (0..4).map(|_| bench.submit(1)).collect();
    let other = bench.submit(2);
    bench.tick(vec![Message::Wake]);
    let mut order: Vec<RunId> = bench.executor.running.lock().unwrap().iter().map(|job| job.runs[0].run).collect();
    while let Some(Step::Done) = bench.end_one(success()) {
        let running = bench.executor.running.lock().unwrap();
        order.extend(running.iter().map(|job| job.runs[0].run).filter(|run| !order.contains(run)).collect::<Vec<_>>());
    }
    assert_eq!(order, [first[0], other, first[1], first[2], first[3]]);
}

#[test]
fn a_cancelled_run_ends_so_and_frees_its_slot() {
    let mut bench = Bench::new();
    let all: Vec<RunId> = (0..4).map(|_| bench.submit(1)).collect();
    bench.tick(vec![Message::Wake]);
    let (running, waiting) = (all[0], all[3]);
    let mut answers = Vec::new();
    for run in [running, waiting] {
        let (answer, answered) = tokio::sync::oneshot::channel();
        bench.tick(vec![Message::Cancel { run, actor: Actor::LOCAL, answer }]);
        answers.push(answered.blocking_recv().unwrap());
    }
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(*bench.executor.cancelled.lock().unwrap(), [running]);
    assert_eq!(bench.run(waiting).state.name(), "cancelled");
    bench.end_one(Ending::Cancelled);
    assert_eq!(bench.run(running).state.name(), "cancelled");
    assert_eq!(bench.running(), SLOTS, "the next one took the slot");
    let (answer, answered) = tokio::sync::oneshot::channel();
    bench.tick(vec![Message::Cancel { run: waiting, actor: Actor::LOCAL, answer }]);
    assert!(answered.blocking_recv().unwrap().is_err(), "it is over");
}

#[test]
fn an_orderly_stop_costs_no_crash_and_drains() {
    let mut bench = Bench::new();
    let run = bench.submit(1);
    bench.tick(vec![Message::Wake]);
    bench.tick(vec![Message::Stop]);
    assert!(!bench.scheduler.as_ref().unwrap().is_drained());
    bench.end_one(Ending::Stopped);
    assert!(bench.scheduler.as_ref().unwrap().is_drained());
    let after = bench.run(run);
    assert_eq!((after.state, after.crashes, after.attempts), (RunState::Queued, 0, 1));
}

#[test]
fn a_run_that_takes_the_server_down_is_held_responsible_alone() {
    let mut bench = Bench::new();
    let (bad, innocent) = (bench.submit(1), bench.submit(2));
    bench.tick(vec![Message::Wake]);
    assert_eq!(bench.running(), 2, "nothing is suspected yet");
    bench.crash_and_boot();
    bench.tick(vec![Message::Wake]);
    bench.crash_and_boot();
    // Both were there twice: from now on each runs alone, and not before the server has stayed up for a while.
    bench.tick(vec![Message::Wake]);
    assert_eq!(bench.running(), 0);
    assert!(bench.scheduler.as_ref().unwrap().look_again_in_ms().is_some());
    bench.clock.0.fetch_add(super::SUSPECT_DELAY_MS, Ordering::Relaxed);
    bench.tick(vec![Message::Wake]);
    assert_eq!(bench.running(), 1);
    bench.crash_and_boot();
    assert!(matches!(bench.run(bad).state, RunState::Done { outcome: Outcome::Failed { .. }, .. }));
    bench.clock.0.fetch_add(super::SUSPECT_DELAY_MS, Ordering::Relaxed);
    bench.tick(vec![Message::Wake]);
    bench.end_one(success());
    assert_eq!(bench.run(innocent).state.name(), "succeeded");
    bench.crash_and_boot();
    assert_eq!(bench.starts[&bad], MAX_CRASHES as usize);
}

#[test]
fn a_job_takes_all_that_can_share_it_and_a_turn_is_a_job() {
    let mut bench = Bench::with(Arc::new(Threes));
    let sweep: Vec<RunId> = [1, 2, 4, 1, 2, 4, 8].into_iter().map(|steps| bench.submit_steps(1, steps)).collect();
    let other = bench.submit_steps(2, 1);
    bench.tick(vec![Message::Wake]);
    // Steps are told apart by their number, so the second run of 1 step is in another job.
    assert_eq!(bench.jobs(), [vec![sweep[0], sweep[1], sweep[2]], vec![other]]);
    bench.end_one(success());
    assert_eq!(bench.jobs(), [vec![other], vec![sweep[3], sweep[4], sweep[5]]], "models take turns");
    // A run that is over while its job goes on frees no slot.
    bench.end_one(success());
    assert_eq!(bench.jobs(), [vec![sweep[3], sweep[4], sweep[5]], vec![sweep[6]]]);
    let waiting = bench.submit_steps(1, 1);
    bench.end_first_of_one(success());
    assert_eq!(bench.run(sweep[3]).state.name(), "succeeded");
    assert_eq!((bench.run(sweep[4]).state.name(), bench.run(waiting).state.name()), ("running", "queued"));
    bench.crash_and_boot();
    assert_eq!(bench.run(sweep[3]).state.name(), "succeeded");
    bench.tick(vec![Message::Wake]);
    assert_eq!(bench.jobs(), [vec![sweep[4], sweep[5], sweep[6]], vec![waiting]], "what is left is grouped anew");
}

#[test]
fn suspects_share_nothing() {
    let mut bench = Bench::with(Arc::new(Threes));
    let runs: Vec<RunId> = (1..=3).map(|steps| bench.submit_steps(1, steps)).collect();
    bench.tick(vec![Message::Wake]);
    for _ in 0..2 {
        assert_eq!(bench.jobs(), std::slice::from_ref(&runs));
        bench.crash_and_boot();
        bench.tick(vec![Message::Wake]);
    }
    assert_eq!(bench.running(), 0);
    bench.clock.0.fetch_add(super::SUSPECT_DELAY_MS, Ordering::Relaxed);
    bench.tick(vec![Message::Wake]);
    for run in runs {
        assert_eq!(bench.jobs(), [vec![run]]);
        bench.end_one(success());
    }
}

#[test]
fn a_claim_looks_at_a_bounded_number_of_runs() {
    let mut bench = Bench::with(Arc::new(Threes));
    let first = bench.submit_steps(1, 1);
    let alike: Vec<RunId> = (0..20).map(|_| bench.submit_steps(1, 1)).collect();
    let far = bench.submit_steps(1, 2);
    bench.tick(vec![Message::Wake]);
    assert_eq!(bench.jobs(), [vec![first], vec![alike[0]]]);
    assert_eq!(bench.run(far).state.name(), "queued");
}

#[test]
fn without_memory_jobs_go_one_by_one_and_none_waits_for_ever() {
    let mut bench = Bench::new();
    *bench.executor.room.lock().unwrap() = Some(0);
    let all: Vec<RunId> = (0..3).map(|_| bench.submit(1)).collect();
    let waits = |bench: &Bench| bench.scheduler.as_ref().unwrap().waits_for_memory();
    bench.tick(vec![Message::Wake]);
    assert_eq!(bench.jobs(), [vec![all[0]]]);
    assert_eq!(waits(&bench), Some(WAIT));
    assert!(bench.scheduler.as_ref().unwrap().look_again_in_ms().is_some());
    bench.tick(vec![Message::Wake]);
    assert_eq!(bench.running(), 1);
    // Memory comes, though nothing ended.
    *bench.executor.room.lock().unwrap() = Some(1);
    bench.tick(Vec::new());
    assert_eq!((bench.running(), waits(&bench)), (2, None));
    *bench.executor.room.lock().unwrap() = Some(0);
    bench.end_one(success());
    assert_eq!((bench.running(), waits(&bench)), (1, Some(WAIT)));
    bench.end_one(success());
    assert_eq!((bench.running(), waits(&bench)), (1, None), "nothing else waits");
    bench.check(&all);
}

#[test]
fn what_the_kernel_killed_beside_others_runs_again_alone() {
    let mut bench = Bench::with(Arc::new(Threes));
    let starved = |alone| Ending::OutOfMemory { alone, reason: "too much".to_owned() };
    let runs: Vec<RunId> = (1..=3).map(|steps| bench.submit_steps(1, steps)).collect();
    let other = bench.submit(2);
    bench.tick(vec![Message::Wake]);
    bench.end_one(starved(false));
    assert_eq!(bench.jobs(), [vec![other]], "not before what runs has ended, and not right after the start");
    bench.end_one(success());
    bench.clock.0.fetch_add(super::SUSPECT_DELAY_MS, Ordering::Relaxed);
    bench.tick(vec![Message::Wake]);
    for (run, ending) in runs.into_iter().zip([success(), starved(true), starved(false)]) {
        assert_eq!(bench.jobs(), [vec![run]]);
        let failed = ending != success();
        bench.end_one(ending);
        assert_eq!(bench.run(run).state.name(), if failed { "failed" } else { "succeeded" });
        assert_eq!(bench.run(run).attempts, 2);
    }
}

#[derive(Debug, Clone)]
enum Happening {
    Submit(u64, u64),
    End(u8),
    EndFirst(u8),
    Cancel(usize),
    Stale(usize),
    Wait,
    Crash,
    CrashAt(u8),
    Room(Option<usize>),
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let one = prop_oneof![
        4 => (1u64..4, 1u64..4).prop_map(|(model, steps)| Happening::Submit(model, steps)),
        6 => (0u8..5).prop_map(Happening::End),
        2 => (0u8..5).prop_map(Happening::EndFirst),
        2 => prop::option::of(0usize..3).prop_map(Happening::Room),
        1 => (0usize..20).prop_map(Happening::Cancel),
        1 => (0usize..20).prop_map(Happening::Stale),
        2 => Just(Happening::Wait),
        1 => Just(Happening::Crash),
        2 => (0u8..3).prop_map(Happening::CrashAt),
    ];
    proptest::collection::vec(one, 1..40)
}

fn ending(kind: u8) -> Ending {
    match kind {
        0 => success(),
        1 => Ending::Failed("no accuracy".to_owned()),
        3 => Ending::OutOfMemory { alone: true, reason: "too much".to_owned() },
        4 => Ending::OutOfMemory { alone: false, reason: "too much".to_owned() },
        _ => success(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if std::env::var_os("TRAINYARD_LONG").is_some() { 1000 } else { 32 }))]
    #[test]
    fn whatever_happens_no_run_is_lost(happenings in happenings(), shares in any::<bool>()) {
        let mut bench = if shares { Bench::with(Arc::new(Threes)) } else { Bench::new() };
        let mut all: Vec<RunId> = Vec::new();
        let mut shown: BTreeMap<RunId, String> = BTreeMap::new();
        for happening in happenings {
            match happening {
                Happening::Submit(model, steps) => {
                    all.push(bench.submit_steps(model, steps));
                    bench.tick(vec![Message::Wake]);
                }
                Happening::End(kind) => { bench.end_one(ending(kind)); }
                Happening::EndFirst(kind) => { bench.end_first_of_one(ending(kind)); }
                Happening::Wait => {
                    bench.clock.0.fetch_add(super::SUSPECT_DELAY_MS, Ordering::Relaxed);
                    bench.tick(vec![Message::Wake]);
                }
                Happening::Cancel(at) => {
                    if let Some(run) = all.get(at).copied() {
                        let (answer, _) = tokio::sync::oneshot::channel();
                        bench.tick(vec![Message::Cancel { run, actor: Actor::LOCAL, answer }]);
                    }
                }
                Happening::Stale(at) => {
                    // A worker of an attempt long gone reports.
                    if let Some(run) = all.get(at).copied() {
                        let attempt = bench.run(run).attempts + 7;
                        let before = bench.run(run);
                        bench.tick(vec![Message::Event(RunEvent::Ended { run, attempt, ending: success(), log: None })]);
                        let after = bench.run(run);
                        prop_assert!(after == before || before.state == RunState::Queued);
                    }
                }
                Happening::Room(room) => {
                    *bench.executor.room.lock().unwrap() = room;
                    bench.tick(vec![Message::Wake]);
                    let waiting = runs::queued(bench.store()).unwrap();
                    let look = bench.scheduler.as_ref().unwrap().look_again_in_ms();
                    prop_assert!(waiting == 0 || bench.running() > 0 || look.is_some(), "something is always under way");
                }
                Happening::Crash => bench.crash_and_boot(),
                Happening::CrashAt(point) => {
                    let point = [Point::BeforeCommit, Point::AfterCommit, Point::AfterDispatch][usize::from(point)];
                    bench.scheduler.as_mut().unwrap().probe = Box::new(move |at| at == point);
                    if bench.end_one(success()).is_none() {
                        bench.tick(vec![Message::Wake]);
                    }
                    bench.crash_and_boot();
                }
            }
            bench.check(&all);
            for (run, state) in &shown {
                prop_assert_eq!(bench.run(*run).state.name(), state, "what was over stays as it ended");
            }
            for run in &all {
                let found = bench.run(*run);
                if matches!(found.state, RunState::Done { .. }) {
                    shown.insert(*run, found.state.name().to_owned());
                }
            }
        }
        // Left alone, everything that waits comes to its end.
        for _ in 0..all.len() * 4 + 4 {
            bench.clock.0.fetch_add(super::SUSPECT_DELAY_MS, Ordering::Relaxed);
            bench.tick(vec![Message::Wake]);
            while bench.end_one(success()).is_some() {}
        }
        for run in &all {
            let found = bench.run(*run);
            prop_assert!(matches!(found.state, RunState::Done { .. }), "{:?}", found);
            let result = results::get(bench.store(), found.spec.experiment, found.spec.version.dataset).unwrap();
            prop_assert_eq!(result.is_some(), found.state.name() == "succeeded");
        }
    }
}
