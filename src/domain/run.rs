//! A run and the one function that changes its state.
//!
//! `Queued -> Running{attempt} -> Done{outcome}`; an interruption leads from `Running` back to `Queued`. Only the
//! scheduler applies transitions; an attempt number fences off a worker that reports too late. No I/O, no clock.

use super::accuracy::Accuracy;
use super::dataset::DatasetVersion;
use super::experiment::HyperParameters;
use super::ids::{ExperimentId, ModelId, RunId, SweepId};
use super::stamp::{Stamp, Timestamp};

/// How often a run may be running when the server goes down, before it is held responsible.
pub const MAX_CRASHES: u32 = 3;

/// What a run is to do; fixed when it is submitted.
#[derive(Debug, Clone, PartialEq)]
pub struct RunSpec {
    /// Whose images.
    pub model: ModelId,
    /// What is trained.
    pub experiment: ExperimentId,
    /// What it trains on.
    pub version: DatasetVersion,
    /// What the script is told.
    pub parameters: HyperParameters,
    /// Equal for all runs of a dataset version.
    pub seed: u32,
    /// How long it may take, where that is less than any run may.
    pub timeout_seconds: Option<u32>,
}

/// Where a run stands.
#[derive(Debug, Clone, PartialEq)]
pub enum RunState {
    /// It waits for a slot.
    Queued,
    /// It has a slot.
    Running {
        /// Which start this is, from 1.
        attempt: u32,
        /// When this attempt was claimed.
        started_at: Timestamp,
        /// True once somebody asked for it to stop.
        cancelling: bool,
    },
    /// It is over.
    Done {
        /// How it ended.
        outcome: Outcome,
        /// When.
        finished_at: Timestamp,
    },
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It printed a result.
    Succeeded {
        /// The result.
        accuracy: Accuracy,
        /// The loss on the validation part, where it printed one.
        validation_loss: Option<f64>,
    },
    /// It did not.
    Failed {
        /// Why, in words for its owner.
        reason: String,
    },
    /// Somebody stopped it.
    Cancelled,
}

/// A run.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Its key; ids grow in the order of submission.
    pub id: RunId,
    /// Ownership and history.
    pub stamp: Stamp,
    /// What it is to do.
    pub spec: RunSpec,
    /// What it was submitted with.
    pub sweep: Option<SweepId>,
    /// Higher goes first.
    pub priority: u8,
    /// How often it has been started.
    pub attempts: u32,
    /// How often the server went down while it ran; also set by a lack of memory that calls for a run alone.
    pub crashes: u32,
    /// When the first attempt began.
    pub first_started_at: Option<Timestamp>,
    /// When the last attempt began.
    pub last_started_at: Option<Timestamp>,
    /// Where it stands.
    pub state: RunState,
}

impl Run {
    /// True for a run that must run alone: the server went down under it before, twice, or it was killed for memory
    /// while others ran beside it.
    pub fn is_suspect(&self) -> bool {
        self.crashes + 1 >= MAX_CRASHES
    }
}

/// What may happen to a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// A slot takes it.
    Claim,
    /// The attempt ended with this.
    Finish {
        /// The attempt that reports.
        attempt: u32,
        /// How it ended.
        outcome: Outcome,
    },
    /// The attempt was stopped by an orderly shutdown.
    Yield {
        /// The attempt that reports.
        attempt: u32,
    },
    /// The server went down while the attempt ran.
    Crash,
    /// The machine had no memory left, and the kernel killed the attempt.
    OutOfMemory {
        /// The attempt that reports.
        attempt: u32,
        /// True where nothing ran beside it.
        alone: bool,
        /// Why it fails, where it does.
        reason: String,
    },
    /// Somebody wants it to stop.
    Cancel,
}

/// A transition that the state does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The action does not fit the state.
    #[error("a run that is {state} cannot {action}")]
    NotNow {
        /// The state's name.
        state: &'static str,
        /// The action's name.
        action: &'static str,
    },
    /// A worker reports an attempt that is no longer the current one.
    #[error("attempt {reported} reports, but attempt {current} is current")]
    Stale {
        /// What the worker said.
        reported: u32,
        /// What the record says.
        current: u32,
    },
}

/// What state a run is in, without what belongs to it. The numbers are on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum StateKind {
    /// It waits.
    Queued = 1,
    /// It has a slot.
    Running = 2,
    /// It brought a result.
    Succeeded = 3,
    /// It brought none.
    Failed = 4,
    /// Somebody stopped it.
    Cancelled = 5,
}

impl StateKind {
    /// All of them, in the order in which a run may pass through them.
    pub const ALL: [Self; 5] = [Self::Queued, Self::Running, Self::Succeeded, Self::Failed, Self::Cancelled];

    /// The name that the API prints.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl RunState {
    /// Which state it is.
    pub fn kind(&self) -> StateKind {
        match self {
            Self::Queued => StateKind::Queued,
            Self::Running { .. } => StateKind::Running,
            Self::Done { outcome: Outcome::Succeeded { .. }, .. } => StateKind::Succeeded,
            Self::Done { outcome: Outcome::Failed { .. }, .. } => StateKind::Failed,
            Self::Done { outcome: Outcome::Cancelled, .. } => StateKind::Cancelled,
        }
    }

    /// The state's name as the API prints it.
    pub fn name(&self) -> &'static str {
        self.kind().name()
    }
}

impl Action {
    fn name(&self) -> &'static str {
        match self {
            Self::Claim => "start",
            Self::Finish { .. } => "finish",
            Self::Yield { .. } => "yield",
            Self::Crash => "crash",
            Self::OutOfMemory { .. } => "run out of memory",
            Self::Cancel => "be cancelled",
        }
    }
}

/// What becomes of `run` when `action` happens at `now`.
///
/// # Errors
/// [`Refused`] where the state does not allow it; the run is unchanged then.
pub fn transition(run: &Run, action: Action, now: Timestamp) -> Result<Run, Refused> {
    let mut next = run.clone();
    next.stamp.touch(now);
    let done = |outcome| RunState::Done { outcome, finished_at: now };
    next.state = match (&run.state, action) {
        (RunState::Queued, Action::Claim) => {
            next.attempts += 1;
            next.first_started_at.get_or_insert(now);
            next.last_started_at = Some(now);
            RunState::Running { attempt: next.attempts, started_at: now, cancelling: false }
        }
        (RunState::Queued, Action::Cancel) => done(Outcome::Cancelled),
        (RunState::Running { attempt, .. }, Action::Finish { attempt: reported, outcome }) => {
            fence(reported, *attempt)?;
            done(outcome)
        }
        (RunState::Running { attempt, cancelling, .. }, Action::Yield { attempt: reported }) => {
            fence(reported, *attempt)?;
            if *cancelling { done(Outcome::Cancelled) } else { RunState::Queued }
        }
        (RunState::Running { cancelling: true, .. }, Action::Crash) => done(Outcome::Cancelled),
        (RunState::Running { .. }, Action::Crash) => {
            next.crashes += 1;
            if next.crashes >= MAX_CRASHES {
                done(Outcome::Failed { reason: crash_reason() })
            } else {
                RunState::Queued
            }
        }
        (RunState::Running { attempt, cancelling, .. }, Action::OutOfMemory { attempt: reported, alone, reason }) => {
            fence(reported, *attempt)?;
            if *cancelling {
                done(Outcome::Cancelled)
            } else if alone || run.is_suspect() {
                done(Outcome::Failed { reason })
            } else {
                next.crashes = MAX_CRASHES - 1;
                RunState::Queued
            }
        }
        (RunState::Running { attempt, started_at, .. }, Action::Cancel) => {
            RunState::Running { attempt: *attempt, started_at: *started_at, cancelling: true }
        }
        (state, action) => return Err(Refused::NotNow { state: state.name(), action: action.name() }),
    };
    Ok(next)
}

fn fence(reported: u32, current: u32) -> Result<(), Refused> {
    if reported == current { Ok(()) } else { Err(Refused::Stale { reported, current }) }
}

fn crash_reason() -> String {
    format!(
        "the server went down, or the machine ran out of memory, up to {MAX_CRASHES} times while this run was running, the \
         last time with nothing else beside it; look at its log and at the machine's memory, then submit it again"
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::domain::account::Actor;
    use crate::domain::dataset::VersionNumber;
    use crate::domain::experiment::LearningRate;
    use crate::domain::ids::DatasetId;
    use proptest::prelude::*;

    pub(crate) fn a_run() -> Run {
        Run {
            id: RunId(9),
            stamp: Stamp::new(Actor::LOCAL, Timestamp(1)),
            spec: RunSpec {
                model: ModelId(2),
                experiment: ExperimentId(3),
                version: DatasetVersion { dataset: DatasetId(4), number: VersionNumber(5) },
                parameters: HyperParameters { learning_rate: LearningRate::new(0.01).unwrap(), layers: 2, steps: 1000 },
                seed: 7,
                timeout_seconds: None,
            },
            sweep: Some(SweepId(8)),
            priority: 0,
            attempts: 0,
            crashes: 0,
            first_started_at: None,
            last_started_at: None,
            state: RunState::Queued,
        }
    }

    fn actions() -> impl Strategy<Value = Vec<Action>> {
        let outcome = prop_oneof![
            Just(Outcome::Cancelled),
            Just(Outcome::Failed { reason: "x".into() }),
            Just(Outcome::Succeeded { accuracy: "0.5".parse().unwrap(), validation_loss: None }),
        ];
        let action = prop_oneof![
            3 => Just(Action::Claim),
            1 => (0u32..5, outcome).prop_map(|(attempt, outcome)| Action::Finish { attempt, outcome }),
            1 => (0u32..5).prop_map(|attempt| Action::Yield { attempt }),
            2 => Just(Action::Crash),
            1 => (0u32..5, any::<bool>()).prop_map(|(attempt, alone)| Action::OutOfMemory {
                attempt,
                alone,
                reason: "m".into(),
            }),
            1 => Just(Action::Cancel),
        ];
        proptest::collection::vec(action, 0..40)
    }

    proptest! {
        #[test]
        fn whatever_happens_a_run_keeps_its_laws(actions in actions()) {
            let mut run = a_run();
            for (tick, action) in actions.into_iter().enumerate() {
                let before = run.clone();
                match transition(&run, action.clone(), Timestamp(tick as u64 + 2)) {
                    Err(_) => prop_assert_eq!(&run, &before),
                    Ok(next) => {
                        prop_assert!(!matches!(before.state, RunState::Done { .. }), "done is for ever");
                        prop_assert_eq!(next.stamp.revision, before.stamp.revision + 1);
                        prop_assert_eq!(&next.spec, &before.spec);
                        prop_assert!(next.crashes <= MAX_CRASHES);
                        if let RunState::Running { attempt, .. } = next.state {
                            prop_assert_eq!(attempt, next.attempts);
                        }
                        if let (RunState::Running { attempt, .. }, Action::Finish { attempt: reported, .. }) = (&before.state, &action) {
                            prop_assert_eq!(attempt, reported, "a stale worker is fenced off");
                        }
                        if next.crashes == MAX_CRASHES {
                            let failed = matches!(next.state, RunState::Done { outcome: Outcome::Failed { .. }, .. });
                            prop_assert!(failed);
                        }
                        run = next;
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_killed_for_memory_beside_others_is_tried_once_more_and_alone() {
        let at = Timestamp(5);
        let kill = |run: &Run, alone| {
            let running = transition(run, Action::Claim, at).unwrap();
            let attempt = running.attempts;
            transition(&running, Action::OutOfMemory { attempt, alone, reason: "too much".into() }, at).unwrap()
        };
        let failed = RunState::Done { outcome: Outcome::Failed { reason: "too much".into() }, finished_at: at };
        assert_eq!(kill(&a_run(), true).state, failed);
        let again = kill(&a_run(), false);
        assert!(again.state == RunState::Queued && again.is_suspect());
        assert_eq!(kill(&again, false).state, failed, "it ran alone, whoever says what");
    }

    #[test]
    fn a_cancelled_run_is_not_started_again_by_a_crash() {
        let at = Timestamp(5);
        let running = transition(&a_run(), Action::Claim, at).unwrap();
        let stopping = transition(&running, Action::Cancel, at).unwrap();
        let memory = Action::OutOfMemory { attempt: 1, alone: false, reason: String::new() };
        for end in [Action::Crash, memory] {
            assert_eq!(transition(&stopping, end, at).unwrap().state.name(), "cancelled");
        }
    }
}
