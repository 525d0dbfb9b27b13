//! Where the runs of sweeps stand, kept in step with the log of changes: counting ten thousand runs anew for each that ends
//! would keep a core busy. Knows the sweeps that something happened to lately.

use crate::domain::error::Result;
use crate::domain::ids::{ExperimentId, RunId, SweepId};
use crate::domain::run::{Outcome, Run, RunState, StateKind};
use crate::service::control::{SweepBest, SweepView};
use crate::store::{Store, models, runs, sweeps};
use std::cmp::Ordering;
use std::collections::HashMap;

/// The most sweeps that are kept.
const MOST: usize = 16;

/// Where one sweep stands; of several runs of one experiment the last counts.
#[derive(Debug, Default)]
pub(in crate::service) struct Tally {
    last: HashMap<ExperimentId, (RunId, StateKind)>,
    counts: [u64; StateKind::ALL.len()],
    best: Option<SweepBest>,
    /// When it was last asked for, in order.
    used: u64,
}

impl Tally {
    /// Counts all runs of a sweep.
    pub fn of(store: &Store, id: SweepId) -> Result<Self> {
        let mut tally = Self::default();
        runs::last_of_sweep(store, id)?.values().for_each(|run| tally.note(run));
        Ok(tally)
    }

    fn count(&mut self, state: StateKind) -> Option<&mut u64> {
        let at = StateKind::ALL.iter().position(|kind| *kind == state)?;
        self.counts.get_mut(at)
    }

    /// Takes in where a run stands now.
    fn note(&mut self, run: &Run) {
        let state = run.state.kind();
        match self.last.get(&run.spec.experiment).copied() {
            Some((other, _)) if other > run.id => return,
            Some((_, before)) => {
                if let Some(count) = self.count(before) {
                    *count = count.saturating_sub(1);
                }
            }
            None => {}
        }
        self.last.insert(run.spec.experiment, (run.id, state));
        if let Some(count) = self.count(state) {
            *count += 1;
        }
        if let RunState::Done { outcome: Outcome::Succeeded { accuracy, .. }, .. } = &run.state {
            let is_better =
                |best: &SweepBest| accuracy.compare(&best.accuracy).then(best.run.cmp(&run.id)) == Ordering::Greater;
            if self.best.as_ref().is_none_or(is_better) {
                self.best = Some(SweepBest { run: run.id, accuracy: accuracy.clone() });
            }
        }
    }

    /// What is shown of it; nothing where the sweep is gone.
    pub fn view(&self, store: &Store, id: SweepId) -> Result<Option<SweepView>> {
        let Some(sweep) = sweeps::get(store, id)? else { return Ok(None) };
        let model = models::get(store, sweep.model)?;
        Ok(Some(SweepView {
            model: model.map(|model| model.name.as_str().to_owned()).unwrap_or_default(),
            states: StateKind::ALL.map(StateKind::name).into_iter().zip(self.counts).collect(),
            best: self.best.clone(),
            sweep,
        }))
    }
}

/// The tallies of the sweeps that something happened to lately.
#[derive(Debug, Default)]
pub(super) struct Tallies {
    known: HashMap<SweepId, Tally>,
    clock: u64,
}

impl Tallies {
    /// Where a sweep stands now that these runs of it have changed.
    pub fn after(&mut self, store: &Store, id: SweepId, changed: &[&Run]) -> Result<Option<SweepView>> {
        self.clock += 1;
        if !self.known.contains_key(&id) {
            if self.known.len() >= MOST
                && let Some(oldest) = self.known.iter().min_by_key(|(_, tally)| tally.used).map(|(id, _)| *id)
            {
                self.known.remove(&oldest);
            }
            self.known.insert(id, Tally::of(store, id)?);
        }
        let Some(tally) = self.known.get_mut(&id) else { return Ok(None) };
        tally.used = self.clock;
        changed.iter().for_each(|run| tally.note(run));
        tally.view(store, id)
    }

    /// Runs may be gone.
    pub fn forget(&mut self) {
        self.known.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::accuracy::Accuracy;
    use crate::domain::run::tests::a_run;
    use crate::domain::stamp::Timestamp;

    #[test]
    fn of_several_runs_of_one_experiment_the_last_counts() {
        let mut tally = Tally::default();
        let run = |id, experiment, state: RunState| {
            let mut run = a_run();
            (run.id, run.spec.experiment, run.state) = (RunId(id), ExperimentId(experiment), state);
            run
        };
        let done = |outcome| RunState::Done { outcome, finished_at: Timestamp(1) };
        let reached =
            |text: &str| done(Outcome::Succeeded { accuracy: Accuracy::parse(text).unwrap(), validation_loss: None });
        let failed = done(Outcome::Failed { reason: "x".to_owned() });
        for run in [
            run(1, 1, RunState::Queued),
            run(2, 2, RunState::Queued),
            run(1, 1, failed.clone()),
            run(2, 2, reached("0.5")),
            run(3, 1, RunState::Queued),
            run(1, 1, failed),
        ] {
            tally.note(&run);
        }
        assert_eq!(tally.counts, [1, 0, 1, 0, 0]);
        tally.note(&run(3, 1, reached("0.75")));
        tally.note(&run(4, 3, reached("0.75")));
        assert_eq!(tally.counts, [0, 0, 3, 0, 0]);
        assert_eq!(tally.best.unwrap().run, RunId(3));
    }
}
