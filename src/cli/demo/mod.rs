//! `trainyard demo`: the whole story on real images, through the API as a user would.

mod digits;
mod display;

use super::Outcome;
use super::api::{Api, ApiError, Run};
use super::serve::runtime;
use crate::app::Server;
use crate::config::{Config, RawConfig, Surroundings};
use crate::{allocator, telemetry};
use clap::Args;
pub use digits::DemoSamples;
use digits::{Digit, Digits};
use display::{Answered, Progress};
use futures::{StreamExt, TryStreamExt};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Instant;
use tokio::sync::oneshot;

const MODEL: &str = "digits";
const DATASET: &str = "handwritten";
const OF_DATASET: &[(&str, &str)] = &[("model_name", MODEL), ("dataset_name", DATASET)];

/// Requests in flight at once.
const IN_FLIGHT: usize = 8;

/// Predictions that are shown.
const SHOWN: usize = 6;

/// Below this share of right answers the demo has not worked.
const LEAST_ACCURACY: f64 = 0.9;

/// The flags.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Leave the server running at the end, until Ctrl-C
    #[arg(long)]
    keep: bool,
    /// Where the server listens; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDR:PORT")]
    listen: String,
}

/// Why the demo did not work.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A call gave nothing.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// A digit could not be packed or unpacked.
    #[error("a digit could not be drawn: {0}")]
    Picture(#[from] image::ImageError),
    /// The story did not end well.
    #[error("{0}")]
    Story(String),
}

/// A temporary folder that goes when this does.
struct Folder(PathBuf);

impl Folder {
    fn new() -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("trainyard-demo-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("the folder {} could not be removed: {error}", self.0.display());
        }
    }
}

/// Runs the demo.
pub fn run(arguments: &DemoArgs) -> Outcome {
    telemetry::start("warn");
    allocator::keep_small();
    let folder = Folder::new()?;
    let config = config(&folder.0, &arguments.listen)?;
    let runtime = runtime(&config)?;
    let outcome = runtime.block_on(with_server(config, arguments.keep));
    // The server's threads are gone before its folder is.
    drop(runtime);
    outcome
}

fn config(folder: &Path, listen: &str) -> Result<Config, Box<dyn std::error::Error>> {
    let mut raw = RawConfig::default();
    raw.server.listen = listen.to_owned();
    raw.server.data_dir = folder.to_owned();
    Ok(raw.check(Surroundings::here(None))?)
}

async fn with_server(config: Config, keep: bool) -> Outcome {
    let cores = config.concurrency;
    let server = Server::start(config, &tokio::runtime::Handle::current())?;
    let address = format!("http://{}", server.address());
    println!("server    {address}, {cores} runs at once");
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(server.run(async {
        // The sender going away means the same.
        let _ = stopped.await;
    }));
    let told = tokio::select! {
        told = story(&address) => told,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            Err(DemoError::Story("interrupted".to_owned()))
        }
    };
    if told.is_ok() && keep {
        println!("\nThe server stays at {address} until Ctrl-C. Ask it, for example:");
        println!("  curl '{address}/bestAccuracy?model_name={MODEL}'");
        tokio::signal::ctrl_c().await?;
    }
    drop(stop);
    serving.await??;
    told.map_err(Into::into)
}

async fn story(address: &str) -> Result<(), DemoError> {
    let api = Api::new(address, None)?;
    let digits = Digits::unpack()?;
    upload(&api, &digits.uploaded).await?;
    let runs = sweep(&api).await?;
    println!("\nleaderboard (accuracy on images held out from training)");
    display::leaderboard(&runs);
    let best: Value = api.get(&["bestAccuracy"], &[("model_name", MODEL)]).await?;
    println!(
        "\nbest      {} with accuracy {}",
        best["body"]["bestExperiment"].as_str().unwrap_or_default(),
        best["body"]["bestaccuracy"].as_str().unwrap_or_default(),
    );
    check(&runs)?;
    ask(&api, &digits.held_back).await
}

async fn upload(api: &Api, digits: &[Digit]) -> Result<(), DemoError> {
    api.make("createModel", &[("model_name", MODEL)]).await?;
    api.make("createDataset", OF_DATASET).await?;
    let since = Instant::now();
    futures::stream::iter(digits)
        .map(|digit| async move {
            let name = format!("{:04}.png", digit.number);
            Ok::<_, DemoError>(
                api.upload(MODEL, Some(DATASET), Some(&digit.label.to_string()), name, digit.png()?).await?,
            )
        })
        .buffer_unordered(IN_FLIGHT)
        .try_collect::<()>()
        .await?;
    println!(
        "images    {} handwritten digits uploaded one by one in {:.1} s (UCI, CC BY 4.0)",
        digits.len(),
        since.elapsed().as_secs_f64()
    );
    Ok(())
}

async fn sweep(api: &Api) -> Result<Vec<Run>, DemoError> {
    let started: Value = api.get(&["runDefaultExperiments"], OF_DATASET).await?;
    println!("sweep     {}", started["message"].as_str().unwrap_or_default());
    let mut progress = Progress::new();
    loop {
        let runs = api.runs(MODEL).await?;
        progress.show(&runs);
        if runs.iter().all(Run::is_over) {
            let took = progress.end();
            println!("          {} runs in {:.1} s", runs.len(), took.as_secs_f64());
            return Ok(runs);
        }
        tokio::time::sleep(progress.pace()).await;
    }
}

fn check(runs: &[Run]) -> Result<(), DemoError> {
    let failed = runs.iter().filter(|run| run.state != "succeeded").count();
    if failed > 0 {
        return Err(DemoError::Story(format!("{failed} of {} runs gave no result", runs.len())));
    }
    Ok(())
}

/// Asks the best model about the digits that it has never seen.
async fn ask(api: &Api, digits: &[Digit]) -> Result<(), DemoError> {
    let since = Instant::now();
    let answers: Vec<Answered> = futures::stream::iter(digits)
        .map(|digit| async move {
            let answer = api.test(MODEL, format!("{:04}.png", digit.number), digit.png()?).await?;
            let text = |key: &str| answer[key].as_str().unwrap_or_default().to_owned();
            Ok::<_, DemoError>((digit.clone(), text("label"), text("accuracy")))
        })
        .buffered(IN_FLIGHT)
        .try_collect()
        .await?;
    let right = answers.iter().filter(|(digit, label, _)| *label == digit.label.to_string()).count();
    let share = right as f64 / answers.len().max(1) as f64;
    println!(
        "unseen    {right} of {} images that were never uploaded answered rightly: {share:.4} ({:.1} s)\n",
        answers.len(),
        since.elapsed().as_secs_f64()
    );
    display::predictions(&chosen(&answers));
    if share < LEAST_ACCURACY {
        return Err(DemoError::Story(format!("only {share:.4} of the unseen images were answered rightly")));
    }
    Ok(())
}

/// A few answers from all over, and a wrong one where there is one.
fn chosen(answers: &[Answered]) -> Vec<Answered> {
    let is_wrong = |(digit, label, _): &&Answered| *label != digit.label.to_string();
    let right = answers.iter().filter(|answer| !is_wrong(answer));
    let spread = right.step_by((answers.len() / SHOWN).max(1)).take(SHOWN - 1);
    spread.chain(answers.iter().find(is_wrong)).cloned().collect()
}
