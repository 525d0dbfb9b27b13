//! Results: one for each (experiment, dataset), and the best of a model and of an experiment without a scan.
//!
//! Every result stands in its model's scores, the best first, and its experiment in the model's columns. Equal accuracies:
//! the lower validation loss where both report one, else the earlier experiment. A model's best, which is asked for
//! most, is a record of its own; an experiment's is found through its index.

use super::codec::{self, CodecError};
use super::columns;
use super::key::{self, Key};
use super::record::{self, ParametersV1, VersionV1};
use super::runs::Listed;
use super::tx::{Read, Tx, damaged};
use crate::domain::dataset::DatasetVersion;
use crate::domain::error::{Error, Result};
use crate::domain::experiment::Experiment;
use crate::domain::ids::{DatasetId, ExperimentId, ModelId, RunId};
use crate::domain::result::{Best, ExperimentResult};
use crate::domain::run::Run;
use crate::domain::stamp::Stamp;
use serde::{Deserialize, Serialize};

/// Runs looked at in one go.
const PAGE: usize = 200;

#[derive(Serialize, Deserialize)]
struct ResultV1 {
    experiment: u64,
    dataset: u64,
    version: VersionV1,
    run: u64,
    ordinal: u32,
    accuracy: String,
    validation_loss: Option<f64>,
}

#[derive(Serialize, Deserialize)]
struct BestV1 {
    run: u64,
    dataset: u64,
    dataset_name: String,
    experiment: u64,
    experiment_name: String,
    parameters: ParametersV1,
    accuracy: String,
}

pub(super) fn encode(result: &ExperimentResult) -> Result<Vec<u8>, CodecError> {
    let stored = ResultV1 {
        experiment: result.experiment.0,
        dataset: result.dataset.0,
        version: result.version.into(),
        run: result.run.0,
        ordinal: result.ordinal,
        accuracy: result.accuracy.text().to_owned(),
        validation_loss: result.validation_loss,
    };
    codec::encode(1, &stored)
}

pub(super) fn decode(bytes: &[u8]) -> Result<ExperimentResult, CodecError> {
    let stored: ResultV1 = codec::decode_v1(bytes)?;
    Ok(ExperimentResult {
        experiment: ExperimentId(stored.experiment),
        dataset: DatasetId(stored.dataset),
        version: DatasetVersion::from(stored.version),
        run: RunId(stored.run),
        ordinal: stored.ordinal,
        accuracy: record::accuracy(&stored.accuracy)?,
        validation_loss: stored.validation_loss,
    })
}

pub(super) fn encode_best(best: &Best) -> Result<Vec<u8>, CodecError> {
    let stored = BestV1 {
        run: best.run.0,
        dataset: best.dataset.0,
        dataset_name: best.dataset_name.clone(),
        experiment: best.experiment.0,
        experiment_name: best.experiment_name.clone(),
        parameters: (&best.parameters).into(),
        accuracy: best.accuracy.text().to_owned(),
    };
    codec::encode(1, &stored)
}

pub(super) fn decode_best(bytes: &[u8]) -> Result<Best, CodecError> {
    let stored: BestV1 = codec::decode_v1(bytes)?;
    Ok(Best {
        run: RunId(stored.run),
        dataset: DatasetId(stored.dataset),
        dataset_name: stored.dataset_name,
        experiment: ExperimentId(stored.experiment),
        experiment_name: stored.experiment_name,
        parameters: stored.parameters.try_into()?,
        accuracy: record::accuracy(&stored.accuracy)?,
    })
}

/// Whose best is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Among all results of a model.
    Model(ModelId),
    /// Among the results of one experiment.
    Experiment(ExperimentId),
}

pub(super) fn result_key(experiment: ExperimentId, dataset: DatasetId) -> Vec<u8> {
    Key::new(key::RESULT).id(experiment.0).id(dataset.0).done()
}

pub(super) fn best_key(model: ModelId) -> Vec<u8> {
    Key::new(key::BEST).id(model.0).done()
}

/// Marks results that report a validation loss; they stand before those of the same accuracy that do not.
const WITH_LOSS: u8 = 0;
const WITHOUT_LOSS: u8 = 1;

/// The beginning of the ranks of all results of an accuracy.
fn score(accuracy: f64) -> [u8; 8] {
    // The bits of a number that is not negative sort like the number; inverted, the best comes first.
    (!accuracy.abs().to_bits()).to_be_bytes()
}

/// A result's place among others: in the order of these bytes, the best comes first.
pub(super) fn rank(result: &ExperimentResult) -> Vec<u8> {
    let (mark, loss) = result.validation_loss.map_or((WITHOUT_LOSS, 0), |loss| (WITH_LOSS, ascending(loss)));
    let mut rank = Vec::with_capacity(29);
    rank.extend_from_slice(&score(result.accuracy.value()));
    rank.push(mark);
    rank.extend_from_slice(&loss.to_be_bytes());
    rank.extend_from_slice(&result.ordinal.to_be_bytes());
    rank.extend_from_slice(&result.dataset.0.to_be_bytes());
    rank
}

pub(super) fn score_key(model: ModelId, result: &ExperimentResult) -> Vec<u8> {
    Key::new(key::SCORE).id(model.0).bytes(&rank(result)).done()
}

/// A number whose unsigned order is the order of the values.
fn ascending(value: f64) -> u64 {
    let bits = value.to_bits();
    if value.is_sign_negative() { !bits } else { bits | 1 << 63 }
}

/// The best result of every model that has one.
pub fn bests(reader: &impl Read) -> impl Iterator<Item = Result<Best>> + '_ {
    reader.prefix(Key::new(key::BEST).done()).map(|pair| decode_best(&pair?.1).map_err(damaged("best result")))
}

/// The best result: of a model as one look-up, of an experiment as a handful.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn best(reader: &impl Read, scope: Scope) -> Result<Option<Best>> {
    match scope {
        Scope::Model(model) => recorded(reader, model),
        Scope::Experiment(id) => {
            let mut found = Vec::new();
            for result in of_experiment(reader, id)? {
                if is_shown(reader, None, &result)? {
                    found.push(result);
                }
            }
            found.iter().min_by_key(|result| rank(result)).map(|best| describe(reader, best)).transpose()
        }
    }
}

pub(super) fn recorded(reader: &impl Read, model: ModelId) -> Result<Option<Best>> {
    reader.get(&best_key(model))?.map(|bytes| decode_best(&bytes).map_err(damaged("best result"))).transpose()
}

/// The result of an experiment on a dataset.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn get(reader: &impl Read, experiment: ExperimentId, dataset: DatasetId) -> Result<Option<ExperimentResult>> {
    let found = reader.get(&result_key(experiment, dataset))?;
    found.map(|bytes| decode(&bytes).map_err(damaged("result"))).transpose()
}

/// The results of an experiment, in the order in which its datasets were made.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn of_experiment(reader: &impl Read, experiment: ExperimentId) -> Result<Vec<ExperimentResult>> {
    reader
        .prefix(Key::new(key::RESULT).id(experiment.0).done())
        .map(|pair| decode(&pair?.1).map_err(damaged("result")))
        .collect()
}

/// Stores a result of a run of `model`, unless a run that was submitted later has one already.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn record(tx: &mut Tx<'_>, model: ModelId, result: &ExperimentResult) -> Result<()> {
    if let Some(earlier) = get(tx, result.experiment, result.dataset)? {
        if earlier.run > result.run {
            return Ok(());
        }
        tx.delete(score_key(model, &earlier));
    }
    tx.put(result_key(result.experiment, result.dataset), encode(result))?;
    let experiment = super::experiments::get(tx, result.experiment)?;
    if is_shown(tx, experiment.as_ref(), result)? {
        tx.mark(score_key(model, result), &pointer(result));
        experiment.map_or(Ok(()), |experiment| columns::list(tx, &experiment))?;
    }
    write_best(tx, model)
}

/// Takes back what a run brought, before it is removed: what its experiment brought on the dataset is then what the last one
/// before it brought, if there is one.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn take_back(tx: &mut Tx<'_>, run: &Run) -> Result<()> {
    let (model, dataset) = (run.spec.model, run.spec.version.dataset);
    let Some(own) = get(tx, run.spec.experiment, dataset)?.filter(|result| result.run == run.id) else { return Ok(()) };
    delete(tx, model, std::slice::from_ref(&own))?;
    let (mut after, mut earlier) = (None, None);
    loop {
        let page = super::runs::listed(tx, Listed::OfExperiment(run.spec.experiment), after, PAGE)?;
        let Some(last) = page.last().map(|last| last.id) else { break };
        let before = page.iter().take_while(|other| other.id < run.id);
        let of_dataset = before.filter(|other| other.spec.version.dataset == dataset);
        earlier = of_dataset.filter_map(|other| ExperimentResult::of(other, own.ordinal)).last().or(earlier);
        if last >= run.id {
            break;
        }
        after = Some(last);
    }
    earlier.map_or(Ok(()), |earlier| record(tx, model, &earlier))
}

/// Whether a result stands in line: not while its dataset is in the trash, nor while its experiment is, where that is given.
pub(super) fn is_shown(reader: &impl Read, experiment: Option<&Experiment>, result: &ExperimentResult) -> Result<bool> {
    let is_there = |stamp: Option<&Stamp>| stamp.is_none_or(|stamp| stamp.trashed_at.is_none());
    let dataset = super::datasets::get(reader, result.dataset)?;
    Ok(is_there(dataset.as_ref().map(|dataset| &dataset.stamp))
        && is_there(experiment.map(|experiment| &experiment.stamp)))
}

/// Puts results of a model in line, or takes them out of it, as their experiments and datasets came and went.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn reorder(tx: &mut Tx<'_>, model: ModelId, results: &[ExperimentResult]) -> Result<()> {
    for result in results {
        let experiment = super::experiments::get(tx, result.experiment)?;
        let (shown, key) = (is_shown(tx, experiment.as_ref(), result)?, score_key(model, result));
        if shown {
            tx.mark(key, &pointer(result))
        } else {
            tx.delete(key)
        }
        experiment.map_or(Ok(()), |experiment| columns::settle(tx, &experiment))?;
    }
    write_best(tx, model)
}

/// Puts an experiment that is called something else, and its results, where that belongs. `before` is how it was.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn moved(tx: &mut Tx<'_>, before: &Experiment, after: &Experiment) -> Result<()> {
    columns::keys(before).into_iter().for_each(|key| tx.delete(key));
    columns::settle(tx, after)?;
    renamed(tx, after.model)
}

/// Writes down a model's best result anew: it bears the names of an experiment and a dataset, one of which changed.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn renamed(tx: &mut Tx<'_>, model: ModelId) -> Result<()> {
    tx.delete(best_key(model));
    write_best(tx, model)
}

/// Removes results of a model.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn delete(tx: &mut Tx<'_>, model: ModelId, results: &[ExperimentResult]) -> Result<()> {
    for result in results {
        let experiment = super::experiments::get(tx, result.experiment)?;
        tx.delete(result_key(result.experiment, result.dataset));
        tx.delete(score_key(model, result));
        experiment.map_or(Ok(()), |experiment| columns::settle(tx, &experiment))?;
    }
    write_best(tx, model)
}

/// What a score leads to.
pub(super) fn pointer(result: &ExperimentResult) -> [u8; 16] {
    let mut pointer = [0; 16];
    pointer[..8].copy_from_slice(&result.experiment.0.to_be_bytes());
    pointer[8..].copy_from_slice(&result.dataset.0.to_be_bytes());
    pointer
}

/// Whose result it is that a score leads to, and on what.
pub(super) fn pointed_at(pointer: &[u8]) -> (ExperimentId, DatasetId) {
    (ExperimentId(key::id_at(pointer, 0)), DatasetId(key::id_at(pointer, 8)))
}

/// Which result of a model is the best one.
pub(super) fn winner(reader: &impl Read, model: ModelId) -> Result<Option<ExperimentResult>> {
    let all = Key::new(key::SCORE).id(model.0);
    let prefix = all.clone().done();
    let end = key::after_prefix(&prefix);
    let Some((_, first)) = reader.first(prefix, end)? else { return Ok(None) };
    let winner = pointed(reader, &first)?;
    if winner.validation_loss.is_some() {
        // The earliest of equal accuracy without a loss: it wins over a later experiment with one.
        let silent = all.bytes(&score(winner.accuracy.value())).byte(WITHOUT_LOSS).done();
        if let Some((_, pointer)) = reader.first(silent.clone(), key::after_prefix(&silent))? {
            let other = pointed(reader, &pointer)?;
            if other.ordinal < winner.ordinal {
                return Ok(Some(other));
            }
        }
    }
    Ok(Some(winner))
}

pub(super) fn pointed(reader: &impl Read, pointer: &[u8]) -> Result<ExperimentResult> {
    let (experiment, dataset) = pointed_at(pointer);
    get(reader, experiment, dataset)?
        .ok_or_else(|| Error::internal(format!("the result of {experiment} on {dataset} is indexed but not stored")))
}

pub(super) fn describe(reader: &impl Read, winner: &ExperimentResult) -> Result<Best> {
    let experiment = super::experiments::get(reader, winner.experiment)?
        .ok_or_else(|| Error::internal(format!("{} has a result but is not stored", winner.experiment)))?;
    let dataset = super::datasets::must_get(reader, winner.dataset)?;
    Ok(Best {
        run: winner.run,
        dataset: winner.dataset,
        dataset_name: dataset.name_text().to_owned(),
        experiment: winner.experiment,
        experiment_name: experiment.name.as_str().to_owned(),
        parameters: experiment.parameters,
        accuracy: winner.accuracy.clone(),
    })
}

/// Writes down a model's best result where it is another one now.
fn write_best(tx: &mut Tx<'_>, model: ModelId) -> Result<()> {
    let Some(winner) = winner(tx, model)? else {
        tx.delete(best_key(model));
        return Ok(());
    };
    if recorded(tx, model)?.is_some_and(|best| best.run == winner.run) {
        return Ok(());
    }
    let best = describe(tx, &winner)?;
    tx.put(best_key(model), encode_best(&best))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn losses_sort_as_numbers(a in -1e9f64..1e9, b in -1e9f64..1e9) {
            prop_assert_eq!(a.partial_cmp(&b), Some(ascending(a).cmp(&ascending(b))));
        }

        #[test]
        fn better_accuracies_come_first(a in 0.0f64..=1.0, b in 0.0f64..=1.0) {
            prop_assert_eq!(b.partial_cmp(&a), Some(score(a).cmp(&score(b))));
        }
    }
}
