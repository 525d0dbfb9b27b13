//! E-mail: what people are written to about, and how it goes to its server.
//!
//! Pure rules; who writes and sends knows how.

use super::error::{Error, Result};
use super::event::EventKind;

/// What one may be written to about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailTopic {
    /// The last run of a sweep is over.
    SweepFinished,
    /// A run of no sweep ended without a result.
    RunFailed,
    /// A run of no sweep is over, in whatever way.
    RunFinished,
}

/// How a connection to a server for e-mail is kept from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// It is not.
    Plain,
    /// By TLS once the server was asked for it.
    StartTls,
    /// By TLS from the first byte on.
    Tls,
}

impl MailTopic {
    const ALL: [Self; 3] = [Self::SweepFinished, Self::RunFailed, Self::RunFinished];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SweepFinished => "sweep_finished",
            Self::RunFailed => "run_failed",
            Self::RunFinished => "run_finished",
        }
    }

    /// The topic with this name.
    ///
    /// # Errors
    /// `invalid_parameter` naming all of them.
    pub fn parse(text: &str) -> Result<Self> {
        let all = Self::ALL.map(Self::as_str).join(", ");
        let found = Self::ALL.into_iter().find(|topic| topic.as_str() == text);
        found.ok_or_else(|| Error::parameter(format!("there is no topic {text:?}; the topics are {all}")))
    }

    /// Whether a change is of this topic. That a run is of no sweep is for others to see.
    pub fn covers(self, kind: EventKind) -> bool {
        match self {
            Self::SweepFinished => kind == EventKind::SweepFinished,
            Self::RunFailed => kind == EventKind::RunFailed,
            Self::RunFinished => {
                matches!(kind, EventKind::RunSucceeded | EventKind::RunFailed | EventKind::RunCancelled)
            }
        }
    }
}
