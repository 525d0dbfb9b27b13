//! What is known of stored images, and how many entries refer to each.

use super::codec::{self, CodecError};
use super::key::{self, Key};
use super::tx::{Read, Tx, damaged};
use crate::domain::blob::{Blob, ContentHash};
use crate::domain::error::Result;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct BlobV1 {
    hash: [u8; 32],
    size: u64,
    format: String,
    width: u32,
    height: u32,
    references: u64,
}

pub(super) fn decode(bytes: &[u8]) -> Result<Blob, CodecError> {
    let stored: BlobV1 = codec::decode_v1(bytes)?;
    Ok(Blob {
        hash: ContentHash(stored.hash),
        size: stored.size,
        format: stored.format,
        width: stored.width,
        height: stored.height,
        references: stored.references,
    })
}

pub(super) fn record_key(hash: ContentHash) -> Vec<u8> {
    Key::new(key::BLOB).bytes(&hash.0).done()
}

/// The blob with this name.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn get(reader: &impl Read, hash: ContentHash) -> Result<Option<Blob>> {
    reader.get(&record_key(hash))?.map(|bytes| decode(&bytes).map_err(damaged("blob"))).transpose()
}

/// Every blob, in the order of their names.
pub fn all(reader: &impl Read) -> impl Iterator<Item = Result<Blob>> + '_ {
    reader.prefix(vec![key::BLOB]).map(|pair| decode(&pair?.1).map_err(damaged("blob")))
}

/// The blobs whose names begin with this byte, in order.
pub fn starting_with(reader: &impl Read, first: u8) -> impl Iterator<Item = Result<Blob>> + '_ {
    let prefix = Key::new(key::BLOB).byte(first).done();
    reader.prefix(prefix).map(|pair| decode(&pair?.1).map_err(damaged("blob")))
}

/// Writes a blob, new or with another count of references.
///
/// # Errors
/// `internal` where it does not encode.
pub fn put(tx: &mut Tx<'_>, blob: &Blob) -> Result<()> {
    let stored = BlobV1 {
        hash: blob.hash.0,
        size: blob.size,
        format: blob.format.clone(),
        width: blob.width,
        height: blob.height,
        references: blob.references,
    };
    tx.put(record_key(blob.hash), codec::encode(1, &stored))
}
