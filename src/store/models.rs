//! Model records and the index of their names.

use super::codec::{self, CodecError};
use super::key::{self, Key};
use super::record::StampV1;
use super::tx::{Read, Tx, damaged};
use crate::domain::error::{Error, Result};
use crate::domain::ids::{DatasetId, ModelId, ProjectId};
use crate::domain::model::Model;
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

pub(super) fn encode(model: &Model) -> Result<Vec<u8>, CodecError> {
    codec::encode(
        1,
        &ModelV1 {
            id: model.id.0,
            stamp: (&model.stamp).into(),
            name: model.name.as_str().to_owned(),
            all_images: model.all_images.0,
            experiments: model.experiments,
        },
    )
}

pub(super) fn decode(bytes: &[u8]) -> Result<Model, CodecError> {
    let stored: ModelV1 = codec::decode_v1(bytes)?;
    Ok(Model {
        id: ModelId(stored.id),
        stamp: stored.stamp.into(),
        name: Name::from_store(stored.name),
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

/// Writes a model, new or changed.
///
/// # Errors
/// `internal` where it does not encode.
pub fn put(tx: &mut Tx<'_>, model: &Model) -> Result<()> {
    tx.mark(name_key(model.stamp.project, &model.name), &model.id.0.to_be_bytes());
    tx.put(record_key(model.id), encode(model))
}
