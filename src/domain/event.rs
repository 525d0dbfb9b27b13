//! What happened: one event for every change of state, numbered in the order of the changes.
//!
//! Live streams, webhooks and the audit log read these. Knows nothing of how they are delivered.

use super::ids::{AccountId, DatasetId, ExperimentId, ModelId, RunId, SweepId, TokenId, TrashId, WebhookId};
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
    /// A run was moved in the queue.
    RunPrioritised = 22,
    /// The last run of a sweep is over.
    SweepFinished = 23,
    /// A webhook was made.
    WebhookCreated = 24,
    /// A webhook was removed.
    WebhookRemoved = 25,
    /// Something was put into the trash.
    Trashed = 26,
    /// Something was taken out of the trash.
    Restored = 27,
    /// Something was removed for good.
    Purged = 28,
    /// A model's name or description was changed.
    ModelChanged = 29,
    /// A dataset's name was changed.
    DatasetChanged = 30,
    /// An experiment's name was changed.
    ExperimentChanged = 31,
    /// Images of a dataset got other labels.
    ImagesRelabelled = 32,
    /// A run was removed for good.
    RunDeleted = 33,
    /// A sweep was removed for good, with its runs.
    SweepDeleted = 34,
}

impl EventKind {
    const ALL: [Self; 34] = [
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
        Self::RunPrioritised,
        Self::SweepFinished,
        Self::WebhookCreated,
        Self::WebhookRemoved,
        Self::Trashed,
        Self::Restored,
        Self::Purged,
        Self::ModelChanged,
        Self::DatasetChanged,
        Self::ExperimentChanged,
        Self::ImagesRelabelled,
        Self::RunDeleted,
        Self::SweepDeleted,
    ];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ModelCreated => "model_created",
            Self::DatasetCreated => "dataset_created",
            Self::ExperimentCreated => "experiment_created",
            Self::ImageAdded => "image_added",
            Self::SweepSubmitted => "sweep_submitted",
            Self::RunSubmitted => "run_submitted",
            Self::RunStarted => "run_started",
            Self::RunSucceeded => "run_succeeded",
            Self::RunFailed => "run_failed",
            Self::RunCancelled => "run_cancelled",
            Self::RunRequeued => "run_requeued",
            Self::RunCancelRequested => "run_cancel_requested",
            Self::AccountCreated => "account_created",
            Self::AccountChanged => "account_changed",
            Self::AccountRemoved => "account_removed",
            Self::TokenCreated => "token_created",
            Self::TokenRevoked => "token_revoked",
            Self::ModelShared => "model_shared",
            Self::ModelUnshared => "model_unshared",
            Self::QueuePaused => "queue_paused",
            Self::QueueResumed => "queue_resumed",
            Self::RunPrioritised => "run_prioritised",
            Self::SweepFinished => "sweep_finished",
            Self::WebhookCreated => "webhook_created",
            Self::WebhookRemoved => "webhook_removed",
            Self::Trashed => "trashed",
            Self::Restored => "restored",
            Self::Purged => "purged",
            Self::ModelChanged => "model_changed",
            Self::DatasetChanged => "dataset_changed",
            Self::ExperimentChanged => "experiment_changed",
            Self::ImagesRelabelled => "images_relabelled",
            Self::RunDeleted => "run_deleted",
            Self::SweepDeleted => "sweep_deleted",
        }
    }

    /// True for what somebody does; false for what follows from it by itself. A cancel is somebody's too, but its event
    /// tells of the run and bears the name of the run's owner.
    pub const fn is_by_people(self) -> bool {
        !matches!(
            self,
            Self::RunStarted
                | Self::RunSucceeded
                | Self::RunFailed
                | Self::RunCancelled
                | Self::RunRequeued
                | Self::RunCancelRequested
                | Self::SweepFinished
        )
    }

    /// The id of the thing that changed, as it is written; nothing where the kind names none.
    pub fn subject(self, id: u64) -> Option<String> {
        Some(match self {
            Self::ModelCreated | Self::ModelChanged => ModelId(id).to_string(),
            Self::DatasetCreated | Self::DatasetChanged | Self::ImageAdded | Self::ImagesRelabelled => {
                DatasetId(id).to_string()
            }
            Self::ExperimentCreated | Self::ExperimentChanged => ExperimentId(id).to_string(),
            Self::SweepSubmitted | Self::SweepFinished | Self::SweepDeleted => SweepId(id).to_string(),
            Self::WebhookCreated | Self::WebhookRemoved => WebhookId(id).to_string(),
            Self::RunSubmitted
            | Self::RunStarted
            | Self::RunSucceeded
            | Self::RunFailed
            | Self::RunCancelled
            | Self::RunRequeued
            | Self::RunCancelRequested
            | Self::RunPrioritised
            | Self::RunDeleted => RunId(id).to_string(),
            Self::AccountCreated
            | Self::AccountChanged
            | Self::AccountRemoved
            | Self::ModelShared
            | Self::ModelUnshared => AccountId(id).to_string(),
            Self::Trashed | Self::Restored | Self::Purged => TrashId(id).to_string(),
            Self::TokenCreated | Self::TokenRevoked => TokenId(id).to_string(),
            Self::QueuePaused | Self::QueueResumed => return None,
        })
    }

    /// The kind with this number.
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u16 == number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_each_kinds_own() {
        let names: std::collections::HashSet<_> = EventKind::ALL.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(names.len(), EventKind::ALL.len());
        assert!(EventKind::ALL.iter().all(|kind| EventKind::from_number(*kind as u16) == Some(*kind)));
    }
}
