//! The listing of all results, written a page at a time.

use super::number;
use crate::domain::error::{Error, Result};
use crate::domain::experiment::LearningRate;
use crate::service::results::{AccuracyPages, ExperimentAccuracies};
use bytes::Bytes;
use serde::Serialize;
use utoipa::ToSchema;

/// The listing of all results on its way out, a page at a time.
pub(super) struct Listing {
    page: Option<Vec<ExperimentAccuracies>>,
    rest: AccuracyPages,
    started: bool,
    ended: bool,
}

impl Listing {
    pub(super) fn new(first: Vec<ExperimentAccuracies>, rest: AccuracyPages) -> Self {
        Self { page: Some(first), rest, started: false, ended: false }
    }

    pub(super) fn whole(mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        while !self.ended {
            body.extend_from_slice(&self.text()?);
        }
        Ok(body)
    }

    pub(super) async fn next(mut self) -> Option<(Result<Bytes, Error>, Self)> {
        if self.ended {
            return None;
        }
        let text = self.text();
        self.ended |= text.is_err();
        Some((text, self))
    }

    fn text(&mut self) -> Result<Bytes, Error> {
        let page = match self.page.take() {
            Some(first) => Some(first),
            None => self.rest.next_page()?,
        };
        let mut text = String::new();
        if !self.started {
            text.push_str(r#"{"body":{"AllExperiments":["#);
        }
        match page {
            Some(experiments) => {
                for experiment in &experiments {
                    if self.started {
                        text.push(',');
                    }
                    self.started = true;
                    text.push_str(&serde_json::to_string(&Line::from(experiment)).map_err(Error::internal)?);
                }
                self.started = true;
            }
            None => {
                text.push_str(r#"]},"status":"ok"}"#);
                self.ended = true;
            }
        }
        Ok(Bytes::from(text))
    }
}

/// All results of a model
#[derive(ToSchema)]
#[schema(as = AllAccuracies)]
#[expect(dead_code, reason = "it is written a page at a time, and never is in memory as a whole")]
pub(super) struct Written<'a> {
    body: WrittenBody<'a>,
    /// `ok`
    status: String,
}

#[derive(ToSchema)]
#[schema(as = AllExperiments)]
#[expect(dead_code, reason = "as above")]
struct WrittenBody<'a> {
    #[schema(rename = "AllExperiments")]
    all_experiments: Vec<Line<'a>>,
}

/// An experiment with its results
#[derive(Serialize, ToSchema)]
#[schema(as = ExperimentAccuracies)]
struct Line<'a> {
    accuracies: Vec<AccuracyLine<'a>>,
    #[serde(rename = "experimentName")]
    name: &'a str,
    layers: u32,
    #[serde(rename = "learningRate", serialize_with = "number")]
    #[schema(value_type = f64)]
    learning_rate: LearningRate,
    steps: u64,
}

/// A result
#[derive(Serialize, ToSchema)]
#[schema(as = DatasetAccuracy)]
struct AccuracyLine<'a> {
    /// As the script printed it
    accuracy: &'a str,
    /// Empty for all of the model's images
    #[serde(rename = "datasetName")]
    dataset: &'a str,
}

impl<'a> From<&'a ExperimentAccuracies> for Line<'a> {
    fn from(experiment: &'a ExperimentAccuracies) -> Self {
        Self {
            accuracies: experiment
                .accuracies
                .iter()
                .map(|(accuracy, dataset)| AccuracyLine { accuracy, dataset })
                .collect(),
            name: &experiment.experiment,
            layers: experiment.parameters.layers,
            learning_rate: experiment.parameters.learning_rate,
            steps: experiment.parameters.steps,
        }
    }
}
