//! What the demo shows: one line that moves on a terminal, plain lines elsewhere, and the leaderboard.

use super::Run;
use super::digits::Digit;
use std::collections::HashSet;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

const BAR: usize = 27;

/// Shows how a sweep goes.
pub struct Progress {
    is_terminal: bool,
    since: Instant,
    shown: HashSet<String>,
}

impl Progress {
    /// Begins to watch.
    pub fn new() -> Self {
        Self { is_terminal: std::io::stdout().is_terminal(), since: Instant::now(), shown: HashSet::new() }
    }

    /// How long to wait before the next look.
    pub fn pace(&self) -> Duration {
        if self.is_terminal { Duration::from_millis(100) } else { Duration::from_millis(250) }
    }

    /// Shows the runs as they stand.
    pub fn show(&mut self, runs: &[Run]) {
        let done: Vec<&Run> = runs.iter().filter(|run| run.is_over()).collect();
        if self.is_terminal {
            let filled = done.len() * BAR / runs.len().max(1);
            let running = runs.iter().filter(|run| run.state == "running").count();
            let best = best(runs).map_or_else(String::new, |run| {
                format!("  best {} ({})", run.accuracy.as_deref().unwrap_or(""), run.experiment)
            });
            print!(
                "\r\x1b[2K  [{}{}] {}/{} done, {running} running, {:.0} s{best}",
                "#".repeat(filled),
                ".".repeat(BAR - filled),
                done.len(),
                runs.len(),
                self.since.elapsed().as_secs_f64(),
            );
            // A terminal that is gone is no reason to stop.
            let _ = std::io::stdout().flush();
            return;
        }
        let number = self.shown.len();
        let news: Vec<&&Run> = done.iter().filter(|run| !self.shown.contains(&run.experiment)).collect();
        for (place, run) in news.iter().enumerate() {
            println!("  {:>2}/{} {}", number + place + 1, runs.len(), line(run));
        }
        self.shown.extend(done.iter().map(|run| run.experiment.clone()));
    }

    /// Ends the moving line. Returns how long it all took.
    pub fn end(self) -> Duration {
        if self.is_terminal {
            println!();
        }
        self.since.elapsed()
    }
}

fn best(runs: &[Run]) -> Option<&Run> {
    runs.iter()
        .filter(|run| run.accuracy.is_some())
        .reduce(|best, run| if run.value() > best.value() { run } else { best })
}

fn line(run: &Run) -> String {
    format!(
        "{:<11} learning rate {:<5} layers {}  steps {:<4}  {:>7}  {:>5.1} s",
        run.experiment,
        run.learning_rate,
        run.layers,
        run.steps,
        run.accuracy.as_deref().map_or_else(|| run.state.clone(), |text| text.chars().take(6).collect()),
        run.duration_seconds.unwrap_or(0.0),
    )
}

/// Prints all runs, the best first.
pub fn leaderboard(runs: &[Run]) {
    let mut ranked: Vec<&Run> = runs.iter().collect();
    ranked.sort_by(|a, b| b.value().total_cmp(&a.value()));
    for (place, run) in (1..).zip(ranked) {
        println!("  {place:>2}. {}", line(run));
        if let Some(reason) = &run.reason {
            println!("      {reason}");
        }
    }
}

/// A digit, the label that the model gave it, and how sure the model was.
pub type Answered = (Digit, String, String);

/// Prints digits side by side, with what they are and what the model says.
pub fn predictions(answers: &[Answered]) {
    const WIDTH: usize = 14;
    let row = |text: &dyn Fn(&Answered) -> String| {
        let cells: Vec<String> = answers.iter().map(|answer| format!("{:<WIDTH$}", text(answer))).collect();
        println!("  {}", cells.concat().trim_end());
    };
    for line in 0..answers.first().map_or(0, |(digit, _, _)| digit.drawing().len()) {
        row(&|(digit, _, _)| digit.drawing()[line].clone());
    }
    row(&|(digit, _, _)| format!("is {}", digit.label));
    row(&|(_, label, _)| format!("answer {label}"));
    row(&|(_, _, confidence)| format!("sure {}", confidence.chars().take(6).collect::<String>()));
}
