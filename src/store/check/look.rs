//! What a judgement of one key has at hand: the record, the store around it, and a list for what is wrong.

use super::super::codec::CodecError;
use super::super::key;
use super::super::tx::Read;
use super::super::wal::OwnedWrite;
use super::{Finding, Fix, Severity};
use crate::domain::error::Result;
use crate::domain::stamp::Timestamp;
use std::fmt::Display;

/// Families whose keys end in an id of the one sequence.
pub(super) const FAMILIES_WITH_IDS: [u8; 9] = [
    key::MODEL,
    key::EXPERIMENT,
    key::DATASET,
    key::RUN,
    key::SWEEP,
    key::ACCOUNT,
    key::TOKEN,
    key::WEBHOOK,
    key::TRASH,
];

/// How old has to be what nobody seems to need: what is just being made looks like it.
const OLD_MS: u64 = 24 * 60 * 60 * 1000;

/// Something wrong with a key, and what would have to be written.
#[derive(Debug)]
pub(super) struct Note {
    severity: Severity,
    what: String,
    /// Empty where nothing mends it.
    pub writes: Vec<OwnedWrite>,
}

impl Note {
    /// The same for others, who know the key.
    pub fn finding(self, key: &[u8]) -> Finding {
        let fix = match key.first() {
            _ if self.writes.is_empty() => None,
            Some(&key::MODEL) => Some(Fix::Model(key.to_vec())),
            _ => Some(Fix::Key(key.to_vec())),
        };
        Finding { severity: self.severity, what: self.what, fix }
    }
}

/// A look at one key.
pub(super) struct Look<'a, R> {
    /// The store around it.
    pub reader: &'a R,
    now: Timestamp,
    key: &'a [u8],
    value: &'a [u8],
    notes: Vec<Note>,
}

impl<'a, R: Read> Look<'a, R> {
    pub fn new(reader: &'a R, now: Timestamp, key: &'a [u8], value: &'a [u8]) -> Self {
        Self { reader, now, key, value, notes: Vec::new() }
    }

    pub fn into_notes(self) -> Vec<Note> {
        self.notes
    }

    /// The key without its family.
    pub fn key(&self) -> &'a [u8] {
        self.key.get(1..).unwrap_or_default()
    }

    /// The key with its family.
    pub fn whole_key(&self) -> &'a [u8] {
        self.key
    }

    pub fn value(&self) -> &'a [u8] {
        self.value
    }

    /// Notes what nothing here mends.
    pub fn problem(&mut self, what: impl Display) {
        self.note(Severity::Problem, what, Vec::new());
    }

    /// Notes what is mended by these writes.
    pub fn fixable(&mut self, what: impl Display, writes: Vec<OwnedWrite>) {
        self.note(Severity::Problem, what, writes);
    }

    /// Notes what a crash left behind at `made`; old ones can go.
    pub fn leftover(&mut self, made: Timestamp, what: impl Display, writes: Vec<OwnedWrite>) {
        let is_old = self.now.0.saturating_sub(made.0) > OLD_MS;
        self.note(Severity::Leftover, what, if is_old { writes } else { Vec::new() });
    }

    fn note(&mut self, severity: Severity, what: impl Display, writes: Vec<OwnedWrite>) {
        self.notes.push(Note { severity, what: what.to_string(), writes });
    }

    /// This key's own removal.
    pub fn removal(&self) -> Vec<OwnedWrite> {
        vec![(self.key.to_vec(), None)]
    }

    /// This index entry leads to a record of which `fits` is true. One that leads to another is dropped; one that leads
    /// to none stays, since it is all that is left of the record.
    pub fn leads<T>(&mut self, what: impl Display, found: Result<Option<T>>, fits: impl Fn(&T) -> bool) {
        match found {
            Ok(None) => self.problem(format!("{what} is indexed, and gone")),
            Ok(Some(record)) if !fits(&record) => self.stale(what),
            // What cannot be read is found at its own key.
            _ => {}
        }
    }

    /// Says that an index entry is of no use; it can be dropped, since records have all it says.
    pub fn stale(&mut self, what: impl Display) {
        let writes = self.removal();
        self.fixable(format!("{what} is indexed, but not stored so"), writes);
    }

    /// A record that decodes.
    pub fn decoded<T>(&mut self, family: &str, decoded: Result<T, CodecError>) -> Option<T> {
        match decoded {
            Ok(record) => Some(record),
            Err(error) => {
                self.problem(format!("the {family} {} cannot be read: {error}", hex(self.key())));
                None
            }
        }
    }

    /// True where a record stands at its own key; says so where it does not.
    pub fn is_at(&mut self, what: impl Display, own: &[u8]) -> bool {
        let is_at = self.key == own;
        if !is_at {
            self.problem(format!("{what} stands at the key of another record, {}", hex(self.key)));
        }
        is_at
    }

    /// What `whose` refers to.
    pub fn expect<T>(&mut self, whose: impl Display, what: impl Display, found: Result<Option<T>>) -> Option<T> {
        match found {
            Ok(Some(found)) => return Some(found),
            Ok(None) => self.problem(format!("{whose} refers to {what}, which is not stored")),
            Err(error) => self.problem(format!("{whose} refers to {what}, which cannot be read: {error}")),
        }
        None
    }

    /// An index entry that has to be there, and to lead back.
    pub fn index(&mut self, whose: impl Display, what: &str, key: Vec<u8>, value: &[u8]) {
        match self.reader.get(&key) {
            Ok(Some(found)) if found == value => {}
            Ok(Some(_)) => self.problem(format!("{whose} is not the one that its {what} leads to")),
            Ok(None) => {
                self.fixable(format!("{whose} is missing in the index: its {what}"), vec![(key, Some(value.to_vec()))])
            }
            Err(error) => self.problem(format!("the index entry of {whose} cannot be read: {error}")),
        }
    }

    /// The numbers that a key consists of; says so where it does not.
    pub fn ids<const N: usize>(&mut self) -> Option<[u64; N]> {
        let key = self.key();
        if key.len() != 8 * N {
            self.malformed();
            return None;
        }
        Some(std::array::from_fn(|at| key::id_at(key, 8 * at)))
    }

    /// A key of a number and a text.
    pub fn id_and_text(&mut self) -> Option<(u64, String)> {
        let key = self.key();
        let text = key.get(8..).and_then(|text| text.strip_suffix(&[0])).filter(|text| !text.contains(&0));
        match text.and_then(|text| std::str::from_utf8(text).ok()) {
            Some(text) => Some((key::id_at(key, 0), text.to_owned())),
            None => {
                self.malformed();
                None
            }
        }
    }

    pub fn malformed(&mut self) {
        self.problem(format!("the key {} has a form that no release writes", hex(self.key)));
    }
}

/// Bytes for people.
fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().take(64).fold(String::new(), |mut text, byte| {
        // Writing to a text does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
