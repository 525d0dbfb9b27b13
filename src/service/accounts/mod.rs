//! Accounts: who asks, and what becomes of the secrets that prove it.
//!
//! Works on a store alone, so that it serves a running server and a stopped one's folder alike. Knows nothing of how a
//! credential comes over the wire.

mod manage;
mod passwords;
mod secret;
mod sharing;
mod throttle;
mod tokens;

pub use manage::NewAccount;
pub use sharing::SharedWith;
pub use throttle::Place;
pub use tokens::{NewToken, Owned};

use crate::domain::account::{Account, Actor, DEFAULT_PROJECT, Role, Token, TokenKind};
use crate::domain::error::{Code, Error, Result};
use crate::domain::ids::TokenId;
use crate::domain::name::Name;
use crate::domain::stamp::{Clock, Timestamp};
use crate::store::{Store, accounts, tokens as records};
use passwords::Passwords;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How stale the time of a token's last use may be, in milliseconds.
const STALE: u64 = 5 * 60 * 1000;

/// Accounts, their secrets, and who is let in.
pub struct Accounts {
    store: Store,
    clock: Arc<dyn Clock>,
    passwords: Passwords,
    /// True while there are no accounts; one that was made is never unmade to the last.
    open: AtomicBool,
}

/// Who a secret belongs to.
#[derive(Debug, Clone)]
pub struct Known {
    /// The actor.
    pub actor: Actor,
    /// The secret's own id, where it is kept.
    pub token: Option<TokenId>,
}

impl Accounts {
    /// The accounts in a store.
    ///
    /// # Errors
    /// `internal` where it cannot be read.
    pub fn new(store: Store, clock: Arc<dyn Clock>) -> Result<Self> {
        let open = AtomicBool::new(accounts::count(&store)? == 0);
        Ok(Self { store, clock, passwords: Passwords::default(), open })
    }

    /// True while there are no accounts, and with them no secrets to ask for.
    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Looks again whether there are accounts.
    fn look(&self) -> Result<()> {
        self.open.store(accounts::count(&self.store)? == 0, Ordering::Relaxed);
        Ok(())
    }

    /// Whose token or session a secret is.
    ///
    /// # Errors
    /// `unauthenticated` where it is nobody's, or no longer.
    pub fn by_secret(&self, text: &str, kind: TokenKind) -> Result<Known> {
        let unknown = || Error::unauthenticated("this token is not known here; `trainyard token create` makes one");
        let hash = secret::hash_of(text).ok_or_else(unknown)?;
        let token = records::by_hash(&self.store, &hash)?.filter(|token| token.kind == kind).ok_or_else(unknown)?;
        if token.has_expired(self.now()) {
            return Err(Error::unauthenticated("this token has expired; sign in again or make a new one"));
        }
        let account = accounts::get(&self.store, token.account)?;
        let account = account.filter(|account| account.stamp.trashed_at.is_none()).ok_or_else(unknown)?;
        self.note_use(&token);
        Ok(Known { actor: actor(&account), token: Some(token.id) })
    }

    /// Whose name and password these are; a token may stand in the password's place.
    ///
    /// # Errors
    /// `unauthenticated` where they are nobody's; `too_many` after wrong ones.
    pub async fn by_password(&self, name: &str, password: &str, from: Place) -> Result<Known> {
        if secret::looks_like_one(password) {
            return self.by_secret(password, TokenKind::Token);
        }
        let account = match Name::parse("name", name) {
            Ok(name) => accounts::named(&self.store, &name)?,
            Err(_) => None,
        };
        let account = self.passwords.check(name, password, account, from, self.now()).await?;
        Ok(Known { actor: actor(&account), token: None })
    }

    /// Keeps when a token was last used, now and then; nobody waits for it.
    fn note_use(&self, token: &Token) {
        let now = self.now();
        if token.last_used_at.is_some_and(|at| now.0 < at.0.saturating_add(STALE)) {
            return;
        }
        let id = token.id;
        drop(self.store.settle(move |tx| match records::get(tx, id)? {
            Some(token) => records::put(tx, &Token { last_used_at: Some(now), ..token }),
            None => Ok(()),
        }));
    }

    /// The account with this name or id.
    fn find(&self, text: &str) -> Result<Account> {
        find(&self.store, text)
    }
}

/// The account with this name or id that may sign in.
fn find(reader: &impl crate::store::Read, text: &str) -> Result<Account> {
    let found = match text.parse() {
        Ok(id) => accounts::get(reader, id)?.filter(|account| account.stamp.trashed_at.is_none()),
        Err(_) => accounts::named(reader, &Name::parse("account", text)?)?,
    };
    found.ok_or_else(|| Error::new(Code::NotFound, format!("there is no account `{text}`; see `trainyard user list`")))
}

fn actor(account: &Account) -> Actor {
    Actor { account: account.id, project: DEFAULT_PROJECT, role: account.role }
}

fn is_last_admin(reader: &impl crate::store::Read, account: &Account) -> Result<bool> {
    let mut after = None;
    loop {
        let page = accounts::page(reader, after.as_ref(), 100)?;
        if page.iter().any(|other| other.role == Role::Admin && other.id != account.id) {
            return Ok(false);
        }
        match page.last() {
            Some(last) => after = Some(last.name.clone()),
            None => return Ok(account.role == Role::Admin),
        }
    }
}
