//! Sweep records.

use super::codec::{self, CodecError};
use super::key::{self, Key};
use super::record::{StampV1, VersionV1};
use super::tx::{Read, Tx, damaged};
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
    tx.put(record_key(sweep.id), codec::encode(1, &stored))
}
