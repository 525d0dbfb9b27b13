//! Model records and the index of their names.

use super::codec::{self, CodecError};
use super::key::{self, Key};
use super::record::StampV1;
use super::tx::{Read, Tx, damaged};
use crate::domain::error::{Error, Result};
use crate::domain::ids::{DatasetId, ModelId, ProjectId};
use crate::domain::model::{Description, Model};
use crate::domain::name::Name;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct ModelV1 {
    id: u64,
    stamp: StampV1,
    name: String,
    all_images: u64,
    experiments: u32,
}

/// A model with a description, which most have not.
#[derive(Serialize, Deserialize)]
struct ModelV2 {
    model: ModelV1,
    description: String,
}

pub(super) fn encode(model: &Model) -> Result<Vec<u8>, CodecError> {
    let stored = ModelV1 {
        id: model.id.0,
        stamp: (&model.stamp).into(),
        name: model.name.as_str().to_owned(),
        all_images: model.all_images.0,
        experiments: model.experiments,
    };
    match model.description.as_str() {
        "" => codec::encode(1, &stored),
        description => codec::encode(2, &ModelV2 { model: stored, description: description.to_owned() }),
    }
}

pub(super) fn decode(bytes: &[u8]) -> Result<Model, CodecError> {
    let (stored, description): (ModelV1, _) = match codec::open(bytes)? {
        (1, body) => (codec::payload(body)?, String::new()),
        (2, body) => codec::payload(body).map(|stored: ModelV2| (stored.model, stored.description))?,
        (found, _) => return Err(CodecError::Newer { found, known: 2 }),
    };
    Ok(Model {
        id: ModelId(stored.id),
        stamp: stored.stamp.into(),
        name: Name::from_store(stored.name),
        description: Description::from_store(description),
        all_images: DatasetId(stored.all_images),
        experiments: stored.experiments,
    })
}

pub(super) fn record_key(id: ModelId) -> Vec<u8> {
    Key::new(key::MODEL).id(id.0).done()
}

pub(super) fn name_key(project: ProjectId, name: &Name) -> Vec<u8> {
    Key::new(key::MODEL_NAME).id(project.0).text(name.as_str()).done()
}

/// The model with this id.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn get(reader: &impl Read, id: ModelId) -> Result<Option<Model>> {
    reader.get(&record_key(id))?.map(|bytes| decode(&bytes).map_err(damaged("model"))).transpose()
}

/// The id of the model with this name.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn id_of(reader: &impl Read, project: ProjectId, name: &Name) -> Result<Option<ModelId>> {
    Ok(reader.get(&name_key(project, name))?.map(|bytes| ModelId(key::last_id(&bytes))))
}

/// The model with this name.
///
/// # Errors
/// `not_found` naming it.
pub fn named(reader: &impl Read, project: ProjectId, name: &Name) -> Result<Model> {
    let found = match id_of(reader, project, name)? {
        Some(id) => get(reader, id)?,
        None => None,
    };
    found.ok_or_else(|| unknown(name))
}

/// The failure of a look-up by name.
pub fn unknown(name: &Name) -> Error {
    Error::not_found(format_args!("there is no model named `{name}`; create it with /createModel"))
}

/// The models whose names begin with `prefix` and come after `after`, in the order of their names.
pub fn by_name<'a>(
    reader: &'a impl Read,
    project: ProjectId,
    prefix: &str,
    after: Option<&Name>,
) -> impl Iterator<Item = Result<Model>> + 'a {
    let all = Key::new(key::MODEL_NAME).id(project.0).bytes(prefix.as_bytes()).done();
    let from = after.map(|name| key::after_prefix(&name_key(project, name)));
    let to = key::after_prefix(&all);
    let from = from.map_or_else(|| all.clone(), |from| from.max(all.clone()));
    let pairs: super::Pairs<'_> = if from < to { reader.range(from, to) } else { Box::new(std::iter::empty()) };
    pairs.map(|pair| {
        let id = ModelId(key::last_id(&pair?.1));
        get(reader, id)?.ok_or_else(|| Error::internal(format!("{id} has a name but is not stored")))
    })
}

/// All models after `after` in the order in which they were made, those in the trash included.
pub fn by_id(reader: &impl Read, after: Option<ModelId>) -> impl Iterator<Item = Result<Model>> + '_ {
    let from = after.map_or_else(|| vec![key::MODEL], |after| key::after_prefix(&record_key(after)));
    reader.range(from, vec![key::MODEL + 1]).map(|pair| decode(&pair?.1).map_err(damaged("model")))
}

/// Gives a model another name; the caller writes it.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn rename(tx: &mut Tx<'_>, model: &mut Model, name: Name) -> Result<()> {
    unname(tx, model)?;
    model.name = name;
    Ok(())
}

/// Writes a model, new or changed. One in the trash has no name.
///
/// # Errors
/// `internal` where it does not encode.
pub fn put(tx: &mut Tx<'_>, model: &Model) -> Result<()> {
    if model.stamp.trashed_at.is_none() {
        tx.mark(name_key(model.stamp.project, &model.name), &model.id.0.to_be_bytes());
    } else {
        unname(tx, model)?;
    }
    tx.put(record_key(model.id), encode(model))
}

fn unname(tx: &mut Tx<'_>, model: &Model) -> Result<()> {
    // Another one may have the name since.
    if id_of(tx, model.stamp.project, &model.name)? == Some(model.id) {
        tx.delete(name_key(model.stamp.project, &model.name));
    }
    Ok(())
}

/// Removes a model that has nothing left.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn delete(tx: &mut Tx<'_>, model: &Model) -> Result<()> {
    unname(tx, model)?;
    tx.delete(record_key(model.id));
    Ok(())
}
