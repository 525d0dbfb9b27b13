//! Which models are shared with whom, found from either side.

use super::key::{self, Key};
use super::tx::{Read, Tx};
use crate::domain::account::{Share, Shared};
use crate::domain::error::{Error, Result};
use crate::domain::ids::{AccountId, ModelId};

const VIEW: u8 = 1;
const EDIT: u8 = 2;

pub(super) fn key_of(model: ModelId, account: AccountId) -> Vec<u8> {
    Key::new(key::SHARE).id(model.0).id(account.0).done()
}

pub(super) fn with_key(account: AccountId, model: ModelId) -> Vec<u8> {
    Key::new(key::SHARED_WITH).id(account.0).id(model.0).done()
}

pub(super) fn read(bytes: &[u8]) -> Result<Share> {
    match bytes {
        [VIEW] => Ok(Share::View),
        [EDIT] => Ok(Share::Edit),
        other => Err(Error::internal(format!("a share is stored as {other:?}"))),
    }
}

/// How a model is shared with an account.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn get(reader: &impl Read, model: ModelId, account: AccountId) -> Result<Option<Share>> {
    reader.get(&key_of(model, account))?.map(|bytes| read(&bytes)).transpose()
}

/// Up to `limit` accounts that a model is shared with.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn of_model(reader: &impl Read, model: ModelId, limit: usize) -> Result<Vec<Shared>> {
    let pairs = reader.prefix(Key::new(key::SHARE).id(model.0).done()).take(limit);
    pairs
        .map(|pair| {
            let (key, value) = pair?;
            Ok(Shared { model, account: AccountId(key::last_id(&key)), share: read(&value)? })
        })
        .collect()
}

/// Up to `limit` models that are shared with an account.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn with_account(reader: &impl Read, account: AccountId, limit: usize) -> Result<Vec<Shared>> {
    let pairs = reader.prefix(Key::new(key::SHARED_WITH).id(account.0).done()).take(limit);
    pairs
        .map(|pair| {
            let (key, value) = pair?;
            Ok(Shared { model: ModelId(key::last_id(&key)), account, share: read(&value)? })
        })
        .collect()
}

/// Shares a model.
pub fn put(tx: &mut Tx<'_>, shared: Shared) {
    let value = match shared.share {
        Share::View => [VIEW],
        Share::Edit => [EDIT],
    };
    tx.mark(key_of(shared.model, shared.account), &value);
    tx.mark(with_key(shared.account, shared.model), &value);
}

/// Ends that.
pub fn delete(tx: &mut Tx<'_>, model: ModelId, account: AccountId) {
    tx.delete(key_of(model, account));
    tx.delete(with_key(account, model));
}
