//! Puts together what carries runs and predictions out, and what holds for their processes.
//!
//! Knows settings and the executor's parts; not what is served.

use super::{ServerError, system};
use crate::blob::BlobStore;
use crate::care;
use crate::config::Config;
use crate::domain::prediction::Predictor;
use crate::domain::progress::Progress;
use crate::domain::thumbnail::Thumbnailer;
use crate::executor::Executor;
use crate::executor::admission::{Admission, Available};
use crate::executor::custody::cgroup::Groups;
use crate::executor::custody::machine::Machine;
use crate::executor::custody::{Ceiling, Custody, Limits};
use crate::executor::guard::Guard;
use crate::executor::local::{self, LocalPool};
use crate::executor::predictor::{self, CommandPredictor};
use crate::executor::run_folder::RunFolders;
use crate::executor::sieve::Secrets;
use crate::executor::thumbnailer::{self, ThumbnailChildren};
use crate::executor::warm::{self, WarmPredictor};
use crate::scheduler::Handle;
use crate::store::Store;
use crate::trainer::backbone::Settings;
use crate::trainer::command::BaseEnvironment;
use std::sync::Arc;

/// What holds for all children.
pub(super) struct Children {
    pub custody: Arc<Custody>,
    limits: Limits,
    admission: Arc<Admission>,
}

/// What stays for the server where nobody says what a run may hold.
const SERVER_MEMORY: u64 = 64 << 20;

/// What a run may hold where the system does not say what it has.
const UNKNOWN_MEMORY: u64 = 1 << 40;

/// What the first run is expected to hold: a script may be PyTorch, the built-in trainer is small.
const FIRST_SCRIPT: u64 = 1 << 30;
const FIRST_BUILT_IN: u64 = 128 << 20;

impl Children {
    /// Starts the guard and finds out what the machine can hold; `mark` is what this server's children are known by.
    ///
    /// # Errors
    /// [`ServerError::System`] where the guard cannot be started.
    pub fn new(config: &Config, mark: &str) -> Result<Self, ServerError> {
        let machine = Machine::here();
        let limits = limits(config, machine.total().unwrap_or(UNKNOWN_MEMORY));
        let groups = config.allowance.control_groups.then(|| Groups::open(mark, limits.memory.bytes, limits.processes));
        let groups = groups.unwrap_or_else(|| Err("jobs.control_groups is off".to_owned()));
        match &groups {
            Ok(groups) => tracing::info!(
                below = %groups.folder().display(), memory = groups.has_memory, processes = groups.has_pids,
                "runs get control groups; the kernel limits what is true here, the rest is watched"
            ),
            Err(why) => tracing::info!(%why, "runs get no control groups; what they hold is watched"),
        }
        let groups = groups.ok();
        let folder = groups.as_ref().map(|groups| groups.folder().to_owned());
        let guard = Guard::start(config.own.clone(), mark.to_owned(), folder)
            .map_err(system("the guard process cannot be started"))?;
        let mut custody = Custody::new(Arc::new(guard), groups);
        custody.adopt_orphans().map_err(system("the server cannot look after orphans"))?;
        let is_built_in = config.train.is_subcommand(&config.own, "train");
        let guess = if is_built_in { FIRST_BUILT_IN } else { FIRST_SCRIPT };
        let first = config.allowance.memory_estimate_bytes.unwrap_or(guess);
        let available: Available = match config.allowance.wait_for_memory {
            true => Box::new(move || machine.available()),
            false => Box::new(|| None),
        };
        let admission = Arc::new(Admission::new(available, first, limits.memory.bytes));
        Ok(Self { custody: Arc::new(custody), limits, admission })
    }
}

/// What a child may take on a machine with so much memory.
fn limits(config: &Config, memory: u64) -> Limits {
    let set = &config.allowance;
    Limits {
        memory: match set.memory_bytes {
            Some(bytes) => Ceiling { bytes, is_set: true },
            None => Ceiling { bytes: memory.saturating_sub(SERVER_MEMORY).max(SERVER_MEMORY), is_set: false },
        },
        // The time-out says enough where nobody sets this one.
        cpu_seconds: set.cpu_seconds,
        file_bytes: set.file_bytes,
        open_files: set.open_files,
        processes: set.processes.unwrap_or((memory >> 20).clamp(256, 4096)),
    }
}

/// What carries jobs and predictions out.
pub(super) struct Jobs {
    pub pool: Arc<dyn Executor>,
    pub predictor: Arc<dyn Predictor>,
    pub thumbnailer: Arc<dyn Thumbnailer>,
    pub folders: RunFolders,
}

impl Jobs {
    /// The pool of runs and who answers predictions; runs report to the handle.
    pub fn new(
        config: &Config,
        store: &Store,
        blobs: &Arc<dyn BlobStore>,
        children: &Children,
        runtime: &tokio::runtime::Handle,
        mark: &str,
        (handle, progress): (&Handle, Arc<dyn Progress>),
    ) -> Self {
        let folders = RunFolders::new(config.data_dir.join(care::RUNS), config.data_dir.join(care::LOGS));
        let threads = config.cores / config.concurrency;
        let mut environment = BaseEnvironment::new(|name| std::env::var_os(name), &config.env, threads, mark)
            .with("TRAINYARD_CACHE_DIR", config.data_dir.join(care::CACHE))
            .with("TRAINYARD_CACHE_BYTES", config.trainer_cache_bytes.to_string());
        for (name, value) in config.backbone.iter().flat_map(Settings::variables) {
            environment = environment.with(name, value);
        }
        let mail = config.mail.iter().flat_map(|mail| mail.secrets.0.iter().cloned());
        let secrets = Secrets::new(&environment.secrets().iter().cloned().chain(mail).collect::<Vec<_>>());
        let reports = handle.clone();
        let pool = LocalPool::new(
            local::Settings {
                train: config.train.clone(),
                environment: environment.clone(),
                timeout: config.timeout,
                grace: config.stop_grace,
                limits: children.limits,
                secrets: secrets.clone(),
                admission: Arc::clone(&children.admission),
                folders: folders.clone(),
                views: config.data_dir.join(care::VIEWS),
                progress,
            },
            Arc::new(store.clone()),
            Arc::clone(blobs),
            Arc::clone(&children.custody),
            runtime.clone(),
            Arc::new(move |events| reports.report(events)),
        );
        let making = thumbnailer::Settings {
            own: config.own.clone(),
            environment: environment.clone(),
            limits: children.limits,
        };
        let thumbnailer = ThumbnailChildren::new(making, Arc::clone(&children.custody), runtime.clone());
        let predictor = predictor(config, environment, secrets, &folders, children, runtime);
        Self { pool: Arc::new(pool), predictor, thumbnailer: Arc::new(thumbnailer), folders }
    }
}

/// Who answers predictions: warm children for the built-in trainer, a process a question for anybody's script.
fn predictor(
    config: &Config,
    environment: BaseEnvironment,
    secrets: Secrets,
    folders: &RunFolders,
    children: &Children,
    runtime: &tokio::runtime::Handle,
) -> Arc<dyn Predictor> {
    let (custody, limits, runtime) = (Arc::clone(&children.custody), children.limits, runtime.clone());
    let (timeout, folders, concurrency) = (config.test_timeout, folders.clone(), config.concurrency);
    if config.test.is_subcommand(&config.own, "test") {
        let own = config.own.clone();
        let settings = warm::Settings { own, environment, timeout, folders, concurrency, limits };
        return Arc::new(WarmPredictor::new(settings, custody, runtime));
    }
    let test = config.test.clone();
    let settings = predictor::Settings { test, environment, timeout, folders, concurrency, limits, secrets };
    Arc::new(CommandPredictor::new(settings, custody, runtime))
}
