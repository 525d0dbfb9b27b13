//! What happened: one event for every change of state, numbered in the order of the changes.
//!
//! Live streams, webhooks and the audit log read these. Knows nothing of how they are delivered.

use super::ids::AccountId;
use super::stamp::Timestamp;

/// A change of state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its place; without gaps.
    pub sequence: u64,
    /// When.
    pub at: Timestamp,
    /// On whose behalf.
    pub account: AccountId,
    /// What.
    pub kind: EventKind,
    /// The id of the thing that changed.
    pub subject: u64,
    /// The id of the model that it belongs to.
    pub model: u64,
}

/// The kinds of change. Numbers are what is stored; they are never used again for another meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum EventKind {
    /// A model was made.
    ModelCreated = 1,
    /// A dataset was made.
    DatasetCreated = 2,
    /// An experiment was made.
    ExperimentCreated = 3,
    /// An image was added to a dataset.
    ImageAdded = 4,
    /// A sweep was submitted.
    SweepSubmitted = 5,
    /// A run was submitted.
    RunSubmitted = 6,
    /// A run got a slot.
    RunStarted = 7,
    /// A run printed a result.
    RunSucceeded = 8,
    /// A run ended without one.
    RunFailed = 9,
    /// A run was stopped.
    RunCancelled = 10,
    /// A run goes back to the queue after an interruption.
    RunRequeued = 11,
    /// Somebody asked a running run to stop.
    RunCancelRequested = 12,
    /// An account was made.
    AccountCreated = 13,
    /// An account's role or password was changed.
    AccountChanged = 14,
    /// An account was removed.
    AccountRemoved = 15,
    /// A token was made.
    TokenCreated = 16,
    /// A token was revoked.
    TokenRevoked = 17,
    /// A model was shared, or shared in another way.
    ModelShared = 18,
    /// A model is no longer shared with somebody.
    ModelUnshared = 19,
    /// Nothing more is started until the queue is resumed.
    QueuePaused = 20,
    /// Runs are started again.
    QueueResumed = 21,
}

impl EventKind {
    const ALL: [Self; 21] = [
        Self::ModelCreated,
        Self::DatasetCreated,
        Self::ExperimentCreated,
        Self::ImageAdded,
        Self::SweepSubmitted,
        Self::RunSubmitted,
        Self::RunStarted,
        Self::RunSucceeded,
        Self::RunFailed,
        Self::RunCancelled,
        Self::RunRequeued,
        Self::RunCancelRequested,
        Self::AccountCreated,
        Self::AccountChanged,
        Self::AccountRemoved,
        Self::TokenCreated,
        Self::TokenRevoked,
        Self::ModelShared,
        Self::ModelUnshared,
        Self::QueuePaused,
        Self::QueueResumed,
    ];

    /// The kind with this number.
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u16 == number)
    }
}
