//! `trainyard logs`: what a run printed, and with `-f` what it prints.

use super::super::Outcome;
use super::super::api::{Api, Run};
use super::{ServerArgs, block_on};
use clap::Args;
use reqwest::header::RANGE;
use reqwest::{Method, StatusCode};
use std::error::Error;
use std::io::Write;
use std::time::Duration;

/// How often to look for more.
const PACE: Duration = Duration::from_millis(500);

/// The flags.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// The run's id
    run: String,
    /// Go on until the run is over
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Runs the command.
pub fn run(arguments: &LogsArgs) -> Outcome {
    block_on(async {
        let api = arguments.server.api()?;
        let mut seen = 0;
        loop {
            // Asked first: what is printed until the run is over is read after that.
            let run: Run = api.get(&["api", "v1", "runs", &arguments.run], &[]).await?;
            seen += print_from(&api, &arguments.run, seen).await?;
            if !arguments.follow || run.is_over() {
                return Ok(());
            }
            tokio::time::sleep(PACE).await;
        }
    })
}

/// Prints the log from a place on; returns how many bytes that were.
async fn print_from(api: &Api, run: &str, from: u64) -> Result<u64, Box<dyn Error>> {
    let mut request = api.request(Method::GET, &["api", "v1", "runs", run, "log"], &[]);
    if from > 0 {
        request = request.header(RANGE, format!("bytes={from}-"));
    }
    let mut answer = match api.open(request).await {
        // Nothing more is there yet.
        Err(super::super::api::ApiError::Refused { status: 416, .. }) => return Ok(0),
        answer => answer?,
    };
    let mut skipped = if answer.status() == StatusCode::PARTIAL_CONTENT { 0 } else { from };
    let mut printed = 0;
    let mut out = std::io::stdout().lock();
    while let Some(piece) = answer.chunk().await? {
        let known = usize::try_from(skipped).unwrap_or(usize::MAX).min(piece.len());
        skipped -= known as u64;
        out.write_all(&piece[known..])?;
        printed += (piece.len() - known) as u64;
    }
    out.flush()?;
    Ok(printed)
}
