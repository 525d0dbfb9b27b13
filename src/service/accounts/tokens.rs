//! Tokens and sessions: made, listed, revoked.

use super::manage::no_account;
use super::{Accounts, Known, Place, find, secret};
use crate::domain::account::{Account, Own, Permit, Role, Token, TokenKind};
use crate::domain::error::{Code, Error, Result};
use crate::domain::event::EventKind;
use crate::domain::ids::{AccountId, TokenId};
use crate::domain::stamp::Timestamp;
use crate::store::{Tx, accounts, tokens};

/// Tokens that an account may have, and sessions; the oldest session makes room.
const MOST_TOKENS: usize = 200;
const MOST_SESSIONS: usize = 50;

/// How long a browser stays signed in, in milliseconds.
pub const SESSION: u64 = 14 * DAY;

/// A day, in milliseconds.
pub const DAY: u64 = 24 * 60 * 60 * 1000;

/// The longest label, in characters.
const MAX_LABEL: usize = 100;

/// The longest life that may be asked for, in days.
const MAX_DAYS: u64 = 3650;

/// A token that is to be made.
#[derive(Debug)]
pub struct NewToken {
    /// What its owner calls it.
    pub label: String,
    /// Whose it is to be, by name or id; one's own unless given.
    pub account: Option<String>,
    /// In how many days it ends, if ever.
    pub days: Option<u64>,
}

/// A token and its owner's name.
#[derive(Debug)]
pub struct Owned {
    /// The token.
    pub token: Token,
    /// Whose it is.
    pub owner: String,
}

impl Accounts {
    /// Makes a token and gives its secret, which nobody can read again.
    ///
    /// # Errors
    /// `forbidden` for somebody else's account; `not_found`; `too_many` where the account has enough.
    pub async fn create_token(&self, permit: Permit<Own>, new: NewToken) -> Result<(Owned, String)> {
        let (actor, now) = (permit.actor(), self.now());
        let label = new.label.trim().to_owned();
        if label.chars().count() > MAX_LABEL || label.chars().any(char::is_control) {
            return Err(Error::parameter(format!(
                "label has at most {MAX_LABEL} characters, and no control characters"
            )));
        }
        if new.days.is_some_and(|days| days == 0 || days > MAX_DAYS) {
            return Err(Error::parameter(format!("a token lives from 1 to {MAX_DAYS} days, or without an end")));
        }
        let expires_at = new.days.map(|days| Timestamp(now.0.saturating_add(days * DAY)));
        let account = self.whose(permit, new.account.as_deref())?;
        let secret = secret::new()?;
        let hash = secret::hash_of(&secret).ok_or_else(|| Error::internal("a new secret is not well-formed"))?;
        let (id_of, owner) = (account.id, account.name.as_str().to_owned());
        let write = self.store.write(move |tx| {
            let kept = tokens::of_account(tx, id_of, MOST_TOKENS + MOST_SESSIONS)?;
            if kept.iter().filter(|token| token.kind == TokenKind::Token).count() >= MOST_TOKENS {
                let message = format!("the account has {MOST_TOKENS} tokens; revoke some first");
                return Err(Error::new(Code::TooMany, message));
            }
            let id = TokenId(tx.next_id()?);
            let kind = TokenKind::Token;
            let token =
                Token { id, account: id_of, kind, label, hash, created_at: now, expires_at, last_used_at: None };
            tokens::put(tx, &token)?;
            tx.event(actor, now, EventKind::TokenCreated, id.0, 0)?;
            Ok(token)
        });
        Ok((Owned { token: write.await?, owner }, secret))
    }

    /// The tokens of an account, one's own unless given, sessions too.
    ///
    /// # Errors
    /// `forbidden` for somebody else's; `not_found`.
    pub fn tokens(&self, permit: Permit<Own>, account: Option<&str>) -> Result<Vec<Owned>> {
        let account = self.whose(permit, account)?;
        let found = tokens::of_account(&self.store, account.id, MOST_TOKENS + MOST_SESSIONS)?;
        Ok(found.into_iter().map(|token| Owned { token, owner: account.name.as_str().to_owned() }).collect())
    }

    /// Ends a token or a session.
    ///
    /// # Errors
    /// `not_found`, also for somebody else's.
    pub async fn revoke(&self, permit: Permit<Own>, id: TokenId) -> Result<()> {
        let (actor, now) = (permit.actor(), self.now());
        let write = self.store.settle(move |tx| {
            let token = tokens::get(tx, id)?;
            let token = token.filter(|token| actor.role == Role::Admin || token.account == actor.account);
            let token = token.ok_or_else(|| Error::new(Code::NotFound, format!("there is no token {id}")))?;
            tokens::delete(tx, &token);
            tx.event(actor, now, EventKind::TokenRevoked, id.0, 0)
        });
        write.await
    }

    /// Ends the session that somebody came with; a token stays.
    ///
    /// # Errors
    /// What the store says.
    pub async fn end_session(&self, permit: Permit<Own>, id: TokenId) -> Result<()> {
        let account = permit.actor().account;
        let write = self.store.settle(move |tx| {
            let token = tokens::get(tx, id)?;
            let session = token.filter(|token| token.account == account && token.kind == TokenKind::Session);
            session.iter().for_each(|token| tokens::delete(tx, token));
            Ok(())
        });
        write.await
    }

    /// Signs a browser in: its session's secret, and whose it is.
    ///
    /// # Errors
    /// `unauthenticated`; `too_many` after wrong passwords; `conflict` where there are no accounts.
    pub async fn sign_in(&self, name: &str, password: &str, from: Place) -> Result<(String, Known)> {
        if self.is_open() {
            return Err(no_account());
        }
        let known = self.by_password(name, password, from).await?;
        let secret = secret::new()?;
        let hash = secret::hash_of(&secret).ok_or_else(|| Error::internal("a new secret is not well-formed"))?;
        let (account, now) = (known.actor.account, self.now());
        let write = self.store.settle(move |tx| {
            make_room(tx, account, now)?;
            let token = Token {
                id: TokenId(tx.next_id()?),
                account,
                kind: TokenKind::Session,
                label: "browser".to_owned(),
                hash,
                created_at: now,
                expires_at: Some(Timestamp(now.0.saturating_add(SESSION))),
                last_used_at: None,
            };
            tokens::put(tx, &token)
        });
        write.await?;
        Ok((secret, known))
    }

    /// Ends all sessions of an account.
    pub(super) async fn end_sessions(&self, account: AccountId) -> Result<()> {
        let write = self.store.settle(move |tx| {
            let found = tokens::of_account(tx, account, MOST_TOKENS + MOST_SESSIONS)?;
            found.iter().filter(|token| token.kind == TokenKind::Session).for_each(|token| tokens::delete(tx, token));
            Ok(())
        });
        write.await
    }

    fn whose(&self, permit: Permit<Own>, account: Option<&str>) -> Result<Account> {
        let actor = permit.actor();
        let Some(text) = account else {
            return accounts::get(&self.store, actor.account)?.ok_or_else(no_account);
        };
        let others = || Error::new(Code::Forbidden, "only an admin sees and makes other accounts' tokens");
        match find(&self.store, text) {
            Ok(account) if actor.role == Role::Admin || account.id == actor.account => Ok(account),
            Err(error) if actor.role == Role::Admin => Err(error),
            _ => Err(others()),
        }
    }
}

/// Removes what has expired of an account's secrets, and its oldest sessions where it has too many.
fn make_room(tx: &mut Tx<'_>, account: AccountId, now: Timestamp) -> Result<()> {
    let (ended, alive): (Vec<_>, Vec<_>) = tokens::of_account(tx, account, MOST_TOKENS + MOST_SESSIONS)?
        .into_iter()
        .filter(|token| token.kind == TokenKind::Session)
        .partition(|token| token.has_expired(now));
    let many = alive.len().saturating_sub(MOST_SESSIONS - 1);
    ended.iter().chain(alive.iter().take(many)).for_each(|token| tokens::delete(tx, token));
    Ok(())
}
