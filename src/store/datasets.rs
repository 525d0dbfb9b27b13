//! Dataset records, the index of their names, and the versions that runs are pinned to.

use super::codec::{self, CodecError};
use super::key::{self, Key};
use super::record::{StampV1, VersionV1};
use super::tx::{Read, Tx, damaged};
use crate::domain::dataset::{Dataset, DatasetVersion, Digest, FrozenVersion, VersionNumber};
use crate::domain::error::{Error, Result};
use crate::domain::ids::{DatasetId, ModelId};
use crate::domain::name::Name;
use crate::domain::stamp::Timestamp;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct DatasetV1 {
    id: u64,
    stamp: StampV1,
    model: u64,
    name: Option<String>,
    base: Option<VersionV1>,
    head: u64,
    images: u64,
    labelled: u64,
    digest: u128,
}

#[derive(Serialize, Deserialize)]
struct FrozenV1 {
    version: VersionV1,
    frozen_at: u64,
    images: u64,
    labelled: u64,
    digest: u128,
}

pub(super) fn encode(dataset: &Dataset) -> Result<Vec<u8>, CodecError> {
    codec::encode(
        1,
        &DatasetV1 {
            id: dataset.id.0,
            stamp: (&dataset.stamp).into(),
            model: dataset.model.0,
            name: dataset.name.as_ref().map(|name| name.as_str().to_owned()),
            base: dataset.base.map(VersionV1::from),
            head: dataset.head.0,
            images: dataset.images,
            labelled: dataset.labelled,
            digest: dataset.digest.0,
        },
    )
}

pub(super) fn encode_frozen(frozen: &FrozenVersion) -> Result<Vec<u8>, CodecError> {
    let stored = FrozenV1 {
        version: frozen.version.into(),
        frozen_at: frozen.frozen_at.0,
        images: frozen.images,
        labelled: frozen.labelled,
        digest: frozen.digest.0,
    };
    codec::encode(1, &stored)
}

pub(super) fn decode(bytes: &[u8]) -> Result<Dataset, CodecError> {
    let stored: DatasetV1 = codec::decode_v1(bytes)?;
    Ok(Dataset {
        id: DatasetId(stored.id),
        stamp: stored.stamp.into(),
        model: ModelId(stored.model),
        name: stored.name.map(Name::from_store),
        base: stored.base.map(DatasetVersion::from),
        head: VersionNumber(stored.head),
        images: stored.images,
        labelled: stored.labelled,
        digest: Digest(stored.digest),
    })
}

pub(super) fn decode_frozen(bytes: &[u8]) -> Result<FrozenVersion, CodecError> {
    let stored: FrozenV1 = codec::decode_v1(bytes)?;
    Ok(FrozenVersion {
        version: stored.version.into(),
        frozen_at: Timestamp(stored.frozen_at),
        images: stored.images,
        labelled: stored.labelled,
        digest: Digest(stored.digest),
    })
}

pub(super) fn record_key(id: DatasetId) -> Vec<u8> {
    Key::new(key::DATASET).id(id.0).done()
}

pub(super) fn name_key(model: ModelId, name: &Name) -> Vec<u8> {
    Key::new(key::DATASET_NAME).id(model.0).text(name.as_str()).done()
}

pub(super) fn version_key(version: DatasetVersion) -> Vec<u8> {
    Key::new(key::VERSION).id(version.dataset.0).id(version.number.0).done()
}

/// The dataset with this id.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn get(reader: &impl Read, id: DatasetId) -> Result<Option<Dataset>> {
    reader.get(&record_key(id))?.map(|bytes| decode(&bytes).map_err(damaged("dataset"))).transpose()
}

/// The dataset with this id, which a record refers to.
///
/// # Errors
/// `internal` where it is not there.
pub fn must_get(reader: &impl Read, id: DatasetId) -> Result<Dataset> {
    get(reader, id)?.ok_or_else(|| Error::internal(format!("{id} is referred to but not stored")))
}

/// The id of a model's dataset with this name.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn id_of(reader: &impl Read, model: ModelId, name: &Name) -> Result<Option<DatasetId>> {
    Ok(reader.get(&name_key(model, name))?.map(|bytes| DatasetId(key::last_id(&bytes))))
}

/// A model's dataset with this name.
///
/// # Errors
/// `not_found` naming it.
pub fn named(reader: &impl Read, model: ModelId, name: &Name) -> Result<Dataset> {
    match id_of(reader, model, name)? {
        Some(id) => must_get(reader, id),
        None => Err(Error::not_found(format_args!(
            "the model has no dataset named `{name}`; create it with /createDataset"
        ))),
    }
}

/// Up to `limit` of a model's datasets that have a name, in the order of their names, after `after`.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn page(reader: &impl Read, model: ModelId, after: Option<&Name>, limit: usize) -> Result<Vec<Dataset>> {
    let all = Key::new(key::DATASET_NAME).id(model.0).done();
    let from = after.map_or_else(|| all.clone(), |name| key::after_prefix(&name_key(model, name)));
    let pairs = reader.range(from, key::after_prefix(&all)).take(limit);
    pairs.map(|pair| must_get(reader, DatasetId(key::last_id(&pair?.1)))).collect()
}

/// Gives a dataset another name; the caller writes it.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn rename(tx: &mut Tx<'_>, dataset: &mut Dataset, name: Name) -> Result<()> {
    unname(tx, dataset)?;
    dataset.name = Some(name);
    Ok(())
}

/// Writes a dataset, new or changed. One in the trash has no name.
///
/// # Errors
/// `internal` where it does not encode.
pub fn put(tx: &mut Tx<'_>, dataset: &Dataset) -> Result<()> {
    match &dataset.name {
        Some(name) if dataset.stamp.trashed_at.is_none() => {
            tx.mark(name_key(dataset.model, name), &dataset.id.0.to_be_bytes());
        }
        _ => unname(tx, dataset)?,
    }
    tx.put(record_key(dataset.id), encode(dataset))
}

fn unname(tx: &mut Tx<'_>, dataset: &Dataset) -> Result<()> {
    // Another one may have the name since.
    if let Some(name) = &dataset.name
        && id_of(tx, dataset.model, name)? == Some(dataset.id)
    {
        tx.delete(name_key(dataset.model, name));
    }
    Ok(())
}

/// Removes a dataset that has no entries left, with what is known of its versions.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn delete(tx: &mut Tx<'_>, dataset: &Dataset) -> Result<()> {
    unname(tx, dataset)?;
    tx.delete(record_key(dataset.id));
    Ok(())
}

/// Forgets up to `limit` versions of a dataset that goes. Returns how many it forgot.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn forget_versions(tx: &mut Tx<'_>, dataset: DatasetId, limit: usize) -> Result<usize> {
    let all = tx.prefix(Key::new(key::VERSION).id(dataset.0).done()).take(limit);
    let keys: Vec<Vec<u8>> = all.map(|pair| Ok(pair?.0)).collect::<Result<_>>()?;
    let count = keys.len();
    keys.into_iter().for_each(|key| tx.delete(key));
    Ok(count)
}

/// The datasets of a model that have a name, in the order of their names.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn of_model(reader: &impl Read, model: ModelId) -> Result<Vec<DatasetId>> {
    let names = reader.prefix(Key::new(key::DATASET_NAME).id(model.0).done());
    names.map(|pair| Ok(DatasetId(key::last_id(&pair?.1)))).collect()
}

/// True where one of these versions is pinned: a run or a copy needs all that it holds.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn is_pinned(reader: &impl Read, dataset: DatasetId, from: VersionNumber, to: VersionNumber) -> Result<bool> {
    let key = |number| version_key(DatasetVersion { dataset, number });
    Ok(reader.first(key(from), key(to))?.is_some())
}

/// Up to `limit` versions of a dataset that runs are pinned to, after the one numbered `after`.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn frozen_page(
    reader: &impl Read,
    dataset: DatasetId,
    after: Option<VersionNumber>,
    limit: usize,
) -> Result<Vec<FrozenVersion>> {
    let all = Key::new(key::VERSION).id(dataset.0).done();
    let from =
        after.map_or_else(|| all.clone(), |number| key::after_prefix(&version_key(DatasetVersion { dataset, number })));
    let pairs = reader.range(from, key::after_prefix(&all)).take(limit);
    pairs.map(|pair| decode_frozen(&pair?.1).map_err(damaged("dataset version"))).collect()
}

/// The record of a version that runs are pinned to.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn frozen(reader: &impl Read, version: DatasetVersion) -> Result<Option<FrozenVersion>> {
    reader
        .get(&version_key(version))?
        .map(|bytes| decode_frozen(&bytes).map_err(damaged("dataset version")))
        .transpose()
}

/// Freezes the newest version of `dataset` for a run; the first to ask writes the record.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn freeze(tx: &mut Tx<'_>, dataset: &Dataset, now: Timestamp) -> Result<FrozenVersion> {
    let version = dataset.head_version();
    if let Some(found) = frozen(tx, version)? {
        return Ok(found);
    }
    let made = FrozenVersion {
        version,
        frozen_at: now,
        images: dataset.images,
        labelled: dataset.labelled,
        digest: dataset.digest,
    };
    tx.put(version_key(version), encode_frozen(&made))?;
    Ok(made)
}
