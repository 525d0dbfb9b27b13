//! `trainyard best`: the best result of a model or of one of its experiments.

use super::super::{Outcome, print_line};
use super::{ServerArgs, block_on};
use clap::Args;
use serde::{Deserialize, Serialize};

/// The flags.
#[derive(Debug, Args)]
pub struct BestArgs {
    /// The model
    #[arg(long)]
    model: String,
    /// One of its experiments
    #[arg(long)]
    experiment: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Deserialize)]
struct Answer {
    body: Best,
}

#[derive(Serialize, Deserialize)]
struct Best {
    #[serde(rename(deserialize = "bestExperiment"))]
    experiment: String,
    #[serde(rename(deserialize = "bestDataset"))]
    dataset: String,
    #[serde(rename(deserialize = "bestaccuracy"))]
    accuracy: String,
}

/// Runs the command.
pub fn run(arguments: &BestArgs) -> Outcome {
    let mut query = vec![("model_name", arguments.model.as_str())];
    query.extend(arguments.experiment.as_deref().map(|experiment| ("experiment_name", experiment)));
    block_on(async {
        let Answer { body: best } = arguments.server.api()?.get(&["bestAccuracy"], &query).await?;
        if arguments.server.json {
            return Ok(print_line(&best)?);
        }
        let on = if best.dataset.is_empty() { "all images".to_owned() } else { format!("dataset {}", best.dataset) };
        println!("{}  {} on {on}", best.accuracy, best.experiment);
        Ok(())
    })
}
