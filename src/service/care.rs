//! Care of the data under a running server: a backup that streams, a verification that says what it finds.
//!
//! Each runs on a thread of its own, which ends when nobody listens any more; one at a time. What collects unused
//! images has to take the same turn: a backup relies on what it is about to read.

use super::Services;
use crate::care;
use crate::care::backup::{self, Source};
use crate::care::verify::Verify;
pub use crate::care::{Summary, Weight, Word};
use crate::domain::account::{Administer, Oversee, Permit};
use crate::domain::error::{Error, Result};
use bytes::{Bytes, BytesMut};
use std::io::{self, Write};
use std::sync::Arc;
use tokio::sync::mpsc::{self, Receiver, Sender};

/// Pieces on their way to a client, and how large they are, in bytes.
const PIPELINE: usize = 4;
const PIECE: usize = 64 << 10;

impl Services {
    /// Looks at every record and file, and mends what can be mended where that is asked for. Answers a word at a time.
    ///
    /// # Errors
    /// `conflict` while something like it is under way.
    pub fn verify(&self, _permit: Permit<Administer>, repair: bool) -> Result<Receiver<Word>> {
        let turn = Arc::clone(&self.care).try_acquire_owned().map_err(|_| care::busy())?;
        let (words, receiver) = mpsc::channel(PIPELINE * 16);
        let (store, folder) = (self.parts.store.clone(), self.parts.folder.clone());
        let (uploads, now) = (Arc::clone(&self.storing), self.now());
        on_a_thread(move || {
            let _turn = turn;
            let mut say = |word| words.blocking_send(word).map_err(|_| nobody_listens());
            let verify = Verify { store: &store, folder: &folder, uploads, now, repair };
            if let Err(error) = verify.run(&mut say) {
                tracing::warn!(%error, "a verification ended early");
                // Whoever is still there is told.
                let _ = words.blocking_send(Word::Failed { why: error.to_string() });
            }
        })?;
        Ok(receiver)
    }

    /// A backup of everything as it stands now, a piece at a time. One that ends in an error is none.
    ///
    /// # Errors
    /// `conflict` while something like it is under way.
    pub fn backup(&self, _permit: Permit<Oversee>) -> Result<Receiver<Result<Bytes>>> {
        let turn = Arc::clone(&self.care).try_acquire_owned().map_err(|_| care::busy())?;
        let (pieces, receiver) = mpsc::channel(PIPELINE);
        let (store, folder, made_at) = (self.parts.store.clone(), self.parts.folder.clone(), self.now().0);
        on_a_thread(move || {
            let _turn = turn;
            let mut pipe = Pipe { pieces, piece: BytesMut::with_capacity(PIECE) };
            let mut say = |word| {
                if let Word::Finding { what, .. } = word {
                    tracing::warn!(what, "a backup is not whole");
                }
                Ok(())
            };
            let source = Source { store: &store, folder: &folder, made_at };
            match backup::write(&source, &mut pipe, &mut say) {
                Ok(counts) => tracing::info!(records = counts.records, images = counts.images, "a backup was taken"),
                Err(error) => {
                    tracing::warn!(%error, "a backup ended early");
                    // The client is to see that it has no whole one.
                    let _ = pipe.pieces.blocking_send(Err(error));
                }
            }
        })?;
        Ok(receiver)
    }
}

fn on_a_thread(work: impl FnOnce() + Send + 'static) -> Result<()> {
    let thread = std::thread::Builder::new().name("care".to_owned()).spawn(work);
    thread.map(drop).map_err(Error::internal)
}

fn nobody_listens() -> Error {
    Error::internal("nobody listens any more")
}

/// A channel as a file.
struct Pipe {
    pieces: Sender<Result<Bytes>>,
    piece: BytesMut,
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let piece = std::mem::replace(&mut self.piece, BytesMut::with_capacity(PIECE)).freeze();
        if piece.is_empty() {
            return Ok(());
        }
        self.pieces.blocking_send(Ok(piece)).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}
