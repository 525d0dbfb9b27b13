//! How a record becomes bytes: a version byte, a bincode payload, a CRC-32 over both.
//!
//! bincode does not describe itself, so adding a field to a stored struct breaks every old record: each record family
//! keeps frozen structs per version and converts upward. Values stay under 4 KiB, because sled moves larger pages into
//! files that it never syncs. Knows nothing of keys or of sled.

use bincode::Options;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The largest value that may be stored, in bytes.
pub const MAX_VALUE: usize = 4096;

/// Version byte and checksum.
const OVERHEAD: usize = 5;

/// Bytes that are no record of the wanted family.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Too short to hold anything.
    #[error("a record of {0} bytes is too short")]
    Short(usize),
    /// Bytes changed since they were written.
    #[error("a record's checksum does not match")]
    Checksum,
    /// Written by a newer release.
    #[error("a record has format {found}; this release knows formats up to {known}")]
    Newer {
        /// What the record says.
        found: u8,
        /// What this code reads.
        known: u8,
    },
    /// The payload does not decode.
    #[error("a record does not decode: {0}")]
    Payload(String),
    /// The payload does not fit.
    #[error("a record of {0} bytes is larger than {MAX_VALUE}")]
    Large(usize),
}

fn options() -> impl Options {
    bincode::DefaultOptions::new()
        .with_fixint_encoding()
        .with_little_endian()
        .with_limit((MAX_VALUE - OVERHEAD) as u64)
        .reject_trailing_bytes()
}

/// Writes `payload` as a record of `version`.
///
/// # Errors
/// [`CodecError::Large`] where it would exceed [`MAX_VALUE`].
pub fn encode<T: Serialize>(version: u8, payload: &T) -> Result<Vec<u8>, CodecError> {
    let mut bytes = Vec::with_capacity(128);
    bytes.push(version);
    options().serialize_into(&mut bytes, payload).map_err(|error| match *error {
        bincode::ErrorKind::SizeLimit => CodecError::Large(MAX_VALUE),
        other => CodecError::Payload(other.to_string()),
    })?;
    let checksum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    Ok(bytes)
}

/// Splits a record into its version and payload, and checks the checksum.
///
/// # Errors
/// Whatever is wrong with the bytes.
pub fn open(bytes: &[u8]) -> Result<(u8, &[u8]), CodecError> {
    if bytes.len() < OVERHEAD {
        return Err(CodecError::Short(bytes.len()));
    }
    let (body, checksum) = bytes.split_at(bytes.len() - 4);
    if checksum != crc32fast::hash(body).to_le_bytes() {
        return Err(CodecError::Checksum);
    }
    Ok((body[0], &body[1..]))
}

/// Reads a payload of exactly this struct.
///
/// # Errors
/// [`CodecError::Payload`] where it is none.
pub fn payload<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    options().deserialize(bytes).map_err(|error| CodecError::Payload(error.to_string()))
}

/// Reads a record of a family that has had one version so far.
///
/// # Errors
/// Whatever is wrong with the bytes.
pub fn decode_v1<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    match open(bytes)? {
        (1, body) => payload(body),
        (found, _) => Err(CodecError::Newer { found, known: 1 }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_change_of_a_record_is_noticed(text in ".{0,60}", number: u64, at: prop::sample::Index, flip in 1u8..) {
            let record = encode(1, &(text.clone(), number)).unwrap();
            prop_assert_eq!(decode_v1::<(String, u64)>(&record), Ok((text, number)));
            let mut damaged = record.clone();
            damaged[at.index(record.len())] ^= flip;
            prop_assert!(decode_v1::<(String, u64)>(&damaged).is_err());
            prop_assert!(decode_v1::<(String, u64)>(&record[..at.index(record.len())]).is_err());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_v1::<(String, Vec<u64>)>(&bytes);
        }
    }

    #[test]
    fn newer_and_too_large_records_are_named() {
        let newer = encode(2, &7u64).unwrap();
        assert_eq!(decode_v1::<u64>(&newer), Err(CodecError::Newer { found: 2, known: 1 }));
        assert!(matches!(encode(1, &vec![0u8; MAX_VALUE]), Err(CodecError::Large(_))));
    }
}
