//! Experiment records, the index of their names and their order of creation.

use super::codec::{self, CodecError};
use super::key::{self, Key};
use super::record::{ParametersV1, StampV1};
use super::tx::{Read, Tx, damaged};
use crate::domain::error::{Error, Result};
use crate::domain::experiment::Experiment;
use crate::domain::ids::{ExperimentId, ModelId};
use crate::domain::name::Name;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct ExperimentV1 {
    id: u64,
    stamp: StampV1,
    model: u64,
    name: String,
    ordinal: u32,
    is_default: bool,
    parameters: ParametersV1,
}

fn encode(experiment: &Experiment) -> Result<Vec<u8>, CodecError> {
    codec::encode(
        1,
        &ExperimentV1 {
            id: experiment.id.0,
            stamp: (&experiment.stamp).into(),
            model: experiment.model.0,
            name: experiment.name.as_str().to_owned(),
            ordinal: experiment.ordinal,
            is_default: experiment.is_default,
            parameters: (&experiment.parameters).into(),
        },
    )
}

pub(super) fn decode(bytes: &[u8]) -> Result<Experiment, CodecError> {
    let stored: ExperimentV1 = codec::decode_v1(bytes)?;
    Ok(Experiment {
        id: ExperimentId(stored.id),
        stamp: stored.stamp.into(),
        model: ModelId(stored.model),
        name: Name::from_store(stored.name),
        ordinal: stored.ordinal,
        is_default: stored.is_default,
        parameters: stored.parameters.try_into()?,
    })
}

pub(super) fn record_key(id: ExperimentId) -> Vec<u8> {
    Key::new(key::EXPERIMENT).id(id.0).done()
}

pub(super) fn name_key(model: ModelId, name: &Name) -> Vec<u8> {
    Key::new(key::EXPERIMENT_NAME).id(model.0).text(name.as_str()).done()
}

pub(super) fn order_key(model: ModelId, ordinal: u32) -> Vec<u8> {
    Key::new(key::EXPERIMENT_ORDER).id(model.0).ordinal(ordinal).done()
}

/// The experiment with this id.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn get(reader: &impl Read, id: ExperimentId) -> Result<Option<Experiment>> {
    reader.get(&record_key(id))?.map(|bytes| decode(&bytes).map_err(damaged("experiment"))).transpose()
}

/// The id of a model's experiment with this name.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn id_of(reader: &impl Read, model: ModelId, name: &Name) -> Result<Option<ExperimentId>> {
    Ok(reader.get(&name_key(model, name))?.map(|bytes| ExperimentId(key::last_id(&bytes))))
}

/// A model's experiment with this name.
///
/// # Errors
/// `not_found` naming it.
pub fn named(reader: &impl Read, model: ModelId, name: &Name) -> Result<Experiment> {
    let found = match id_of(reader, model, name)? {
        Some(id) => get(reader, id)?,
        None => None,
    };
    found.ok_or_else(|| {
        Error::not_found(format_args!("the model has no experiment named `{name}`; create it with /createExperiment"))
    })
}

/// Up to `limit` of a model's experiments in the order of creation, from the ordinal `from` on.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn page(reader: &impl Read, model: ModelId, from: u32, limit: usize) -> Result<Vec<Experiment>> {
    let end = key::after_prefix(&Key::new(key::EXPERIMENT_ORDER).id(model.0).done());
    let mut experiments = Vec::new();
    for pair in reader.range(order_key(model, from), end).take(limit) {
        let (_, id) = pair?;
        let id = ExperimentId(key::last_id(&id));
        let experiment = get(reader, id)?;
        experiments.push(experiment.ok_or_else(|| Error::internal(format!("{id} is listed but not stored")))?);
    }
    Ok(experiments)
}

/// Gives an experiment another name; the caller writes it.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn rename(tx: &mut Tx<'_>, experiment: &mut Experiment, name: Name) -> Result<()> {
    unlist(tx, experiment)?;
    experiment.name = name;
    Ok(())
}

/// Writes an experiment, new or changed. One in the trash has no name and is in no list.
///
/// # Errors
/// `internal` where it does not encode.
pub fn put(tx: &mut Tx<'_>, experiment: &Experiment) -> Result<()> {
    let id = experiment.id.0.to_be_bytes();
    if experiment.stamp.trashed_at.is_none() {
        tx.mark(name_key(experiment.model, &experiment.name), &id);
        tx.mark(order_key(experiment.model, experiment.ordinal), &id);
    } else {
        unlist(tx, experiment)?;
    }
    tx.put(record_key(experiment.id), encode(experiment))
}

fn unlist(tx: &mut Tx<'_>, experiment: &Experiment) -> Result<()> {
    // Another one may have the name since.
    if id_of(tx, experiment.model, &experiment.name)? == Some(experiment.id) {
        tx.delete(name_key(experiment.model, &experiment.name));
    }
    tx.delete(order_key(experiment.model, experiment.ordinal));
    Ok(())
}

/// Removes an experiment whose runs and results are gone.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn delete(tx: &mut Tx<'_>, experiment: &Experiment) -> Result<()> {
    unlist(tx, experiment)?;
    tx.delete(record_key(experiment.id));
    Ok(())
}
