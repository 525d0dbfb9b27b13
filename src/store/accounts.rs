//! Account records and the index of their names.

use super::codec::{self, CodecError};
use super::key::{self, Key};
use super::record::StampV1;
use super::tx::{Read, Tx, damaged};
use crate::domain::account::{Account, Role};
use crate::domain::error::Result;
use crate::domain::ids::AccountId;
use crate::domain::name::Name;
use serde::{Deserialize, Serialize};

/// How many accounts may sign in.
pub(super) const COUNTER: &str = "accounts";

#[derive(Serialize, Deserialize)]
struct AccountV1 {
    id: u64,
    stamp: StampV1,
    name: String,
    role: RoleV1,
    password: Option<String>,
}

#[derive(Serialize, Deserialize)]
enum RoleV1 {
    Viewer,
    Member,
    Admin,
}

fn encode(account: &Account) -> Result<Vec<u8>, CodecError> {
    let role = match account.role {
        Role::Viewer => RoleV1::Viewer,
        Role::Member => RoleV1::Member,
        Role::Admin => RoleV1::Admin,
    };
    let stored = AccountV1 {
        id: account.id.0,
        stamp: (&account.stamp).into(),
        name: account.name.as_str().to_owned(),
        role,
        password: account.password.clone(),
    };
    codec::encode(1, &stored)
}

pub(super) fn decode(bytes: &[u8]) -> Result<Account, CodecError> {
    let stored: AccountV1 = codec::decode_v1(bytes)?;
    let role = match stored.role {
        RoleV1::Viewer => Role::Viewer,
        RoleV1::Member => Role::Member,
        RoleV1::Admin => Role::Admin,
    };
    Ok(Account {
        id: AccountId(stored.id),
        stamp: stored.stamp.into(),
        name: Name::from_store(stored.name),
        role,
        password: stored.password,
    })
}

pub(super) fn name_key(name: &Name) -> Vec<u8> {
    Key::new(key::ACCOUNT_NAME).text(name.as_str()).done()
}

/// The account with this id, also one that was removed.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn get(reader: &impl Read, id: AccountId) -> Result<Option<Account>> {
    let found = reader.get(&Key::new(key::ACCOUNT).id(id.0).done())?;
    found.map(|bytes| decode(&bytes).map_err(damaged("account"))).transpose()
}

/// The account that signs in with this name.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn named(reader: &impl Read, name: &Name) -> Result<Option<Account>> {
    match reader.get(&name_key(name))? {
        Some(id) => get(reader, AccountId(key::last_id(&id))),
        None => Ok(None),
    }
}

/// Up to `limit` accounts that may sign in, by name, after the name `after`.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn page(reader: &impl Read, after: Option<&Name>, limit: usize) -> Result<Vec<Account>> {
    let from = after.map_or_else(|| vec![key::ACCOUNT_NAME], |name| key::after_prefix(&name_key(name)));
    let ids = reader.range(from, key::after_prefix(&[key::ACCOUNT_NAME]));
    let found = ids.take(limit).map(|pair| get(reader, AccountId(key::last_id(&pair?.1)))).collect::<Result<Vec<_>>>();
    Ok(found?.into_iter().flatten().collect())
}

/// How many accounts may sign in.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn count(reader: &impl Read) -> Result<u64> {
    reader.counter(COUNTER)
}

/// Writes an account, new, changed or removed.
///
/// # Errors
/// `internal` where it does not encode.
pub fn put(tx: &mut Tx<'_>, account: &Account) -> Result<()> {
    let was_there = tx.get(&name_key(&account.name))?.is_some_and(|id| key::last_id(&id) == account.id.0);
    let is_there = account.stamp.trashed_at.is_none();
    match (was_there, is_there) {
        (false, true) => {
            tx.mark(name_key(&account.name), &account.id.0.to_be_bytes());
            tx.set_counter(COUNTER, count(tx)? + 1)?;
        }
        (true, false) => {
            tx.delete(name_key(&account.name));
            tx.set_counter(COUNTER, count(tx)?.saturating_sub(1))?;
        }
        _ => {}
    }
    tx.put(Key::new(key::ACCOUNT).id(account.id.0).done(), encode(account))
}
