//! What is in the trash, by itself and by model.

use super::codec::{self, CodecError};
use super::key::{self, Key};
use super::record::{StampV1, VersionV1};
use super::tx::{Read, Tx, damaged};
use crate::domain::blob::ContentHash;
use crate::domain::dataset::Entry;
use crate::domain::error::Result;
use crate::domain::ids::{DatasetId, ExperimentId, ModelId, RunId, SweepId, TrashId};
use crate::domain::name::{ImageName, Label};
use crate::domain::trash::{Removal, Stage, TrashItem, Trashed};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct TrashItemV1 {
    id: u64,
    stamp: StampV1,
    model: u64,
    name: String,
    what: TrashedV1,
    stage: StageV1,
}

#[derive(Serialize, Deserialize)]
enum TrashedV1 {
    Model,
    Experiment(u64),
    Dataset(u64),
    Image { version: VersionV1, part: u64, sequence: u64, label: Option<String>, name: String, hash: [u8; 32] },
    Run(u64),
    Sweep(u64),
}

#[derive(Serialize, Deserialize)]
enum StageV1 {
    Hiding,
    Hidden,
    Restoring,
    Purging,
}

fn encode(item: &TrashItem) -> Result<Vec<u8>, CodecError> {
    let what = match &item.what {
        Trashed::Model => TrashedV1::Model,
        Trashed::Experiment(id) => TrashedV1::Experiment(id.0),
        Trashed::Dataset(id) => TrashedV1::Dataset(id.0),
        Trashed::Image(Removal { version, part, sequence, entry }) => TrashedV1::Image {
            version: (*version).into(),
            part: part.0,
            sequence: *sequence,
            label: entry.label.as_ref().map(|label| label.as_str().to_owned()),
            name: entry.name.as_str().to_owned(),
            hash: entry.hash.0,
        },
        Trashed::Run(id) => TrashedV1::Run(id.0),
        Trashed::Sweep(id) => TrashedV1::Sweep(id.0),
    };
    let stage = match item.stage {
        Stage::Hiding => StageV1::Hiding,
        Stage::Hidden => StageV1::Hidden,
        Stage::Restoring => StageV1::Restoring,
        Stage::Purging => StageV1::Purging,
    };
    let (id, model, name) = (item.id.0, item.model.0, item.name.clone());
    codec::encode(1, &TrashItemV1 { id, stamp: (&item.stamp).into(), model, name, what, stage })
}

pub(super) fn decode(bytes: &[u8]) -> Result<TrashItem, CodecError> {
    let stored: TrashItemV1 = codec::decode_v1(bytes)?;
    let what = match stored.what {
        TrashedV1::Model => Trashed::Model,
        TrashedV1::Experiment(id) => Trashed::Experiment(ExperimentId(id)),
        TrashedV1::Dataset(id) => Trashed::Dataset(DatasetId(id)),
        TrashedV1::Run(id) => Trashed::Run(RunId(id)),
        TrashedV1::Sweep(id) => Trashed::Sweep(SweepId(id)),
        TrashedV1::Image { version, part, sequence, label, name, hash } => Trashed::Image(Removal {
            version: version.into(),
            part: DatasetId(part),
            sequence,
            entry: Entry {
                label: label.map(Label::from_store),
                name: ImageName::from_store(name),
                hash: ContentHash(hash),
            },
        }),
    };
    let stage = match stored.stage {
        StageV1::Hiding => Stage::Hiding,
        StageV1::Hidden => Stage::Hidden,
        StageV1::Restoring => Stage::Restoring,
        StageV1::Purging => Stage::Purging,
    };
    Ok(TrashItem {
        id: TrashId(stored.id),
        stamp: stored.stamp.into(),
        model: ModelId(stored.model),
        name: stored.name,
        what,
        stage,
    })
}

pub(super) fn record_key(id: TrashId) -> Vec<u8> {
    Key::new(key::TRASH).id(id.0).done()
}

pub(super) fn listed_key(model: ModelId, id: TrashId) -> Vec<u8> {
    Key::new(key::TRASH_OF_MODEL).id(model.0).id(id.0).done()
}

/// What is in the trash under this id.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn get(reader: &impl Read, id: TrashId) -> Result<Option<TrashItem>> {
    reader.get(&record_key(id))?.map(|bytes| decode(&bytes).map_err(damaged("trash item"))).transpose()
}

/// Up to `limit` things in the trash after the one given, the oldest first.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn page(reader: &impl Read, after: Option<TrashId>, limit: usize) -> Result<Vec<TrashItem>> {
    let from = record_key(TrashId(after.map_or(0, |after| after.0.saturating_add(1))));
    let pairs = reader.range(from, vec![key::TRASH + 1]).take(limit);
    pairs.map(|pair| decode(&pair?.1).map_err(damaged("trash item"))).collect()
}

/// The same, of one model.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn of_model(reader: &impl Read, model: ModelId, after: Option<TrashId>, limit: usize) -> Result<Vec<TrashItem>> {
    let end = key::after_prefix(&Key::new(key::TRASH_OF_MODEL).id(model.0).done());
    let from = listed_key(model, TrashId(after.map_or(0, |after| after.0.saturating_add(1))));
    let mut found = Vec::new();
    for pair in reader.range(from, end).take(limit) {
        found.extend(get(reader, TrashId(key::last_id(&pair?.0)))?);
    }
    Ok(found)
}

/// Writes an item, new or at another stage.
///
/// # Errors
/// `internal` where it does not encode.
pub fn put(tx: &mut Tx<'_>, item: &TrashItem) -> Result<()> {
    tx.mark(listed_key(item.model, item.id), &[]);
    tx.put(record_key(item.id), encode(item))
}

/// Removes an item: it was restored, or is gone for good.
pub fn delete(tx: &mut Tx<'_>, item: &TrashItem) {
    tx.delete(listed_key(item.model, item.id));
    tx.delete(record_key(item.id));
}
