//! Finds accuracies, a validation loss, progress points and predictions in a dictionary.
//!
//! The dictionary's own keys come first, then those of dictionaries inside it, where the outer key
//! may name the split: `{'val': {'accuracy': 0.9}}`, `{'accuracy': {'val': 0.9}}`. A list
//! under such a key is a history (Keras's `history.history`): its last element counts. This
//! module must not know other lines.

use std::cmp::Reverse;

use super::literal::Literal;
use super::names::{self, AccuracyName, MAX_NAME, Metric, Split};
use super::outcome::Prediction;
use super::scan::{MAX_METRICS, Sighting};
use super::value::{self, Value};
use crate::domain::accuracy::AccuracyError;

/// Longest label kept, in characters.
pub const MAX_LABEL: usize = 256;

type Entries = [(String, Literal)];

/// The accuracy that the dictionary reports. An accuracy of None is a report too, of a
/// failure, unless another key has a number.
pub fn accuracy(entries: &Entries) -> Option<Sighting> {
    let mut search = Search::default();
    search.visit(entries, Split::Unsaid, 0);
    search.best.map(|(_, sighting)| sighting).or(search.null)
}

#[derive(Default)]
struct Search {
    best: Option<((AccuracyName, Reverse<usize>), Sighting)>,
    null: Option<Sighting>,
}

impl Search {
    fn visit(&mut self, entries: &Entries, split: Split, depth: usize) {
        for (key, item) in entries {
            match (names::classify(key), item) {
                (Some(Metric::Accuracy(_)), Literal::Dict(inner)) => {
                    for (inner_key, inner_item) in inner {
                        let joined = format!("{inner_key}_{key}");
                        if let Some(Metric::Accuracy(name)) = names::classify(&joined) {
                            self.consider(name.on(split), inner_item, depth + 1);
                        }
                    }
                }
                (Some(Metric::Accuracy(name)), item) => self.consider(name.on(split), item, depth),
                (_, Literal::Dict(inner)) => {
                    if let Some(inner_split) = split_of_section(key) {
                        self.visit(inner, split.max(inner_split), depth + 1);
                    }
                }
                _ => {}
            }
        }
    }

    fn consider(&mut self, name: AccuracyName, item: &Literal, depth: usize) {
        if *item == Literal::None && name.spelled_out {
            let printed = "None".to_owned();
            let accuracy = Err(AccuracyError::NotANumber { printed });
            self.null.get_or_insert(Sighting { name, accuracy });
        }
        let Some(accuracy) = Value::of_literal(item).and_then(|value| value.accuracy()) else {
            return;
        };
        let order = (name, Reverse(depth));
        if self.best.as_ref().is_none_or(|(best, _)| order > *best) {
            self.best = Some((order, Sighting { name, accuracy }));
        }
    }
}

/// What a dictionary's key says of the dictionary under it; `None` for sections that hold
/// settings or somebody else's figures.
fn split_of_section(key: &str) -> Option<Split> {
    let parts = names::parts_of(key.get(..MAX_NAME).unwrap_or(key));
    if parts.iter().any(|part| names::disqualifies(part)) {
        return None;
    }
    Some(names::split_of(&parts).unwrap_or(Split::Unsaid))
}

/// The finite validation loss, from the dictionary or one inside it.
pub fn val_loss(entries: &Entries) -> Option<f64> {
    let own = entries.iter().find_map(|(key, item)| {
        let named = names::classify(key) == Some(Metric::ValidationLoss);
        let loss = Value::of_literal(item)?.number()?;
        (named && loss.is_finite()).then_some(loss)
    });
    own.or_else(|| {
        entries.iter().find_map(|(_, item)| match item {
            Literal::Dict(inner) => val_loss(inner),
            _ => None,
        })
    })
}

/// The step and the finite metrics of `{"step": 200, "loss": 0.41}`.
pub fn point(entries: &Entries) -> Option<(u64, Vec<(String, f64)>)> {
    let step = whole(entry(entries, "step")?)?;
    let metrics = entries.iter().filter_map(|(key, item)| match item {
        Literal::Number(text) if key != "step" && !key.is_empty() && key.len() <= MAX_NAME => {
            let number: f64 = text.parse().ok()?;
            number.is_finite().then(|| (key.clone(), number))
        }
        _ => None,
    });
    Some((step, metrics.take(MAX_METRICS).collect()))
}

/// The step count of a result line, by which a job of several runs tells them apart.
pub fn steps(entries: &Entries) -> Option<u64> {
    whole(entry(entries, "k")?)
}

/// What a test script printed beside or instead of an accuracy.
pub fn prediction(entries: &Entries) -> Prediction {
    let json = |key| entry(entries, key).cloned().map(Literal::into_json);
    let label = entry(entries, "label").and_then(|item| match item {
        Literal::Text(text) | Literal::Number(text) => Some(text.clone()),
        Literal::Bool(true) => Some("True".to_owned()),
        Literal::Bool(false) => Some("False".to_owned()),
        _ => None,
    });
    Prediction {
        label: label.map(|label| label.chars().take(MAX_LABEL).collect()),
        probabilities: json("probabilities").filter(|value| !value.is_null()),
        output: json("output").filter(|value| !value.is_null()),
    }
}

fn entry<'a>(entries: &'a Entries, name: &str) -> Option<&'a Literal> {
    let found = entries.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
    found.map(|(_, item)| item)
}

fn whole(item: &Literal) -> Option<u64> {
    match item {
        Literal::Number(text) | Literal::Text(text) => value::step(text),
        _ => None,
    }
}
