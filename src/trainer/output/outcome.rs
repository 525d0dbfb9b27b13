//! What a script's output amounts to once all of it is read.
//!
//! Plain data and the rules that choose between what was seen; knows nothing of lines or
//! of how anything was found.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::domain::accuracy::{Accuracy, AccuracyError};

/// What to tell a user whose script printed no accuracy.
pub const NO_ACCURACY: &str =
    "the script printed no accuracy; print a line such as accuracy: 0.93 or {\"accuracy\": 0.93}";

/// Most step counts of one job whose results are told apart.
pub const MAX_JOB_RUNS: usize = 64;

/// One point of the metrics' curves.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    pub step: u64,
    /// Finite numbers only, in the order printed.
    pub metrics: Vec<(String, f64)>,
}

/// A result that a script printed.
#[derive(Debug, Clone, PartialEq)]
pub struct ScriptResult {
    pub accuracy: Accuracy,
    /// Finite; from the line of the accuracy.
    pub val_loss: Option<f64>,
    pub label: Option<String>,
    /// As printed, dictionary order kept.
    pub probabilities: Option<Value>,
    pub output: Option<Value>,
}

/// What a test script says about the one image it was given.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Prediction {
    pub label: Option<String>,
    pub probabilities: Option<Value>,
    pub output: Option<Value>,
}

impl Prediction {
    /// Takes over what a later line says.
    pub(super) fn update(&mut self, later: Self) {
        self.label = later.label.or(self.label.take());
        self.probabilities = later.probabilities.or(self.probabilities.take());
        self.output = later.output.or(self.output.take());
    }
}

/// What the output amounts to.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Result(Box<ScriptResult>),
    /// The last accuracy is no number from 0 to 1. The error says what to print instead.
    Failure(AccuracyError),
    /// No accuracy anywhere.
    Nothing,
}

impl Outcome {
    /// The reason to store with a failed run; `None` for a result.
    pub fn failure_message(&self) -> Option<String> {
        match self {
            Self::Result(_) => None,
            Self::Failure(error) => Some(error.to_string()),
            Self::Nothing => Some(NO_ACCURACY.to_owned()),
        }
    }
}

/// An accuracy and a validation loss as one line had them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reported {
    pub accuracy: Result<Accuracy, AccuracyError>,
    pub val_loss: Option<f64>,
}

impl Reported {
    /// A number outside [0, 1]: a measurement of something else, if anything better is there.
    fn is_doubtful(&self) -> bool {
        !matches!(self.accuracy, Ok(_) | Err(AccuracyError::NotFinite { .. }))
    }
}

/// The latest of each kind that one stream carried.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Printed {
    /// Lines that spell out `accuracy`.
    pub(super) named: Option<Reported>,
    /// Lines that have `acc` only.
    pub(super) abbreviated: Option<Reported>,
    /// Progress points, which count when nothing else does.
    pub(super) point: Option<Reported>,
    /// The last line, if it is one bare number.
    pub(super) bare: Option<Reported>,
    pub(super) prediction: Prediction,
    by_steps: BTreeMap<u64, Reported>,
}

impl Printed {
    /// The result of this stream alone.
    pub fn outcome(&self) -> Outcome {
        self.chosen().map_or(Outcome::Nothing, |reported| self.settle(reported))
    }

    /// The result of a job's run of that many steps, for a script that trains several runs
    /// in one go and prints `k` beside each accuracy.
    pub fn outcome_for_steps(&self, steps: u64) -> Outcome {
        let reported = self.by_steps.get(&steps);
        reported.map_or(Outcome::Nothing, |reported| self.settle(reported))
    }

    pub(super) fn note_steps(&mut self, steps: u64, reported: &Reported) {
        if self.by_steps.len() < MAX_JOB_RUNS || self.by_steps.contains_key(&steps) {
            self.by_steps.insert(steps, reported.clone());
        }
    }

    fn chosen(&self) -> Option<&Reported> {
        let mut candidates = [&self.bare, &self.named, &self.abbreviated, &self.point].into_iter().flatten();
        match (&self.bare, &self.named) {
            // A bare `12.7` behind a named accuracy is the time that was taken. NaN is not
            // forgiven.
            (Some(bare), _) if !bare.is_doubtful() => Some(bare),
            (_, Some(named)) => Some(named),
            _ => {
                let first = candidates.clone().next();
                // `acc: 9.81` is an acceleration if anything else is an accuracy.
                candidates.find(|reported| !reported.is_doubtful()).or(first)
            }
        }
    }

    fn settle(&self, reported: &Reported) -> Outcome {
        match &reported.accuracy {
            Err(error) => Outcome::Failure(error.clone()),
            Ok(accuracy) => Outcome::Result(Box::new(ScriptResult {
                accuracy: accuracy.clone(),
                val_loss: reported.val_loss,
                label: self.prediction.label.clone(),
                probabilities: self.prediction.probabilities.clone(),
                output: self.prediction.output.clone(),
            })),
        }
    }
}

/// The result of a run: standard error is asked only if standard output has none.
pub fn combine(stdout: &Printed, stderr: &Printed) -> Outcome {
    match stdout.outcome() {
        Outcome::Nothing => stderr.outcome(),
        settled => settled,
    }
}
