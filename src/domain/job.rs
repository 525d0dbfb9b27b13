//! A job: one or more runs that share a slot. A script's job is always one run; a trainer that can do several in one
//! pass says so. Also what a worker reports back: results travel as messages, never as upward calls.

use super::accuracy::Accuracy;
use super::dataset::DatasetVersion;
use super::ids::RunId;
use super::run::RunSpec;

/// One attempt at one run, with the names its script is told.
#[derive(Debug, Clone, PartialEq)]
pub struct JobRun {
    /// Which run.
    pub run: RunId,
    /// Which start of it.
    pub attempt: u32,
    /// What it is to do.
    pub spec: RunSpec,
    /// Names for the script's environment.
    pub names: RunNames,
}

/// Names as the script is told them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunNames {
    /// `TRAINYARD_MODEL`
    pub model: String,
    /// `TRAINYARD_EXPERIMENT`
    pub experiment: String,
    /// `TRAINYARD_DATASET`, empty for all images of the model
    pub dataset: String,
}

/// Work for one slot: runs on one dataset version.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// At least one.
    pub runs: Vec<JobRun>,
}

impl Job {
    /// The dataset version that all its runs are pinned to.
    pub fn version(&self) -> Option<DatasetVersion> {
        self.runs.first().map(|run| run.spec.version)
    }
}

/// Whether two runs may share one job. A trainer answers.
pub trait Sharing: Send + Sync {
    /// The most runs that one job may hold.
    fn most(&self) -> usize;

    /// True where one pass can do both and give each the result that it would have had alone. A job's runs are
    /// asked about in pairs.
    fn can_share(&self, first: &RunSpec, other: &RunSpec) -> bool;
}

/// The answer of a script: nothing is shared.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoSharing;

impl Sharing for NoSharing {
    fn most(&self) -> usize {
        1
    }

    fn can_share(&self, _first: &RunSpec, _other: &RunSpec) -> bool {
        false
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Ending {
    /// It printed a result.
    Succeeded {
        /// The result.
        accuracy: Accuracy,
        /// The loss on the validation part, where it printed one.
        validation_loss: Option<f64>,
    },
    /// It did not; why, in words for its owner.
    Failed(String),
    /// It was stopped because somebody asked.
    Cancelled,
    /// It was stopped because the server stops.
    Stopped,
    /// The kernel killed it, since the machine had no memory left.
    OutOfMemory {
        /// True where no other job ran beside it, so that it can expect no more the next time.
        alone: bool,
        /// In words for its owner, should this be its end.
        reason: String,
    },
}

/// How many more jobs the machine has memory for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// How many.
    pub jobs: usize,
    /// Where that is fewer than could have a slot: what the next one waits for.
    pub wait: Option<MemoryWait>,
}

impl Room {
    /// Room for all.
    pub const ANY: Self = Self { jobs: usize::MAX, wait: None };
}

/// Why a job that could have a slot is not started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryWait {
    /// What a job is expected to want, in bytes.
    pub needed_bytes: u64,
    /// What the machine has beside the jobs that run, in bytes.
    pub available_bytes: u64,
}

/// A worker's message to the scheduler.
#[derive(Debug, Clone, PartialEq)]
pub enum RunEvent {
    /// An attempt ended.
    Ended {
        /// Which run.
        run: RunId,
        /// Which attempt.
        attempt: u32,
        /// How.
        ending: Ending,
        /// What it printed, where that is little; more is in the log's file.
        log: Option<Vec<u8>>,
    },
    /// A slot is free again; every run of its job has been reported.
    SlotFree,
}
