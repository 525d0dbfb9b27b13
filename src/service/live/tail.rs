//! The files of a run, read from where one left off. Blocks for as long as the disk takes.

use crate::domain::text::printable;
use crate::service::runs::RunLog;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

/// How much of a file is read in one go, in bytes: what one run prints without measure waits, others' news do not.
const PIECE: usize = 32 << 10;

/// From how many bytes on there may be more, since a piece ends with a line or a character.
pub(super) const FULL: u64 = PIECE as u64 - 4;

/// A line of points, and where in the file it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The JSON object.
    pub text: String,
    /// The offset behind it.
    pub end: u64,
}

/// A piece of a log, and where it lies in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// What it says, with control characters written out; lines end with a line feed.
    pub text: String,
    /// Where it begins.
    pub start: u64,
    /// The offset behind it.
    pub end: u64,
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// How long a file is; one that is not there is empty.
pub(super) fn length(path: &Path) -> io::Result<u64> {
    Ok(open(path)?.map(|file| file.metadata()).transpose()?.map_or(0, |file| file.len()))
}

/// Whole lines from `offset` on, as far as one go leads; none at the end.
pub(super) fn lines(path: &Path, offset: u64) -> io::Result<Vec<Line>> {
    let Some(mut file) = open(path)? else { return Ok(Vec::new()) };
    file.seek(SeekFrom::Start(offset))?;
    let mut reader = BufReader::with_capacity(PIECE, file);
    let (mut found, mut end, mut line) = (Vec::new(), offset, Vec::new());
    while end - offset < PIECE as u64 {
        line.clear();
        let read = reader.read_until(b'\n', &mut line)?;
        // The rest of a line comes with its end.
        if line.pop() != Some(b'\n') {
            break;
        }
        end += read as u64;
        found.push(Line { text: String::from_utf8_lossy(&line).into_owned(), end });
    }
    Ok(found)
}

/// The text from `offset` on, as far as one go leads; nothing at the end. With `all`, what may be half a character or half the
/// end of a line is taken as it is, since nothing follows.
pub(super) fn text(log: &RunLog, offset: u64, all: bool) -> io::Result<Option<Piece>> {
    let mut bytes = Vec::new();
    match log {
        RunLog::Text(text) => {
            let from = usize::try_from(offset).unwrap_or(usize::MAX).min(text.len());
            bytes.extend_from_slice(&text[from..text.len().min(from + PIECE)]);
        }
        RunLog::File(path) => {
            let Some(mut file) = open(path)? else { return Ok(None) };
            file.seek(SeekFrom::Start(offset))?;
            file.take(PIECE as u64).read_to_end(&mut bytes)?;
        }
    }
    if !(all && bytes.len() < PIECE) {
        bytes.truncate(whole(&bytes));
    }
    let end = offset + bytes.len() as u64;
    Ok((!bytes.is_empty()).then(|| Piece { text: shown(&bytes), start: offset, end }))
}

/// How many of these bytes end neither in the midst of a character nor between the two that end a line.
fn whole(bytes: &[u8]) -> usize {
    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    // A character has four bytes at the most, and its first one says how many.
    let from = bytes.len().saturating_sub(3);
    let unfinished = (from..bytes.len()).find(|at| {
        let wanted = match bytes[*at] {
            0xf0.. => 4,
            0xe0.. => 3,
            0xc0.. => 2,
            _ => 1,
        };
        at + wanted > bytes.len()
    });
    unfinished.unwrap_or(bytes.len())
}

/// Each state of a progress bar is a line of its own.
fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).replace("\r\n", "\n").replace('\r', "\n");
    let lines: Vec<_> = text.split('\n').map(printable).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;

    #[test]
    fn only_whole_lines_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("points");
        assert_eq!(lines(&path, 0).unwrap(), []);
        fs::write(&path, "{\"step\":1}\n{\"step\":2}\n{\"st").unwrap();
        let line = |text: &str, end| Line { text: text.to_owned(), end };
        assert_eq!(lines(&path, 0).unwrap(), [line("{\"step\":1}", 11), line("{\"step\":2}", 22)]);
        assert_eq!(lines(&path, 11).unwrap(), [line("{\"step\":2}", 22)]);
        assert_eq!(lines(&path, 22).unwrap(), []);
        assert_eq!(length(&path).unwrap(), 26);
    }

    proptest! {
        #[test]
        fn a_log_read_in_pieces_is_the_log(text in "[a-zé€😀\n\r\u{1b}]{0,60}", cuts in proptest::collection::vec(0usize..200, 0..6)) {
            let whole = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(whole.len())).collect();
            cuts.sort_unstable();
            cuts.push(whole.len());
            let (mut read, mut offset) = (String::new(), 0);
            for (at, cut) in cuts.iter().enumerate() {
                let log = RunLog::Text(whole[..*cut].to_vec());
                if let Some(piece) = super::text(&log, offset, at + 1 == cuts.len()).unwrap() {
                    prop_assert_eq!(piece.start, offset);
                    read.push_str(&piece.text);
                    offset = piece.end;
                }
            }
            prop_assert_eq!(offset, whole.len() as u64);
            prop_assert_eq!(read, shown(whole));
        }
    }
}
