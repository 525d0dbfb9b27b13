//! Results: the best, and all of them a page at a time.

use super::{Services, access};
use crate::domain::account::{Permit, View};
use crate::domain::error::{Code, Error, Result};
use crate::domain::experiment::HyperParameters;
use crate::domain::ids::{DatasetId, ExperimentId, ModelId};
use crate::domain::name::Name;
use crate::domain::reference::Reference;
use crate::domain::result::Best;
use crate::store::results::{self, Scope};
use crate::store::{Store, datasets, experiments};
use std::collections::HashMap;

/// Experiments looked up at once.
const PAGE: usize = 200;

/// An experiment with its results.
#[derive(Debug, Clone, PartialEq)]
pub struct ExperimentAccuracies {
    /// Its name.
    pub experiment: String,
    /// What it is told.
    pub parameters: HyperParameters,
    /// (accuracy as printed, dataset name), in the order in which the datasets were made.
    pub accuracies: Vec<(String, String)>,
}

/// Experiments with their results, a page at a time, in the order of creation.
pub struct AccuracyPages {
    store: Store,
    model: ModelId,
    /// Only this one, where one was asked for.
    only: Option<Name>,
    next: Option<u32>,
    dataset_names: HashMap<DatasetId, Option<String>>,
}

impl Services {
    /// The best result of a model, or of one of its experiments.
    ///
    /// # Errors
    /// `not_found` for what was named, `no_results` where there is none yet.
    pub fn best(
        &self,
        permit: Permit<View>,
        model: impl Into<Reference<ModelId>>,
        experiment: Option<&Reference<ExperimentId>>,
    ) -> Result<Best> {
        let store = &self.parts.store;
        let model = access::called_id(store, permit, &model.into())?;
        let scope = match experiment {
            None => Scope::Model(model),
            Some(experiment) => Scope::Experiment(access::experiment(store, model, experiment)?.id),
        };
        results::best(store, scope)?.ok_or_else(|| Error::new(Code::NoResults, "no experiment done yet"))
    }

    /// All results of a model, or of one of its experiments.
    ///
    /// # Errors
    /// `not_found` for what was named.
    pub fn accuracies(&self, permit: Permit<View>, model: &Name, experiment: Option<Name>) -> Result<AccuracyPages> {
        let store = &self.parts.store;
        let model = access::model_id(store, permit, model)?;
        if let Some(name) = &experiment {
            experiments::named(store, model, name)?;
        }
        Ok(AccuracyPages {
            store: store.clone(),
            model,
            only: experiment,
            next: Some(0),
            dataset_names: HashMap::new(),
        })
    }
}

impl AccuracyPages {
    /// The next page; `None` at the end.
    ///
    /// # Errors
    /// `internal` where the store cannot be read.
    pub fn next_page(&mut self) -> Result<Option<Vec<ExperimentAccuracies>>> {
        let Some(from) = self.next else { return Ok(None) };
        let found = match &self.only {
            Some(name) => vec![experiments::named(&self.store, self.model, name)?],
            None => experiments::page(&self.store, self.model, from, PAGE)?,
        };
        self.next = match found.last() {
            Some(last) if self.only.is_none() && found.len() == PAGE => Some(last.ordinal + 1),
            _ => None,
        };
        let mut page = Vec::with_capacity(found.len());
        for experiment in found {
            let mut accuracies = Vec::new();
            for result in results::of_experiment(&self.store, experiment.id)? {
                if let Some(dataset) = self.dataset_name(result.dataset)? {
                    accuracies.push((result.accuracy.text().to_owned(), dataset));
                }
            }
            page.push(ExperimentAccuracies {
                experiment: experiment.name.as_str().to_owned(),
                parameters: experiment.parameters,
                accuracies,
            });
        }
        Ok(Some(page))
    }

    /// The name of a dataset; `None` for one in the trash.
    fn dataset_name(&mut self, id: DatasetId) -> Result<Option<String>> {
        if let Some(known) = self.dataset_names.get(&id) {
            return Ok(known.clone());
        }
        let dataset = datasets::must_get(&self.store, id)?;
        let name = dataset.stamp.trashed_at.is_none().then(|| dataset.name_text().to_owned());
        self.dataset_names.insert(id, name.clone());
        Ok(name)
    }
}
