//! What readers see: every batch as a whole or not at all, whatever state sled is in.
//!
//! What is durable in the write-ahead log is shown at once: it lies over the tree until `drain` has brought it there, a
//! moment later, while others read and write on. The tree lies behind a lock, so that it can be closed and opened again.
//! sled's own batches keep readers from halves as well, but each writes to the disk twice and wakes every thread that
//! sled has. Knows keys and bytes.

use super::events;
use super::snapshot::Overlay;
use super::tx::{Pair, Pairs, Read, Writes, failed};
use crate::domain::error::Result;
use sled::IVec;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};
use tokio::sync::watch;

/// Pairs read under one lock: the first time, and at the most.
const FIRST: usize = 4;
const MOST: usize = 64;

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

/// Pairs in order, and how far they reach.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Chunk {
    /// All pairs of the range up to there.
    pub pairs: Vec<Pair>,
    /// The last key that was looked at; `None` at the end of the range.
    pub through: Option<Vec<u8>>,
}

/// Changes in order, `None` for a key that is gone, and how far they reach.
pub(super) type Changes = (Vec<(Vec<u8>, Option<IVec>)>, Option<Vec<u8>>);

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
    pub fn chunk_under(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
        over: impl FnOnce() -> Result<Changes>,
    ) -> Result<Chunk> {
        let view = self.view();
        Ok(lay(view.chunk(from, to, limit)?, over()?))
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

    fn chunk(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Chunk> {
        if from >= to {
            return Ok(Chunk::default());
        }
        let pairs = self.tree()?.range(from..to).take(limit);
        let pairs = pairs.map(|pair| pair.map(|(key, value)| (key.to_vec(), value)).map_err(failed));
        let pairs = pairs.collect::<Result<Vec<_>>>()?;
        let through = pairs.last().filter(|_| pairs.len() == limit).map(|(key, _)| key.clone());
        let under = Chunk { pairs, through };
        Ok(self.over().into_iter().rev().fold(under, |under, over| match changes(over, from, to, limit) {
            (over, None) if over.is_empty() => under,
            over => lay(under, over),
        }))
    }
}

/// The first changes of a range.
fn changes(writes: &Writes, from: &[u8], to: &[u8], limit: usize) -> Changes {
    let found = writes.range::<[u8], _>((Bound::Included(from), Bound::Excluded(to))).take(limit);
    let found: Vec<_> = found.map(|(key, write)| (key.clone(), write.clone())).collect();
    let through = found.last().filter(|_| found.len() == limit).map(|(key, _)| key.clone());
    (found, through)
}

/// Lays changes over pairs.
fn lay(under: Chunk, (over, over_through): Changes) -> Chunk {
    let through = match (under.through, over_through) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
    let is_known = |key: &[u8]| through.as_ref().is_none_or(|end| key <= end.as_slice());
    let mut below = under.pairs.into_iter().filter(|(key, _)| is_known(key)).peekable();
    let mut pairs = Vec::with_capacity(below.size_hint().1.unwrap_or(0));
    for (key, value) in over.into_iter().filter(|(key, _)| is_known(key)) {
        while let Some(pair) = below.next_if(|(lower, _)| *lower < key) {
            pairs.push(pair);
        }
        below.next_if(|(same, _)| *same == key);
        pairs.extend(value.map(|value| (key, value)));
    }
    pairs.extend(below);
    Chunk { pairs, through }
}

/// The pairs of a range, read a chunk at a time; `read` is given both ends and how many it may look at.
pub(super) fn chunked<'a>(
    from: Vec<u8>,
    to: Vec<u8>,
    read: impl Fn(&[u8], &[u8], usize) -> Result<Chunk> + 'a,
) -> Pairs<'a> {
    let mut next = Some(from);
    let mut size = FIRST;
    let mut pairs = Vec::new().into_iter();
    Box::new(std::iter::from_fn(move || {
        loop {
            if let Some(pair) = pairs.next() {
                return Some(Ok(pair));
            }
            match read(&next.take()?, &to, size) {
                Ok(chunk) => {
                    pairs = chunk.pairs.into_iter();
                    next = chunk.through.map(|mut key| {
                        key.push(0);
                        key
                    });
                    size = (2 * size).min(MOST);
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }))
}

impl Read for Gate {
    fn get(&self, key: &[u8]) -> Result<Option<IVec>> {
        self.view().get(key)
    }

    fn range(&self, from: Vec<u8>, to: Vec<u8>) -> Pairs<'_> {
        chunked(from, to, |from, to, limit| self.view().chunk(from, to, limit))
    }

    fn first(&self, from: Vec<u8>, to: Vec<u8>) -> Result<Option<Pair>> {
        let mut next = Some(from);
        while let Some(from) = next {
            let chunk = self.view().chunk(&from, &to, 1)?;
            if let Some(pair) = chunk.pairs.into_iter().next() {
                return Ok(Some(pair));
            }
            next = chunk.through.map(|mut key| {
                key.push(0);
                key
            });
        }
        Ok(None)
    }
}
