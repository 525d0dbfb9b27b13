//! Results, the scores that order them, and the best of each model.

use super::super::key;
use super::super::results::{self, Scope};
use super::super::tx::Read;
use super::super::{experiments, models, runs};
use super::look::Look;
use crate::domain::ids::{DatasetId, ExperimentId, ModelId};
use crate::domain::result::ExperimentResult;
use crate::domain::run::{Outcome, RunState};

pub(super) fn result<R: Read>(look: &mut Look<'_, R>) {
    let Some(result) = look.decoded("result", results::decode(look.value())) else { return };
    let who = format!("the result of {} on {}", result.experiment, result.dataset);
    if !look.is_at(&who, &results::result_key(result.experiment, result.dataset)) {
        return;
    }
    let found = experiments::get(look.reader, result.experiment);
    let Some(experiment) = look.expect(&who, "its experiment", found) else { return };
    for scope in results::scopes(experiment.model, experiment.id) {
        look.index(&who, "score", results::score_key(scope, &result), &results::pointer(&result));
    }
    let Some(run) = look.expect(&who, format_args!("its run {}", result.run), runs::get(look.reader, result.run))
    else {
        return;
    };
    let is_own = match &run.state {
        RunState::Done { outcome: Outcome::Succeeded { accuracy, validation_loss }, .. } => {
            let of_run = ExperimentResult {
                experiment: run.spec.experiment,
                dataset: run.spec.version.dataset,
                version: run.spec.version,
                run: run.id,
                ordinal: experiment.ordinal,
                accuracy: accuracy.clone(),
                validation_loss: *validation_loss,
            };
            of_run == result
        }
        _ => false,
    };
    if !is_own {
        look.problem(format!("{who} is not what its run {} brought", run.id));
    }
}

pub(super) fn score<R: Read>(look: &mut Look<'_, R>) {
    let owner = key::id_at(look.key(), 0);
    let (experiment, dataset) = (ExperimentId(key::id_at(look.value(), 0)), DatasetId(key::id_at(look.value(), 8)));
    let scope = match owner {
        id if id == experiment.0 => Scope::Experiment(experiment),
        id => Scope::Model(ModelId(id)),
    };
    let model = experiments::get(look.reader, experiment).map(|found| found.map(|found| found.model));
    let (Ok(model), Ok(result)) = (model, results::get(look.reader, experiment, dataset)) else { return };
    let is_own = match scope {
        Scope::Model(owner) => model == Some(owner),
        Scope::Experiment(_) => true,
    };
    if !is_own || result.is_none_or(|result| results::score_key(scope, &result)[1..] != *look.key()) {
        look.stale(format!("a score of {experiment} on {dataset}"));
    }
}

pub(super) fn best<R: Read>(look: &mut Look<'_, R>) {
    let Some([model]) = look.ids() else { return };
    let who = format!("the best result of {}", ModelId(model));
    if look.decoded("best result", results::decode_best(look.value())).is_some() {
        // Whether it is the best is judged at the model.
        look.expect(who, "its model", models::get(look.reader, ModelId(model)));
    }
}
