//! The sequenced log of changes, each stored once: what people did in the audit log, which is only ever appended to, what
//! followed from it beside that; of the latter the newest hundred thousand changes are kept.

use super::codec::{self, CodecError};
use super::key::{self, Key};
use super::tx::{KEPT_EVENTS, Read, ReadBack, Tx, Writes, damaged};
use crate::domain::error::Result;
use crate::domain::event::{Event, EventKind};
use crate::domain::ids::AccountId;
use crate::domain::stamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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

/// Appends an event to the log.
pub(super) fn put(tx: &mut Tx<'_>, event: &Event) -> Result<()> {
    match event.kind.is_by_people() {
        true => put_audit(tx, event),
        false => tx.put(Key::new(key::EVENT).id(event.sequence).done(), encode(event)),
    }
}

/// Keeps an event in the audit log.
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

/// Up to `limit` entries of the audit log from the newest on, before the one numbered `before`.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn newest_audit(reader: &impl ReadBack, before: u64, limit: usize) -> Result<Vec<Event>> {
    let log = Key::new(key::AUDIT);
    let mut found = Vec::new();
    for sequence in super::lists::newest_ids(reader, &log, Some(before), limit)? {
        let stored = reader.get(&Key::new(key::AUDIT).id(sequence).done())?;
        found.extend(stored.map(|bytes| decode(&bytes).map_err(damaged("event"))).transpose()?);
    }
    Ok(found)
}

/// Up to `limit` events after the one numbered `after`. Before the last [`KEPT_EVENTS`](super::tx::KEPT_EVENTS) there are
/// only those of the audit log.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn page(reader: &impl Read, after: u64, limit: usize) -> Result<Vec<Event>> {
    // The audit log may have who was behind an event beside the event itself.
    let found = [listed(reader, key::AUDIT, after, limit)?, listed(reader, key::EVENT, after, limit)?];
    let found: BTreeMap<u64, Event> = found.into_iter().flatten().map(|event| (event.sequence, event)).collect();
    Ok(found.into_values().take(limit).collect())
}

/// The number of the oldest event from which on the log is whole, where `last` is the newest.
pub fn oldest(last: u64) -> u64 {
    last.saturating_sub(KEPT_EVENTS) + 1
}

/// The number of the last event among writes that are in order by key.
pub(super) fn last_among(writes: &Writes) -> Option<u64> {
    let last = |family| writes.range(vec![family]..vec![family + 1]).next_back().map(|(key, _)| key::last_id(key));
    FAMILIES.into_iter().filter_map(last).max()
}

/// The number of the last event in a tree; the newest one is always kept.
pub(super) fn last_in(tree: &sled::Tree) -> Result<u64, sled::Error> {
    let mut last = 0;
    for family in FAMILIES {
        let newest = tree.scan_prefix([family]).keys().next_back().transpose()?;
        last = newest.map_or(0, |key| key::last_id(&key)).max(last);
    }
    Ok(last)
}

/// Calls `missing` with the ends of every gap in the log before `last`, as far back as it is to be whole.
///
/// # Errors
/// `internal` where the store cannot be read, and what `missing` answers.
pub(super) fn gaps(reader: &impl Read, last: u64, mut missing: impl FnMut(u64, u64) -> Result<()>) -> Result<()> {
    let numbers = |family, from: u64| {
        let pairs = reader.range(Key::new(family).id(from).done(), key::after_prefix(&[family]));
        pairs.map(|pair| pair.map(|(key, _)| key::last_id(&key)))
    };
    let mut expected = oldest(last);
    let [mut events, mut audit] = FAMILIES.map(|family| numbers(family, expected).peekable());
    loop {
        let at = |next: Option<&Result<u64>>| match next {
            Some(Ok(number)) => *number,
            Some(Err(_)) => 0,
            None => u64::MAX,
        };
        let first = at(events.peek()) <= at(audit.peek());
        let Some(number) = (if first { events.next() } else { audit.next() }).transpose()? else { return Ok(()) };
        if number > expected {
            missing(expected, number - 1)?;
        }
        expected = expected.max(number + 1);
    }
}

/// Where events lie.
const FAMILIES: [u8; 2] = [key::EVENT, key::AUDIT];

fn listed(reader: &impl Read, family: u8, after: u64, limit: usize) -> Result<Vec<Event>> {
    let from = Key::new(family).id(after.saturating_add(1)).done();
    reader
        .range(from, key::after_prefix(&[family]))
        .take(limit)
        .map(|pair| decode(&pair?.1).map_err(damaged("event")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::gate::Gate;
    use super::super::tx::Base;
    use super::*;
    use crate::domain::account::Actor;

    #[test]
    fn both_halves_of_the_log_are_one_and_its_gaps_are_found() {
        let db = sled::Config::new().temporary(true).open().unwrap();
        let gate = Gate::new((*db).clone());
        let base = Base::new(gate.clone());
        let mut tx = Tx::new(&base, 0);
        let kinds =
            [EventKind::ModelCreated, EventKind::RunStarted, EventKind::ExperimentCreated, EventKind::RunFailed];
        for kind in kinds.into_iter().cycle().take(10) {
            tx.event(Actor::LOCAL, Timestamp(7), kind, 1, 1).unwrap();
        }
        // As stores had it once: both in one event.
        let first = page(&tx, 0, 1).unwrap().remove(0);
        tx.put(Key::new(key::EVENT).id(1).done(), encode(&first)).unwrap();
        // Somebody else was behind a run's end.
        tx.audit(Actor::LOCAL, Timestamp(7), EventKind::RunCancelRequested, 1, 1).unwrap();
        let (writes, last) = tx.finish();
        assert_eq!((last, last_among(&writes)), (10, Some(10)));
        gate.show(&writes);
        let numbers = |after, limit| {
            let found = page(&gate, after, limit).unwrap();
            found.into_iter().map(|event| (event.sequence, event.kind)).collect::<Vec<_>>()
        };
        let all: Vec<_> = (1..).zip(kinds.into_iter().cycle().take(10)).collect();
        assert_eq!((numbers(0, 100), numbers(3, 4)), (all.clone(), all[3..7].to_vec()));
        assert_eq!(audit(&gate, 0, 100).unwrap().len(), 6);
        gate.bring(usize::MAX);
        assert_eq!(last_in(&db).unwrap(), 10);
        let missing = || {
            let mut found = Vec::new();
            gaps(&gate, 10, |from, to| {
                found.push((from, to));
                Ok(())
            })
            .unwrap();
            found
        };
        assert_eq!(missing(), []);
        for (family, gone) in [(key::AUDIT, 3), (key::EVENT, 4), (key::EVENT, 8)] {
            db.remove(Key::new(family).id(gone).done()).unwrap();
        }
        assert_eq!(missing(), [(3, 4), (8, 8)]);
    }
}
