//! A run's log: the beginning as it comes, and the end of what went over the cap.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

/// What is written as it comes, in bytes.
const HEAD: usize = 1 << 20;

/// What is kept of the end beyond that, in bytes.
const TAIL: usize = 64 << 10;

/// A log that is no longer than this when its run ends needs no file, in bytes.
const SMALL: usize = 2 << 10;

/// Writes a capped log. Once there is a file, no byte is buffered, so the log can be read while the run goes on.
#[derive(Debug)]
pub(super) struct LogWriter {
    path: PathBuf,
    small: Vec<u8>,
    file: Option<File>,
    room: usize,
    tail: VecDeque<u8>,
    dropped: u64,
}

impl LogWriter {
    pub fn new(path: PathBuf) -> Self {
        Self { path, small: Vec::new(), file: None, room: HEAD, tail: VecDeque::new(), dropped: 0 }
    }

    fn file(&mut self) -> io::Result<&mut File> {
        if self.file.is_none() {
            let mut file = File::create(&self.path)?;
            file.write_all(&std::mem::take(&mut self.small))?;
            self.file = Some(file);
        }
        self.file.as_mut().ok_or_else(|| io::Error::other("the log's file is gone"))
    }

    /// From now on the log is in its file: somebody may want to read it while the run goes on.
    pub fn publish(&mut self) -> io::Result<()> {
        self.file().map(drop)
    }

    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (head, rest) = bytes.split_at(bytes.len().min(self.room));
        self.room -= head.len();
        if self.file.is_none() && self.small.len() + head.len() <= SMALL {
            self.small.extend_from_slice(head);
        } else if !head.is_empty() {
            self.file()?.write_all(head)?;
        }
        let kept = &rest[rest.len().saturating_sub(TAIL)..];
        self.tail.extend(kept);
        let over = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..over);
        self.dropped += (rest.len() - kept.len() + over) as u64;
        Ok(())
    }

    /// Appends the kept end. Returns the log where it needed no file.
    pub fn finish(mut self) -> io::Result<Option<Vec<u8>>> {
        if self.file.is_none() && self.tail.is_empty() {
            return Ok(Some(self.small).filter(|small| !small.is_empty()));
        }
        if self.tail.is_empty() {
            return Ok(None);
        }
        let (dropped, tail) = (self.dropped, self.tail.make_contiguous().to_vec());
        let file = self.file()?;
        if dropped > 0 {
            write!(file, "\n[{dropped} bytes are left out here: a log keeps its first {HEAD} and its last {TAIL}]\n")?;
        }
        file.write_all(&tail)?;
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn beginning_and_end_are_kept(sizes in proptest::collection::vec(prop_oneof![0usize..2000, 0usize..400_000], 0..8)) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("log");
            let mut writer = LogWriter::new(path.clone());
            let mut all = Vec::new();
            for (number, size) in sizes.iter().enumerate() {
                let chunk: Vec<u8> = (0..*size).map(|at| b'a' + ((at / 7 + number) % 26) as u8).collect();
                writer.write(&chunk).unwrap();
                all.extend_from_slice(&chunk);
            }
            let small = writer.finish().unwrap();
            prop_assert!(small.as_ref().is_none_or(|small| small.len() <= SMALL && !path.exists()));
            let kept = small.unwrap_or_else(|| std::fs::read(&path).unwrap_or_default());
            if all.len() <= HEAD + TAIL {
                prop_assert_eq!(kept, all);
            } else {
                prop_assert_eq!(&kept[..HEAD], &all[..HEAD]);
                prop_assert_eq!(&kept[kept.len() - TAIL..], &all[all.len() - TAIL..]);
                prop_assert!(kept.len() < HEAD + TAIL + 200);
            }
        }
    }
}
