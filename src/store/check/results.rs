//! Results, the scores that order them, and the best of each model.

use super::super::tx::Read;
use super::super::{columns, results};
use super::super::{experiments, models, runs};
use super::look::Look;
use crate::domain::ids::{DatasetId, ExperimentId, ModelId};
use crate::domain::result::ExperimentResult;

pub(super) fn result<R: Read>(look: &mut Look<'_, R>) {
    let Some(result) = look.decoded("result", results::decode(look.value())) else { return };
    let who = format!("the result of {} on {}", result.experiment, result.dataset);
    if !look.is_at(&who, &results::result_key(result.experiment, result.dataset)) {
        return;
    }
    let found = experiments::get(look.reader, result.experiment);
    let Some(experiment) = look.expect(&who, "its experiment", found) else { return };
    let Ok(shown) = results::shown_in(look.reader, experiment.model, Some(&experiment), &result) else { return };
    let places = results::places(experiment.model, Some(&experiment), &result);
    for (_, key, value) in places.filter(|(scope, ..)| shown.contains(&Some(*scope))) {
        look.index(&who, "score", key, &value);
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
    let whose = results::pointed_at(look.value());
    place(look, whose);
}

pub(super) fn column<R: Read>(look: &mut Look<'_, R>) {
    match columns::pointed_at(look.reader, look.whole_key()) {
        Ok(Some(whose)) => place(look, whose),
        Ok(None) => look.stale("a place in a column"),
        // The experiment's own key says so.
        Err(_) => {}
    }
}

/// A place in line leads to a result that stands there.
fn place<R: Read>(look: &mut Look<'_, R>, (experiment, dataset): (ExperimentId, DatasetId)) {
    let found = (experiments::get(look.reader, experiment), results::get(look.reader, experiment, dataset));
    // What cannot be read is found at its own key.
    let (Ok(experiment_found), Ok(result)) = found else { return };
    let stands = |result: &ExperimentResult| {
        let Some(found) = &experiment_found else { return false };
        let Ok(shown) = results::shown_in(look.reader, found.model, Some(found), result) else { return true };
        let mut places = results::places(found.model, Some(found), result);
        places.any(|(scope, key, _)| key == look.whole_key() && shown.contains(&Some(scope)))
    };
    if !result.as_ref().is_some_and(stands) {
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
