//! The trash: what was deleted and can be had back for a while. Pure data; `store/` keeps it.

use super::dataset::{DatasetVersion, Entry};
use super::ids::{DatasetId, ExperimentId, ModelId, RunId, SweepId, TrashId};
use super::stamp::{Stamp, Timestamp};

/// Something in the trash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrashItem {
    /// Its key.
    pub id: TrashId,
    /// Who put it there, and when.
    pub stamp: Stamp,
    /// The model that it is, or belongs to.
    pub model: ModelId,
    /// What it was called.
    pub name: String,
    /// What it is.
    pub what: Trashed,
    /// How far it is on its way in or out.
    pub stage: Stage,
}

/// What was deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trashed {
    /// A model with everything that belongs to it.
    Model,
    /// An experiment with its runs and results.
    Experiment(ExperimentId),
    /// A dataset with its runs and results.
    Dataset(DatasetId),
    /// An image of a dataset.
    Image(Removal),
    /// A run, which goes at once.
    Run(RunId),
    /// A sweep with its runs, which goes at once.
    Sweep(SweepId),
}

impl Trashed {
    /// Its kind, as the API calls it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Experiment(_) => "experiment",
            Self::Dataset(_) => "dataset",
            Self::Image(_) => "image",
            Self::Run(_) => "run",
            Self::Sweep(_) => "sweep",
        }
    }
}

/// An image that was taken out of a dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// The first version without it.
    pub version: DatasetVersion,
    /// Where its entry stands: in this dataset, or in one that this dataset began as.
    pub part: DatasetId,
    /// The number of its entry there.
    pub sequence: u64,
    /// The entry.
    pub entry: Entry,
}

/// How far something is on its way in or out. Results are hidden, shown and removed a few at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It cannot be found any more; its results are being hidden.
    Hiding,
    /// It lies in the trash.
    Hidden,
    /// It can be found again; its results are being shown.
    Restoring,
    /// It is being removed for good.
    Purging,
}

impl TrashItem {
    /// When it is removed for good, if it may lie for so many milliseconds.
    pub fn expires_at(&self, kept_ms: u64) -> Timestamp {
        Timestamp(self.stamp.created_at.0.saturating_add(kept_ms))
    }
}
