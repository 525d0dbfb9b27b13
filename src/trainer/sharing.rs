//! Which runs the built-in trainer does in one pass, and how its child learns whose step count is whose.
//!
//! A run of 4,000 steps passes exactly through the states of a run of 1,000, so runs that differ in nothing but their
//! steps are one training with a result at each. Knows the rule and the variable's form; not who queues or starts runs.

use super::command::Command;
use super::output::MAX_JOB_RUNS;
use crate::domain::experiment::HyperParameters;
use crate::domain::job::{NoSharing, Sharing};
use crate::domain::run::RunSpec;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The environment variable that names run and folder for each step count of a job of several runs.
pub const JOB: &str = "TRAINYARD_JOB";

/// The subcommand that can do several runs in one pass.
const TRAIN: &str = "train";

/// The most runs of one job: it has one slot for as long as the longest of them takes.
const MOST: usize = 16;
const _: () = assert!(MOST <= MAX_JOB_RUNS, "a job has no more results than are told apart");

/// One run of a job: an element of the JSON list in [`JOB`], which is in ascending order of the steps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobEntry {
    /// Its number of steps; no two runs of a job have the same.
    pub k: u64,
    /// Its id, as `TRAINYARD_RUN_ID` has it.
    pub run: String,
    /// Its folder, an absolute path, as `TRAINYARD_MODEL_DIR` has it.
    pub folder: PathBuf,
}

/// What the train command can share: `own`, this very binary, is the built-in trainer; anything else is a script.
pub fn of(train: &Command, own: &Path) -> Arc<dyn Sharing> {
    let is_built_in = train.program == own && train.arguments.first().is_some_and(|word| word == TRAIN);
    if is_built_in { Arc::new(OneTrajectory) } else { Arc::new(NoSharing) }
}

/// The answer of the built-in trainer: runs that differ in their steps alone.
#[derive(Debug, Clone, Copy)]
struct OneTrajectory;

impl Sharing for OneTrajectory {
    fn most(&self) -> usize {
        MOST
    }

    fn can_share(&self, first: &RunSpec, other: &RunSpec) -> bool {
        // Taken apart, so that a further parameter cannot be forgotten here.
        let RunSpec { model, experiment: _, version, parameters, seed, timeout_seconds } = first;
        let HyperParameters { learning_rate, layers, steps } = parameters;
        (*model, *version, *seed, *timeout_seconds) == (other.model, other.version, other.seed, other.timeout_seconds)
            && (*learning_rate, *layers) == (other.parameters.learning_rate, other.parameters.layers)
            && *steps != other.parameters.steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::dataset::VersionNumber;
    use crate::domain::ids::ExperimentId;
    use crate::domain::run::tests::a_run;

    fn command(program: &str, arguments: &[&str]) -> Command {
        Command { program: program.into(), arguments: arguments.iter().map(Into::into).collect() }
    }

    #[test]
    fn runs_that_differ_in_their_steps_alone_share() {
        let first = a_run().spec;
        let with = |change: &dyn Fn(&mut RunSpec)| {
            let mut other = first.clone();
            other.parameters.steps += 1;
            change(&mut other);
            OneTrajectory.can_share(&first, &other)
        };
        assert!(with(&|other| other.experiment = ExperimentId(77)));
        assert!(!with(&|other| other.parameters = HyperParameters::parse("0.02", "2", "9").unwrap()));
        assert!(!with(&|other| other.parameters.layers += 1));
        assert!(!with(&|other| other.parameters.steps = first.parameters.steps), "they are told apart by their steps");
        assert!(!with(&|other| other.seed += 1));
        assert!(!with(&|other| other.version.number = VersionNumber(6)));
    }

    #[test]
    fn a_script_shares_nothing() {
        let own = Path::new("/own/trainyard");
        assert_eq!(of(&command("/own/trainyard", &["train"]), own).most(), MOST);
        assert_eq!(of(&command("/own/trainyard", &["train", "--more"]), own).most(), MOST);
        for script in [command("/usr/bin/python3", &["train"]), command("/own/trainyard", &["test"])] {
            assert_eq!(of(&script, own).most(), 1, "{script:?}");
        }
        assert_eq!(of(&command("/own/trainyard", &[]), own).most(), 1);
    }
}
