//! A seekable stream read forward in small steps, with a known length.
//!
//! Turns "the bytes are not there" into [`ContainerError::Truncated`] naming the part that was being
//! read. Holds one small buffer, whatever the file's size. Knows no image format.

use std::io::{BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom};

use super::ContainerError;

const BUFFER: usize = 16 * 1024;

pub struct Source<R> {
    inner: BufReader<R>,
    position: u64,
    length: u64,
}

impl<R: Read + Seek> Source<R> {
    /// Starts at the beginning of `reader`, wherever it stands.
    pub fn new(mut reader: R) -> Result<Self, ContainerError> {
        let length = reader.seek(SeekFrom::End(0))?;
        reader.seek(SeekFrom::Start(0))?;
        Ok(Self { inner: BufReader::with_capacity(BUFFER, reader), position: 0, length })
    }

    pub fn length(&self) -> u64 {
        self.length
    }

    pub fn position(&self) -> u64 {
        self.position
    }

    /// Fails unless `size` bytes from `start` on are within the file.
    pub fn require(&self, start: u64, size: u64, what: &'static str) -> Result<(), ContainerError> {
        match start.checked_add(size) {
            Some(end) if end <= self.length => Ok(()),
            _ => Err(ContainerError::Truncated { what }),
        }
    }

    pub fn fill(&mut self, bytes: &mut [u8], what: &'static str) -> Result<(), ContainerError> {
        self.inner.read_exact(bytes).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => ContainerError::Truncated { what },
            _ => ContainerError::Unreadable(error),
        })?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    pub fn bytes<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], ContainerError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes, what)?;
        Ok(bytes)
    }

    pub fn u8(&mut self, what: &'static str) -> Result<u8, ContainerError> {
        let [byte] = self.bytes(what)?;
        Ok(byte)
    }

    pub fn u16_be(&mut self, what: &'static str) -> Result<u16, ContainerError> {
        Ok(u16::from_be_bytes(self.bytes(what)?))
    }

    pub fn u32_be(&mut self, what: &'static str) -> Result<u32, ContainerError> {
        Ok(u32::from_be_bytes(self.bytes(what)?))
    }

    /// Goes forward; the bytes skipped must exist.
    pub fn skip(&mut self, count: u64, what: &'static str) -> Result<(), ContainerError> {
        self.require(self.position, count, what)?;
        self.go_to(self.position + count)
    }

    /// Goes to a place within the file, backwards too.
    pub fn seek(&mut self, position: u64, what: &'static str) -> Result<(), ContainerError> {
        self.require(position, 0, what)?;
        self.go_to(position)
    }

    fn go_to(&mut self, position: u64) -> Result<(), ContainerError> {
        let near = i64::try_from(i128::from(position) - i128::from(self.position));
        match near {
            Ok(distance) => self.inner.seek_relative(distance)?,
            Err(_) => {
                self.inner.seek(SeekFrom::Start(position))?;
            }
        }
        self.position = position;
        Ok(())
    }

    /// Hands `count` bytes to `each` in pieces.
    pub fn read_through(
        &mut self,
        count: u64,
        what: &'static str,
        mut each: impl FnMut(&[u8]),
    ) -> Result<(), ContainerError> {
        self.require(self.position, count, what)?;
        let mut left = count;
        while left > 0 {
            let buffer = self.inner.fill_buf()?;
            let size = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            if size == 0 {
                return Err(ContainerError::Truncated { what });
            }
            each(&buffer[..size]);
            self.inner.consume(size);
            self.position += size as u64;
            left -= size as u64;
        }
        Ok(())
    }

    /// Goes behind the next `wanted` byte.
    pub fn skip_past(&mut self, wanted: u8, what: &'static str) -> Result<(), ContainerError> {
        loop {
            let buffer = self.inner.fill_buf()?;
            if buffer.is_empty() {
                return Err(ContainerError::Truncated { what });
            }
            let found = buffer.iter().position(|byte| *byte == wanted);
            let size = found.map_or(buffer.len(), |at| at + 1);
            self.inner.consume(size);
            self.position += size as u64;
            if found.is_some() {
                return Ok(());
            }
        }
    }
}
