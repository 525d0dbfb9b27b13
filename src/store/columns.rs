//! The results of a model in the order of what their experiments are told, and of their names: the columns that a
//! leaderboard is sorted by. Within equal values the best stands first.
//!
//! Knows keys; when a result stands in line is told in `results`.

use super::key::{self, Key};
use super::results::{self, Scope};
use super::tx::ReadBack;
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
                prefix.text(head).id(number).text(experiment.name.as_str())
            }
        };
        value.bytes(&results::rank(result)).done()
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

/// Up to `limit` results of a model after the first `skipped`, in the order of a column or, without one, of their accuracies:
/// whose they are and on what.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn sorted(
    reader: &impl ReadBack,
    model: ModelId,
    (column, descending): (Option<Column>, bool),
    skipped: usize,
    limit: usize,
) -> Result<Vec<(ExperimentId, DatasetId)>> {
    let prefix = match column {
        Some(column) => column.prefix(model).done(),
        None => Key::new(key::SCORE).id(Scope::Model(model).id()).done(),
    };
    let end = key::after_prefix(&prefix);
    // The best accuracy has the first key.
    let downwards = if column.is_some() { descending } else { !descending };
    let all = if downwards { reader.range_back(prefix, end) } else { reader.range(prefix, end) };
    let pointed = all.skip(skipped).take(limit).map(|pair| Ok(results::pointed_at(&pair?.1)));
    pointed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_as_people_count() {
        let mut names = ["default_10", "default_9", "b", "default_", "a", "default_09"];
        names.sort_by_key(|name| (natural(name), *name));
        assert_eq!(names, ["a", "b", "default_", "default_09", "default_9", "default_10"]);
    }
}
