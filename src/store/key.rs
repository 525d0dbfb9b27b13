//! Keys: a family byte, then big-endian numbers, so that the order of bytes is the order of ids.
//!
//! The family bytes are the map of the store; they are never given another meaning.

/// Counters and the store's own id.
pub const META: u8 = 0x01;
/// model -> record
pub const MODEL: u8 = 0x10;
/// (project, name) -> model
pub const MODEL_NAME: u8 = 0x11;
/// experiment -> record
pub const EXPERIMENT: u8 = 0x20;
/// (model, name) -> experiment
pub const EXPERIMENT_NAME: u8 = 0x21;
/// (model, ordinal) -> experiment
pub const EXPERIMENT_ORDER: u8 = 0x22;
/// dataset -> record
pub const DATASET: u8 = 0x30;
/// (model, name) -> dataset
pub const DATASET_NAME: u8 = 0x31;
/// (dataset, sequence) -> entry
pub const ENTRY: u8 = 0x32;
/// (dataset, label, name, sequence) -> nothing
pub const ENTRY_NAME: u8 = 0x33;
/// (dataset, other dataset that it began as, sequence there) -> the version from which on that entry is gone
pub const REMOVED: u8 = 0x35;
/// (dataset, label, version from behind) -> how many images have the label from that version on; (dataset) -> nothing:
/// they are counted from the first
pub const LABEL_COUNT: u8 = 0x36;
/// (dataset, hash, sequence) -> nothing
pub const ENTRY_HASH: u8 = 0x37;
/// (dataset, hash) -> nothing: it came more than once
pub const DUPLICATE: u8 = 0x38;
/// (dataset, version) -> frozen version
pub const VERSION: u8 = 0x34;
/// hash -> blob
pub const BLOB: u8 = 0x40;
/// run -> record
pub const RUN: u8 = 0x50;
/// (band, priority, model, run) -> nothing: what waits, in the order in which it is taken
pub const QUEUE: u8 = 0x51;
/// run -> nothing: what has a slot
pub const LEASE: u8 = 0x52;
/// (experiment, dataset, version) -> queued run
pub const PENDING: u8 = 0x53;
/// (model, run) -> nothing
pub const RUN_OF_MODEL: u8 = 0x54;
/// sweep -> record
pub const SWEEP: u8 = 0x55;
/// (sweep, run) -> nothing
pub const RUN_OF_SWEEP: u8 = 0x57;
/// sweep -> how many of its runs are not over; one more while it is being submitted
pub const SWEEP_OPEN: u8 = 0x58;
/// sweep -> nothing: it is being submitted
pub const SWEEP_HELD: u8 = 0x59;
/// (model, state, run) -> nothing: those that have not succeeded
pub const RUN_IN_STATE: u8 = 0x5a;
/// (model, sweep) -> nothing
pub const SWEEP_OF_MODEL: u8 = 0x5b;
/// (experiment, run) -> nothing
pub const RUN_OF_EXPERIMENT: u8 = 0x5c;
/// run -> what it printed, where that is little
pub const LOG: u8 = 0x56;
/// (experiment, dataset) -> result
pub const RESULT: u8 = 0x60;
/// (model, score) -> (experiment, dataset): the best first
pub const SCORE: u8 = 0x61;
/// (model, column, value, ordinal) -> nothing: experiments that have a result, by what they are told and called
pub const COLUMN: u8 = 0x63;
/// model -> best result
pub const BEST: u8 = 0x62;
/// sequence -> event
pub const EVENT: u8 = 0x70;
/// sequence -> event that somebody brought about; kept much longer
pub const AUDIT: u8 = 0x71;
/// account -> record
pub const ACCOUNT: u8 = 0x80;
/// name -> account
pub const ACCOUNT_NAME: u8 = 0x81;
/// token -> record
pub const TOKEN: u8 = 0x82;
/// hash of a secret -> token
pub const TOKEN_HASH: u8 = 0x83;
/// (account, token) -> nothing
pub const TOKEN_OF_ACCOUNT: u8 = 0x84;
/// (model, account) -> how it is shared
pub const SHARE: u8 = 0x85;
/// (account, model) -> how it is shared
pub const SHARED_WITH: u8 = 0x86;
/// webhook -> record
pub const WEBHOOK: u8 = 0x90;
/// webhook -> how its deliveries stand
pub const WEBHOOK_DELIVERY: u8 = 0x91;
/// e-mail address -> how its deliveries stand
pub const MAIL_DELIVERY: u8 = 0x92;
/// (account, hashed key of a request) -> answer that was given to it
pub const ANSWER: u8 = 0x93;
/// (account, time, hashed key of a request) -> nothing: the oldest answer first
pub const ANSWER_ORDER: u8 = 0x94;
/// (account, hashed key of a request, number) -> a piece of the answer's body
pub const ANSWER_BODY: u8 = 0x95;
/// trash item -> record
pub const TRASH: u8 = 0xa0;
/// (model, trash item) -> nothing
pub const TRASH_OF_MODEL: u8 = 0xa1;

/// A key that is being put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(Vec<u8>);

impl Key {
    /// A key of `family`.
    pub fn new(family: u8) -> Self {
        let mut bytes = Vec::with_capacity(40);
        bytes.push(family);
        Self(bytes)
    }

    /// Appends a number.
    #[must_use]
    pub fn id(mut self, id: u64) -> Self {
        self.0.extend_from_slice(&id.to_be_bytes());
        self
    }

    /// Appends a small number.
    #[must_use]
    pub fn byte(mut self, byte: u8) -> Self {
        self.0.push(byte);
        self
    }

    /// Appends an ordinal.
    #[must_use]
    pub fn ordinal(mut self, ordinal: u32) -> Self {
        self.0.extend_from_slice(&ordinal.to_be_bytes());
        self
    }

    /// Appends bytes as they are; only last, or where their length is fixed.
    #[must_use]
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Appends a text that holds no nought byte, and its end.
    #[must_use]
    pub fn text(mut self, text: &str) -> Self {
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
        self
    }

    /// The bytes.
    pub fn done(self) -> Vec<u8> {
        self.0
    }
}

/// The first key after every key that starts with `prefix`.
pub fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    // Only a prefix of all 0xff gets here; no family starts so.
    vec![u8::MAX; prefix.len() + 1]
}

/// The last eight bytes of a key as a number.
pub fn last_id(key: &[u8]) -> u64 {
    id_at(key, key.len().saturating_sub(8))
}

/// The eight bytes from `at` as a number; nought where the key is too short.
pub fn id_at(key: &[u8], at: usize) -> u64 {
    key.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes)
}
