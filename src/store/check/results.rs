//! Results, the scores that order them, and the best of each model.

use super::super::tx::Read;
use super::super::{columns, results};
use super::super::{experiments, models, runs};
use super::look::Look;
use crate::domain::experiment::Experiment;
use crate::domain::ids::ModelId;
use crate::domain::result::ExperimentResult;

pub(super) fn result<R: Read>(look: &mut Look<'_, R>) {
    let Some(result) = look.decoded("result", results::decode(look.value())) else { return };
    let who = format!("the result of {} on {}", result.experiment, result.dataset);
    if !look.is_at(&who, &results::result_key(result.experiment, result.dataset)) {
        return;
    }
    let found = experiments::get(look.reader, result.experiment);
    let Some(experiment) = look.expect(&who, "its experiment", found) else { return };
    // What cannot be read is found at its own key.
    if results::is_shown(look.reader, Some(&experiment), &result).is_ok_and(|shown| shown) {
        look.index(&who, "score", results::score_key(experiment.model, &result), &results::pointer(&result));
    }
    let Some(run) = look.expect(&who, format_args!("its run {}", result.run), runs::get(look.reader, result.run))
    else {
        return;
    };
    let is_own = ExperimentResult::of(&run, experiment.ordinal).is_some_and(|of_run| of_run == result);
    if !is_own {
        look.problem(format!("{who} is not what its run {} brought", run.id));
    }
}

pub(super) fn score<R: Read>(look: &mut Look<'_, R>) {
    let (experiment, dataset) = results::pointed_at(look.value());
    let found = (experiments::get(look.reader, experiment), results::get(look.reader, experiment, dataset));
    // What cannot be read is found at its own key.
    let (Ok(experiment_found), Ok(result)) = found else { return };
    let stands = |result: &ExperimentResult| {
        let Some(found) = &experiment_found else { return false };
        results::score_key(found.model, result) == look.whole_key()
            && results::is_shown(look.reader, Some(found), result).unwrap_or(true)
    };
    if !result.as_ref().is_some_and(stands) {
        look.stale(format!("a score of {experiment} on {dataset}"));
    }
}

/// A place in a column is that of an experiment that has results.
pub(super) fn column<R: Read>(look: &mut Look<'_, R>) {
    let Ok(found) = columns::experiment_at(look.reader, look.whole_key()) else { return };
    let stands = |experiment: &Experiment| {
        columns::keys(experiment).iter().any(|key| key == look.whole_key())
            && columns::has_results(look.reader, experiment).unwrap_or(true)
    };
    if !found.as_ref().is_some_and(stands) {
        look.stale("a place in a column");
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
