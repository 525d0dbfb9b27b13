//! Reads a backup and trusts none of it: an entry is given out piece by piece, and whoever takes it learns at its end
//! whether it is what was written. Memory is a piece, whatever the file says.

use super::{BackupError, Counts, Header, Kind, MAGIC, MAX_NAME, MAX_PIECE, VERSION};
use crate::store::FORMAT;
use std::io::{self, Read};

/// A key and its value.
pub type Record = (Vec<u8>, Vec<u8>);

/// What an entry says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: Vec<u8>,
    /// Its file mode.
    pub mode: u32,
}

/// A backup that is being read.
pub struct Reader<R> {
    input: R,
    all: blake3::Hasher,
    entry: blake3::Hasher,
    header: Header,
    /// True while pieces of an entry are left.
    is_open: bool,
    counts: Counts,
    /// The last key, since keys ascend.
    last_key: Vec<u8>,
}

fn damaged(what: impl Into<String>) -> BackupError {
    BackupError::Damaged(what.into())
}

impl<R: Read> Reader<R> {
    /// Begins to read.
    ///
    /// # Errors
    /// [`BackupError`] where it is no backup, or one of a newer release.
    pub fn new(input: R) -> Result<Self, BackupError> {
        let header = Header { store_format: 0, made_at: 0 };
        let (all, entry) = (blake3::Hasher::new(), blake3::Hasher::new());
        let (counts, last_key) = (Counts::default(), Vec::new());
        let mut reader = Self { input, all, entry, header, is_open: false, counts, last_key };
        let mut magic = [0; MAGIC.len()];
        match reader.take(&mut magic) {
            Ok(()) if magic == MAGIC => {}
            Ok(()) | Err(BackupError::Cut) => return Err(BackupError::NotABackup),
            Err(error) => return Err(error),
        }
        match reader.number()? {
            VERSION => {}
            found => return Err(BackupError::Newer { found }),
        }
        let store_format = reader.number()?;
        if store_format > FORMAT {
            return Err(BackupError::NewerStore { found: store_format, known: FORMAT });
        }
        let mut made_at = [0; 8];
        reader.take(&mut made_at)?;
        reader.header = Header { store_format, made_at: u64::from_le_bytes(made_at) };
        Ok(reader)
    }

    /// What the backup says of itself.
    pub fn header(&self) -> Header {
        self.header
    }

    fn take(&mut self, bytes: &mut [u8]) -> Result<(), BackupError> {
        self.input.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => BackupError::Cut,
            _ => BackupError::Io(error),
        })?;
        self.all.update(bytes);
        self.entry.update(bytes);
        Ok(())
    }

    fn number(&mut self) -> Result<u32, BackupError> {
        let mut bytes = [0; 4];
        self.take(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// The next entry; what is left of the one before is read and checked. `None` after the end, whose checksum was
    /// right.
    ///
    /// # Errors
    /// [`BackupError`].
    pub fn next_entry(&mut self) -> Result<Option<Entry>, BackupError> {
        let mut rest = Vec::new();
        while self.piece(&mut rest)? {}
        self.entry.reset();
        let mut head = [0; 3];
        self.take(&mut head)?;
        let kind = Kind::from_byte(head[0]).ok_or_else(|| damaged(format!("it has an entry of kind {}", head[0])))?;
        let length = usize::from(u16::from_le_bytes([head[1], head[2]]));
        if length > MAX_NAME {
            return Err(damaged(format!("it has a name of {length} bytes")));
        }
        let mut name = vec![0; length];
        self.take(&mut name)?;
        let mode = self.number()?;
        self.is_open = true;
        match kind {
            Kind::End => self.end().map(|()| None),
            Kind::Image if name.len() != 32 => Err(damaged("an image has no hash for a name")),
            _ => {
                match kind {
                    Kind::Image => self.counts.images += 1,
                    Kind::File | Kind::Link | Kind::Folder => self.counts.others += 1,
                    Kind::Records | Kind::End => {}
                }
                Ok(Some(Entry { kind, name, mode }))
            }
        }
    }

    /// The next piece of the entry. False after the last one: only then its content is known to be what was written.
    ///
    /// # Errors
    /// [`BackupError`].
    pub fn piece(&mut self, piece: &mut Vec<u8>) -> Result<bool, BackupError> {
        piece.clear();
        if !self.is_open {
            return Ok(false);
        }
        let length = self.number()? as usize;
        if length > MAX_PIECE {
            return Err(damaged(format!("it has a piece of {length} bytes")));
        }
        if length > 0 {
            piece.resize(length, 0);
            self.take(piece)?;
            return Ok(true);
        }
        let wanted = self.entry.finalize();
        let mut found = [0; 32];
        self.take(&mut found)?;
        self.is_open = false;
        if found != *wanted.as_bytes() {
            return Err(damaged("the checksum of an entry is wrong"));
        }
        Ok(false)
    }

    /// All of an entry that is one piece at the most, such as records.
    ///
    /// # Errors
    /// [`BackupError`].
    pub fn content(&mut self) -> Result<Vec<u8>, BackupError> {
        let (mut content, mut rest) = (Vec::new(), Vec::new());
        if self.piece(&mut content)? && self.piece(&mut rest)? {
            return Err(damaged("an entry has more pieces than it should"));
        }
        Ok(content)
    }

    /// The pairs of records; they ascend over all of the backup.
    ///
    /// # Errors
    /// [`BackupError`].
    pub fn records(&mut self) -> Result<Vec<Record>, BackupError> {
        let content = self.content()?;
        let mut left = &content[..];
        let mut pairs = Vec::new();
        while !left.is_empty() {
            let (key, value, rest) = pair(left).ok_or_else(|| damaged("a record ends beyond its entry"))?;
            if key <= &self.last_key[..] {
                return Err(damaged("its records are out of order"));
            }
            key.clone_into(&mut self.last_key);
            pairs.push((key.to_vec(), value.to_vec()));
            left = rest;
        }
        self.counts.records += pairs.len() as u64;
        Ok(pairs)
    }

    /// Reads the end: what it says has to agree with what was read.
    fn end(&mut self) -> Result<(), BackupError> {
        let content = self.content()?;
        let wanted = self.all.finalize();
        let mut found = [0; 32];
        self.take(&mut found)?;
        if found != *wanted.as_bytes() {
            return Err(damaged("its checksum is wrong"));
        }
        if self.input.read(&mut [0])? > 0 {
            return Err(damaged("something follows its end"));
        }
        let said = Counts::from_bytes(&content).ok_or_else(|| damaged("its end says nothing"))?;
        let Counts { left_out, .. } = said;
        if said != (Counts { left_out, ..self.counts }) {
            return Err(damaged("entries are missing"));
        }
        self.counts = said;
        Ok(())
    }

    /// What was read so far, and after the end what the backup holds.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Reads everything and checks every checksum. Returns what the backup holds.
    ///
    /// # Errors
    /// [`BackupError`]; `going` is asked after each entry and ends the check by an error.
    pub fn check<E: From<BackupError>>(mut self, going: &mut dyn FnMut(Counts) -> Result<(), E>) -> Result<Counts, E> {
        while let Some(entry) = self.next_entry()? {
            if entry.kind == Kind::Records {
                self.records()?;
            }
            going(self.counts)?;
        }
        Ok(self.counts)
    }
}

fn pair(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    let (key, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (value, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    Some((key, value, rest))
}
