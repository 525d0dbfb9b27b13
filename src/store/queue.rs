//! What waits for a slot, in the order in which it is taken.
//!
//! Within a model the first submitted goes first; models of the same priority take turns, so a sweep never starves
//! another model's single run. A suspect waits in a band of its own. Finding the next run is two look-ups, however
//! many wait.

use super::key::{self, Key};
use super::tx::{Read, Tx};
use crate::domain::error::Result;
use crate::domain::ids::{ModelId, RunId};
use crate::domain::run::Run;

/// Which runs are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Band {
    /// Runs without a history.
    Ordinary = 0,
    /// Runs under which the server went down before, twice: they run alone.
    Suspect = 1,
}

fn band_of(run: &Run) -> Band {
    if run.is_suspect() { Band::Suspect } else { Band::Ordinary }
}

pub(super) fn key_of(run: &Run) -> Vec<u8> {
    Key::new(key::QUEUE).byte(band_of(run) as u8).byte(u8::MAX - run.priority).id(run.spec.model.0).id(run.id.0).done()
}

/// Where the model's id begins in a queue key.
const MODEL_AT: usize = 3;

/// A run that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// The run.
    pub run: RunId,
    /// Whose it is; given back as `last` for the next turn.
    pub model: ModelId,
}

fn waiting(key: &[u8]) -> Waiting {
    Waiting { run: RunId(key::last_id(key)), model: ModelId(key::id_at(key, MODEL_AT)) }
}

/// The run whose turn it is after a run of model `last`.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn next(reader: &impl Read, band: Band, last: Option<ModelId>) -> Result<Option<Waiting>> {
    let start = Key::new(key::QUEUE).byte(band as u8).done();
    let Some((first, _)) = reader.first(start.clone(), key::after_prefix(&start))? else {
        return Ok(None);
    };
    // Everything of a higher priority goes before any of a lower one; turns are taken within one priority.
    let level = first[..MODEL_AT].to_vec();
    if let Some(last) = last {
        let mut from = level.clone();
        from.extend_from_slice(&last.0.saturating_add(1).to_be_bytes());
        if let Some((key, _)) = reader.first(from, key::after_prefix(&level))? {
            return Ok(Some(waiting(&key)));
        }
    }
    Ok(Some(waiting(&first)))
}

/// Up to `limit` runs that wait, the next ones first, with their keys, after the key `after`.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn page(reader: &impl Read, after: Option<Vec<u8>>, limit: usize) -> Result<Vec<(Vec<u8>, Waiting)>> {
    let from = match after {
        Some(mut key) => {
            key.push(0);
            key
        }
        None => vec![key::QUEUE],
    };
    let pairs = reader.range(from, key::after_prefix(&[key::QUEUE])).take(limit);
    pairs.map(|pair| pair.map(|(key, _)| (key.clone(), waiting(&key)))).collect()
}

/// Whether nothing is to be started.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn is_paused(reader: &impl Read) -> Result<bool> {
    Ok(reader.counter("paused")? != 0)
}

/// Says whether nothing is to be started.
///
/// # Errors
/// None in practice: the record is small.
pub fn set_paused(tx: &mut Tx<'_>, paused: bool) -> Result<()> {
    tx.set_counter("paused", u64::from(paused))
}

/// The runs of one model that wait behind `run` with the same priority, for a job of several.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn behind(reader: &impl Read, run: &Run, limit: usize) -> Result<Vec<RunId>> {
    let mut from = key_of(run);
    let end = key::after_prefix(&from[..MODEL_AT + 8]);
    from.push(0);
    reader.range(from, end).take(limit).map(|pair| Ok(RunId(key::last_id(&pair?.0)))).collect()
}
