//! Reading, and the transaction that a group of writers shares.
//!
//! A [`Tx`] lies over the tree: it sees its own writes, and what one writer wrote vanishes when that writer's rule
//! fails, without disturbing the others of the group. Knows keys and bytes; what they mean is the record families'.

use super::codec::CodecError;
use super::gate::Gate;
use super::key::{self, Key};
use crate::domain::account::Actor;
use crate::domain::error::{Error, Result};
use crate::domain::event::{Event, EventKind};
use crate::domain::stamp::Timestamp;
use sled::IVec;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

/// A key and its value.
pub type Pair = (Vec<u8>, IVec);

/// The pairs of a range, in order.
pub type Pairs<'a> = Box<dyn Iterator<Item = Result<Pair>> + 'a>;

/// Whatever records can be read from: the store as it stands, or a transaction over it.
pub trait Read {
    /// The value of `key`.
    ///
    /// # Errors
    /// `internal` where the disk fails.
    fn get(&self, key: &[u8]) -> Result<Option<IVec>>;

    /// The pairs from `from` up to but without `to`.
    fn range(&self, from: Vec<u8>, to: Vec<u8>) -> Pairs<'_>;

    /// The pairs whose keys start with `prefix`.
    fn prefix(&self, prefix: Vec<u8>) -> Pairs<'_> {
        let end = key::after_prefix(&prefix);
        self.range(prefix, end)
    }

    /// The first pair from `from` on whose key is before `to`.
    ///
    /// # Errors
    /// `internal` where the disk fails.
    fn first(&self, from: Vec<u8>, to: Vec<u8>) -> Result<Option<Pair>> {
        self.range(from, to).next().transpose()
    }

    /// A counter; nought before it was first written.
    ///
    /// # Errors
    /// `internal` where the disk fails or the record is damaged.
    fn counter(&self, name: &str) -> Result<u64> {
        match self.get(&counter_key(name))? {
            Some(bytes) => super::codec::decode_v1(&bytes).map_err(damaged("counter")),
            None => Ok(0),
        }
    }
}

/// What can be read downwards as well: the store, and not what lies over it.
pub trait ReadBack: Read {
    /// The pairs from `from` up to but without `to`, the last key first.
    fn range_back(&self, from: Vec<u8>, to: Vec<u8>) -> Pairs<'_>;
}

fn counter_key(name: &str) -> Vec<u8> {
    Key::new(key::META).text(name).done()
}

/// The failure that a record of `family` which does not decode becomes.
pub fn damaged(family: &'static str) -> impl Fn(CodecError) -> Error {
    move |error| Error::internal(format!("{family}: {error}"))
}

pub(super) fn failed(error: sled::Error) -> Error {
    match &error {
        // sled repeats what kept it from writing.
        sled::Error::Io(cause) if super::space::is_full(cause) => super::worker::disk_full().because(error),
        _ => Error::internal(format!("the store cannot be read: {error}")),
    }
}

impl Read for sled::Tree {
    fn get(&self, key: &[u8]) -> Result<Option<IVec>> {
        sled::Tree::get(self, key).map_err(failed)
    }

    fn range(&self, from: Vec<u8>, to: Vec<u8>) -> Pairs<'_> {
        Box::new(
            sled::Tree::range(self, from..to)
                .map(|pair| pair.map(|(key, value)| (key.to_vec(), value)).map_err(failed)),
        )
    }
}

/// How many events are kept; older ones make room.
pub const KEPT_EVENTS: u64 = 100_000;

/// New values by key; `None` removes one.
pub(super) type Writes = BTreeMap<Vec<u8>, Option<IVec>>;

/// What a transaction lies over: what readers see, and what they will see soon.
#[derive(Debug)]
pub(super) struct Base {
    gate: Gate,
    /// On its way, the newest.
    pub written: Arc<Writes>,
    /// On its way and nearly there.
    pub syncing: Arc<Writes>,
}

impl Base {
    pub fn new(gate: Gate) -> Self {
        Self { gate, written: Arc::default(), syncing: Arc::default() }
    }
}

/// Writes on their way into the tree.
pub struct Tx<'a> {
    base: &'a Base,
    writes: Writes,
    undo: Vec<(Vec<u8>, Option<Option<IVec>>)>,
    last_event: u64,
}

impl<'a> Tx<'a> {
    /// A transaction after the change `last_event`.
    pub(super) fn new(base: &'a Base, last_event: u64) -> Self {
        Self { base, writes: Writes::new(), undo: Vec::new(), last_event }
    }

    /// The writes, and the number of the last change.
    pub(super) fn finish(self) -> (Writes, u64) {
        (self.writes, self.last_event)
    }

    /// What lies over what readers see, the newest first.
    fn layers(&self) -> [&Writes; 3] {
        [&self.writes, &self.base.written, &self.base.syncing]
    }

    /// Runs one writer; takes back what it wrote where it fails.
    pub(super) fn attempt<T>(&mut self, writer: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.undo.clear();
        let last_event = self.last_event;
        let answer = writer(self);
        if answer.is_err() {
            self.last_event = last_event;
            while let Some((key, before)) = self.undo.pop() {
                match before {
                    Some(write) => self.writes.insert(key, write),
                    None => self.writes.remove(&key),
                };
            }
        }
        answer
    }

    /// How many keys are written.
    pub(super) fn len(&self) -> usize {
        self.writes.len()
    }

    fn write(&mut self, key: Vec<u8>, value: Option<IVec>) {
        let before = self.writes.insert(key.clone(), value);
        self.undo.push((key, before));
    }

    /// Sets a record.
    ///
    /// # Errors
    /// `internal` where it is too large to store.
    pub fn put(&mut self, key: Vec<u8>, value: std::result::Result<Vec<u8>, CodecError>) -> Result<()> {
        let value = value.map_err(damaged("a record to be written"))?;
        self.write(key, Some(IVec::from(value)));
        Ok(())
    }

    /// Sets an index entry, whose value is a few bytes or none.
    pub fn mark(&mut self, key: Vec<u8>, value: &[u8]) {
        self.write(key, Some(IVec::from(value)));
    }

    /// Removes a key.
    pub fn delete(&mut self, key: Vec<u8>) {
        self.write(key, None);
    }

    /// Sets a counter.
    ///
    /// # Errors
    /// None in practice: a counter is small.
    pub fn set_counter(&mut self, name: &str, value: u64) -> Result<()> {
        self.put(counter_key(name), super::codec::encode(1, &value))
    }

    /// Hands out the next id; ids of all kinds come from one sequence.
    ///
    /// # Errors
    /// `internal` where the counter cannot be read.
    pub fn next_id(&mut self) -> Result<u64> {
        let id = self.counter("last_id")?.max(FIRST_ID - 1) + 1;
        self.set_counter("last_id", id)?;
        Ok(id)
    }

    /// The number of the last change, this transaction's included.
    pub fn last_event(&self) -> u64 {
        self.last_event
    }

    /// Notes in the audit log who brought the last event about, where that is not the one that it names.
    ///
    /// # Errors
    /// None in practice: an event is small.
    pub fn audit(&mut self, actor: Actor, now: Timestamp, kind: EventKind, subject: u64, model: u64) -> Result<()> {
        let event = Event { sequence: self.last_event, at: now, account: actor.account, kind, subject, model };
        super::events::put_audit(self, &event)
    }

    /// Appends an event to the log of changes.
    ///
    /// # Errors
    /// None in practice: an event is small.
    pub fn event(&mut self, actor: Actor, now: Timestamp, kind: EventKind, subject: u64, model: u64) -> Result<()> {
        let sequence = self.last_event + 1;
        let event = Event { sequence, at: now, account: actor.account, kind, subject, model };
        super::events::put(self, &event)?;
        self.last_event = sequence;
        if let Some(old) = sequence.checked_sub(KEPT_EVENTS).map(|old| Key::new(key::EVENT).id(old).done())
            && self.get(&old)?.is_some()
        {
            self.delete(old);
        }
        Ok(())
    }
}

/// Lower ids are reserved: the local account and the default project have theirs.
const FIRST_ID: u64 = 1024;

impl Read for Tx<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<IVec>> {
        match self.layers().into_iter().find_map(|layer| layer.get(key)) {
            Some(write) => Ok(write.clone()),
            None => Read::get(&self.base.gate, key),
        }
    }

    fn range(&self, from: Vec<u8>, to: Vec<u8>) -> Pairs<'_> {
        if from >= to {
            return Box::new(std::iter::empty());
        }
        let bounds = (Bound::Included(from.clone()), Bound::Excluded(to.clone()));
        let mut layers = self.layers().map(|layer| layer.range::<Vec<u8>, _>(bounds.clone()).peekable());
        let mut stored = Read::range(&self.base.gate, from, to).peekable();
        Box::new(std::iter::from_fn(move || {
            loop {
                let below = match stored.peek() {
                    Some(Err(_)) => return stored.next(),
                    Some(Ok((key, _))) => Some(key),
                    None => None,
                };
                let above = layers.iter_mut().filter_map(|layer| layer.peek().map(|(key, _)| *key)).min();
                let key = above.into_iter().chain(below).min()?.clone();
                // The newest layer that has the key hides it in all others.
                let mut newest = None;
                for layer in &mut layers {
                    if let Some((_, write)) = layer.next_if(|(found, _)| **found == key) {
                        newest.get_or_insert(write);
                    }
                }
                let stored = stored.next_if(|pair| pair.as_ref().is_ok_and(|(found, _)| *found == key));
                match newest {
                    Some(Some(value)) => return Some(Ok((key, value.clone()))),
                    Some(None) => {}
                    None => return stored,
                }
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Model = BTreeMap<Vec<u8>, Vec<u8>>;

    fn pairs(reader: &impl Read) -> Model {
        reader.range(vec![], vec![255]).map(|pair| pair.map(|(k, v)| (k, v.to_vec())).unwrap()).collect()
    }

    type Batch = Vec<(u8, Option<u8>)>;

    fn batch() -> impl Strategy<Value = Batch> {
        proptest::collection::vec((0u8..40, any::<Option<u8>>()), 0..10)
    }

    fn run(tx: &mut Tx<'_>, model: &mut Model, batch: Batch, fails: bool) {
        let mut next = model.clone();
        let answer = tx.attempt(|tx| {
            for (key, value) in batch {
                match value {
                    Some(value) => {
                        tx.mark(vec![key], &[value]);
                        next.insert(vec![key], vec![value]);
                    }
                    None => {
                        tx.delete(vec![key]);
                        next.remove(&vec![key]);
                    }
                }
            }
            if fails { Err(Error::parameter("no")) } else { Ok(()) }
        });
        if answer.is_ok() {
            *model = next;
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_transaction_reads_like_the_map_it_will_be(
            stored in proptest::collection::btree_map(0u8..40, any::<u8>(), 0..20),
            syncing in batch(),
            written in batch(),
            writers in proptest::collection::vec((batch(), any::<bool>()), 0..6),
        ) {
            let db = sled::Config::new().temporary(true).open().unwrap();
            let gate = Gate::new((*db).clone());
            let mut base = Base::new(gate.clone());
            let mut model = Model::new();
            for (k, v) in stored {
                db.insert([k], &[v]).unwrap();
                model.insert(vec![k], vec![v]);
            }
            for (batch, is_syncing) in [(syncing, true), (written, false)] {
                let mut tx = Tx::new(&base, 0);
                run(&mut tx, &mut model, batch, false);
                let (writes, _) = tx.finish();
                if is_syncing { base.syncing = Arc::new(writes) } else { base.written = Arc::new(writes) }
            }
            let mut tx = Tx::new(&base, 0);
            for (writes, fails) in writers {
                run(&mut tx, &mut model, writes, fails);
                prop_assert_eq!(&pairs(&tx), &model);
                for key in 0..40 {
                    prop_assert_eq!(Read::get(&tx, &[key]).unwrap().map(|v| v.to_vec()), model.get(&vec![key]).cloned());
                }
            }
            let (writes, _) = tx.finish();
            // Applying a layer again, late, does no harm as long as the later ones follow.
            for layer in [&base.syncing, &base.written, &Arc::new(writes)] {
                gate.show(layer);
                gate.bring(usize::MAX);
            }
            prop_assert_eq!(&pairs(&gate), &model);
        }
    }
}
