//! The store as it stood at one moment, while others write on.
//!
//! sled has no snapshots, so this copies on write: from the beginning on, whoever changes a key leaves here what the
//! key held before, once, and a reader of the snapshot looks here first and into the tree then. Both happen under the
//! gate's lock, a batch at a time, so there is no moment at which a reader could see half of either. Writers pay for one
//! more insertion a key and never wait. What was kept lies in memory while it is little, then in a scratch database of
//! its own; a disk without room for that costs the snapshot and nothing else. Knows keys and bytes.

use super::Store;
use super::chunk::{self, Changes, Chunk, Span, Way};
use super::engine::scratch;
use super::gate::Gate;
use super::tx::{Pair, Pairs, Read};
use crate::domain::error::{Code, Error, Result};
use sled::IVec;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What is kept in memory, in bytes of keys and values.
const IN_MEMORY: usize = 2 << 20;

/// What a key takes in memory beside its bytes, about.
const OVERHEAD: usize = 96;

/// Marks in the scratch database.
const ABSENT: u8 = 0;
const PRESENT: u8 = 1;

/// A view of the store that does not change. While it lives, writes cost a little more.
#[derive(Debug)]
pub struct Snapshot {
    gate: Gate,
    overlay: Arc<Overlay>,
}

/// What keys held before they were changed.
#[derive(Debug)]
pub(super) struct Overlay {
    kept: Mutex<Kept>,
    scratch: PathBuf,
    limit: usize,
}

enum Kept {
    Memory {
        before: BTreeMap<Vec<u8>, Option<IVec>>,
        bytes: usize,
    },
    Disk(sled::Db),
    /// It could not be kept.
    Lost(Error),
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory { .. } => "memory",
            Self::Disk(_) => "disk",
            Self::Lost(_) => "lost",
        })
    }
}

fn lost(cause: impl fmt::Display) -> Error {
    let message =
        "too much was written meanwhile for the room that is left on the disk; try again when less is going on";
    Error::new(Code::Unavailable, message).because(cause)
}

impl Overlay {
    fn new(scratch: PathBuf, limit: usize) -> Self {
        let kept = Kept::Memory { before: BTreeMap::new(), bytes: 0 };
        Self { kept: Mutex::new(kept), scratch, limit }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A key is about to change, or just did; the first to say so counts.
    pub fn keep(&self, key: &[u8], held: Option<&IVec>) {
        let mut kept = self.kept();
        match &mut *kept {
            Kept::Memory { before, bytes } => {
                if !before.contains_key(key) {
                    *bytes += key.len() + held.map_or(0, |value| value.len()) + OVERHEAD;
                    // A value that sled hands out may hold on to a whole page.
                    before.insert(key.to_vec(), held.map(|value| IVec::from(&value[..])));
                }
                if *bytes > self.limit {
                    let moved = self.to_disk(before);
                    *kept = moved.map_or_else(|error| Kept::Lost(lost(error)), Kept::Disk);
                }
            }
            Kept::Disk(db) => {
                if let Err(error) = put(db, key, held) {
                    *kept = Kept::Lost(lost(error));
                }
            }
            Kept::Lost(_) => {}
        }
    }

    /// What a key held cannot be found out.
    pub fn lose(&self, error: &Error) {
        *self.kept() = Kept::Lost(lost(error));
    }

    fn to_disk(&self, before: &BTreeMap<Vec<u8>, Option<IVec>>) -> std::result::Result<sled::Db, sled::Error> {
        let db = scratch(&self.scratch)?;
        before.iter().try_for_each(|(key, held)| put(&db, key, held.as_ref()))?;
        Ok(db)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Option<IVec>>> {
        match &*self.kept() {
            Kept::Memory { before, .. } => Ok(before.get(key).cloned()),
            Kept::Disk(db) => Ok(db.get(key).map_err(lost)?.map(|held| unpack(&held))),
            Kept::Lost(error) => Err(error.clone()),
        }
    }

    fn changes(&self, span: Span<'_>, limit: usize) -> Result<Changes> {
        match &*self.kept() {
            Kept::Memory { before, .. } => Ok(chunk::changes(before, span, limit)),
            Kept::Disk(_) if span.is_empty() => Ok(Changes::default()),
            Kept::Disk(db) => {
                let found = db.range(span.from..span.to).take(limit);
                let found = found.map(|pair| pair.map(|(key, held)| (key.to_vec(), unpack(&held))));
                Ok(chunk::reaching(found.collect::<std::result::Result<_, _>>().map_err(lost)?, limit))
            }
            Kept::Lost(error) => Err(error.clone()),
        }
    }
}

fn put(db: &sled::Db, key: &[u8], held: Option<&IVec>) -> std::result::Result<(), sled::Error> {
    let mut packed = vec![if held.is_some() { PRESENT } else { ABSENT }];
    packed.extend_from_slice(held.map_or(&[], |value| &value[..]));
    // Where the key is known, what it held first stays.
    db.compare_and_swap(key, None::<&[u8]>, Some(packed)).map(drop)
}

fn unpack(packed: &[u8]) -> Option<IVec> {
    match packed.split_first() {
        Some((&PRESENT, held)) => Some(IVec::from(held)),
        _ => None,
    }
}

impl Snapshot {
    pub(super) fn new(gate: Gate, scratch: PathBuf, limit: usize) -> Self {
        let overlay = Arc::new(Overlay::new(scratch, limit));
        gate.watch(&overlay);
        Self { gate, overlay }
    }

    /// Every pair, in order.
    pub fn pairs(&self) -> impl Iterator<Item = Result<Pair>> + '_ {
        self.range(vec![0], vec![u8::MAX])
    }

    fn chunk(&self, span: Span<'_>, limit: usize) -> Result<Chunk> {
        self.gate.chunk_under(span, limit, || self.overlay.changes(span, limit))
    }
}

impl Read for Snapshot {
    fn get(&self, key: &[u8]) -> Result<Option<IVec>> {
        self.gate.get_under(key, || self.overlay.get(key))
    }

    fn range(&self, from: Vec<u8>, to: Vec<u8>) -> Pairs<'_> {
        // What was kept on the disk is read upwards alone, and so is a snapshot.
        chunk::chunked(from, to, Way::Up, |span, limit| self.chunk(span, limit))
    }
}

impl Store {
    /// The store as readers see it now, for as long as it is needed.
    pub fn snapshot(&self) -> Snapshot {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("snapshot-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        Snapshot::new(self.gate.clone(), self.folder.join("tmp").join(name), IN_MEMORY)
    }

    /// Writes pairs as a backup has them, and waits until they are durable. A store that this was done to has to be
    /// closed before anything else is written.
    ///
    /// # Errors
    /// What the disk said.
    pub fn load(&self, pairs: Vec<(Vec<u8>, Vec<u8>)>) -> Result<()> {
        let loaded = self.settle(move |tx| {
            pairs.iter().for_each(|(key, value)| tx.mark(key.clone(), value));
            Ok(())
        });
        loaded.wait()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tx::{ReadBack, Writes};
    use super::*;
    use proptest::prelude::*;

    type Model = BTreeMap<Vec<u8>, Vec<u8>>;

    fn pairs(reader: &impl Read) -> Model {
        reader.range(vec![], vec![255]).map(|pair| pair.map(|(k, v)| (k, v.to_vec())).unwrap()).collect()
    }

    fn batch() -> impl Strategy<Value = Writes> {
        let write = (0u8..60, proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)));
        proptest::collection::vec(write, 0..12)
            .prop_map(|writes| writes.into_iter().map(|(key, value)| (vec![key], value.map(IVec::from))).collect())
    }

    fn apply(model: &mut Model, batch: &Writes) {
        for (key, write) in batch {
            match write {
                Some(value) => model.insert(key.clone(), value.to_vec()),
                None => model.remove(key),
            };
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]
        #[test]
        fn a_walk_amid_writes_gives_the_state_at_its_beginning(
            before in batch(),
            during in proptest::collection::vec((batch(), 0usize..8, 0usize..24), 0..12),
            limit in prop_oneof![Just(0usize), Just(400), Just(1 << 20)],
            falls_behind in proptest::option::of(0usize..12),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let db = sled::Config::new().temporary(true).open().unwrap();
            let gate = Gate::new((*db).clone());
            let mut model = Model::new();
            gate.show(&before);
            gate.bring(usize::MAX);
            apply(&mut model, &before);
            let begun = model.clone();
            let snapshot = Snapshot::new(gate.clone(), folder.path().join("scratch"), limit);
            let mut walked = Model::new();
            let mut from = vec![0];
            for (number, (batch, steps, brought)) in during.into_iter().enumerate() {
                if falls_behind == Some(number) {
                    gate.fall_behind();
                }
                gate.show(&batch);
                apply(&mut model, &batch);
                prop_assert_eq!(&pairs(&gate), &model);
                // Some of it gets to the tree, or what was left of the batches before.
                gate.bring(brought);
                prop_assert_eq!(&pairs(&gate), &model);
                let down = gate.range_back(vec![], vec![255]).map(|pair| pair.map(|(k, v)| (k, v.to_vec())).unwrap());
                prop_assert!(down.eq(model.clone().into_iter().rev()), "the same, downwards");
                // The walk goes on a little between two batches.
                for _ in 0..steps {
                    let Ok(chunk) = snapshot.chunk(Span { from: &from, to: &[255], way: Way::Up }, 3) else { panic!("the snapshot is lost") };
                    walked.extend(chunk.pairs.into_iter().map(|(key, value)| (key, value.to_vec())));
                    from = chunk.through.map_or(vec![255], |mut key| { key.push(0); key });
                }
            }
            walked.extend(snapshot.range(from, vec![255]).map(|pair| pair.map(|(k, v)| (k, v.to_vec())).unwrap()));
            prop_assert_eq!(&walked, &begun);
            // And from its beginning once more, and key by key.
            prop_assert_eq!(&pairs(&snapshot), &begun);
            for key in 0..60 {
                let held = Read::get(&snapshot, &[key]).unwrap().map(|value| value.to_vec());
                prop_assert_eq!(held.as_ref(), begun.get(&vec![key]));
            }
            drop(snapshot);
            prop_assert_eq!(&pairs(&gate), &model);
        }
    }

    #[test]
    fn a_snapshot_that_has_no_room_says_so_and_nobody_else_suffers() {
        let folder = tempfile::tempdir().unwrap();
        let db = sled::Config::new().temporary(true).open().unwrap();
        let gate = Gate::new((*db).clone());
        // A file stands where the scratch database would be.
        std::fs::write(folder.path().join("scratch"), "in the way").unwrap();
        let snapshot = Snapshot::new(gate.clone(), folder.path().join("scratch"), 0);
        let batch: Writes = [(b"key".to_vec(), Some(IVec::from(b"value")))].into();
        gate.show(&batch);
        assert_eq!(Read::get(&snapshot, b"key").unwrap_err().code, Code::Unavailable);
        assert!(snapshot.range(vec![0], vec![255]).next().unwrap().is_err());
        assert_eq!(Read::get(&gate, b"key").unwrap().unwrap(), b"value");
    }
}
