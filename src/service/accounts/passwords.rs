//! Passwords: hashed with argon2id, checked a few at a time, guesses slowed down.
//!
//! One check takes 19 MiB and some tens of milliseconds by design, so checks queue, and a check that succeeded is
//! remembered for some minutes: tools that know nothing but HTTP Basic send the password with every request. Knows
//! nothing of roles.

use super::secret;
use super::throttle::{Place, Throttle};
use crate::domain::account::Account;
use crate::domain::error::{Code, Error, Result};
use crate::domain::ids::AccountId;
use crate::domain::stamp::Timestamp;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use tokio::sync::Semaphore;

/// The shortest password, in characters, and the longest, in bytes.
const SHORTEST: usize = 8;
const LONGEST: usize = 1024;

/// Checks at once, and at the most waiting.
const AT_ONCE: usize = 1;
const WAITING: usize = 16;

/// How long a check that succeeded is remembered, in milliseconds, and how many are.
const REMEMBERED: u64 = 5 * 60 * 1000;
const MOST_REMEMBERED: usize = 256;

/// Wrong passwords from one place, and for one name, before they cost time; the longest waits, in milliseconds.
const FREE_FROM_PLACE: u32 = 5;
const LONGEST_FOR_PLACE: u64 = 15 * 60 * 1000;
const FREE_FOR_NAME: u32 = 20;
const LONGEST_FOR_NAME: u64 = 60 * 1000;
const MOST_KEPT: usize = 4096;

/// A check that succeeded.
struct Remembered {
    account: AccountId,
    revision: u64,
    until: u64,
}

struct State {
    places: Throttle<Place>,
    /// By the hash of a name, which may be long or nobody's.
    names: Throttle<[u8; 32]>,
    remembered: HashMap<[u8; 32], Remembered>,
}

/// Checks passwords.
pub struct Passwords {
    state: Mutex<State>,
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// Makes what is remembered useless to whoever reads this memory later.
    key: OnceLock<[u8; 32]>,
}

impl Default for Passwords {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                places: Throttle::new(FREE_FROM_PLACE, LONGEST_FOR_PLACE, MOST_KEPT),
                names: Throttle::new(FREE_FOR_NAME, LONGEST_FOR_NAME, MOST_KEPT),
                remembered: HashMap::new(),
            }),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            waiting: AtomicUsize::new(0),
            key: OnceLock::new(),
        }
    }
}

/// Counts one that waits for as long as it lives.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Passwords {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn key(&self) -> Result<&[u8; 32]> {
        if let Some(key) = self.key.get() {
            return Ok(key);
        }
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(Error::internal)?;
        Ok(self.key.get_or_init(|| key))
    }

    /// Gives the account back if the password is its own. A name that nobody has takes as long as a wrong password.
    ///
    /// # Errors
    /// `unauthenticated`; `too_many` where a wait is due.
    pub async fn check(
        &self,
        name: &str,
        password: &str,
        account: Option<Account>,
        from: Place,
        now: Timestamp,
    ) -> Result<Account> {
        let name_hash = *blake3::hash(name.as_bytes()).as_bytes();
        let memory = *blake3::Hasher::new_keyed(self.key()?)
            .update(&name_hash)
            .update(password.as_bytes())
            .finalize()
            .as_bytes();
        if let Some(account) = account.as_ref().filter(|account| self.remembers(&memory, account, now)) {
            return Ok(account.clone());
        }
        self.check_wait(from, &name_hash, now)?;
        let is_right = match password.len() <= LONGEST {
            true => self.verify(password.to_owned(), account.as_ref().and_then(|it| it.password.clone())).await?,
            false => false,
        };
        let mut state = self.state();
        match account.filter(|_| is_right) {
            Some(account) => {
                state.places.forgive(&from);
                state.remembered.retain(|_, kept| now.0 < kept.until);
                if state.remembered.len() < MOST_REMEMBERED {
                    let (revision, until) = (account.stamp.revision, now.0.saturating_add(REMEMBERED));
                    state.remembered.insert(memory, Remembered { account: account.id, revision, until });
                }
                Ok(account)
            }
            None => {
                state.places.fail(from, now);
                state.names.fail(name_hash, now);
                Err(Error::unauthenticated("the name or the password is wrong"))
            }
        }
    }

    fn remembers(&self, memory: &[u8; 32], account: &Account, now: Timestamp) -> bool {
        let state = self.state();
        let kept = state.remembered.get(memory).filter(|kept| now.0 < kept.until);
        kept.is_some_and(|kept| kept.account == account.id && kept.revision == account.stamp.revision)
    }

    fn check_wait(&self, from: Place, name: &[u8; 32], now: Timestamp) -> Result<()> {
        let state = self.state();
        match state.places.wait(&from, now).max(state.names.wait(name, now)) {
            0 => Ok(()),
            wait => Err(too_many(wait.div_ceil(1000))),
        }
    }

    async fn verify(&self, password: String, hash: Option<String>) -> Result<bool> {
        let before = self.waiting.fetch_add(1, Ordering::AcqRel);
        let _waiting = Waiting(&self.waiting);
        if before >= WAITING {
            return Err(too_many(1));
        }
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(Error::internal)?;
        let checked = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            match hash {
                Some(hash) => verify(&password, &hash),
                None => verify(&password, nobodys()?).map(|_| false),
            }
        });
        checked.await.map_err(Error::internal)?
    }
}

fn too_many(seconds: u64) -> Error {
    let message = format!("too many wrong passwords; try again in {seconds} s, or use a token");
    Error { retry_after: Some(seconds), ..Error::new(Code::TooMany, message) }
}

/// A hash that no password has, to spend as long on a name that nobody has as on one that somebody has.
fn nobodys() -> Result<&'static str> {
    static HASH: OnceLock<String> = OnceLock::new();
    if let Some(hash) = HASH.get() {
        return Ok(hash);
    }
    let hash = hash(&secret::new()?)?;
    Ok(HASH.get_or_init(|| hash))
}

fn verify(password: &str, hash: &str) -> Result<bool> {
    let hash = PasswordHash::new(hash).map_err(Error::internal)?;
    Ok(Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

fn hash(password: &str) -> Result<String> {
    Argon2::default().hash_password(password.as_bytes()).map(|hash| hash.to_string()).map_err(Error::internal)
}

/// Checks and hashes a new password, off the async threads.
///
/// # Errors
/// `invalid_parameter` for one that is too short or too long.
pub async fn new_hash(password: String) -> Result<String> {
    if password.chars().count() < SHORTEST || password.len() > LONGEST {
        let message = format!("a password has at least {SHORTEST} characters and at most {LONGEST} bytes");
        return Err(Error::parameter(message));
    }
    if secret::looks_like_one(&password) {
        return Err(Error::parameter(format!("a password may not begin with {}, as tokens do", secret::PREFIX)));
    }
    tokio::task::spawn_blocking(move || hash(&password)).await.map_err(Error::internal)?
}
