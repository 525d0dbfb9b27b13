//! The sequenced log of changes; the newest hundred thousand are kept.

use super::codec::{self, CodecError};
use super::key::{self, Key};
use super::tx::{Read, Tx, damaged};
use crate::domain::error::Result;
use crate::domain::event::{Event, EventKind};
use crate::domain::ids::AccountId;
use crate::domain::stamp::Timestamp;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct EventV1 {
    sequence: u64,
    at: u64,
    account: u64,
    kind: u16,
    subject: u64,
    model: u64,
}

pub(super) fn decode(bytes: &[u8]) -> Result<Event, CodecError> {
    let stored: EventV1 = codec::decode_v1(bytes)?;
    let kind = EventKind::from_number(stored.kind)
        .ok_or_else(|| CodecError::Payload(format!("event kind {} is unknown", stored.kind)))?;
    Ok(Event {
        sequence: stored.sequence,
        at: Timestamp(stored.at),
        account: AccountId(stored.account),
        kind,
        subject: stored.subject,
        model: stored.model,
    })
}

pub(super) fn put(tx: &mut Tx<'_>, event: &Event) -> Result<()> {
    tx.put(Key::new(key::EVENT).id(event.sequence).done(), encode(event))
}

/// Keeps an event in the audit log, which is only ever appended to.
pub(super) fn put_audit(tx: &mut Tx<'_>, event: &Event) -> Result<()> {
    tx.put(Key::new(key::AUDIT).id(event.sequence).done(), encode(event))
}

fn encode(event: &Event) -> Result<Vec<u8>, CodecError> {
    let stored = EventV1 {
        sequence: event.sequence,
        at: event.at.0,
        account: event.account.0,
        kind: event.kind as u16,
        subject: event.subject,
        model: event.model,
    };
    codec::encode(1, &stored)
}

/// Up to `limit` entries of the audit log after the one numbered `after`.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn audit(reader: &impl Read, after: u64, limit: usize) -> Result<Vec<Event>> {
    listed(reader, key::AUDIT, after, limit)
}

/// Up to `limit` events after the one numbered `after`.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn page(reader: &impl Read, after: u64, limit: usize) -> Result<Vec<Event>> {
    listed(reader, key::EVENT, after, limit)
}

/// The number of the oldest event that is kept; nothing where there is none.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn oldest(reader: &impl Read) -> Result<Option<u64>> {
    let found = reader.first(vec![key::EVENT], key::after_prefix(&[key::EVENT]))?;
    Ok(found.map(|(key, _)| key::last_id(&key)))
}

fn listed(reader: &impl Read, family: u8, after: u64, limit: usize) -> Result<Vec<Event>> {
    let from = Key::new(family).id(after.saturating_add(1)).done();
    reader
        .range(from, key::after_prefix(&[family]))
        .take(limit)
        .map(|pair| decode(&pair?.1).map_err(damaged("event")))
        .collect()
}
