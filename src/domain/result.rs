//! The result of an experiment on a dataset, and which of two results is the better one. Pure.

use super::accuracy::Accuracy;
use super::dataset::DatasetVersion;
use super::experiment::HyperParameters;
use super::ids::{DatasetId, ExperimentId, RunId};
use super::run::{Outcome, Run, RunState};

/// The latest result of an experiment on a dataset.
#[derive(Debug, Clone, PartialEq)]
pub struct ExperimentResult {
    /// What was trained.
    pub experiment: ExperimentId,
    /// On what.
    pub dataset: DatasetId,
    /// In which state.
    pub version: DatasetVersion,
    /// By which run.
    pub run: RunId,
    /// The place of the experiment in the order of creation.
    pub ordinal: u32,
    /// What it printed.
    pub accuracy: Accuracy,
    /// What else it printed.
    pub validation_loss: Option<f64>,
}

impl ExperimentResult {
    /// What a run brought, where it did. `ordinal` is its experiment's.
    pub fn of(run: &Run, ordinal: u32) -> Option<Self> {
        let RunState::Done { outcome: Outcome::Succeeded { accuracy, validation_loss }, .. } = &run.state else {
            return None;
        };
        Some(Self {
            experiment: run.spec.experiment,
            dataset: run.spec.version.dataset,
            version: run.spec.version,
            run: run.id,
            ordinal,
            accuracy: accuracy.clone(),
            validation_loss: *validation_loss,
        })
    }
}

/// The best result of a model or of an experiment, as it is answered without further look-ups.
#[derive(Debug, Clone, PartialEq)]
pub struct Best {
    /// By which run.
    pub run: RunId,
    /// On what.
    pub dataset: DatasetId,
    /// The name of that, empty for all images of the model.
    pub dataset_name: String,
    /// Of which experiment.
    pub experiment: ExperimentId,
    /// Its name.
    pub experiment_name: String,
    /// What it was told.
    pub parameters: HyperParameters,
    /// What it printed.
    pub accuracy: Accuracy,
}
