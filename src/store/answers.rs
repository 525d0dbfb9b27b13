//! Answers that are kept for requests which come again, by account and in the order in which they were given.

use super::codec::{self, CodecError};
use super::key::{self, Key};
use super::tx::{Read, Tx, damaged};
use crate::domain::answer::{KEPT, KEPT_MS, KeptAnswer, RequestKey};
use crate::domain::error::{Error, Result};
use crate::domain::ids::AccountId;
use crate::domain::stamp::Timestamp;
use serde::{Deserialize, Serialize};

/// How much of a body one record holds.
const PIECE: usize = 3000;

/// How many answers make room in one transaction at the most.
const ROOM: usize = 32;

#[derive(Serialize, Deserialize)]
struct AnswerV1 {
    account: u64,
    hash: [u8; 16],
    request: [u8; 16],
    at: u64,
    status: u16,
    location: Option<String>,
    etag: Option<String>,
    /// Into how many records of its own the body went; nothing where it is not kept.
    pieces: Option<u32>,
}

fn of_account(family: u8, account: AccountId) -> Key {
    Key::new(family).id(account.0)
}

pub(super) fn record_key(key: RequestKey) -> Vec<u8> {
    of_account(key::ANSWER, key.account).bytes(&key.hash).done()
}

pub(super) fn order_key(key: RequestKey, at: Timestamp) -> Vec<u8> {
    of_account(key::ANSWER_ORDER, key.account).id(at.0).bytes(&key.hash).done()
}

fn piece_key(key: RequestKey, number: u32) -> Vec<u8> {
    of_account(key::ANSWER_BODY, key.account).bytes(&key.hash).ordinal(number).done()
}

fn decode_head(bytes: &[u8]) -> std::result::Result<(KeptAnswer, Option<u32>), CodecError> {
    let stored: AnswerV1 = codec::decode_v1(bytes)?;
    let answer = KeptAnswer {
        key: RequestKey { account: AccountId(stored.account), hash: stored.hash },
        request: stored.request,
        at: Timestamp(stored.at),
        status: stored.status,
        location: stored.location,
        etag: stored.etag,
        body: None,
    };
    Ok((answer, stored.pieces))
}

pub(super) fn decode(bytes: &[u8]) -> std::result::Result<KeptAnswer, CodecError> {
    decode_head(bytes).map(|(answer, _)| answer)
}

/// The request that a piece of a body, or a place in the order, belongs to.
pub(super) fn owner(key: &[u8]) -> Option<RequestKey> {
    let at = if key.first() == Some(&key::ANSWER_ORDER) { 17 } else { 9 };
    let hash = key.get(at..at + 16)?.try_into().ok()?;
    Some(RequestKey { account: AccountId(key::id_at(key, 1)), hash })
}

/// The answer that was given to a request, unless that was too long ago.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn get(reader: &impl Read, key: RequestKey, now: Timestamp) -> Result<Option<KeptAnswer>> {
    let Some(bytes) = reader.get(&record_key(key))? else { return Ok(None) };
    let (mut answer, pieces) = decode_head(&bytes).map_err(damaged("kept answer"))?;
    if has_expired(answer.at, now) {
        return Ok(None);
    }
    if let Some(pieces) = pieces {
        let mut body = Vec::new();
        for number in 0..pieces {
            let piece = reader.get(&piece_key(key, number))?;
            let piece = piece.ok_or_else(|| Error::internal("a piece of a kept answer is not stored"))?;
            body.extend(codec::decode_v1::<Vec<u8>>(&piece).map_err(damaged("kept answer"))?);
        }
        answer.body = Some(body);
    }
    Ok(Some(answer))
}

pub(super) fn has_expired(at: Timestamp, now: Timestamp) -> bool {
    now.0.saturating_sub(at.0) >= KEPT_MS
}

/// Keeps an answer; those of the same account that are too old, or too many, make room.
///
/// # Errors
/// `internal` where it does not encode or the store cannot be read.
pub fn put(tx: &mut Tx<'_>, answer: &KeptAnswer) -> Result<()> {
    let key = answer.key;
    remove(tx, key)?;
    make_room(tx, key.account, answer.at, KEPT - 1)?;
    let mut pieces = None;
    if let Some(body) = &answer.body {
        let mut count = 0;
        for piece in body.chunks(PIECE) {
            tx.put(piece_key(key, count), codec::encode(1, &piece.to_vec()))?;
            count += 1;
        }
        pieces = Some(count);
    }
    let stored = AnswerV1 {
        account: key.account.0,
        hash: key.hash,
        request: answer.request,
        at: answer.at.0,
        status: answer.status,
        location: answer.location.clone(),
        etag: answer.etag.clone(),
        pieces,
    };
    tx.put(record_key(key), codec::encode(1, &stored))?;
    tx.mark(order_key(key, answer.at), &[]);
    Ok(())
}

/// Forgets an answer, where there is one.
fn remove(tx: &mut Tx<'_>, key: RequestKey) -> Result<()> {
    let Some(bytes) = tx.get(&record_key(key))? else { return Ok(()) };
    let (answer, pieces) = decode_head(&bytes).map_err(damaged("kept answer"))?;
    (0..pieces.unwrap_or(0)).for_each(|number| tx.delete(piece_key(key, number)));
    tx.delete(order_key(key, answer.at));
    tx.delete(record_key(key));
    Ok(())
}

/// Forgets the oldest answers of an account: what has expired, and what is beyond `most`, so many at a time.
fn make_room(tx: &mut Tx<'_>, account: AccountId, now: Timestamp, most: usize) -> Result<()> {
    let places = tx.prefix(of_account(key::ANSWER_ORDER, account).done());
    let places: Vec<Vec<u8>> = places.map(|pair| Ok(pair?.0)).collect::<Result<_>>()?;
    let mut surplus = places.len().saturating_sub(most);
    for place in places.into_iter().take(ROOM) {
        if surplus == 0 && !has_expired(Timestamp(key::id_at(&place, 9)), now) {
            break;
        }
        surplus = surplus.saturating_sub(1);
        match owner(&place) {
            Some(key) => remove(tx, key)?,
            None => tx.delete(place),
        }
    }
    Ok(())
}

/// Forgets some answers that have expired, of any account. Returns whether there may be more.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn expire(tx: &mut Tx<'_>, now: Timestamp) -> Result<bool> {
    let end = key::after_prefix(&[key::ANSWER_ORDER]);
    let mut from = vec![key::ANSWER_ORDER];
    while let Some((place, _)) = tx.first(from, end.clone())? {
        let account = AccountId(key::id_at(&place, 1));
        if has_expired(Timestamp(key::id_at(&place, 9)), now) {
            make_room(tx, account, now, usize::MAX)?;
            return Ok(true);
        }
        from = key::after_prefix(&of_account(key::ANSWER_ORDER, account).done());
    }
    Ok(false)
}
