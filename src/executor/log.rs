//! A run's log: the beginning as it comes, and the end of what went over the cap.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

/// What is written as it comes, in bytes.
const HEAD: usize = 1 << 20;

/// What is kept of the end beyond that, in bytes.
const TAIL: usize = 64 << 10;

/// Writes a capped log. The file is made with the first byte; no byte is buffered, so the log can be read while the
/// run goes on.
#[derive(Debug)]
pub(super) struct LogWriter {
    path: PathBuf,
    file: Option<File>,
    room: usize,
    tail: VecDeque<u8>,
    dropped: u64,
}

impl LogWriter {
    pub fn new(path: PathBuf) -> Self {
        Self { path, file: None, room: HEAD, tail: VecDeque::new(), dropped: 0 }
    }

    fn file(&mut self) -> io::Result<&mut File> {
        match &mut self.file {
            Some(file) => Ok(file),
            none => Ok(none.insert(File::create(&self.path)?)),
        }
    }

    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (head, rest) = bytes.split_at(bytes.len().min(self.room));
        if !head.is_empty() {
            self.room -= head.len();
            self.file()?.write_all(head)?;
        }
        let kept = &rest[rest.len().saturating_sub(TAIL)..];
        self.tail.extend(kept);
        let over = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..over);
        self.dropped += (rest.len() - kept.len() + over) as u64;
        Ok(())
    }

    /// Appends the kept end.
    pub fn finish(mut self) -> io::Result<()> {
        if self.tail.is_empty() {
            return Ok(());
        }
        let (dropped, tail) = (self.dropped, self.tail.make_contiguous().to_vec());
        let file = self.file()?;
        if dropped > 0 {
            write!(file, "\n[{dropped} bytes are left out here: a log keeps its first {HEAD} and its last {TAIL}]\n")?;
        }
        file.write_all(&tail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn beginning_and_end_are_kept(sizes in proptest::collection::vec(0usize..400_000, 0..8)) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("log");
            let mut writer = LogWriter::new(path.clone());
            let mut all = Vec::new();
            for (number, size) in sizes.iter().enumerate() {
                let chunk: Vec<u8> = (0..*size).map(|at| b'a' + ((at / 7 + number) % 26) as u8).collect();
                writer.write(&chunk).unwrap();
                all.extend_from_slice(&chunk);
            }
            writer.finish().unwrap();
            let kept = std::fs::read(&path).unwrap_or_default();
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
