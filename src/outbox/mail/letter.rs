//! What a mail says: what ended, how well, and how to look.
//!
//! Reasons of failed runs end with what a script printed, so nothing in them acts on whoever reads the mail.

use crate::domain::accuracy::Accuracy;
use crate::domain::error::Result;
use crate::domain::event::{Event, EventKind};
use crate::domain::ids::{ExperimentId, ModelId, RunId, SweepId};
use crate::domain::run::{Outcome, Run, RunState};
use crate::domain::text::printable;
use crate::store::results::{self, Scope};
use crate::store::{Store, accounts, datasets, experiments, models, runs, sweeps};
use std::fmt::Write;

/// The most failures that are told one by one.
const TOLD: usize = 5;

/// The most characters of a reason that are told.
const MOST_REASON: usize = 500;

/// A mail without its addresses.
pub(super) struct Letter {
    /// One line.
    pub subject: String,
    /// Plain text.
    pub body: String,
}

impl Letter {
    pub fn new(subject: &str, body: String) -> Self {
        Self { subject: printable(subject).replace('\t', " "), body: body.replace('\n', "\r\n") }
    }
}

/// The letter that tells of an event, unless what ended is gone. Reads all runs of a sweep, on a thread that may block.
///
/// # Errors
/// `internal` where the store cannot be read.
pub(super) fn write(store: &Store, event: &Event, base: &str) -> Result<Option<Letter>> {
    let Some(model) = models::get(store, ModelId(event.model))? else { return Ok(None) };
    let teller = Teller { store, model: model.id, name: model.name.as_str(), base };
    match event.kind {
        EventKind::SweepFinished => teller.sweep(SweepId(event.subject)),
        _ => match runs::get(store, RunId(event.subject))? {
            Some(run) => teller.run(&run).map(Some),
            None => Ok(None),
        },
    }
}

struct Teller<'a> {
    store: &'a Store,
    model: ModelId,
    name: &'a str,
    base: &'a str,
}

impl Teller<'_> {
    fn sweep(&self, id: SweepId) -> Result<Option<Letter>> {
        let Some(sweep) = sweeps::get(self.store, id)? else { return Ok(None) };
        let mut last: Vec<Run> = runs::last_of_sweep(self.store, id)?.into_values().collect();
        last.sort_by_key(|run| run.id);
        let count = |state: &str| last.iter().filter(|run| run.state.name() == state).count();
        let (all, succeeded) = (last.len(), count("succeeded"));
        let best = best(&last);
        let mut subject = format!("Trainyard: sweep of {}: {succeeded} of {all} succeeded", self.name);
        let dataset = datasets::get(self.store, sweep.version.dataset)?;
        let dataset = dataset.map(|dataset| dataset.name_text().to_owned()).filter(|name| !name.is_empty());
        let on = dataset.map_or_else(|| "all of its images".to_owned(), |name| format!("its dataset {name}"));
        let mut body = format!("The sweep {id} of the model {} on {on} is over.\n\n", self.name);
        for state in ["succeeded", "failed", "cancelled", "running", "queued"] {
            if count(state) > 0 || state == "succeeded" {
                let _ = writeln!(body, "  {:>5} {state}", count(state));
            }
        }
        if let Some((run, accuracy)) = best {
            let _ = write!(subject, ", best {accuracy}");
            let _ = write!(body, "\nThe best result is {accuracy}, by {}:\n", self.experiment(run.spec.experiment)?);
            self.parameters(&mut body, run);
        }
        if let Some(top) = results::best(self.store, Scope::Model(self.model))?
            && best.is_some_and(|(run, _)| run.id != top.run)
        {
            let _ =
                writeln!(body, "The model's best one is still {}, by {}.", top.accuracy.text(), top.experiment_name);
        }
        self.failures(&mut body, &last)?;
        self.how_to_look(&mut body, &[&format!("sweeps/{id}"), &format!("runs?sweep={id}")])?;
        Ok(Some(Letter::new(&subject, body)))
    }

    fn failures(&self, body: &mut String, last: &[Run]) -> Result<()> {
        let failed: Vec<(&Run, &str)> = last.iter().filter_map(|run| Some((run, reason(run)?))).collect();
        if !failed.is_empty() {
            body.push_str("\nWhat failed:\n");
        }
        for (run, reason) in failed.iter().take(TOLD) {
            let _ = writeln!(body, "  {}, {}:", self.experiment(run.spec.experiment)?, run.id);
            quote(body, reason);
        }
        if failed.len() > TOLD {
            let _ = writeln!(body, "  and {} more", failed.len() - TOLD);
        }
        Ok(())
    }

    fn run(&self, run: &Run) -> Result<Letter> {
        let experiment = self.experiment(run.spec.experiment)?;
        let state = run.state.name();
        let mut subject = format!("Trainyard: run of {experiment} of {}: {state}", self.name);
        let mut body =
            format!("The run {} of the experiment {experiment} of the model {} is over: {state}.\n", run.id, self.name);
        if let RunState::Done { outcome: Outcome::Succeeded { accuracy, .. }, .. } = &run.state {
            let _ = write!(subject, ", {}", accuracy.text());
            let _ = writeln!(body, "Its accuracy is {}.", accuracy.text());
        }
        self.parameters(&mut body, run);
        if let Some(reason) = reason(run) {
            body.push_str("\nWhy:\n");
            quote(&mut body, reason);
        }
        self.how_to_look(&mut body, &[&format!("runs/{}", run.id), &format!("runs/{}/log", run.id)])?;
        Ok(Letter::new(&subject, body))
    }

    fn experiment(&self, id: ExperimentId) -> Result<String> {
        let found = experiments::get(self.store, id)?;
        Ok(found.map_or_else(|| id.to_string(), |experiment| experiment.name.as_str().to_owned()))
    }

    fn parameters(&self, body: &mut String, run: &Run) {
        let given = run.spec.parameters;
        let _ = writeln!(
            body,
            "  learning_rate {}, num_layers {}, num_steps {} ({})",
            given.learning_rate, given.layers, given.steps, run.id
        );
    }

    fn how_to_look(&self, body: &mut String, paths: &[&str]) -> Result<()> {
        // Where there are accounts, a token is asked for.
        let token = if accounts::count(self.store)? > 0 { "-H \"Authorization: Bearer $T\" " } else { "" };
        body.push_str("\nTo look at it:\n");
        for path in paths {
            let _ = writeln!(body, "  curl {token}\"{}/api/v1/{path}\"", self.base);
        }
        Ok(())
    }
}

/// The best of these runs and what it printed; of equals the first.
fn best(last: &[Run]) -> Option<(&Run, &str)> {
    let mut best: Option<(&Run, &Accuracy)> = None;
    for run in last {
        if let RunState::Done { outcome: Outcome::Succeeded { accuracy, .. }, .. } = &run.state
            && best.is_none_or(|(_, other)| accuracy.compare(other).is_gt())
        {
            best = Some((run, accuracy));
        }
    }
    best.map(|(run, accuracy)| (run, accuracy.text()))
}

fn reason(run: &Run) -> Option<&str> {
    match &run.state {
        RunState::Done { outcome: Outcome::Failed { reason }, .. } => Some(reason),
        _ => None,
    }
}

/// Somebody else's words, set off.
fn quote(body: &mut String, words: &str) {
    let short: String = words.chars().take(MOST_REASON).collect();
    for line in short.lines() {
        let _ = writeln!(body, "    {}", printable(line));
    }
}
