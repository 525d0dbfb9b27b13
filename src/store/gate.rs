//! What readers see: every batch as a whole or not at all, whatever state sled is in.
//!
//! What is durable in the write-ahead log is shown at once: it lies over the tree until `drain` has brought it there, a
//! moment later, while others read and write on. The tree lies behind a lock, so that it can be closed and opened again.
//! sled's own batches keep readers from halves as well, but each writes to the disk twice and wakes every thread that
//! sled has. Knows keys and bytes.

use super::chunk::{self, Changes, Chunk, Span, Way};
use super::events;
use super::snapshot::Overlay;
use super::tx::{Pair, Pairs, Read, ReadBack, Writes, failed};
use crate::domain::error::Result;
use sled::IVec;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};
use tokio::sync::watch;

/// The tree as readers see it while others write. Clones see the same.
#[derive(Debug, Clone)]
pub(super) struct Gate(Arc<RwLock<View>>);

#[derive(Debug)]
struct View {
    /// `None` where sled could not be opened again.
    tree: Option<sled::Tree>,
    /// On its way to the tree, or there: nobody can tell. Lies under `ahead`.
    draining: Arc<Writes>,
    /// What the tree does not have yet.
    ahead: Writes,
    /// True once sled refused anything: it takes nothing more then.
    is_behind: bool,
    /// Those who want to know what a key held before it changes.
    watchers: Vec<Weak<Overlay>>,
    /// Rung when something new is shown.
    shown: watch::Sender<()>,
}

impl Gate {
    /// A gate before `tree`.
    pub fn new(tree: sled::Tree) -> Self {
        Self(Arc::new(RwLock::new(View {
            tree: Some(tree),
            draining: Arc::default(),
            ahead: Writes::new(),
            is_behind: false,
            watchers: Vec::new(),
            shown: watch::Sender::new(()),
        })))
    }

    fn view(&self) -> RwLockReadGuard<'_, View> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) -> RwLockWriteGuard<'_, View> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows what is durable elsewhere.
    pub fn show(&self, writes: &Writes) {
        let mut view = self.change();
        let watchers = view.watchers();
        view.lay_ahead(writes, &watchers);
    }

    /// The tree, and what it is to be brought: the same again until [`drained`](Self::drained) says that it is there.
    /// `None` where there is nothing to bring, or nobody to take it. One at a time may ask.
    pub fn drain(&self) -> Option<(sled::Tree, Arc<Writes>)> {
        let mut view = self.change();
        if view.draining.is_empty() {
            view.draining = Arc::new(std::mem::take(&mut view.ahead));
        }
        let tree = view.tree.as_ref().filter(|_| !view.is_behind && !view.draining.is_empty())?;
        Some((tree.clone(), Arc::clone(&view.draining)))
    }

    /// The tree has what was handed out last.
    pub fn drained(&self) {
        self.change().draining = Arc::default();
    }

    /// Brings the first so many of what is shown into the tree.
    #[cfg(test)]
    pub fn bring(&self, most: usize) {
        let Some((tree, writes)) = self.drain() else { return };
        for (key, write) in writes.iter().take(most) {
            let done = match write {
                Some(value) => tree.insert(key, value),
                None => tree.remove(key),
            };
            assert!(done.is_ok());
        }
        if most >= writes.len() {
            self.drained();
        }
    }

    /// Says that sled takes no writes any more.
    pub fn fall_behind(&self) {
        self.change().is_behind = true;
    }

    /// True while sled takes no writes.
    pub fn is_behind(&self) -> bool {
        self.view().is_behind
    }

    /// Lets go of the tree and shows the one that `open` makes, which has to hold all that was shown. Readers wait.
    ///
    /// # Errors
    /// What `open` says; readers are told that the disk is full then.
    pub fn replace<E>(&self, open: impl FnOnce() -> Result<sled::Tree, E>) -> Result<(), E> {
        let mut view = self.change();
        view.tree = None;
        let tree = open()?;
        view.tree = Some(tree);
        view.draining = Arc::default();
        view.ahead = Writes::new();
        view.is_behind = false;
        Ok(())
    }

    /// From now on `watcher` is told what keys held before they change.
    pub fn watch(&self, watcher: &Arc<Overlay>) {
        self.change().watchers.push(Arc::downgrade(watcher));
    }

    /// Tells those who wait for changes that there are some.
    pub fn tell(&self) {
        self.view().shown.send_replace(());
    }

    /// Changes whenever something new is shown.
    pub fn shown(&self) -> watch::Receiver<()> {
        self.view().shown.subscribe()
    }

    /// The number of the last change that is shown.
    ///
    /// # Errors
    /// `internal` where sled cannot be read.
    pub fn last_event(&self) -> Result<u64> {
        let view = self.view();
        let newer = view.over().into_iter().find_map(events::last_among);
        newer.map_or_else(|| events::last_in(view.tree()?).map_err(failed), Ok)
    }

    /// The value of `key`, unless `over` knows another one; both are asked at the same moment.
    pub fn get_under(&self, key: &[u8], over: impl FnOnce() -> Result<Option<Option<IVec>>>) -> Result<Option<IVec>> {
        let view = self.view();
        match over()? {
            Some(known) => Ok(known),
            None => view.get(key),
        }
    }

    /// Some pairs of a range under what `over` knows of them; both are asked at the same moment.
    pub fn chunk_under(&self, span: Span<'_>, limit: usize, over: impl FnOnce() -> Result<Changes>) -> Result<Chunk> {
        let view = self.view();
        Ok(view.chunk(span, limit)?.under(over()?, span.way))
    }
}

impl View {
    /// Those who still watch.
    fn watchers(&mut self) -> Vec<Arc<Overlay>> {
        if self.watchers.is_empty() {
            return Vec::new();
        }
        self.watchers.retain(|watcher| watcher.strong_count() > 0);
        self.watchers.iter().filter_map(Weak::upgrade).collect()
    }

    fn lay_ahead(&mut self, writes: &Writes, watchers: &[Arc<Overlay>]) {
        for (key, write) in writes {
            if !watchers.is_empty() {
                match self.get(key) {
                    Ok(before) => watchers.iter().for_each(|watcher| watcher.keep(key, before.as_ref())),
                    Err(error) => watchers.iter().for_each(|watcher| watcher.lose(&error)),
                }
            }
            self.ahead.insert(key.clone(), write.clone());
        }
    }

    fn tree(&self) -> Result<&sled::Tree> {
        self.tree.as_ref().ok_or_else(super::worker::disk_full)
    }

    /// What lies over the tree, the newest first.
    fn over(&self) -> [&Writes; 2] {
        [&self.ahead, &self.draining]
    }

    fn get(&self, key: &[u8]) -> Result<Option<IVec>> {
        match self.over().into_iter().find_map(|over| over.get(key)) {
            Some(write) => Ok(write.clone()),
            None => self.tree()?.get(key).map_err(failed),
        }
    }

    fn chunk(&self, span: Span<'_>, limit: usize) -> Result<Chunk> {
        if span.is_empty() {
            return Ok(Chunk::default());
        }
        let found = self.tree()?.range(span.from..span.to);
        let own = |pair: sled::Result<(IVec, IVec)>| pair.map(|(key, value)| (key.to_vec(), value)).map_err(failed);
        let pairs = match span.way {
            Way::Up => found.take(limit).map(own).collect::<Result<Vec<_>>>(),
            Way::Down => found.rev().take(limit).map(own).collect(),
        }?;
        let under = Chunk::new(pairs, limit);
        Ok(self.over().into_iter().rev().fold(under, |under, over| match chunk::changes(over, span, limit) {
            (over, None) if over.is_empty() => under,
            over => under.under(over, span.way),
        }))
    }
}

impl Read for Gate {
    fn get(&self, key: &[u8]) -> Result<Option<IVec>> {
        self.view().get(key)
    }

    fn range(&self, from: Vec<u8>, to: Vec<u8>) -> Pairs<'_> {
        chunk::chunked(from, to, Way::Up, |span, limit| self.view().chunk(span, limit))
    }

    fn first(&self, from: Vec<u8>, to: Vec<u8>) -> Result<Option<Pair>> {
        chunk::chunked_by(from, to, Way::Up, [1, 1], |span, limit| self.view().chunk(span, limit)).next().transpose()
    }
}

impl ReadBack for Gate {
    fn range_back(&self, from: Vec<u8>, to: Vec<u8>) -> Pairs<'_> {
        chunk::chunked(from, to, Way::Down, |span, limit| self.view().chunk(span, limit))
    }
}
