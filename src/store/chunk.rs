//! A range of pairs that lie in layers, read a chunk at a time, upwards or downwards.
//!
//! Whoever reads holds no lock between two chunks, and a chunk is what all layers held at one moment. Knows keys and bytes.

use super::tx::{Pair, Pairs, Writes};
use crate::domain::error::Result;
use sled::IVec;
use std::ops::Bound;

/// Pairs read under one lock: the first time, and at the most.
const SIZES: [usize; 2] = [4, 64];

/// In which order keys are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// The least first.
    Up,
    /// The greatest first.
    Down,
}

impl Way {
    /// True where `one` is read before `other`.
    fn is_before(self, one: &[u8], other: &[u8]) -> bool {
        match self {
            Self::Up => one < other,
            Self::Down => one > other,
        }
    }
}

/// The keys from `from` up to but without `to`, and in which order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span<'a> {
    /// The least of them.
    pub from: &'a [u8],
    /// The first that is none of them.
    pub to: &'a [u8],
    /// Their order.
    pub way: Way,
}

impl Span<'_> {
    /// True where no key can be in it.
    pub fn is_empty(&self) -> bool {
        self.from >= self.to
    }
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

/// The first changes of a range.
pub(super) fn changes(writes: &Writes, span: Span<'_>, limit: usize) -> Changes {
    if span.is_empty() {
        return Changes::default();
    }
    let found = writes.range::<[u8], _>((Bound::Included(span.from), Bound::Excluded(span.to)));
    let own = |(key, write): (&Vec<u8>, &Option<IVec>)| (key.clone(), write.clone());
    let found: Vec<_> = match span.way {
        Way::Up => found.take(limit).map(own).collect(),
        Way::Down => found.rev().take(limit).map(own).collect(),
    };
    reaching(found, limit)
}

/// Changes of a range, of which no more than `limit` were looked at.
pub(super) fn reaching(found: Vec<(Vec<u8>, Option<IVec>)>, limit: usize) -> Changes {
    let through = found.last().filter(|_| found.len() == limit).map(|(key, _)| key.clone());
    (found, through)
}

impl Chunk {
    /// Pairs of a range, of which no more than `limit` were looked at.
    pub fn new(pairs: Vec<Pair>, limit: usize) -> Self {
        let through = pairs.last().filter(|_| pairs.len() == limit).map(|(key, _)| key.clone());
        Self { pairs, through }
    }

    /// Lays changes over it that were read the same way.
    pub fn under(self, (over, over_through): Changes, way: Way) -> Self {
        let through = match (self.through, over_through) {
            (Some(one), Some(other)) => Some(if way.is_before(&one, &other) { one } else { other }),
            (one, other) => one.or(other),
        };
        let is_known = |key: &[u8]| through.as_ref().is_none_or(|end| !way.is_before(end, key));
        let mut below = self.pairs.into_iter().filter(|(key, _)| is_known(key)).peekable();
        let mut pairs = Vec::with_capacity(below.size_hint().1.unwrap_or(0));
        for (key, value) in over.into_iter().filter(|(key, _)| is_known(key)) {
            while let Some(pair) = below.next_if(|(other, _)| way.is_before(other, &key)) {
                pairs.push(pair);
            }
            below.next_if(|(same, _)| *same == key);
            pairs.extend(value.map(|value| (key, value)));
        }
        pairs.extend(below);
        Self { pairs, through }
    }
}

/// The pairs of a range, read a chunk at a time; `read` is told which keys are left and how many it may look at.
pub(super) fn chunked<'a>(
    from: Vec<u8>,
    to: Vec<u8>,
    way: Way,
    read: impl Fn(Span<'_>, usize) -> Result<Chunk> + 'a,
) -> Pairs<'a> {
    chunked_by(from, to, way, SIZES, read)
}

/// The same with chunks of other sizes.
pub(super) fn chunked_by<'a>(
    mut from: Vec<u8>,
    mut to: Vec<u8>,
    way: Way,
    [mut size, most]: [usize; 2],
    read: impl Fn(Span<'_>, usize) -> Result<Chunk> + 'a,
) -> Pairs<'a> {
    let mut is_over = false;
    let mut pairs = Vec::new().into_iter();
    Box::new(std::iter::from_fn(move || {
        loop {
            if let Some(pair) = pairs.next() {
                return Some(Ok(pair));
            }
            if is_over {
                return None;
            }
            match read(Span { from: &from, to: &to, way }, size) {
                Ok(chunk) => {
                    pairs = chunk.pairs.into_iter();
                    match (chunk.through, way) {
                        (None, _) => is_over = true,
                        (Some(mut through), Way::Up) => {
                            through.push(0);
                            from = through;
                        }
                        (Some(through), Way::Down) => to = through,
                    }
                    size = (2 * size).min(most);
                }
                Err(error) => {
                    is_over = true;
                    return Some(Err(error));
                }
            }
        }
    }))
}
