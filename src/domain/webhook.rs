//! Webhooks: a program wants to be told, by a POST, when runs or sweeps end. How deliveries stand, those of e-mail too.
//!
//! Pure data and rules; who delivers knows how.

use super::error::{Error, Result};
use super::event::EventKind;
use super::ids::{ModelId, WebhookId};
use super::stamp::{Stamp, Timestamp};

/// What one may be told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// A run has a result, failed or was cancelled.
    RunFinished,
    /// The last run of a sweep is over.
    SweepFinished,
}

impl Topic {
    /// Both.
    pub const ALL: [Self; 2] = [Self::RunFinished, Self::SweepFinished];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RunFinished => "run_finished",
            Self::SweepFinished => "sweep_finished",
        }
    }

    /// The topic with this name.
    ///
    /// # Errors
    /// `invalid_parameter` naming both.
    pub fn parse(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|topic| topic.as_str() == text)
            .ok_or_else(|| Error::parameter("events are run_finished and sweep_finished"))
    }

    /// What a change is told as.
    pub fn of(kind: EventKind) -> Option<Self> {
        match kind {
            EventKind::RunSucceeded | EventKind::RunFailed | EventKind::RunCancelled => Some(Self::RunFinished),
            EventKind::SweepFinished => Some(Self::SweepFinished),
            _ => None,
        }
    }
}

/// One who wants to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Its id.
    pub id: WebhookId,
    /// Whose it is; it is told what that account may see.
    pub stamp: Stamp,
    /// Where to: `https://...` or `http://...`.
    pub url: String,
    /// What messages are signed with.
    pub secret: String,
    /// Of what.
    pub topics: Vec<Topic>,
    /// Of which model alone, if only one.
    pub model: Option<ModelId>,
}

/// How its deliveries stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delivery {
    /// The last change that needs no more telling.
    pub told: u64,
    /// The change that could not be told, and how often that was tried.
    pub attempts: u32,
    /// When that was first tried.
    pub failing_since: Option<Timestamp>,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// When something was last told.
    pub last_delivered_at: Option<Timestamp>,
}

/// How long a message is tried, in milliseconds.
pub const PATIENCE: u64 = 24 * 60 * 60 * 1000;

/// The longest wait between two tries, in milliseconds.
const LONGEST: u64 = 60 * 60 * 1000;

impl Delivery {
    /// It was told.
    #[must_use]
    pub fn delivered(self, sequence: u64, now: Timestamp) -> Self {
        Self { told: sequence, last_delivered_at: Some(now), ..Self::default() }
    }

    /// It was not. A message is given up once it has been tried for [`PATIENCE`]; what went wrong stays to be read.
    #[must_use]
    pub fn failed(self, sequence: u64, why: String, now: Timestamp) -> Self {
        let since = self.failing_since.unwrap_or(now);
        if now.0.saturating_sub(since.0) >= PATIENCE {
            let last_delivered_at = self.last_delivered_at;
            return Self { told: sequence, last_error: Some(why), last_delivered_at, ..Self::default() };
        }
        let attempts = self.attempts.saturating_add(1);
        Self { attempts, failing_since: Some(since), last_error: Some(why), ..self }
    }

    /// How long to wait after so many failures, in milliseconds.
    pub fn wait(&self) -> u64 {
        match self.attempts {
            0 => 0,
            attempts => (1000_u64 << (attempts - 1).min(30)).min(LONGEST),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_tried_for_a_day_and_then_given_up() {
        let mut now = Timestamp(1_000_000);
        let mut delivery = Delivery { told: 7, ..Delivery::default() };
        let mut tries = 0;
        while delivery.told == 7 {
            delivery = delivery.failed(8, "gone".to_owned(), now);
            now.0 += delivery.wait();
            tries += 1;
        }
        assert_eq!((delivery.told, delivery.attempts, delivery.last_error.as_deref()), (8, 0, Some("gone")));
        assert!((30..60).contains(&tries), "{tries}");
        assert!(now.0 - 1_000_000 >= PATIENCE);
        let delivery = delivery.delivered(9, now);
        assert_eq!((delivery.told, delivery.last_error), (9, None));
    }
}
