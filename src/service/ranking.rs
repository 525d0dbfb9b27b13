//! Results in order: the best first, as far as one wants to look; the best on a dataset; all of them, to take away.

use super::{Services, access};
use crate::domain::account::{Permit, View};
use crate::domain::error::{Code, Error, Result};
use crate::domain::experiment::HyperParameters;
use crate::domain::ids::{DatasetId, ExperimentId, ModelId};
use crate::domain::reference::Reference;
use crate::domain::result::ExperimentResult;
pub use crate::store::columns::{Column, Order, Place};
use crate::store::{Store, columns, datasets, experiments, results};

/// Results looked at in one go.
const PAGE: usize = 200;

/// A result with the names of what it belongs to.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranked {
    /// The result.
    pub result: ExperimentResult,
    /// The name of its experiment.
    pub experiment: String,
    /// What that is told.
    pub parameters: HyperParameters,
    /// The name of its dataset, empty for all images of the model.
    pub dataset: String,
}

/// The results of a model in the order of its experiments, a page at a time.
pub struct Export {
    store: Store,
    model: ModelId,
    next: Option<u32>,
}

impl Services {
    /// Up to `limit` results of a model in an order, behind a place of it, each with its place.
    ///
    /// # Errors
    /// `not_found` for the model.
    pub fn leaderboard(
        &self,
        permit: Permit<View>,
        model: &Reference<ModelId>,
        order: Order,
        after: Option<&Place>,
        limit: usize,
    ) -> Result<Vec<(Place, Ranked)>> {
        let store = &self.parts.store;
        let model = access::called_id(store, permit, model)?;
        let found = columns::sorted(store, model, order, after.map(Vec::as_slice), 0).take(limit);
        found.map(|found| found.and_then(|(place, result)| Ok((place, named(store, result)?)))).collect()
    }

    /// The best result of a model, among those of an experiment and on a dataset where these are named.
    ///
    /// # Errors
    /// `not_found` for what was named, `no_results` where there is none yet.
    pub fn best_of(
        &self,
        permit: Permit<View>,
        model: &Reference<ModelId>,
        experiment: Option<&Reference<ExperimentId>>,
        dataset: Option<&Reference<DatasetId>>,
    ) -> Result<Ranked> {
        let store = &self.parts.store;
        let Some(dataset) = dataset else {
            let best = self.best(permit, model, experiment)?;
            let result = results::get(store, best.experiment, best.dataset)?;
            return named(store, result.ok_or_else(|| Error::internal("the best result is not stored"))?);
        };
        let none = || Error::new(Code::NoResults, "no experiment done yet");
        let id = access::called_id(store, permit, model)?;
        let dataset = access::dataset(store, id, dataset)?.id;
        if let Some(experiment) = experiment {
            let experiment = access::experiment(store, id, experiment)?.id;
            return named(store, results::get(store, experiment, dataset)?.ok_or_else(none)?);
        }
        named(store, columns::best_on(store, id, dataset)?.ok_or_else(none)?)
    }

    /// All results of a model.
    ///
    /// # Errors
    /// `not_found` for the model.
    pub fn export(&self, permit: Permit<View>, model: &Reference<ModelId>) -> Result<Export> {
        let store = &self.parts.store;
        Ok(Export { store: store.clone(), model: access::called_id(store, permit, model)?, next: Some(0) })
    }
}

impl Export {
    /// The next results; none at the end. Blocks for a moment.
    ///
    /// # Errors
    /// `internal` where the store cannot be read.
    pub fn next_page(&mut self) -> Result<Option<Vec<Ranked>>> {
        let Some(from) = self.next else { return Ok(None) };
        let found = experiments::page(&self.store, self.model, from, PAGE)?;
        self.next = found.last().filter(|_| found.len() == PAGE).map(|last| last.ordinal + 1);
        let mut page = Vec::new();
        for experiment in found {
            for result in results::of_experiment(&self.store, experiment.id)? {
                let dataset = datasets::must_get(&self.store, result.dataset)?;
                if dataset.stamp.trashed_at.is_none() {
                    page.push(Ranked {
                        result,
                        experiment: experiment.name.as_str().to_owned(),
                        parameters: experiment.parameters,
                        dataset: dataset.name_text().to_owned(),
                    });
                }
            }
        }
        Ok(Some(page))
    }
}

fn named(store: &Store, result: ExperimentResult) -> Result<Ranked> {
    let experiment = experiments::get(store, result.experiment)?
        .ok_or_else(|| Error::internal(format!("{} has a result but is not stored", result.experiment)))?;
    let dataset = datasets::must_get(store, result.dataset)?;
    Ok(Ranked {
        experiment: experiment.name.as_str().to_owned(),
        parameters: experiment.parameters,
        dataset: dataset.name_text().to_owned(),
        result,
    })
}
