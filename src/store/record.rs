//! Pieces that many record families share, frozen as format 1 has them.
//!
//! These structs are what lies on disk: they never change; a new version of a record gets new structs.

use super::codec::CodecError;
use crate::domain::accuracy::Accuracy;
use crate::domain::dataset::{DatasetVersion, VersionNumber};
use crate::domain::experiment::{HyperParameters, LearningRate};
use crate::domain::ids::{AccountId, DatasetId, ProjectId};
use crate::domain::stamp::{Stamp, Timestamp};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
pub(super) struct StampV1 {
    owner: u64,
    project: u64,
    revision: u64,
    created_at: u64,
    updated_at: u64,
    trashed_at: Option<u64>,
}

impl From<&Stamp> for StampV1 {
    fn from(stamp: &Stamp) -> Self {
        Self {
            owner: stamp.owner.0,
            project: stamp.project.0,
            revision: stamp.revision,
            created_at: stamp.created_at.0,
            updated_at: stamp.updated_at.0,
            trashed_at: stamp.trashed_at.map(|at| at.0),
        }
    }
}

impl From<StampV1> for Stamp {
    fn from(stored: StampV1) -> Self {
        Self {
            owner: AccountId(stored.owner),
            project: ProjectId(stored.project),
            revision: stored.revision,
            created_at: Timestamp(stored.created_at),
            updated_at: Timestamp(stored.updated_at),
            trashed_at: stored.trashed_at.map(Timestamp),
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct ParametersV1 {
    learning_rate: f64,
    layers: u32,
    steps: u64,
}

impl From<&HyperParameters> for ParametersV1 {
    fn from(parameters: &HyperParameters) -> Self {
        Self { learning_rate: parameters.learning_rate.get(), layers: parameters.layers, steps: parameters.steps }
    }
}

impl TryFrom<ParametersV1> for HyperParameters {
    type Error = CodecError;

    fn try_from(stored: ParametersV1) -> Result<Self, CodecError> {
        let learning_rate =
            LearningRate::new(stored.learning_rate).map_err(|error| CodecError::Payload(error.message))?;
        Ok(Self { learning_rate, layers: stored.layers, steps: stored.steps })
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct VersionV1 {
    dataset: u64,
    number: u64,
}

impl From<DatasetVersion> for VersionV1 {
    fn from(version: DatasetVersion) -> Self {
        Self { dataset: version.dataset.0, number: version.number.0 }
    }
}

impl From<VersionV1> for DatasetVersion {
    fn from(stored: VersionV1) -> Self {
        Self { dataset: DatasetId(stored.dataset), number: VersionNumber(stored.number) }
    }
}

/// Reads back an accuracy that was checked before it was stored.
pub(super) fn accuracy(text: &str) -> Result<Accuracy, CodecError> {
    Accuracy::parse(text).map_err(|error| CodecError::Payload(error.to_string()))
}
