//! Whether every record decodes, every reference resolves and every index agrees with its records.
//!
//! Each key is judged by itself, by looking up what it refers to. So the same judgement is made over a snapshot while
//! others write, and once more in the transaction that repairs: what is written there is right at that moment. What no
//! single key knows is counted over all. Nothing in memory grows with the number of records; references to images are
//! counted for a part of the images at a time. Knows what records mean; not the files beside them.

mod accounts;
mod catalogue;
mod images;
mod look;
mod results;
mod runs;
#[cfg(test)]
mod tests;

use super::codec;
use super::key::{self, Key};
use super::manifests::Slot;
use super::tx::{Read, Tx};
use super::{Store, blobs, events};
use crate::domain::blob::ContentHash;
use crate::domain::error::Result;
use crate::domain::stamp::Timestamp;
use look::{Look, Note};
use std::collections::BTreeMap;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Something is missing or wrong.
    Problem,
    /// Something was left behind by a crash, and is in nobody's way.
    Leftover,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// What it is, in words.
    pub what: String,
    /// How it can be mended without losing anything.
    pub fix: Option<Fix>,
}

/// How something can be mended. The order is the one in which it has to be done.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fix {
    /// This key is judged once more, and what it takes is written.
    Key(Vec<u8>),
    /// The same, for a model, whose best result follows from all others.
    Model(Vec<u8>),
    /// Fewer or more entries refer to an image than its record says.
    References {
        /// The image.
        hash: ContentHash,
        /// How many more.
        change: i64,
    },
    /// The queue is counted.
    Queued,
    /// The accounts are counted.
    Accounts,
    /// Ids up to this one are taken.
    LastId(u64),
}

/// What a check tells while it goes on.
#[derive(Debug)]
pub enum Seen {
    /// So many records were looked at.
    Records(u64),
    /// A finding.
    Finding(Finding),
}

/// What was looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Records and index entries.
    pub records: u64,
    /// Images.
    pub images: u64,
    /// Runs.
    pub runs: u64,
}

/// How many records are looked at between two words about it.
const STRIDE: u64 = 4096;

/// How many images' references are counted at once.
const COUNTED: u64 = 100_000;

/// Judges every record. `say` is told what is found, and ends the check by an error.
///
/// # Errors
/// Where the store cannot be read, and what `say` answers.
pub fn records<R: Read>(reader: &R, now: Timestamp, say: &mut dyn FnMut(Seen) -> Result<()>) -> Result<Tally> {
    let mut tally = Tally::default();
    let (mut last_id, mut queued, mut named, mut last_event) = (0, 0, 0, 0);
    for pair in reader.range(vec![0], vec![u8::MAX]) {
        let (key, value) = pair?;
        tally.records += 1;
        match key.first().copied().unwrap_or(0) {
            key::BLOB => tally.images += 1,
            key::QUEUE => queued += 1,
            key::ACCOUNT_NAME => named += 1,
            key::RUN => tally.runs += 1,
            key::EVENT | key::AUDIT => last_event = key::last_id(&key).max(last_event),
            _ => {}
        }
        if look::FAMILIES_WITH_IDS.contains(&key[0]) {
            last_id = key::last_id(&key).max(last_id);
        }
        for note in judge(reader, now, &key, &value) {
            say(Seen::Finding(note.finding(&key)))?;
        }
        if tally.records % STRIDE == 0 {
            say(Seen::Records(tally.records))?;
        }
    }
    counters(reader, last_id, queued, say)?;
    if let Ok(noted) = reader.counter(super::accounts::COUNTER)
        && noted != named
    {
        let what = format!("{named} accounts may sign in, and the counter says {noted}");
        say(problem(what, Some(Fix::Accounts)))?;
    }
    events::gaps(reader, last_event, |from, to| say(problem(format!("the events {from} to {to} are missing"), None)))?;
    references(reader, tally.images, say)?;
    say(Seen::Records(tally.records))?;
    Ok(tally)
}

fn problem(what: String, fix: Option<Fix>) -> Seen {
    Seen::Finding(Finding { severity: Severity::Problem, what, fix })
}

/// What is to be said about one key.
fn judge<R: Read>(reader: &R, now: Timestamp, key: &[u8], value: &[u8]) -> Vec<Note> {
    let mut look = Look::new(reader, now, key, value);
    match key.first().copied().unwrap_or(0) {
        key::META => {
            look.decoded::<u64>("counter", codec::decode_v1(value));
        }
        key::MODEL => catalogue::model(&mut look),
        key::MODEL_NAME => catalogue::model_name(&mut look),
        key::EXPERIMENT => catalogue::experiment(&mut look),
        key::EXPERIMENT_NAME => catalogue::experiment_name(&mut look),
        key::EXPERIMENT_ORDER => catalogue::experiment_order(&mut look),
        key::DATASET => images::dataset(&mut look),
        key::DATASET_NAME => images::dataset_name(&mut look),
        key::ENTRY => images::entry(&mut look),
        key::ENTRY_NAME => images::entry_name(&mut look),
        key::REMOVED => images::removed(&mut look),
        key::LABEL_COUNT => images::label_count(&mut look),
        key::ENTRY_HASH => images::entry_hash(&mut look),
        key::DUPLICATE => images::duplicate(&mut look),
        key::VERSION => images::version(&mut look),
        key::BLOB => images::blob(&mut look),
        key::RUN => runs::run(&mut look),
        key::QUEUE => runs::queue(&mut look),
        key::LEASE => runs::lease(&mut look),
        key::PENDING => runs::pending(&mut look),
        key::RUN_OF_MODEL => runs::of_model(&mut look),
        key::RUN_OF_EXPERIMENT => runs::of_experiment(&mut look),
        key::RUN_IN_STATE => runs::in_state(&mut look),
        key::SWEEP => runs::sweep(&mut look),
        key::SWEEP_OF_MODEL => runs::sweep_of_model(&mut look),
        key::LOG => runs::log(&mut look),
        key::RESULT => results::result(&mut look),
        key::SCORE => results::score(&mut look),
        key::COLUMN => results::column(&mut look),
        key::BEST => results::best(&mut look),
        key::RUN_OF_SWEEP => runs::of_sweep(&mut look),
        key::SWEEP_OPEN | key::SWEEP_HELD => runs::sweep_count(&mut look),
        key::EVENT => runs::event(&mut look),
        key::AUDIT => runs::audit(&mut look),
        key::ACCOUNT => accounts::account(&mut look),
        key::ACCOUNT_NAME => accounts::account_name(&mut look),
        key::TOKEN => accounts::token(&mut look),
        key::TOKEN_HASH => accounts::token_hash(&mut look),
        key::TOKEN_OF_ACCOUNT => accounts::token_of_account(&mut look),
        key::SHARE => accounts::share(&mut look, true),
        key::SHARED_WITH => accounts::share(&mut look, false),
        key::TRASH => images::trash(&mut look),
        key::TRASH_OF_MODEL => images::trash_of_model(&mut look),
        key::WEBHOOK => accounts::webhook(&mut look),
        key::WEBHOOK_DELIVERY => accounts::delivery(&mut look),
        key::MAIL_DELIVERY => accounts::mail_delivery(&mut look),
        key::ANSWER => accounts::answer(&mut look),
        key::ANSWER_ORDER => accounts::answer_order(&mut look),
        key::ANSWER_BODY => accounts::answer_body(&mut look),
        other => look.problem(format!("a record of family {other:#04x}, which this release does not know")),
    }
    look.into_notes()
}

fn counters<R: Read>(reader: &R, last_id: u64, queued: u64, say: &mut dyn FnMut(Seen) -> Result<()>) -> Result<()> {
    // A counter that does not decode is a finding of its own.
    if let Ok(noted) = reader.counter("queued")
        && noted != queued
    {
        say(problem(format!("{queued} runs wait, and the counter says {noted}"), Some(Fix::Queued)))?;
    }
    if let Ok(noted) = reader.counter("last_id")
        && noted < last_id
    {
        let what = format!("the last id is {last_id}, and the counter says {noted}: ids would be given out twice");
        say(problem(what, Some(Fix::LastId(last_id))))?;
    }
    Ok(())
}

/// Compares the references that images count with the entries that there are.
fn references<R: Read>(reader: &R, images: u64, say: &mut dyn FnMut(Seen) -> Result<()>) -> Result<()> {
    let parts = images.div_ceil(COUNTED);
    let bound = |part: u64| u32::try_from((part << 32) / parts.max(1)).map(u32::to_be_bytes).ok();
    for part in 0..parts {
        let (from, to) = (bound(part), bound(part + 1));
        let at = |bound: Option<[u8; 4]>| {
            bound.map_or_else(|| vec![key::BLOB + 1], |bound| Key::new(key::BLOB).bytes(&bound).done())
        };
        let mut open: BTreeMap<ContentHash, i64> = BTreeMap::new();
        for pair in reader.range(at(from), at(to)) {
            if let Ok(blob) = blobs::decode(&pair?.1) {
                open.insert(blob.hash, i64::try_from(blob.references).unwrap_or(i64::MAX));
            }
        }
        for pair in reader.prefix(vec![key::ENTRY]) {
            if let Ok(Slot::Added(entry, _)) = super::manifests::decode(&pair?.1)
                && let Some(left) = open.get_mut(&entry.hash)
            {
                *left -= 1;
            }
        }
        for (hash, left) in open.into_iter().filter(|(_, left)| *left != 0) {
            let what = format!(
                "the image {hash} counts {} references {} than there are",
                left.abs(),
                if left > 0 { "more" } else { "fewer" }
            );
            say(problem(what, Some(Fix::References { hash, change: -left })))?;
        }
    }
    Ok(())
}

/// Mends what is found wrong again. Returns how many keys were written.
fn repair(tx: &mut Tx<'_>, now: Timestamp, fix: &Fix) -> Result<usize> {
    match fix {
        Fix::Key(key) | Fix::Model(key) => {
            let Some(value) = tx.get(key)? else { return Ok(0) };
            let notes = judge(tx, now, key, &value);
            let writes: Vec<_> = notes.into_iter().flat_map(|note| note.writes).collect();
            for (key, value) in &writes {
                match value {
                    Some(value) => tx.mark(key.clone(), value),
                    None => tx.delete(key.clone()),
                }
            }
            Ok(writes.len())
        }
        Fix::References { hash, change } => {
            let Some(mut blob) = blobs::get(tx, *hash)? else { return Ok(0) };
            blob.references = blob.references.saturating_add_signed(*change);
            blobs::put(tx, &blob).map(|()| 1)
        }
        Fix::Queued => {
            let queued = tx.prefix(vec![key::QUEUE]).try_fold(0, |count, pair| pair.map(|_| count + 1))?;
            tx.set_counter("queued", queued).map(|()| 1)
        }
        Fix::Accounts => {
            let named = tx.prefix(vec![key::ACCOUNT_NAME]).try_fold(0, |count, pair| pair.map(|_| count + 1))?;
            tx.set_counter(super::accounts::COUNTER, named).map(|()| 1)
        }
        Fix::LastId(last) => {
            let noted = tx.counter("last_id")?;
            tx.set_counter("last_id", noted.max(*last)).map(|()| 1)
        }
    }
}

/// What is repaired in one transaction at the most.
const REPAIRED: usize = 64;

impl Store {
    /// Mends what was found, in order. Returns how many keys were written.
    ///
    /// # Errors
    /// What the disk said; what was mended before stays so.
    pub fn repair(&self, mut fixes: Vec<Fix>, now: Timestamp) -> Result<usize> {
        fixes.sort_unstable();
        fixes.dedup();
        let mut written = 0;
        while !fixes.is_empty() {
            let some: Vec<Fix> = fixes.drain(..fixes.len().min(REPAIRED)).collect();
            let repaired = self.settle(move |tx| some.iter().try_fold(0, |sum, fix| Ok(sum + repair(tx, now, fix)?)));
            written += repaired.wait()?;
        }
        Ok(written)
    }
}
