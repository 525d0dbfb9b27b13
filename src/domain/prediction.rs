//! Asking a trained model about one image, as a trait: the services ask, the executor answers.

use super::accuracy::Accuracy;
use super::error::Result;
use super::ids::RunId;
use super::job::RunNames;
use super::run::RunSpec;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;

/// What to ask, of which run's model.
#[derive(Debug, Clone)]
pub struct PredictionRequest {
    /// The run whose folder holds the model.
    pub run: RunId,
    /// What that run was told.
    pub spec: RunSpec,
    /// Names for the script's environment.
    pub names: RunNames,
    /// The image.
    pub image: Image,
    /// How many pixels its container says it has.
    pub pixels: u64,
}

/// An image that is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Image {
    /// A small one.
    Bytes(Vec<u8>),
    /// Where it lies until the answer is there.
    File(PathBuf),
}

/// What the test command printed.
#[derive(Debug, Clone)]
pub struct Prediction {
    /// The confidence, as printed.
    pub accuracy: Accuracy,
    /// The predicted class, where it printed one.
    pub label: Option<String>,
    /// The probability of each class, where it printed them.
    pub probabilities: Option<serde_json::Value>,
    /// Whatever else it answered under `output`.
    pub output: Option<serde_json::Value>,
}

/// An answer that is being worked on.
pub type PendingPrediction<'a> = Pin<Box<dyn Future<Output = Result<Prediction>> + Send + 'a>>;

/// Whoever can ask a trained model.
pub trait Predictor: Send + Sync {
    /// Whether it can be given small images as bytes; otherwise every image has to be a file.
    fn takes_bytes(&self) -> bool;

    /// Asks; never waits behind queued runs.
    fn predict(&self, request: PredictionRequest) -> PendingPrediction<'_>;

    /// Ends the questions that are being answered, because the server stops.
    fn stop(&self);
}
