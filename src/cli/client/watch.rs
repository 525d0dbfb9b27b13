//! `trainyard watch`: how a sweep, or everything of a model, goes: a table that moves on a terminal, lines elsewhere.

use super::super::api::{Api, Run};
use super::super::{Outcome, print_line};
use super::{ServerArgs, block_on};
use clap::Args;
use std::collections::HashSet;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often to look.
const PACE: Duration = Duration::from_millis(500);

/// How many of the best are shown on a terminal.
const BEST: usize = 10;

/// The flags.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// The model
    #[arg(long, required_unless_present = "sweep", conflicts_with = "sweep")]
    model: Option<String>,
    /// A sweep's id
    #[arg(long)]
    sweep: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

/// What is watched.
#[derive(Debug)]
pub enum Watched {
    /// All runs of a model.
    Model(String),
    /// Those of a sweep.
    Sweep(String),
}

/// Runs the command.
pub fn run(arguments: &WatchArgs) -> Outcome {
    let watched = match (&arguments.sweep, &arguments.model) {
        (Some(sweep), _) => Watched::Sweep(sweep.clone()),
        (None, model) => Watched::Model(model.clone().unwrap_or_default()),
    };
    block_on(async { until_over(&arguments.server.api()?, &watched, arguments.server.json).await })
}

/// Shows how it goes until nothing waits and nothing runs.
///
/// # Errors
/// What the server answered, and where nothing succeeded.
pub async fn until_over(api: &Api, watched: &Watched, json: bool) -> Outcome {
    let mut shown = Shown::new(json);
    loop {
        let query = match watched {
            Watched::Model(model) => ("model", model.as_str()),
            Watched::Sweep(sweep) => ("sweep", sweep.as_str()),
        };
        let runs: Vec<Run> = api.all(&["api", "v1", "runs"], &[query]).await?;
        shown.show(&runs)?;
        if runs.iter().all(Run::is_over) {
            let succeeded = runs.iter().filter(|run| run.state == "succeeded").count();
            return match runs.len() {
                0 => Err("nothing was submitted yet; trainyard sweep does".into()),
                _ if succeeded == 0 => Err("no run succeeded; trainyard logs RUN says why".into()),
                _ => Ok(()),
            };
        }
        tokio::time::sleep(PACE).await;
    }
}

/// What is on the screen.
struct Shown {
    json: bool,
    is_terminal: bool,
    since: Instant,
    /// Lines of the table.
    lines: usize,
    /// Runs that a line was printed about.
    told: HashSet<String>,
}

impl Shown {
    fn new(json: bool) -> Self {
        let is_terminal = !json && std::io::stdout().is_terminal();
        Self { json, is_terminal, since: Instant::now(), lines: 0, told: HashSet::new() }
    }

    fn show(&mut self, runs: &[Run]) -> Outcome {
        if self.is_terminal {
            return self.draw(runs);
        }
        for run in runs.iter().filter(|run| run.is_over()) {
            if !self.told.insert(run.id.clone()) {
                continue;
            }
            match self.json {
                true => print_line(run)?,
                false => println!("{:>3}/{} {} {}", self.told.len(), runs.len(), run.id, row(run)),
            }
        }
        Ok(())
    }

    fn draw(&mut self, runs: &[Run]) -> Outcome {
        let mut best: Vec<&Run> = runs.iter().filter(|run| run.accuracy.is_some()).collect();
        best.sort_by(|a, b| b.value().total_cmp(&a.value()));
        let running: Vec<&Run> = runs.iter().filter(|run| run.state == "running").collect();
        let count = |state: &str| runs.iter().filter(|run| run.state == state).count();
        let done = runs.iter().filter(|run| run.is_over()).count();
        let mut lines = vec![format!(
            "{done}/{} done, {} running, {} waiting, {} failed, {:.0} s",
            runs.len(),
            running.len(),
            count("queued"),
            count("failed"),
            self.since.elapsed().as_secs_f64()
        )];
        lines.push(format!(
            "  {:<18} {:>9} {:>6} {:>7}  {:<10} {:>8} {:>8}",
            "experiment", "rate", "layers", "steps", "state", "accuracy", "seconds"
        ));
        lines.extend(running.into_iter().chain(best.into_iter().take(BEST)).map(|run| format!("  {}", row(run))));
        let mut out = std::io::stdout().lock();
        if self.lines > 0 {
            write!(out, "\x1b[{}A", self.lines)?;
        }
        for line in &lines {
            writeln!(out, "\x1b[2K{line}")?;
        }
        // What the last table had below this one.
        write!(out, "\x1b[J")?;
        out.flush()?;
        self.lines = lines.len();
        Ok(())
    }
}

fn row(run: &Run) -> String {
    let accuracy: String = run.accuracy.as_deref().unwrap_or("").chars().take(6).collect();
    let seconds = run.duration_seconds.map_or_else(String::new, |seconds| format!("{seconds:.1}"));
    let line = format!(
        "{:<18} {:>9} {:>6} {:>7}  {:<10} {accuracy:>8} {seconds:>8}",
        run.experiment, run.learning_rate, run.layers, run.steps, run.state
    );
    match &run.reason {
        Some(reason) => format!("{line}  {reason}"),
        None => line.trim_end().to_owned(),
    }
}
