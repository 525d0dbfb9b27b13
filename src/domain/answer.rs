//! Answers that are kept for a while, so that a request that is sent again is not done again. Pure data.

use super::ids::AccountId;
use super::stamp::Timestamp;

/// How long an answer is kept, in milliseconds: a day.
pub const KEPT_MS: u64 = 24 * 60 * 60 * 1000;

/// How many answers are kept for one account; the oldest make room.
pub const KEPT: usize = 500;

/// The largest body that is kept, in bytes. Of a larger one it is only known that it was given.
pub const MAX_BODY: usize = 32 << 10;

/// What an account calls a request, hashed: it may be anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestKey {
    /// Whose it is.
    pub account: AccountId,
    /// What it is called.
    pub hash: [u8; 16],
}

/// An answer that was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptAnswer {
    /// The request.
    pub key: RequestKey,
    /// What was asked, hashed.
    pub request: [u8; 16],
    /// When it was answered.
    pub at: Timestamp,
    /// What it came to, as the API's own number.
    pub status: u16,
    /// Where what was made is found.
    pub location: Option<String>,
    /// The edition of it.
    pub etag: Option<String>,
    /// What was said; nothing where that was too much to keep.
    pub body: Option<Vec<u8>>,
}
