//! How far a stream was followed, as the text that a client gives back to go on from there.
//!
//! `1234` is the number of the last change. Behind it stands each run whose output was followed and is not over, as
//! `.run_0000000000016~1~500~2048`: its attempt, and how many bytes of its points and of its log were told.

use crate::domain::error::{Error, Result};
use crate::domain::ids::RunId;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// More runs than this at once are not gone on with.
const MOST_RUNS: usize = 256;

/// How far the output of a run was followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Followed {
    /// In which attempt.
    pub attempt: u32,
    /// Bytes of its points.
    pub points: u64,
    /// Bytes of its log.
    pub log: u64,
}

impl Followed {
    /// The run is in this attempt: what was told of an earlier one is gone, and the files begin anew.
    pub(super) fn turn(&mut self, attempt: u32) {
        // Of a run that has not begun, nothing but its first attempt was told.
        if self.attempt != attempt && self.attempt != 0 {
            *self = Self::default();
        }
        self.attempt = attempt;
    }
}

/// How far a stream was followed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place {
    /// The number of the last change.
    pub sequence: u64,
    /// Runs that are not over.
    pub runs: BTreeMap<RunId, Followed>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.sequence)?;
        for (run, Followed { attempt, points, log }) in &self.runs {
            write!(f, ".{run}~{attempt}~{points}~{log}")?;
        }
        Ok(())
    }
}

impl FromStr for Place {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::parameter("last_event_id must be the id of an event of an earlier stream");
        let mut parts = text.trim().split('.');
        let sequence = parts.next().and_then(|part| part.parse().ok()).ok_or_else(wrong)?;
        let mut runs = BTreeMap::new();
        for part in parts {
            let mut fields = part.split('~');
            let mut next = || fields.next().ok_or_else(wrong);
            let run: RunId = next()?.parse().map_err(|_| wrong())?;
            let attempt = next()?.parse().map_err(|_| wrong())?;
            let points = next()?.parse().map_err(|_| wrong())?;
            let log = next()?.parse().map_err(|_| wrong())?;
            if fields.next().is_some() || runs.len() >= MOST_RUNS {
                return Err(wrong());
            }
            runs.insert(run, Followed { attempt, points, log });
        }
        Ok(Self { sequence, runs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_place_is_found_again(sequence: u64, runs in proptest::collection::vec((any::<u64>(), any::<(u32, u64, u64)>()), 0..5)) {
            let followed = |(attempt, points, log)| Followed { attempt, points, log };
            let runs = runs.into_iter().map(|(run, of)| (RunId(run), followed(of))).collect();
            let place = Place { sequence, runs };
            prop_assert_eq!(place.to_string().parse::<Place>().unwrap(), place);
        }

        #[test]
        fn any_text_has_an_answer(text in "[0-9a-z._~]{0,60}") {
            drop(text.parse::<Place>());
        }
    }
}
