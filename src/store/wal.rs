//! The write-ahead log: what is acknowledged lies here until sled's own files are synced.
//!
//! sled needs several writes and a sync of a growing file to make one small batch durable; a record in a file that has
//! its full size from the start needs one write and one sync. A batch goes in here first, then into sled; a checkpoint
//! makes sled durable now and then and begins the log anew. Records hold whole values, so replaying them twice does no
//! harm. Knows keys and bytes; not what they mean.
//!
//! A record, little-endian, one after the other from the start of the file:
//!
//! | bytes | what |
//! |---|---|
//! | 4 | CRC-32 of everything after it |
//! | 4 | length of the writes |
//! | 8 | generation: the same for all records since a checkpoint |
//! | 8 | the last change that sled had when the generation began |
//! | 4 | the record's number in its generation, from nought |
//! | ... | writes: key length (2), key, value length (4) or `ffffffff` for a removal, value |

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// The file, made at a size that it rarely exceeds, in bytes.
const SIZE: u64 = 512 << 10;

/// When this much is in it, it is time for a checkpoint, in bytes: whoever writes waits for that.
const DUE: u64 = 256 << 10;

const HEADER: usize = 28;

/// The value length that stands for a removal.
const REMOVED: u32 = u32::MAX;

/// A key and its new value; `None` removes it.
pub(super) type KeyWrite<'a> = (&'a [u8], Option<&'a [u8]>);

/// The same, owned.
pub(super) type OwnedWrite = (Vec<u8>, Option<Vec<u8>>);

/// The log's file and the place where the next record goes.
#[derive(Debug)]
pub(super) struct Wal {
    file: Arc<File>,
    generation: u64,
    /// The last change in sled when this generation began.
    base: u64,
    number: u32,
    end: u64,
    record: Vec<u8>,
}

/// What a log held when it was opened.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// The last change that sled has to have, or it lost what it was trusted with.
    pub base: u64,
    /// The writes of all records in order; later ones win.
    pub writes: Vec<OwnedWrite>,
}

impl Wal {
    /// Opens the log of `store`, making it where there is none, and reads what it holds.
    ///
    /// # Errors
    /// What the file system says.
    pub fn open(store: &Path) -> io::Result<(Self, Found)> {
        let path = store.join("wal");
        let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
        let length = file.metadata()?.len();
        if length < SIZE {
            file.write_all_at(&vec![0; usize::try_from(SIZE - length).unwrap_or(0)], length)?;
            file.sync_all()?;
            File::open(store)?.sync_all()?;
        }
        let mut bytes = Vec::new();
        (&file).read_to_end(&mut bytes)?;
        let found = read(&bytes);
        // A number that no record of an earlier life has: it tells theirs from ours further on in the file.
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let generation = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX / 2);
        Ok((Self { file: Arc::new(file), generation, base: 0, number: 0, end: 0, record: Vec::new() }, found))
    }

    /// What the log of `store` holds.
    ///
    /// # Errors
    /// What the file system says.
    pub fn read(store: &Path) -> io::Result<Found> {
        Ok(read(&std::fs::read(store.join("wal"))?))
    }

    /// The file, to be synced.
    pub fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// Begins anew: sled has everything up to the change `base`, durably.
    ///
    /// # Errors
    /// What the file system says.
    pub fn reset(&mut self, base: u64) -> io::Result<()> {
        if self.end > SIZE {
            self.file.set_len(SIZE)?;
            self.record = Vec::new();
        }
        self.generation += 1;
        (self.base, self.number, self.end) = (base, 0, 0);
        Ok(())
    }

    /// True while there is something that sled may not have durably.
    pub fn is_dirty(&self) -> bool {
        self.number > 0
    }

    /// True when a checkpoint should come before much more is written.
    pub fn is_due(&self) -> bool {
        self.end >= DUE
    }

    /// True when more than the file's first size would be needed soon.
    pub fn is_full(&self) -> bool {
        self.end >= SIZE - DUE
    }

    /// Writes a record. It is durable once the file is synced.
    ///
    /// # Errors
    /// What the file system says; the file can be trusted up to the records before.
    pub fn append<'a>(&mut self, writes: impl Iterator<Item = KeyWrite<'a>>) -> io::Result<()> {
        self.record.clear();
        self.record.resize(HEADER, 0);
        for (key, value) in writes {
            let key_length = u16::try_from(key.len()).map_err(io::Error::other)?;
            let length = u32::try_from(value.map_or(0, <[u8]>::len)).map_err(io::Error::other)?;
            self.record.extend_from_slice(&key_length.to_le_bytes());
            self.record.extend_from_slice(key);
            self.record.extend_from_slice(&if value.is_some() { length } else { REMOVED }.to_le_bytes());
            self.record.extend_from_slice(value.unwrap_or_default());
        }
        let length = u32::try_from(self.record.len() - HEADER).map_err(io::Error::other)?;
        self.record[4..8].copy_from_slice(&length.to_le_bytes());
        self.record[8..16].copy_from_slice(&self.generation.to_le_bytes());
        self.record[16..24].copy_from_slice(&self.base.to_le_bytes());
        self.record[24..28].copy_from_slice(&self.number.to_le_bytes());
        let checksum = crc32fast::hash(&self.record[4..]);
        self.record[..4].copy_from_slice(&checksum.to_le_bytes());
        self.file.write_all_at(&self.record, self.end)?;
        self.end += self.record.len() as u64;
        self.number += 1;
        Ok(())
    }
}

/// Reads the records of the first one's generation, up to one that was cut short.
fn read(mut bytes: &[u8]) -> Found {
    let mut found = Found::default();
    let mut generation = None;
    let mut number = 0;
    while let Some(record) = Record::parse(bytes) {
        if record.number != number || *generation.get_or_insert(record.generation) != record.generation {
            break;
        }
        let Some(writes) = record.writes() else { break };
        found.base = record.base;
        found.writes.extend(writes);
        number += 1;
        bytes = &bytes[HEADER + record.payload.len()..];
    }
    found
}

struct Record<'a> {
    generation: u64,
    base: u64,
    number: u32,
    payload: &'a [u8],
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

impl<'a> Record<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let length = usize::try_from(u32_at(bytes, 4)?).ok()?;
        let whole = bytes.get(..HEADER.checked_add(length)?)?;
        (crc32fast::hash(&whole[4..]) == u32_at(whole, 0)?).then_some(())?;
        Some(Self {
            generation: u64_at(whole, 8)?,
            base: u64_at(whole, 16)?,
            number: u32_at(whole, 24)?,
            payload: &whole[HEADER..],
        })
    }

    fn writes(&self) -> Option<Vec<OwnedWrite>> {
        let mut left = self.payload;
        let mut writes = Vec::new();
        while !left.is_empty() {
            let key_length = usize::from(u16::from_le_bytes(left.get(..2)?.try_into().ok()?));
            let key = left.get(2..2 + key_length)?.to_vec();
            left = left.get(2 + key_length..)?;
            let length = u32_at(left, 0)?;
            left = &left[4..];
            if length == REMOVED {
                writes.push((key, None));
                continue;
            }
            let length = usize::try_from(length).ok()?;
            writes.push((key, Some(left.get(..length)?.to_vec())));
            left = &left[length..];
        }
        Some(writes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Batch = Vec<OwnedWrite>;

    fn append(wal: &mut Wal, batch: &Batch) {
        wal.append(batch.iter().map(|(key, value)| (key.as_slice(), value.as_deref()))).unwrap();
    }

    fn batches() -> impl Strategy<Value = Vec<Batch>> {
        let value = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40));
        let write = (proptest::collection::vec(any::<u8>(), 0..20), value);
        proptest::collection::vec(proptest::collection::vec(write, 1..5), 1..8)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn a_log_cut_anywhere_holds_the_records_before_the_cut(
            old in batches(), new in batches(), cut in any::<prop::sample::Index>(), garbage in any::<u8>()
        ) {
            let folder = tempfile::tempdir().unwrap();
            let (mut wal, found) = Wal::open(folder.path()).unwrap();
            prop_assert_eq!(found, Found::default());
            prop_assert!(!wal.is_dirty());
            for batch in &old { append(&mut wal, batch); }
            wal.reset(7).unwrap();
            let mut ends = vec![0];
            for batch in &new {
                append(&mut wal, batch);
                ends.push(usize::try_from(wal.end).unwrap());
            }
            let (_, found) = Wal::open(folder.path()).unwrap();
            prop_assert_eq!(found, Found { base: 7, writes: new.concat() });
            // One byte is wrong: what stands before its record is read, and nothing of what follows.
            let at = cut.index(*ends.last().unwrap());
            let path = folder.path().join("wal");
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[at] ^= garbage | 1;
            std::fs::write(&path, bytes).unwrap();
            let whole = ends.iter().filter(|end| **end <= at).count() - 1;
            let (_, found) = Wal::open(folder.path()).unwrap();
            prop_assert_eq!(found.writes, new[..whole].concat());
        }
    }

    #[test]
    fn a_large_generation_is_kept_whole_and_its_room_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let (mut wal, _) = Wal::open(folder.path()).unwrap();
        let batch: Batch = vec![(b"k".to_vec(), Some(vec![7; 200 << 10]))];
        for _ in 0..4 {
            append(&mut wal, &batch);
        }
        assert!(wal.is_due());
        let (_, found) = Wal::open(folder.path()).unwrap();
        assert_eq!(found.writes, [batch.clone(), batch.clone(), batch.clone(), batch.clone()].concat());
        wal.reset(3).unwrap();
        append(&mut wal, &batch);
        let (_, found) = Wal::open(folder.path()).unwrap();
        assert_eq!(found, Found { base: 3, writes: batch });
        assert_eq!(folder.path().join("wal").metadata().unwrap().len(), SIZE);
    }

    #[test]
    fn format_1_is_read_as_it_was_released() {
        let golden = include_str!("../../tests/data/format1/wal.txt");
        let bytes: Vec<u8> = (0..golden.trim().len() / 2)
            .map(|at| u8::from_str_radix(&golden[2 * at..2 * at + 2], 16).unwrap())
            .collect();
        let writes = vec![(b"a key".to_vec(), Some(b"its value".to_vec())), (b"gone".to_vec(), None)];
        assert_eq!(read(&bytes), Found { base: 41, writes });
    }
}
