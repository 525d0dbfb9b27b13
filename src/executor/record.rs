//! What a child prints, on its way into the log and the points of one run; and its last words.
//!
//! Knows files; not which line is whose result.

use super::log::LogWriter;
use super::points::PointsWriter;
use super::run_folder::RunFolders;
use crate::domain::ids::RunId;
use crate::domain::progress::Progress;
use crate::domain::run_files::RunFiles;
use crate::trainer::output::{Point, readable};
use std::io;
use std::sync::Arc;

/// How much of what a child printed last is looked at for its last words, in bytes.
const LAST_PIECE: usize = 2 << 10;

/// How much of them is repeated in a reason, in characters.
const MOST_WORDS: usize = 400;

/// The log and the points of one run. A disk without room costs these, not the run.
pub(super) struct Record {
    log: Option<LogWriter>,
    points: Option<PointsWriter>,
    run: RunId,
    progress: Arc<dyn Progress>,
}

impl Record {
    pub fn new(folders: &RunFolders, run: RunId, progress: Arc<dyn Progress>) -> Self {
        let (log, points) = (LogWriter::new(folders.log(run)), PointsWriter::new(folders.points(run)));
        Self { log: Some(log), points: Some(points), run, progress }
    }

    /// From now on the log can be read.
    pub fn publish(&mut self) {
        keep(&mut self.log, LogWriter::publish);
        self.progress.grew(self.run);
    }

    /// Takes what was printed.
    pub fn write(&mut self, bytes: &[u8]) {
        keep(&mut self.log, |log| log.write(bytes));
        self.progress.grew(self.run);
    }

    /// Takes the points of it.
    pub fn add(&mut self, points: &[Point]) {
        if !points.is_empty() {
            keep(&mut self.points, |file| file.write(points));
            self.progress.grew(self.run);
        }
    }

    /// Ends the files and makes them durable: a run that has a result has its log. Returns a log that needs no file.
    pub fn finish(mut self, folders: &RunFolders, run: RunId) -> Option<Vec<u8>> {
        let log = match self.log.take().map(LogWriter::finish) {
            Some(Ok(small)) => small,
            Some(Err(error)) => {
                tracing::warn!(%run, %error, "the end of a log could not be written");
                None
            }
            None => None,
        };
        let has_files = log.is_none() || self.points.is_some_and(|points| points.has_file());
        if has_files && let Err(error) = folders.sync_records(run) {
            tracing::warn!(%run, %error, "a log may be lost if the power fails now");
        }
        log
    }
}

/// Writes until the first failure.
fn keep<W>(writer: &mut Option<W>, write: impl FnOnce(&mut W) -> io::Result<()>) {
    if let Some(Err(error)) = writer.as_mut().map(write) {
        tracing::warn!(%error, "a run's output is no longer kept");
        *writer = None;
    }
}

/// The last line that a child printed on standard error: where it failed, that says best why.
#[derive(Debug, Default)]
pub(super) struct LastWords {
    end: Vec<u8>,
}

impl LastWords {
    /// Takes what was printed.
    pub fn hear(&mut self, bytes: &[u8]) {
        self.end.extend_from_slice(&bytes[bytes.len().saturating_sub(LAST_PIECE)..]);
        let over = self.end.len().saturating_sub(LAST_PIECE);
        self.end.drain(..over);
    }

    /// The line, if there was one, and if its beginning is known.
    pub fn line(&self) -> Option<String> {
        let mut lines = self.end.split(|byte| matches!(byte, b'\n' | b'\r'));
        if self.end.len() == LAST_PIECE {
            // The rest of a longer line.
            lines.next();
        }
        let line = lines.map(|line| readable(line).trim().to_owned()).rfind(|line| !line.is_empty())?;
        let line = line.strip_prefix("error: ").unwrap_or(&line);
        Some(line.chars().take(MOST_WORDS).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(pieces: &[&[u8]]) -> Option<String> {
        let mut words = LastWords::default();
        pieces.iter().for_each(|piece| words.hear(piece));
        words.line()
    }

    #[test]
    fn the_last_line_that_says_something_is_kept() {
        assert_eq!(after(&[]), None);
        assert_eq!(after(&[b"\n \n"]), None);
        assert_eq!(
            after(&[b"Traceback\n", b"  File\nImportError: no", b" module x\n\n"]).unwrap(),
            "ImportError: no module x"
        );
        assert_eq!(after(&[b"error: \x1b[31mtoo high\x1b[0m\r\n"]).unwrap(), "too high");
        let long = vec![b'x'; 3 * LAST_PIECE];
        assert_eq!(after(&[&long]), None, "a line without its beginning says little");
        assert_eq!(after(&[&long, b"\nout of memory"]).unwrap(), "out of memory");
        assert_eq!(after(&[&[b'y'; LAST_PIECE - 1]]).unwrap().len(), MOST_WORDS);
    }
}
