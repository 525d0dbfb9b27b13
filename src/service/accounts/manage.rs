//! Making, changing and removing accounts.

use super::passwords::new_hash;
use super::{Accounts, find, is_last_admin};
use crate::domain::account::{Account, Administer, Oversee, Own, Permit, Role};
use crate::domain::error::{Code, Error, Result};
use crate::domain::event::EventKind;
use crate::domain::ids::AccountId;
use crate::domain::name::Name;
use crate::domain::stamp::{Seen, Stamp};
use crate::service::accounts::Place;
use crate::store::{accounts, tokens};

/// Tokens that are removed in one transaction.
const CHUNK: usize = 256;

/// An account that is to be made.
#[derive(Debug)]
pub struct NewAccount {
    /// What it signs in with.
    pub name: Name,
    /// What it may do.
    pub role: Role,
    /// Its password; without one it has tokens only.
    pub password: Option<String>,
}

impl Accounts {
    /// Makes an account. The first one closes an open server, so it has to be an admin's.
    ///
    /// # Errors
    /// `already_exists`; `invalid_parameter` for a password that is too short; `conflict` for a first account that is no
    /// admin's.
    pub async fn add(&self, permit: Permit<Administer>, new: NewAccount) -> Result<Account> {
        let NewAccount { name, role, password } = new;
        let password = match password {
            Some(password) => Some(new_hash(password).await?),
            None => None,
        };
        let (actor, now) = (permit.actor(), self.now());
        let write = self.store.write(move |tx| {
            if accounts::named(tx, &name)?.is_some() {
                let message = format!("an account named `{name}` exists already; choose another name");
                return Err(Error::new(Code::AlreadyExists, message));
            }
            if accounts::count(tx)? == 0 && role != Role::Admin {
                let message = "the first account has to be an admin's, or nobody could make others";
                return Err(Error::new(Code::Conflict, message));
            }
            let id = AccountId(tx.next_id()?);
            let account = Account { id, stamp: Stamp::new(actor, now), name, role, password };
            accounts::put(tx, &account)?;
            tx.event(actor, now, EventKind::AccountCreated, id.0, 0)?;
            Ok(account)
        });
        let made = write.await?;
        self.look()?;
        Ok(made)
    }

    /// Up to `limit` accounts by name, after the name `after`.
    ///
    /// # Errors
    /// `internal` where the store cannot be read.
    pub fn list(&self, _permit: Permit<Oversee>, after: Option<&Name>, limit: usize) -> Result<Vec<Account>> {
        accounts::page(&self.store, after, limit)
    }

    /// One account, by name or id.
    ///
    /// # Errors
    /// `not_found`.
    pub fn account(&self, _permit: Permit<Oversee>, which: &str) -> Result<Account> {
        self.find(which)
    }

    /// Who asks, where it is an account.
    ///
    /// # Errors
    /// `internal` where the store cannot be read.
    pub fn who(&self, id: AccountId) -> Result<Option<Account>> {
        accounts::get(&self.store, id)
    }

    /// Gives an account another role, another password, or both. A new password ends its sessions; its tokens stay.
    ///
    /// # Errors
    /// `not_found`; `conflict` where no admin would be left.
    pub async fn change(
        &self,
        permit: Permit<Administer>,
        which: String,
        seen: Seen,
        role: Option<Role>,
        password: Option<String>,
    ) -> Result<Account> {
        // Hashing takes long, which would be for nothing.
        find(&self.store, &which)?;
        let password = match password {
            Some(password) => Some(new_hash(password).await?),
            None => None,
        };
        let (actor, now) = (permit.actor(), self.now());
        let write = self.store.write(move |tx| {
            let mut account = find(tx, &which)?;
            account.stamp.check(&seen)?;
            if let Some(role) = role.filter(|role| *role != account.role) {
                if is_last_admin(tx, &account)? {
                    return Err(last_admin());
                }
                account.role = role;
            }
            if password.is_some() {
                account.password = password;
            }
            account.stamp.touch(now);
            accounts::put(tx, &account)?;
            tx.event(actor, now, EventKind::AccountChanged, account.id.0, 0)?;
            Ok(account)
        });
        let changed = write.await?;
        self.end_sessions(changed.id).await?;
        Ok(changed)
    }

    /// Gives one's own account another password. This ends its sessions.
    ///
    /// # Errors
    /// `unauthenticated` where the old one is wrong; `too_many` after wrong ones; `conflict` where there is no account.
    pub async fn change_password(&self, permit: Permit<Own>, old: &str, new: String, from: Place) -> Result<()> {
        let actor = permit.actor();
        let account = accounts::get(&self.store, actor.account)?.ok_or_else(no_account)?;
        let name = account.name.as_str().to_owned();
        let account = self.passwords.check(&name, old, Some(account), from, self.now()).await?;
        let password = new_hash(new).await?;
        let (id, now) = (account.id, self.now());
        let write = self.store.write(move |tx| {
            let mut account = accounts::get(tx, id)?.ok_or_else(no_account)?;
            account.password = Some(password);
            account.stamp.touch(now);
            accounts::put(tx, &account)?;
            tx.event(actor, now, EventKind::AccountChanged, id.0, 0)
        });
        write.await?;
        self.end_sessions(id).await
    }

    /// Removes an account and its tokens. What it made stays, and admins see it.
    ///
    /// # Errors
    /// `not_found`; `conflict` where no admin would be left.
    pub async fn remove(&self, permit: Permit<Administer>, which: String) -> Result<()> {
        let (actor, now) = (permit.actor(), self.now());
        let write = self.store.settle(move |tx| {
            let mut account = find(tx, &which)?;
            if is_last_admin(tx, &account)? {
                return Err(last_admin());
            }
            account.stamp.touch(now);
            account.stamp.trashed_at = Some(now);
            account.password = None;
            accounts::put(tx, &account)?;
            tx.event(actor, now, EventKind::AccountRemoved, account.id.0, 0)?;
            Ok(account.id)
        });
        let removed = write.await?;
        // From here on none of its tokens is taken; their records go in pieces.
        loop {
            let write = self.store.settle(move |tx| {
                let found = tokens::of_account(tx, removed, CHUNK)?;
                found.iter().for_each(|token| tokens::delete(tx, token));
                Ok(found.len())
            });
            if write.await? < CHUNK {
                return Ok(());
            }
        }
    }
}

fn last_admin() -> Error {
    Error::new(Code::Conflict, "this is the only admin; make another one first")
}

pub(super) fn no_account() -> Error {
    let message = "the server has no accounts yet, so there is nothing to sign in to; an admin's account comes first: \
                   `trainyard user add NAME --role admin`";
    Error::new(Code::Conflict, message)
}
