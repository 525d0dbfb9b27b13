//! Logs of a few lines, kept beside their run: a file for each would cost more than the rest of a short run.

use super::codec;
use super::key::{self, Key};
use super::tx::{Read, Tx, damaged};
use crate::domain::error::Result;
use crate::domain::ids::RunId;

fn record_key(run: RunId) -> Vec<u8> {
    Key::new(key::LOG).id(run.0).done()
}

/// What the last attempt at a run printed, where that was little.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn get(reader: &impl Read, run: RunId) -> Result<Option<Vec<u8>>> {
    reader.get(&record_key(run))?.map(|bytes| codec::decode_v1(&bytes).map_err(damaged("log"))).transpose()
}

/// Sets what an attempt printed; `None` where it is in a file, or was nothing.
///
/// # Errors
/// `internal` where it is too much for a record.
pub fn set(tx: &mut Tx<'_>, run: RunId, log: Option<&[u8]>) -> Result<()> {
    let key = record_key(run);
    match log {
        Some(text) => tx.put(key, codec::encode(1, &text)),
        None => {
            if tx.get(&key)?.is_some() {
                tx.delete(key);
            }
            Ok(())
        }
    }
}
