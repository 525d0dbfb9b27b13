//! `trainyard sweep`: submits the default experiments, or a grid of one's own.

use super::super::api::Api;
use super::super::{Outcome, print_line};
use super::watch::{self, Watched};
use super::{ServerArgs, block_on};
use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};

/// The flags.
#[derive(Debug, Args)]
pub struct SweepArgs {
    /// The model
    #[arg(long)]
    model: String,
    /// One of its datasets [default: all of the model's images]
    #[arg(long)]
    dataset: Option<String>,
    /// Learning rates, separated by commas; without lists, the model's default experiments are run
    #[arg(long, value_delimiter = ',', value_name = "RATE,...", requires_all = ["layers", "steps"])]
    learning_rates: Vec<f64>,
    /// Layer counts, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "N,...", requires_all = ["learning_rates", "steps"])]
    layers: Vec<u32>,
    /// Step counts, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "N,...", requires_all = ["learning_rates", "layers"])]
    steps: Vec<u64>,
    /// Higher goes first, 0 to 100
    #[arg(long, value_name = "N")]
    priority: Option<u8>,
    /// Watch until it is over
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Runs the command.
pub fn run(arguments: &SweepArgs) -> Outcome {
    block_on(async {
        let api = arguments.server.api()?;
        let submitted = submit(&api, arguments).await?;
        let id = ["sweep_id", "id"].iter().find_map(|key| submitted.get(key)?.as_str());
        let id = id.ok_or("the server did not say which sweep it made")?;
        if arguments.server.json {
            print_line(&submitted)?;
        } else {
            println!("submitted {id}");
        }
        match arguments.watch {
            true => watch::until_over(&api, &Watched::Sweep(id.to_owned()), arguments.server.json).await,
            false => Ok(()),
        }
    })
}

async fn submit(api: &Api, arguments: &SweepArgs) -> Result<Value, Box<dyn std::error::Error>> {
    let priority = arguments.priority.map(|priority| priority.to_string());
    if arguments.steps.is_empty() {
        let mut query = vec![("model_name", arguments.model.as_str())];
        query.extend(arguments.dataset.as_deref().map(|dataset| ("dataset_name", dataset)));
        query.extend(priority.as_deref().map(|priority| ("priority", priority)));
        return Ok(api.get(&["runDefaultExperiments"], &query).await?);
    }
    let SweepArgs { model, learning_rates, layers, steps, .. } = arguments;
    let grid = json!({ "learning_rates": learning_rates, "layers": layers, "steps": steps });
    let mut body = json!({ "model": model, "grid": grid });
    if let Some(body) = body.as_object_mut() {
        body.extend(arguments.dataset.as_ref().map(|dataset| ("dataset".to_owned(), json!(dataset))));
        body.extend(arguments.priority.map(|priority| ("priority".to_owned(), json!(priority))));
    }
    Ok(api.send(api.request(Method::POST, &["api", "v1", "sweeps"], &[]).json(&body)).await?)
}
