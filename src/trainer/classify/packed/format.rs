//! The file format of a pack, and reading it.
//!
//! | bytes | what |
//! |---|---|
//! | 16 | name of the format and its version |
//! | 32 | key: what the pack was made from |
//! | 16 | zeros |
//! | n x side x side x channels | the pictures, 8 bits a value, row by row, planes interleaved |
//! | any | the index, in JSON: [`Index`] |
//! | 8 | length of the index, little-endian |
//! | 32 | BLAKE3 of all that stands before |
//!
//! The index stands at the end because the pictures are written as they are decoded. Reading must not trust a byte before
//! the checksum fits, and must not panic on any.

use super::map::Map;
use crate::image::Channels;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::ops::Range;

/// BLAKE3 of something.
pub type Hash = [u8; 32];

/// Name and version of the format. Another way to decode or to resize pictures needs another version as well.
pub(super) const MAGIC: &[u8; 16] = b"trainyard pack 1";
/// Bytes before the first picture; a multiple of a cache line.
pub(super) const HEAD: usize = 64;
/// The longest side of packed pictures, in pixels.
pub(super) const MAX_SIDE: u32 = 128;

/// What a pack says about its pictures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Index {
    /// Pixels a side.
    pub side: u32,
    /// 1 or 3.
    pub channels: u8,
    /// The classes in byte order.
    pub labels: Vec<String>,
    /// The pictures in their order.
    pub pictures: Vec<Entry>,
    /// Files that are no readable pictures.
    pub left_out: Vec<LeftOut>,
}

/// One picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct Entry {
    /// Its class's place in the list of labels.
    pub label: u16,
    /// BLAKE3 of its file.
    #[serde(with = "hexadecimal")]
    pub source: Hash,
    /// BLAKE3 of its pixels in this pack.
    #[serde(with = "hexadecimal")]
    pub pixels: Hash,
    /// Its path in the data set's folder.
    pub name: String,
}

/// Hashes as people write them.
mod hexadecimal {
    use super::Hash;
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;
    use std::borrow::Cow;

    pub fn serialize<S: Serializer>(hash: &Hash, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(blake3::Hash::from_bytes(*hash).to_hex().as_str())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Hash, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        blake3::Hash::from_hex(text.as_bytes()).map(|hash| *hash.as_bytes()).map_err(D::Error::custom)
    }
}

/// A file that is no readable picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct LeftOut {
    /// Its path in the data set's folder.
    pub name: String,
    /// Why.
    pub cause: String,
}

/// An open, verified pack.
#[derive(Debug)]
pub(in super::super) struct Pack {
    index: Index,
    channels: Channels,
    pictures: Range<usize>,
    map: Map,
    /// Holds the lock that keeps the pack from being evicted.
    _file: File,
}

impl Pack {
    /// Maps `file` and verifies it.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] if it is damaged or was made from something else than `key`.
    pub fn open(file: File, key: &Hash) -> io::Result<Pack> {
        let map = Map::of(&file)?;
        let (index, channels, pictures) =
            parse(&map, key).map_err(|reason| io::Error::new(io::ErrorKind::InvalidData, reason))?;
        Ok(Pack { index, channels, pictures, map, _file: file })
    }

    /// Pixels a side.
    pub fn side(&self) -> u32 {
        self.index.side
    }

    /// Colour planes.
    pub fn channels(&self) -> Channels {
        self.channels
    }

    /// The classes in byte order.
    pub fn labels(&self) -> &[String] {
        &self.index.labels
    }

    /// What is known of each picture.
    pub fn entries(&self) -> &[Entry] {
        &self.index.pictures
    }

    /// Files that are no readable pictures.
    pub fn left_out(&self) -> &[LeftOut] {
        &self.index.left_out
    }

    /// All pictures, one after the other.
    pub fn pixels(&self) -> &[u8] {
        &self.map[self.pictures.clone()]
    }
}

/// Bytes of one picture.
pub(super) fn picture_size(side: u32, channels: usize) -> usize {
    side as usize * side as usize * channels
}

type Parsed = (Index, Channels, Range<usize>);

fn parse(bytes: &[u8], key: &Hash) -> Result<Parsed, &'static str> {
    let (body, checksum) = bytes.split_last_chunk::<{ size_of::<Hash>() }>().ok_or("it is too short")?;
    if body.get(..16) != Some(MAGIC) {
        return Err("it is no pack of this version");
    }
    if body.get(16..48) != Some(key) {
        return Err("it is the pack of another data set");
    }
    if blake3::hash(body).as_bytes() != checksum {
        return Err("its checksum does not fit");
    }
    let (body, length) = body.split_last_chunk::<8>().ok_or("it is too short")?;
    let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| "its index is too long")?;
    let begin = body.len().checked_sub(length).filter(|begin| *begin >= HEAD).ok_or("its index is too long")?;
    let index: Index = serde_json::from_slice(&body[begin..]).map_err(|_| "its index cannot be read")?;
    let channels = Channels::from_count(index.channels.into()).ok_or("it has an unknown number of channels")?;
    if !(1..=MAX_SIDE).contains(&index.side) {
        return Err("its pictures have an unknown size");
    }
    if index.pictures.len().checked_mul(picture_size(index.side, channels.count())) != Some(begin - HEAD) {
        return Err("it holds more or fewer pictures than it says");
    }
    if index.pictures.iter().any(|picture| usize::from(picture.label) >= index.labels.len()) {
        return Err("a picture has no label");
    }
    Ok((index, channels, HEAD..begin))
}

/// What follows the pictures, but for the checksum.
pub(super) fn encode(index: &Index) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(index)?;
    bytes.extend((bytes.len() as u64).to_le_bytes());
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: Hash = [7; 32];

    fn index() -> Index {
        let picture = |label, name: &str| Entry { label, source: [1; 32], pixels: [2; 32], name: name.to_owned() };
        Index {
            side: 2,
            channels: 3,
            labels: vec!["a".to_owned(), "b".to_owned()],
            pictures: vec![picture(0, "a/1.png"), picture(1, "b/1.png")],
            left_out: vec![LeftOut { name: "a/2.png".to_owned(), cause: "it is damaged".to_owned() }],
        }
    }

    /// The file of `index` with any pixels, its checksum right whatever the index says.
    fn file(index: &Index) -> Vec<u8> {
        let mut bytes = [&MAGIC[..], &KEY, &[0; 16]].concat();
        bytes.extend((0..24).map(|value| value * 10));
        bytes.extend(encode(index).unwrap());
        seal(bytes)
    }

    fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
        let checksum = blake3::hash(&bytes);
        bytes.extend(checksum.as_bytes());
        bytes
    }

    #[test]
    fn what_was_written_is_read() {
        assert_eq!(parse(&file(&index()), &KEY).unwrap(), (index(), Channels::Rgb, 64..88));
        assert!(parse(&file(&index()), &[8; 32]).is_err());
    }

    #[test]
    fn damage_at_every_place_and_of_every_length_is_noticed() {
        let whole = file(&index());
        for at in 0..whole.len() {
            assert!(parse(&whole[..at], &KEY).is_err(), "cut at {at}");
            for bit in 0..8 {
                let mut damaged = whole.clone();
                damaged[at] ^= 1 << bit;
                assert!(parse(&damaged, &KEY).is_err(), "bit {bit} of byte {at}");
            }
        }
        assert!(parse(&[&whole[..], b"more"].concat(), &KEY).is_err());
    }

    #[test]
    fn an_index_that_lies_is_refused() {
        let lies: [fn(&mut Index); 6] = [
            |index| index.side = 0,
            |index| index.side = u32::MAX,
            |index| index.channels = 2,
            |index| index.channels = 1,
            |index| index.pictures.truncate(1),
            |index| index.labels.truncate(1),
        ];
        for (number, lie) in lies.into_iter().enumerate() {
            let mut index = index();
            lie(&mut index);
            assert!(parse(&file(&index), &KEY).is_err(), "lie {number}");
        }
    }

    proptest! {
        #[test]
        fn bytes_under_a_right_checksum_never_panic(tail in prop::collection::vec(any::<u8>(), 0..200), length: u64) {
            for length in [length, tail.len() as u64, length % 300] {
                let bytes = [&MAGIC[..], &KEY, &[0; 16], &tail, &length.to_le_bytes()].concat();
                prop_assert!(parse(&seal(bytes), &KEY).is_err());
            }
        }

        #[test]
        fn changed_bytes_under_a_right_checksum_never_panic(at in 64usize..10_000, value: u8) {
            let mut bytes = file(&index());
            bytes.truncate(bytes.len() - 32);
            let at = at % bytes.len();
            bytes[at] = value;
            let _ = parse(&seal(bytes), &KEY);
        }
    }
}
