//! Sweep records.

use super::codec::{self, CodecError};
use super::key::{self, Key};
use super::record::{StampV1, VersionV1};
use super::tx::{Read, ReadBack, Tx, damaged};
use crate::domain::error::Result;
use crate::domain::ids::{ModelId, SweepId};
use crate::domain::sweep::Sweep;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct SweepV1 {
    id: u64,
    stamp: StampV1,
    model: u64,
    version: VersionV1,
    runs: u32,
}

pub(super) fn decode(bytes: &[u8]) -> Result<Sweep, CodecError> {
    let stored: SweepV1 = codec::decode_v1(bytes)?;
    Ok(Sweep {
        id: SweepId(stored.id),
        stamp: stored.stamp.into(),
        model: ModelId(stored.model),
        version: stored.version.into(),
        runs: stored.runs,
    })
}

pub(super) fn record_key(id: SweepId) -> Vec<u8> {
    Key::new(key::SWEEP).id(id.0).done()
}

/// The sweep with this id.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn get(reader: &impl Read, id: SweepId) -> Result<Option<Sweep>> {
    reader.get(&record_key(id))?.map(|bytes| decode(&bytes).map_err(damaged("sweep"))).transpose()
}

/// Writes a sweep.
///
/// # Errors
/// `internal` where it does not encode.
pub fn put(tx: &mut Tx<'_>, sweep: &Sweep) -> Result<()> {
    let stored = SweepV1 {
        id: sweep.id.0,
        stamp: (&sweep.stamp).into(),
        model: sweep.model.0,
        version: sweep.version.into(),
        runs: sweep.runs,
    };
    tx.mark(listed_key(sweep), &[]);
    tx.put(record_key(sweep.id), codec::encode(1, &stored))
}

/// Where a sweep stands in its model's list.
pub(super) fn listed_key(sweep: &Sweep) -> Vec<u8> {
    Key::new(key::SWEEP_OF_MODEL).id(sweep.model.0).id(sweep.id.0).done()
}

/// Up to `limit` sweeps of a model before the sweep `before`, the newest first.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn newest(reader: &impl ReadBack, model: ModelId, before: Option<SweepId>, limit: usize) -> Result<Vec<Sweep>> {
    let list = Key::new(key::SWEEP_OF_MODEL).id(model.0);
    let ids = super::lists::newest_ids(reader, &list, before.map(|sweep| sweep.0), limit)?;
    ids.into_iter().filter_map(|id| get(reader, SweepId(id)).transpose()).collect()
}

fn open_key(id: SweepId) -> Vec<u8> {
    Key::new(key::SWEEP_OPEN).id(id.0).done()
}

fn held_key(id: SweepId) -> Vec<u8> {
    Key::new(key::SWEEP_HELD).id(id.0).done()
}

/// How many runs of a sweep are not over, itself among them while it is submitted; nothing for one that was submitted before
/// this was counted.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn open_runs(reader: &impl Read, id: SweepId) -> Result<Option<u64>> {
    reader.get(&open_key(id))?.map(|bytes| codec::decode_v1(&bytes).map_err(damaged("sweep's count"))).transpose()
}

/// Begins to submit a sweep: it is not over before [`release`].
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn hold(tx: &mut Tx<'_>, id: SweepId) -> Result<()> {
    tx.mark(held_key(id), &[]);
    tx.put(open_key(id), codec::encode(1, &1_u64))
}

/// All runs of a sweep are submitted. True where all of them are over already.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn release(tx: &mut Tx<'_>, id: SweepId) -> Result<bool> {
    if tx.get(&held_key(id))?.is_none() {
        return Ok(false);
    }
    tx.delete(held_key(id));
    closed(tx, id)
}

/// The sweeps whose submission was interrupted.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn held(reader: &impl Read) -> Result<Vec<SweepId>> {
    reader.prefix(vec![key::SWEEP_HELD]).map(|pair| Ok(SweepId(key::last_id(&pair?.0)))).collect()
}

/// A run of a sweep was submitted.
pub(super) fn opened(tx: &mut Tx<'_>, id: SweepId) -> Result<()> {
    match open_runs(tx, id)? {
        Some(open) => tx.put(open_key(id), codec::encode(1, &(open + 1))),
        None => Ok(()),
    }
}

/// Removes a sweep that has no run left.
///
/// # Errors
/// `internal` where the store cannot be read.
pub(super) fn delete(tx: &mut Tx<'_>, id: SweepId) -> Result<()> {
    if let Some(sweep) = get(tx, id)? {
        tx.delete(listed_key(&sweep));
    }
    for key in [record_key(id), open_key(id), held_key(id)] {
        tx.delete(key);
    }
    Ok(())
}

/// A run of a sweep is over. True where it was the last one.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn closed(tx: &mut Tx<'_>, id: SweepId) -> Result<bool> {
    let Some(open) = open_runs(tx, id)?.filter(|open| *open > 0) else { return Ok(false) };
    tx.put(open_key(id), codec::encode(1, &(open - 1)))?;
    Ok(open == 1)
}
