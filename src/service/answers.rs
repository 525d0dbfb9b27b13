//! Requests with a key of the client's own: one that comes again gets the answer that it got before, and is not done again.
//!
//! The answer becomes durable before it is sent. What is being done right now is known in memory, so that two of the same
//! never run at once. Knows nothing of headers.

use super::Services;
use crate::domain::account::{Change, Permit};
use crate::domain::answer::{KeptAnswer, MAX_BODY, RequestKey};
use crate::domain::error::{Code, Error, Result};
use crate::store::answers;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Requests that are being done.
pub(super) type Underway = Arc<Mutex<HashSet<RequestKey>>>;

/// A request that is being done for the first time; dropped, it may be tried again.
#[derive(Debug)]
pub struct Doing {
    key: RequestKey,
    request: [u8; 16],
    underway: Underway,
}

impl Drop for Doing {
    fn drop(&mut self) {
        self.underway.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

/// Whether a request was done before.
#[derive(Debug)]
pub enum Turn {
    /// It is to be done now.
    First(Doing),
    /// It was done, and this was the answer.
    Again(KeptAnswer),
}

/// What an answer says.
#[derive(Debug, Clone)]
pub struct Said {
    /// What it came to.
    pub status: u16,
    /// Where what was made is found.
    pub location: Option<String>,
    /// The edition of it.
    pub etag: Option<String>,
    /// The body.
    pub body: Vec<u8>,
}

fn short_hash(bytes: &[u8]) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&blake3::hash(bytes).as_bytes()[..16]);
    short
}

impl Services {
    /// Begins a request that its account calls `key`; `request` is everything that tells it from others.
    ///
    /// # Errors
    /// `key_reused` where the key stood for another request; `conflict` while the same is being done.
    pub fn begin_keyed(&self, permit: Permit<Change>, key: &str, request: &[u8]) -> Result<Turn> {
        let key = RequestKey { account: permit.actor().account, hash: short_hash(key.as_bytes()) };
        let request = short_hash(request);
        let is_new = self.underway.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
        if !is_new {
            let message = "a request with this Idempotency-Key is being done right now; send it again in a moment";
            return Err(Error::new(Code::Conflict, message));
        }
        let doing = Doing { key, request, underway: Arc::clone(&self.underway) };
        match answers::get(&self.parts.store, key, self.now())? {
            None => Ok(Turn::First(doing)),
            Some(answer) if answer.request == request => Ok(Turn::Again(answer)),
            Some(_) => {
                let message =
                    "this Idempotency-Key came with another request before; make up a new one for each request";
                Err(Error::new(Code::KeyReused, message))
            }
        }
    }

    /// Keeps the answer to a request that was done.
    ///
    /// # Errors
    /// What the disk says.
    pub async fn keep_answer(&self, doing: &Doing, said: Said) -> Result<()> {
        let Said { status, location, etag, body } = said;
        let body = Some(body).filter(|body| body.len() <= MAX_BODY);
        let (key, request, at) = (doing.key, doing.request, self.now());
        let answer = KeptAnswer { key, request, at, status, location, etag, body };
        self.parts.store.settle(move |tx| answers::put(tx, &answer)).await
    }

    /// Forgets the answers that have expired.
    ///
    /// # Errors
    /// What the disk says.
    pub(super) async fn forget_answers(&self) -> Result<()> {
        let now = self.now();
        while self.parts.store.settle(move |tx| answers::expire(tx, now)).await? {}
        Ok(())
    }
}
