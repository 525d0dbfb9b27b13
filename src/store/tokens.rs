//! Token records, found by id, by the secret's hash and by account.

use super::codec::{self, CodecError};
use super::key::{self, Key};
use super::tx::{Read, Tx, damaged};
use crate::domain::account::{Token, TokenKind};
use crate::domain::error::Result;
use crate::domain::ids::{AccountId, TokenId};
use crate::domain::stamp::Timestamp;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct TokenV1 {
    id: u64,
    account: u64,
    kind: KindV1,
    label: String,
    hash: [u8; 32],
    created_at: u64,
    expires_at: Option<u64>,
    last_used_at: Option<u64>,
}

#[derive(Serialize, Deserialize)]
enum KindV1 {
    Token,
    Session,
}

fn encode(token: &Token) -> Result<Vec<u8>, CodecError> {
    let kind = match token.kind {
        TokenKind::Token => KindV1::Token,
        TokenKind::Session => KindV1::Session,
    };
    let stored = TokenV1 {
        id: token.id.0,
        account: token.account.0,
        kind,
        label: token.label.clone(),
        hash: token.hash,
        created_at: token.created_at.0,
        expires_at: token.expires_at.map(|at| at.0),
        last_used_at: token.last_used_at.map(|at| at.0),
    };
    codec::encode(1, &stored)
}

pub(super) fn decode(bytes: &[u8]) -> Result<Token, CodecError> {
    let stored: TokenV1 = codec::decode_v1(bytes)?;
    Ok(Token {
        id: TokenId(stored.id),
        account: AccountId(stored.account),
        kind: match stored.kind {
            KindV1::Token => TokenKind::Token,
            KindV1::Session => TokenKind::Session,
        },
        label: stored.label,
        hash: stored.hash,
        created_at: Timestamp(stored.created_at),
        expires_at: stored.expires_at.map(Timestamp),
        last_used_at: stored.last_used_at.map(Timestamp),
    })
}

pub(super) fn record_key(id: TokenId) -> Vec<u8> {
    Key::new(key::TOKEN).id(id.0).done()
}

pub(super) fn hash_key(hash: &[u8; 32]) -> Vec<u8> {
    Key::new(key::TOKEN_HASH).bytes(hash).done()
}

pub(super) fn owned_key(account: AccountId, id: TokenId) -> Vec<u8> {
    Key::new(key::TOKEN_OF_ACCOUNT).id(account.0).id(id.0).done()
}

/// The token with this id.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn get(reader: &impl Read, id: TokenId) -> Result<Option<Token>> {
    reader.get(&record_key(id))?.map(|bytes| decode(&bytes).map_err(damaged("token"))).transpose()
}

/// The token whose secret has this hash.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn by_hash(reader: &impl Read, hash: &[u8; 32]) -> Result<Option<Token>> {
    match reader.get(&hash_key(hash))? {
        Some(id) => get(reader, TokenId(key::last_id(&id))),
        None => Ok(None),
    }
}

/// Up to `limit` tokens of an account, the oldest first.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn of_account(reader: &impl Read, account: AccountId, limit: usize) -> Result<Vec<Token>> {
    let owned = reader.prefix(Key::new(key::TOKEN_OF_ACCOUNT).id(account.0).done()).take(limit);
    let found = owned.map(|pair| get(reader, TokenId(key::last_id(&pair?.0)))).collect::<Result<Vec<_>>>();
    Ok(found?.into_iter().flatten().collect())
}

/// Writes a token, new or changed.
///
/// # Errors
/// `internal` where it does not encode.
pub fn put(tx: &mut Tx<'_>, token: &Token) -> Result<()> {
    tx.mark(hash_key(&token.hash), &token.id.0.to_be_bytes());
    tx.mark(owned_key(token.account, token.id), &[]);
    tx.put(record_key(token.id), encode(token))
}

/// Removes a token.
pub fn delete(tx: &mut Tx<'_>, token: &Token) {
    tx.delete(hash_key(&token.hash));
    tx.delete(owned_key(token.account, token.id));
    tx.delete(record_key(token.id));
}
