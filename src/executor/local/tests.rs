//! Jobs of several runs, carried out by scripts that print what a trainer might: each run ends by itself and rightly.

use super::*;
use crate::blob::LocalBlobs;
use crate::domain::dataset::{DatasetVersion, ManifestCursor, ManifestPage};
use crate::domain::error::Result;
use crate::domain::job::RunNames;
use crate::domain::progress::Unwatched;
use crate::domain::run::tests::a_run;
use crate::domain::run_files::RunFiles;
use crate::executor::custody::limits::tests::AMPLE;
use crate::executor::guard::Guard;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::fs::{self, OpenOptions};
use std::sync::mpsc::{Receiver, channel};

/// Longer than anything takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);

/// Datasets without images.
struct Empty;

impl Manifests for Empty {
    fn page(&self, _: DatasetVersion, _: Option<ManifestCursor>, _: usize) -> Result<ManifestPage> {
        Ok(ManifestPage { entries: Vec::new(), next: None })
    }
}

/// A pool whose train command is a script, and what it reports.
struct Bench {
    folder: tempfile::TempDir,
    pool: LocalPool,
    reports: Receiver<RunEvent>,
    _runtime: tokio::runtime::Runtime,
}

impl Bench {
    /// Scripts know the folder as `$BENCH`, and `$steps` are the step counts that they are told.
    fn new(script: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["runs", "logs", "views", "blobs", "tmp"] {
            fs::create_dir(path(name)).unwrap();
        }
        let script = format!("BENCH='{}'; steps=$6\n{script}\n", folder.path().display());
        fs::write(path("train.sh"), script).unwrap();
        let settings = Settings {
            train: Command { program: "/bin/sh".into(), arguments: vec![path("train.sh").into()] },
            environment: BaseEnvironment::new(|_| None, &[], 1, "bench"),
            timeout: DEADLINE,
            grace: Duration::from_secs(5),
            limits: AMPLE,
            secrets: Secrets::new(&[b"hunter2-hunter2".to_vec()]),
            admission: Arc::new(Admission::new(Box::new(|| None), 1, 1)),
            folders: RunFolders::new(path("runs"), path("logs")),
            views: path("views"),
            progress: Arc::new(Unwatched),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let (send, reports) = channel();
        let sink: EventSink = Arc::new(move |events| events.into_iter().for_each(|event| send.send(event).unwrap()));
        let blobs = Arc::new(LocalBlobs::open(path("blobs"), path("tmp")).unwrap());
        // Nothing here outlives its pool, so the guard has nothing to do.
        let guard = Arc::new(Guard::start("/bin/true".into(), "bench".into(), None).unwrap());
        let custody = Arc::new(Custody::new(guard, None));
        let pool = LocalPool::new(settings, Arc::new(Empty), blobs, custody, runtime.handle().clone(), sink);
        Self { folder, pool, reports, _runtime: runtime }
    }

    /// Starts a job whose runs have those steps, which are their ids too.
    fn start(&self, steps: &[u64]) {
        let run = |steps: &u64| {
            let mut spec = a_run().spec;
            spec.parameters.steps = *steps;
            JobRun { run: RunId(*steps), attempt: 1, spec, names: RunNames::default() }
        };
        self.pool.start(Job { runs: steps.iter().map(run).collect() });
    }

    /// The next report: steps and ending, `None` for a free slot.
    fn next(&self) -> Option<(u64, Ending, String)> {
        match self.reports.recv_timeout(DEADLINE).unwrap() {
            RunEvent::SlotFree => None,
            RunEvent::Ended { run, attempt, ending, log } => {
                assert_eq!(attempt, 1);
                let folders = &self.pool.shared.settings.folders;
                let log = log.unwrap_or_else(|| fs::read(folders.log(run)).unwrap_or_default());
                Some((run.0, ending, String::from_utf8(log).unwrap()))
            }
        }
    }

    /// All reports up to the free slot.
    fn all(&self) -> Vec<(u64, Ending, String)> {
        std::iter::from_fn(|| self.next()).collect()
    }

    /// All endings up to the free slot, in words.
    fn endings(&self) -> Vec<(u64, String)> {
        self.all().into_iter().map(|(steps, ending, _)| (steps, words(&ending))).collect()
    }

    fn points(&self, steps: u64) -> usize {
        let file = self.pool.shared.settings.folders.points(RunId(steps));
        fs::read_to_string(file).unwrap_or_default().lines().count()
    }

    /// A pipe that scripts wait at.
    fn gate(&self, name: &str) {
        mknodat(CWD, self.folder.path().join(name), FileType::Fifo, Mode::from(0o600), 0).unwrap();
    }

    /// Lets those who wait at it through; waits for them.
    fn open(&self, name: &str) {
        drop(OpenOptions::new().write(true).open(self.folder.path().join(name)).unwrap());
    }
}

fn words(ending: &Ending) -> String {
    match ending {
        Ending::Succeeded { accuracy, .. } => accuracy.text().to_owned(),
        Ending::Failed(reason) => reason.clone(),
        other => format!("{other:?}"),
    }
}

#[test]
fn each_run_has_its_own_result_log_and_points() {
    let bench = Bench::new(
        "echo '{\"step\":5,\"loss\":1}'; echo \"$steps\"; echo \"$TRAINYARD_JOB\" > \"$BENCH/job\"\n\
         echo '{\"step\":10,\"loss\":1}\n{\"k\":10,\"accuracy\":0.1,\"val_loss\":2.5}\n{\"step\":15,\"loss\":1}'\n\
         echo '{\"k\":99,\"accuracy\":0.9}'; echo '{\"k\":30,\"accuracy\":0.3}'; echo '{\"k\":20,\"accuracy\":0.2}'\n\
         echo '{\"step\":30,\"loss\":1}'; echo bye",
    );
    bench.start(&[30, 10, 20]);
    let reports = bench.all();
    let short: Vec<(u64, String)> = reports.iter().map(|(steps, ending, _)| (*steps, words(ending))).collect();
    assert_eq!(short, [(10, "0.1".into()), (20, "0.2".into()), (30, "0.3".into())]);
    assert!(matches!(reports[0].1, Ending::Succeeded { validation_loss: Some(2.5), .. }));
    let last_lines: Vec<&str> = reports.iter().map(|(_, _, log)| log.lines().last().unwrap()).collect();
    assert!(last_lines[0].contains("\"k\":10") && last_lines[1].contains("\"k\":20") && last_lines[2] == "bye");
    assert!(reports.iter().all(|(_, _, log)| log.starts_with("{\"step\":5,\"loss\":1}\n10,20,30\n")));
    assert_eq!([10, 20, 30].map(|steps| bench.points(steps)), [2, 3, 4]);
    let job: serde_json::Value = serde_json::from_slice(&fs::read(bench.folder.path().join("job")).unwrap()).unwrap();
    let folder = |steps: u64| bench.pool.shared.settings.folders.model(RunId(steps));
    let entry =
        |steps: u64| serde_json::json!({ "k": steps, "run": RunId(steps).to_string(), "folder": folder(steps) });
    assert_eq!(job, serde_json::json!([entry(10), entry(20), entry(30)]));
}

#[test]
fn a_result_is_reported_while_the_child_goes_on() {
    let bench =
        Bench::new("echo '{\"k\":10,\"accuracy\":0.1}'; : < \"$BENCH/gate\"; echo '{\"k\":20,\"accuracy\":0.2}'");
    bench.gate("gate");
    bench.start(&[10, 20]);
    assert_eq!(bench.next().map(|(steps, ending, _)| (steps, words(&ending))), Some((10, "0.1".into())));
    bench.open("gate");
    assert_eq!(bench.endings(), [(20, "0.2".into())]);
}

#[test]
fn what_has_no_result_fails_with_what_the_child_says() {
    let reasons = |script: &str| {
        let bench = Bench::new(&format!("echo '{{\"k\":10,\"accuracy\":0.1}}'; {script}"));
        bench.start(&[10, 20, 30]);
        let mut endings = bench.endings();
        assert_eq!(endings.remove(0), (10, "0.1".to_owned()));
        assert_eq!(endings.iter().map(|(steps, _)| *steps).collect::<Vec<_>>(), [20, 30]);
        endings.into_iter().map(|(_, reason)| reason).collect::<Vec<_>>()
    };
    let silent = reasons("true");
    assert!(silent[0].contains("no result for 20 steps") && silent[1].contains("no result for 30 steps"), "{silent:?}");
    let failing = reasons("echo 'error: the disk is full' >&2; exit 3");
    assert!(failing.iter().all(|reason| reason == "it ended with exit status 3: the disk is full"), "{failing:?}");
    // The longest run is judged as a run alone is: by its result and by how the child ends.
    let late = reasons("echo '{\"k\":20,\"accuracy\":NaN}'; echo '{\"k\":30,\"accuracy\":0.3}'; exit 4");
    assert!(late[0].contains("NaN"), "{late:?}");
    assert_eq!(late[1], "it ended with exit status 4");
    let killed = reasons("echo 'some note' >&2; kill -9 $$");
    assert!(killed.iter().all(|reason| reason.contains("signal 9") && !reason.contains("note")), "{killed:?}");
}

#[test]
fn a_cancelled_run_is_reported_at_once_and_the_child_ends_when_nobody_needs_it() {
    let bench = Bench::new(
        "echo '{\"k\":10,\"accuracy\":0.1}'; : < \"$BENCH/gate\"; echo '{\"k\":20,\"accuracy\":0.2}'; : < \"$BENCH/never\"",
    );
    bench.gate("gate");
    bench.gate("never");
    bench.start(&[10, 20, 30]);
    assert_eq!(bench.next().unwrap().0, 10);
    bench.pool.cancel(RunId(30));
    let (steps, ending, log) = bench.next().unwrap();
    assert_eq!((steps, ending, &*log), (30, Ending::Cancelled, "{\"k\":10,\"accuracy\":0.1}\n"));
    bench.open("gate");
    assert_eq!(bench.endings(), [(20, "0.2".into())], "the child was stopped, or the slot would not be free");
}

#[test]
fn the_last_run_that_is_cancelled_waits_for_the_end_of_its_child() {
    let script = "trap 'echo goodbye; exit 0' TERM; echo up; read line < \"$BENCH/never\"";
    let bench = Bench::new(script);
    bench.gate("never");
    bench.start(&[10, 20]);
    bench.pool.cancel(RunId(20));
    bench.pool.cancel(RunId(10));
    let reports = bench.all();
    assert_eq!(reports.len(), 2);
    assert!(reports.iter().all(|(_, ending, _)| *ending == Ending::Cancelled));
}

#[test]
fn a_stop_ends_what_has_no_result_and_keeps_what_was_cancelled() {
    let bench = Bench::new("echo '{\"k\":10,\"accuracy\":0.1}'; : < \"$BENCH/never\"");
    bench.gate("never");
    bench.start(&[10, 20, 30]);
    assert_eq!(bench.next().unwrap().0, 10);
    bench.pool.stop();
    assert_eq!(bench.endings(), [(20, "Stopped".into()), (30, "Stopped".into())]);
    // What comes later is not started at all.
    bench.start(&[40, 50]);
    assert_eq!(bench.endings(), [(40, "Stopped".into()), (50, "Stopped".into())]);
    assert!(!bench.pool.shared.settings.folders.log(RunId(40)).exists());
}

#[test]
fn runs_that_were_cancelled_before_the_start_are_left_out() {
    let bench = Bench::new("echo \"$steps\"; echo \"{\\\"k\\\":$steps,\\\"accuracy\\\":0.2}\"");
    let run = |steps: u64| {
        let mut spec = a_run().spec;
        spec.parameters.steps = steps;
        JobRun { run: RunId(steps), attempt: 1, spec, names: RunNames::default() }
    };
    let control = JobControl::new().unwrap();
    control.cancel(RunId(10));
    control.cancel(RunId(30));
    let ticket = bench.pool.shared.settings.admission.enter(Arc::default());
    let left = pass::carry_out(&bench.pool.shared, vec![run(10), run(20), run(30)], &control, &ticket);
    let of = |event: &RunEvent| match event {
        RunEvent::Ended { run, ending, .. } => (run.0, words(ending)),
        RunEvent::SlotFree => panic!("a slot"),
    };
    assert_eq!(left.iter().map(of).collect::<Vec<_>>(), [(20, "0.2".into())]);
    let before: Vec<_> = bench.reports.try_iter().map(|event| of(&event)).collect();
    assert_eq!(before, [(10, "Cancelled".into()), (30, "Cancelled".into())]);
}

#[test]
fn logs_and_reasons_show_no_secrets() {
    let bench = Bench::new(
        "printf 'the key is hunter2-'; echo hunter2; echo \"$TRAINYARD_JOB\" | grep -c hunter2\n\
         echo 'error: ty_0123456789abcdef0123 is not hunter2-hunter2' >&2; exit 3",
    );
    bench.start(&[10]);
    let reports = bench.all();
    let (_, ending, log) = &reports[0];
    assert_eq!(words(ending), "it ended with exit status 3: ty_[redacted] is not [redacted]");
    assert_eq!(log, "the key is [redacted]\n0\nerror: ty_[redacted] is not [redacted]\n");
}
