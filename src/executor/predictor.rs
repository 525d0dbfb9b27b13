//! Predictions by a script: the test command, asked at once. At most `concurrency` run side by side; queued runs are not in the way.

use super::custody::{Custody, Limits};
use super::process::{self, ChildEnd, ChildSpec, Control, OUT_OF_MEMORY, Order, Output};
use super::run_folder::RunFolders;
use super::sieve::{Secrets, Sieve};
use crate::domain::error::{Code, Error, Result};
use crate::domain::prediction::{Image, PendingPrediction, Prediction, PredictionRequest, Predictor};
use crate::trainer::command::{BaseEnvironment, Command, Target};
use crate::trainer::output::{Outcome, OutputParser, ScriptResult, combine};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

/// The most that wait for their turn; more are told to come again.
const MAX_WAITING: usize = 64;

/// How much of what the command printed is repeated to the client.
const SHOWN: usize = 600;

/// How a prediction is made.
pub struct Settings {
    /// The test command.
    pub test: Command,
    /// What children are given.
    pub environment: BaseEnvironment,
    /// How long one may take.
    pub timeout: Duration,
    /// Where runs keep their files.
    pub folders: RunFolders,
    /// How many run side by side.
    pub concurrency: usize,
    /// What one may take.
    pub limits: Limits,
    /// What is not repeated of what one prints.
    pub secrets: Secrets,
}

/// Asks the test command.
pub struct CommandPredictor {
    shared: Arc<Shared>,
    turns: Arc<Semaphore>,
    places: Arc<Semaphore>,
    runtime: tokio::runtime::Handle,
}

struct Shared {
    settings: Settings,
    custody: Arc<Custody>,
    asked: Mutex<Asked>,
}

/// The questions that are being answered.
#[derive(Default)]
struct Asked {
    controls: Vec<Arc<Control>>,
    stopping: bool,
}

impl CommandPredictor {
    /// A predictor whose threads are the blocking threads of `runtime`.
    pub fn new(settings: Settings, custody: Arc<Custody>, runtime: tokio::runtime::Handle) -> Self {
        let turns = Arc::new(Semaphore::new(settings.concurrency));
        let places = Arc::new(Semaphore::new(settings.concurrency + MAX_WAITING));
        Self { shared: Arc::new(Shared { settings, custody, asked: Mutex::default() }), turns, places, runtime }
    }
}

impl Predictor for CommandPredictor {
    fn takes_bytes(&self) -> bool {
        false
    }

    fn predict(&self, request: PredictionRequest) -> PendingPrediction<'_> {
        Box::pin(async move {
            let _place = Arc::clone(&self.places)
                .try_acquire_owned()
                .map_err(|_| Error::new(Code::TooMany, "too many predictions wait already; try again in a moment"))?;
            let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(Error::internal)?;
            let shared = Arc::clone(&self.shared);
            let asked = self.runtime.spawn_blocking(move || {
                let answer = shared.ask(&request);
                drop(turn);
                answer
            });
            asked.await.map_err(Error::internal)?
        })
    }

    fn stop(&self) {
        let mut asked = self.shared.asked();
        asked.stopping = true;
        asked.controls.iter().for_each(|control| control.order(Order::Stop));
    }
}

impl Shared {
    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admit(&self) -> Result<Arc<Control>> {
        let control = Arc::new(Control::new().map_err(Error::internal)?);
        let mut asked = self.asked();
        if asked.stopping {
            control.order(Order::Stop);
        }
        asked.controls.push(Arc::clone(&control));
        Ok(control)
    }

    fn ask(&self, request: &PredictionRequest) -> Result<Prediction> {
        let settings = &self.settings;
        let folder = settings.folders.model(request.run);
        // A script that kept nothing may have lost its empty folder in a power cut.
        std::fs::create_dir_all(&folder).map_err(|error| Error::disk("the run has no folder to answer in", &error))?;
        let Image::File(image) = &request.image else {
            return Err(Error::internal("a test command was to be given an image that is no file"));
        };
        let target = Target::Image(image.clone());
        let spec = ChildSpec {
            program: settings.test.program.clone(),
            arguments: settings.test.arguments_for(&request.spec.parameters, &target),
            environment: settings.environment.for_run(request.run, &request.names, &request.spec, &folder),
            folder,
            timeout: settings.timeout,
            grace: Duration::from_secs(1),
            limits: settings.limits,
        };
        let control = self.admit()?;
        let (mut stdout, mut stderr) = (OutputParser::new(), OutputParser::new());
        let mut shown = Shown::new(&settings.secrets);
        let end = process::run(&spec, &self.custody, &control, &mut |which, bytes| {
            shown.hear(bytes);
            match which {
                Output::Stdout => drop(stdout.feed(bytes)),
                Output::Stderr => drop(stderr.feed(bytes)),
            }
        });
        self.asked().controls.retain(|other| !Arc::ptr_eq(other, &control));
        let tail = shown.text();
        let failed = |why: String| {
            let tail = if tail.is_empty() { "nothing".to_owned() } else { format!("{tail:?}") };
            Error::new(Code::PredictionFailed, format!("the test command gave no answer: {why}; it printed {tail}"))
        };
        match end {
            ChildEnd::Ended(status) if status.success() => match combine(&stdout.finish().1, &stderr.finish().1) {
                Outcome::Result(result) => Ok(prediction(*result)),
                other => Err(failed(other.failure_message().unwrap_or_default())),
            },
            ChildEnd::Ended(status) => Err(failed(process::describe(status))),
            ChildEnd::OverLimit(breach) => Err(failed(settings.limits.words(breach))),
            ChildEnd::OutOfMemory => Err(failed(OUT_OF_MEMORY.to_owned())),
            ChildEnd::TimedOut => Err(failed(format!("it took longer than {} s", settings.timeout.as_secs()))),
            ChildEnd::Ordered(_) => Err(Error::new(Code::Unavailable, "the server is stopping")),
            ChildEnd::NotStarted(error) => {
                Err(failed(format!("`{}` could not be started: {error}", settings.test.program.display())))
            }
        }
    }
}

/// The end of what a command printed, without secrets.
pub(super) struct Shown {
    sieve: Sieve,
    end: Vec<u8>,
}

impl Shown {
    pub fn new(secrets: &Secrets) -> Self {
        Self { sieve: Sieve::new(secrets), end: Vec::new() }
    }

    /// Takes what was printed.
    pub fn hear(&mut self, bytes: &[u8]) {
        self.end.extend_from_slice(self.sieve.sift(bytes));
        let over = self.end.len().saturating_sub(SHOWN);
        self.end.drain(..over);
    }

    /// All of it.
    pub fn text(&mut self) -> String {
        self.end.extend_from_slice(self.sieve.rest());
        let over = self.end.len().saturating_sub(SHOWN);
        String::from_utf8_lossy(&self.end[over..]).trim().to_owned()
    }
}

/// What a test command printed, as a prediction.
pub(super) fn prediction(result: ScriptResult) -> Prediction {
    Prediction {
        accuracy: result.accuracy,
        label: result.label,
        probabilities: result.probabilities,
        output: result.output,
    }
}
