//! Which runs have printed something since somebody last looked. Costs a look at a flag while nobody does.

use crate::domain::ids::RunId;
use crate::domain::progress::Progress;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Runs with news, and a bell for whoever waits for some.
#[derive(Debug, Default)]
pub struct News {
    heard: AtomicBool,
    runs: Mutex<HashSet<RunId>>,
    bell: Notify,
}

impl News {
    fn runs(&self) -> MutexGuard<'_, HashSet<RunId>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anybody wants to hear of any.
    pub(super) fn hear(&self, heard: bool) {
        self.heard.store(heard, Relaxed);
        if !heard {
            self.runs().clear();
        }
    }

    /// The runs that have had news since.
    pub(super) fn take(&self) -> HashSet<RunId> {
        std::mem::take(&mut *self.runs())
    }

    /// Wakes whoever waits.
    pub(super) fn ring(&self) {
        self.bell.notify_one();
    }

    /// Waits for news, or for a ring.
    pub(super) async fn rung(&self) {
        self.bell.notified().await;
    }
}

impl Progress for News {
    fn grew(&self, run: RunId) {
        if self.heard.load(Relaxed) && self.runs().insert(run) {
            self.ring();
        }
    }
}
