//! The results of a model in the order of what their experiments are told, and of their names: the columns that a
//! leaderboard is sorted by. Of equal values the earlier experiment's stands first.
//!
//! There are four keys for each result, so they hold no more than they must. When a result stands in line is told in
//! `results`. Knows keys.

use super::experiments;
use super::key::{self, Key};
use super::results::{self, Scope};
use super::tx::{Read, ReadBack};
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

    fn key(self, experiment: &Experiment, result: &ExperimentResult) -> Vec<u8> {
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
        value.ordinal(result.ordinal).id(result.dataset.0).done()
    }
}

/// A name as what stands before the number at its end, and that number.
fn natural(name: &str) -> (&str, u64) {
    let head = name.trim_end_matches(|c: char| c.is_ascii_digit());
    (head, name[head.len()..].parse().unwrap_or(0))
}

/// Where a result of an experiment stands, in each column.
pub(super) fn keys(experiment: &Experiment, result: &ExperimentResult) -> [Vec<u8>; 4] {
    Column::ALL.map(|column| column.key(experiment, result))
}

/// Whose result it is that a key of a column stands for, and on what; nothing where the experiment is not listed.
pub(super) fn pointed_at(reader: &impl Read, key: &[u8]) -> Result<Option<(ExperimentId, DatasetId)>> {
    let (model, dataset) = (ModelId(key::id_at(key, 1)), DatasetId(key::last_id(key)));
    let ordinal = key.len().checked_sub(12).and_then(|at| key.get(at..at + 4)?.try_into().ok()).map(u32::from_be_bytes);
    let Some(ordinal) = ordinal else { return Ok(None) };
    let found = reader.get(&experiments::order_key(model, ordinal))?;
    Ok(found.map(|id| (ExperimentId(key::last_id(&id)), dataset)))
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

/// The results of a model in an order, behind a place: whose they are and on what, each with its place.
pub fn sorted<'a, R: ReadBack>(
    reader: &'a R,
    model: ModelId,
    order: Order,
    after: Option<&[u8]>,
) -> impl Iterator<Item = Result<(Place, (ExperimentId, DatasetId))>> + use<'a, R> {
    let list = match order.by {
        Some(column) => column.prefix(model),
        None => Key::new(key::SCORE).id(Scope::Model(model).id()),
    };
    let prefix = list.clone().done();
    let end = key::after_prefix(&prefix);
    let length = prefix.len();
    // The best accuracy has the first key. No key begins another one, so a nought behind one leads to the next.
    let all = match (order.descending == order.by.is_some(), after) {
        (true, after) => reader.range_back(prefix, after.map_or(end, |place| list.bytes(place).done())),
        (false, after) => reader.range(after.map_or(prefix, |place| list.bytes(place).byte(0).done()), end),
    };
    all.filter_map(move |pair| {
        let found = pair.and_then(|(key, value)| {
            let whose = match order.by {
                Some(_) => pointed_at(reader, &key)?,
                None => Some(results::pointed_at(&value)),
            };
            Ok(whose.map(|whose| (key.get(length..).unwrap_or_default().to_vec(), whose)))
        });
        found.transpose()
    })
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
