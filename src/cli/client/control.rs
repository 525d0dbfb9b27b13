//! `trainyard runs`, `trainyard cancel`, `trainyard retry`: what there is, stopping it, having it done again.

use super::super::api::{Api, Run};
use super::super::{Outcome, print_line};
use super::{ServerArgs, block_on};
use clap::Args;
use reqwest::Method;
use serde_json::Value;

/// The flags of `trainyard runs`.
#[derive(Debug, Args)]
pub struct RunsArgs {
    /// The model
    #[arg(long)]
    model: String,
    /// Only those in this state: queued, running, succeeded, failed or cancelled
    #[arg(long)]
    state: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

/// The flags of `trainyard cancel` and `trainyard retry`.
#[derive(Debug, Args)]
pub struct TargetArgs {
    /// The id of a run (run_...) or of a sweep (swp_...)
    id: String,
    #[command(flatten)]
    server: ServerArgs,
}

/// Lists runs, the oldest first.
pub fn runs(arguments: &RunsArgs) -> Outcome {
    block_on(async {
        let api = arguments.server.api()?;
        let mut query = vec![("model", arguments.model.as_str())];
        query.extend(arguments.state.as_deref().map(|state| ("state", state)));
        let runs: Vec<Run> = api.all(&["api", "v1", "runs"], &query).await?;
        for run in &runs {
            if arguments.server.json {
                print_line(run)?;
                continue;
            }
            let outcome = run.accuracy.as_deref().or(run.reason.as_deref()).unwrap_or_default();
            println!("{}  {:9}  {}  {outcome}", run.id, run.state, run.experiment);
        }
        Ok(())
    })
}

/// Stops a run, or what is not over of a sweep.
pub fn cancel(arguments: &TargetArgs) -> Outcome {
    told(arguments, "cancel")
}

/// Has a run done again, or what failed of a sweep.
pub fn retry(arguments: &TargetArgs) -> Outcome {
    told(arguments, "retry")
}

fn told(arguments: &TargetArgs, what: &str) -> Outcome {
    let id = arguments.id.as_str();
    let kind = match id.split_once('_') {
        Some(("run", _)) => "runs",
        Some(("swp", _)) => "sweeps",
        _ => return Err(format!("\"{id}\" is the id of neither a run (run_...) nor a sweep (swp_...)").into()),
    };
    block_on(async {
        let api: Api = arguments.server.api()?;
        let answer: Value = api.send(api.request(Method::POST, &["api", "v1", kind, id, what], &[])).await?;
        if arguments.server.json {
            return Ok(print_line(&answer)?);
        }
        match (answer.get("cancelled"), answer.get("run_ids").and_then(Value::as_array)) {
            (Some(count), _) => println!("{count} runs are told to stop"),
            (None, Some(runs)) => println!("{} runs are submitted anew", runs.len()),
            (None, None) => {
                let text = |name| answer.get(name).and_then(Value::as_str).unwrap_or_default();
                println!("{}  {}", text("id"), text("state"));
            }
        }
        Ok(())
    })
}
