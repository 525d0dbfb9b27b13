//! Turns at something of which only so much may happen at once, and how many wait for theirs.

use crate::domain::error::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// So many at once.
#[derive(Debug)]
pub(super) struct Turns {
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// Counts one who waits for as long as it lives.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Turns {
    pub fn new(at_once: usize) -> Self {
        Self { turns: Arc::new(Semaphore::new(at_once)), waiting: AtomicUsize::new(0) }
    }

    /// Waits for a turn, which lasts as long as what is returned.
    pub async fn take(&self) -> Result<OwnedSemaphorePermit> {
        if let Ok(turn) = Arc::clone(&self.turns).try_acquire_owned() {
            return Ok(turn);
        }
        self.waiting.fetch_add(1, Relaxed);
        let _waiting = Waiting(&self.waiting);
        Arc::clone(&self.turns).acquire_owned().await.map_err(Error::internal)
    }

    /// Whether somebody waits.
    pub fn are_awaited(&self) -> bool {
        self.waiting.load(Relaxed) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn who_waits_is_known_and_who_gives_up_is_not() {
        let turns = Turns::new(1);
        let first = turns.take().await.unwrap();
        assert!(!turns.are_awaited());
        let mut second = Box::pin(turns.take());
        assert!(second.as_mut().now_or_never().is_none());
        assert!(turns.are_awaited());
        drop(second);
        assert!(!turns.are_awaited());
        drop(first);
        let _second = turns.take().await.unwrap();
    }
}
