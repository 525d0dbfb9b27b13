//! The results of a model in the order of what their experiments are told, and of their names: the columns that a
//! leaderboard is sorted by. Of equal values the earlier experiment's stands first.
//!
//! An experiment stands in each column while it has a result to show. What is in memory of the store grows with the number of
//! keys, so there are none for single results. Knows keys.

use super::experiments;
use super::key::{self, Key};
use super::results;
use super::tx::{Read, ReadBack, Tx};
use crate::domain::error::Result;
use crate::domain::experiment::Experiment;
use crate::domain::ids::{DatasetId, ExperimentId, ModelId};
use crate::domain::result::ExperimentResult;

/// What results are sorted by. The numbers are on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Column {
    /// `--i`
    LearningRate = 1,
    /// `--j`
    Layers = 2,
    /// `--k`
    Steps = 3,
    /// The name of the experiment, `default_9` before `default_10`.
    Experiment = 4,
}

impl Column {
    const ALL: [Self; 4] = [Self::LearningRate, Self::Layers, Self::Steps, Self::Experiment];

    fn prefix(self, model: ModelId) -> Key {
        Key::new(key::COLUMN).id(model.0).byte(self as u8)
    }

    fn key(self, experiment: &Experiment) -> Vec<u8> {
        let prefix = self.prefix(experiment.model);
        let value = match self {
            // The bits of a number above nought sort like the number.
            Self::LearningRate => prefix.id(experiment.parameters.learning_rate.get().to_bits()),
            Self::Layers => prefix.id(u64::from(experiment.parameters.layers)),
            Self::Steps => prefix.id(experiment.parameters.steps),
            Self::Experiment => {
                let (head, number) = natural(experiment.name.as_str());
                prefix.text(head).id(number)
            }
        };
        value.ordinal(experiment.ordinal).done()
    }
}

/// A name as what stands before the number at its end, and that number.
fn natural(name: &str) -> (&str, u64) {
    let head = name.trim_end_matches(|c: char| c.is_ascii_digit());
    (head, name[head.len()..].parse().unwrap_or(0))
}

/// Where an experiment stands, in each column.
pub(super) fn keys(experiment: &Experiment) -> [Vec<u8>; 4] {
    Column::ALL.map(|column| column.key(experiment))
}

/// Lists an experiment that has a result to show.
pub(super) fn list(tx: &mut Tx<'_>, experiment: &Experiment) -> Result<()> {
    let keys = keys(experiment);
    if tx.get(&keys[0])?.is_none() {
        keys.into_iter().for_each(|key| tx.mark(key, &[]));
    }
    Ok(())
}

/// Lists an experiment, or takes it out, as it has results to show.
pub(super) fn settle(tx: &mut Tx<'_>, experiment: &Experiment) -> Result<()> {
    if has_results(tx, experiment)? {
        return list(tx, experiment);
    }
    keys(experiment).into_iter().for_each(|key| tx.delete(key));
    Ok(())
}

/// Whether an experiment has a result to show.
pub(super) fn has_results(reader: &impl Read, experiment: &Experiment) -> Result<bool> {
    Ok(!results_of(reader, experiment)?.is_empty())
}

/// The results of an experiment that are shown, in the order in which their datasets were made.
fn results_of(reader: &impl Read, experiment: &Experiment) -> Result<Vec<ExperimentResult>> {
    let mut found = Vec::new();
    if experiment.stamp.trashed_at.is_none() {
        for result in results::of_experiment(reader, experiment.id)? {
            if results::is_shown(reader, Some(experiment), &result)? {
                found.push(result);
            }
        }
    }
    Ok(found)
}

/// The experiment that a key of a column stands for; nothing where it is not listed.
pub(super) fn experiment_at(reader: &impl Read, key: &[u8]) -> Result<Option<Experiment>> {
    let ordinal = key.len().checked_sub(4).and_then(|at| key.get(at..)?.try_into().ok()).map(u32::from_be_bytes);
    let Some(ordinal) = ordinal else { return Ok(None) };
    match reader.get(&experiments::order_key(ModelId(key::id_at(key, 1)), ordinal))? {
        Some(id) => experiments::get(reader, ExperimentId(key::last_id(&id))),
        None => Ok(None),
    }
}

/// By what results are sorted, and which way: a column or, without one, their accuracies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// The column.
    pub by: Option<Column>,
    /// The greatest value first.
    pub descending: bool,
}

impl Order {
    /// The best first.
    pub const BEST_FIRST: Self = Self { by: None, descending: true };
}

/// A place in an order of results.
pub type Place = Vec<u8>;

/// How many bytes of a place in a column say on which dataset.
const OF_DATASET: usize = 8;

/// Results in an order, each with its place.
type Sorted<'a> = Box<dyn Iterator<Item = Result<(Place, ExperimentResult)>> + 'a>;

/// The results of a model in an order, behind a place and so many more.
pub fn sorted<'a>(
    reader: &'a impl ReadBack,
    model: ModelId,
    order: Order,
    after: Option<&[u8]>,
    skipped: usize,
) -> Sorted<'a> {
    match order.by {
        None => by_accuracy(reader, model, order.descending, after, skipped),
        Some(column) => Box::new(by_column(reader, column.prefix(model), order.descending, after).skip(skipped)),
    }
}

/// The best result of a model on a dataset.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn best_on(reader: &impl Read, model: ModelId, dataset: DatasetId) -> Result<Option<ExperimentResult>> {
    for pair in reader.prefix(Key::new(key::SCORE).id(model.0).done()) {
        let (_, pointer) = pair?;
        if results::pointed_at(&pointer).1 == dataset {
            return results::pointed(reader, &pointer).map(Some);
        }
    }
    Ok(None)
}

fn by_accuracy<'a>(
    reader: &'a impl ReadBack,
    model: ModelId,
    best_first: bool,
    after: Option<&[u8]>,
    skipped: usize,
) -> Sorted<'a> {
    let list = Key::new(key::SCORE).id(model.0);
    let prefix = list.clone().done();
    let (end, length) = (key::after_prefix(&prefix), prefix.len());
    // No key begins another one, so a nought behind one leads to the next.
    let all = match best_first {
        true => reader.range(after.map_or(prefix, |place| list.bytes(place).byte(0).done()), end),
        false => reader.range_back(prefix, after.map_or(end, |place| list.bytes(place).done())),
    };
    Box::new(all.skip(skipped).map(move |pair| {
        let (key, pointer) = pair?;
        Ok((key.get(length..).unwrap_or_default().to_vec(), results::pointed(reader, &pointer)?))
    }))
}

/// A place is where the experiment stands, and the dataset.
fn by_column<'a>(reader: &'a impl ReadBack, list: Key, downwards: bool, after: Option<&[u8]>) -> Sorted<'a> {
    let prefix = list.clone().done();
    let (end, length) = (key::after_prefix(&prefix), prefix.len());
    let after = after.map(|place| {
        let (at, dataset) = place.split_at(place.len().saturating_sub(OF_DATASET));
        (at.to_vec(), key::last_id(dataset))
    });
    // The experiment itself may have more, on datasets that were made later.
    let all = match (downwards, &after) {
        (false, after) => reader.range(after.as_ref().map_or(prefix, |(at, _)| list.bytes(at).done()), end),
        (true, after) => reader.range_back(prefix, after.as_ref().map_or(end, |(at, _)| list.bytes(at).byte(0).done())),
    };
    let results_at = move |key: Vec<u8>| {
        let at = key.get(length..).unwrap_or_default();
        let seen = after.as_ref().filter(|(last, _)| last == at).map(|(_, dataset)| *dataset);
        let Some(experiment) = experiment_at(reader, &key)? else { return Ok(Vec::new()) };
        let found = results_of(reader, &experiment)?.into_iter();
        let found = found.filter(|result| seen.is_none_or(|seen| result.dataset.0 > seen));
        Ok(found.map(|result| ([at, &result.dataset.0.to_be_bytes()].concat(), result)).collect())
    };
    Box::new(all.flat_map(move |pair| match pair.and_then(|(key, _)| results_at(key)) {
        Ok(found) => found.into_iter().map(Ok).collect::<Vec<_>>(),
        Err(error) => vec![Err(error)],
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_as_people_count() {
        let mut names = ["default_10", "default_9", "b", "default_", "a"];
        names.sort_by_key(|name| natural(name));
        assert_eq!(names, ["a", "b", "default_", "default_9", "default_10"]);
    }
}
