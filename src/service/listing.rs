//! Runs in a list: of a model or a sweep, only some of them, from either end.

use super::runs::{RunView, view};
use super::{Services, access, control};
use crate::domain::account::{Permit, View};
use crate::domain::error::{Error, Result};
use crate::domain::ids::{DatasetId, ExperimentId, ModelId, RunId, SweepId};
use crate::domain::reference::Reference;
use crate::domain::run::{Run, StateKind};
use crate::domain::sweep::Sweep;
use crate::store::runs::Listed;
use crate::store::{runs, sweeps};

/// The most runs that are looked at for one page: where few are wanted, a page holds fewer, and the next one goes on.
const LOOKED_AT: usize = 2_000;

/// Runs looked up at once.
const PAGE: usize = 200;

/// Whose runs.
#[derive(Debug, Clone)]
pub enum Whose {
    /// A model's.
    Model(Reference<ModelId>),
    /// A sweep's.
    Sweep(SweepId),
}

/// Which of them.
#[derive(Debug, Clone, Default)]
pub struct Only {
    /// In this state.
    pub state: Option<StateKind>,
    /// Of this experiment.
    pub experiment: Option<Reference<ExperimentId>>,
    /// On this dataset.
    pub dataset: Option<Reference<DatasetId>>,
    /// From the newest on.
    pub newest_first: bool,
}

/// A page of runs, and behind which one the next page begins.
pub type RunPage = (Vec<RunView>, Option<RunId>);

struct Wanted {
    state: Option<StateKind>,
    experiment: Option<ExperimentId>,
    dataset: Option<DatasetId>,
}

impl Wanted {
    fn has(&self, run: &Run) -> bool {
        self.state.is_none_or(|state| run.state.kind() == state)
            && self.experiment.is_none_or(|experiment| run.spec.experiment == experiment)
            && self.dataset.is_none_or(|dataset| run.spec.version.dataset == dataset)
    }
}

/// Reads the name of a state.
///
/// # Errors
/// `invalid_parameter` naming all of them.
pub fn state(text: &str) -> Result<StateKind> {
    let found = StateKind::ALL.into_iter().find(|state| state.name() == text);
    found.ok_or_else(|| Error::parameter(format!("state is one of {}", StateKind::ALL.map(StateKind::name).join(", "))))
}

/// A sweep in a list.
#[derive(Debug, Clone)]
pub struct SweepLine {
    /// The sweep.
    pub sweep: Sweep,
    /// The name of its model.
    pub model: String,
    /// How many of its runs are not over, where that was counted.
    pub open: Option<u64>,
}

impl Services {
    /// Up to `limit` sweeps of a model, the newest first, before the sweep `before`; and before which one the next page begins.
    ///
    /// # Errors
    /// `not_found` for the model.
    pub fn sweeps(
        &self,
        permit: Permit<View>,
        model: &Reference<ModelId>,
        before: Option<SweepId>,
        limit: usize,
    ) -> Result<(Vec<SweepLine>, Option<SweepId>)> {
        let store = &self.parts.store;
        let model = access::called(store, permit, model)?;
        // One more, to know whether there is a next page.
        let mut found = sweeps::newest(store, model.id, before, limit.saturating_add(1))?;
        let has_more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| has_more).map(|sweep| sweep.id);
        let line = |sweep: Sweep| {
            let open = sweeps::open_runs(store, sweep.id)?;
            Ok(SweepLine { sweep, model: model.name.as_str().to_owned(), open })
        };
        Ok((found.into_iter().map(line).collect::<Result<_>>()?, next))
    }

    /// Up to `limit` runs, in the order of submission or against it, behind the run `after`.
    ///
    /// # Errors
    /// `not_found` for what is named.
    pub fn listed_runs(
        &self,
        permit: Permit<View>,
        whose: &Whose,
        only: &Only,
        after: Option<RunId>,
        limit: usize,
    ) -> Result<RunPage> {
        let store = &self.parts.store;
        let (model, list) = match whose {
            Whose::Model(model) => {
                let model = access::called_id(store, permit, model)?;
                (
                    model,
                    match only.state {
                        // Most have succeeded, so they are no list of their own.
                        None | Some(StateKind::Succeeded) => Listed::OfModel(model),
                        Some(state) => Listed::InState(model, state),
                    },
                )
            }
            Whose::Sweep(id) => (control::sweep(store, permit, *id)?.model, Listed::OfSweep(*id)),
        };
        let experiment = only.experiment.as_ref().map(|one| access::experiment(store, model, one)).transpose()?;
        // An experiment has few runs.
        let list = experiment.as_ref().map_or(list, |experiment| match list {
            Listed::OfSweep(_) => list,
            _ => Listed::OfExperiment(experiment.id),
        });
        let dataset = only.dataset.as_ref().map(|one| access::dataset(store, model, one)).transpose()?;
        let wanted = Wanted {
            state: only.state,
            experiment: experiment.map(|experiment| experiment.id),
            dataset: dataset.map(|dataset| dataset.id),
        };
        let (mut found, mut after, mut looked) = (Vec::new(), after, 0);
        loop {
            let page = match only.newest_first {
                false => runs::listed(store, list, after, PAGE)?,
                true => runs::newest(store, list, after, PAGE)?,
            };
            let is_last = page.len() < PAGE;
            for run in page {
                // There is one more, so there is a next page.
                if found.len() == limit || looked == LOOKED_AT {
                    return Ok((found, after));
                }
                (after, looked) = (Some(run.id), looked + 1);
                if wanted.has(&run) {
                    found.push(view(store, run)?);
                }
            }
            if is_last {
                return Ok((found, None));
            }
        }
    }
}
