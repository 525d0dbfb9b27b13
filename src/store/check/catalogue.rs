//! Models and experiments, with the indexes of their names and of their order.

use super::super::key::{self, Key};
use super::super::tx::Read;
use super::super::wal::OwnedWrite;
use super::super::{columns, results};
use super::super::{datasets, experiments, models, trash};
use super::look::Look;
use crate::domain::error::Result;
use crate::domain::experiment::Experiment;
use crate::domain::ids::{ExperimentId, ModelId};
use crate::domain::model::Model;
use crate::domain::trash::Trashed;

pub(super) fn model<R: Read>(look: &mut Look<'_, R>) {
    let Some(model) = look.decoded("model", models::decode(look.value())) else { return };
    let who = format!("the model `{}` ({})", model.name, model.id);
    if !look.is_at(&who, &models::record_key(model.id)) {
        return;
    }
    if model.stamp.trashed_at.is_none() {
        look.index(&who, "name", models::name_key(model.stamp.project, &model.name), &model.id.0.to_be_bytes());
    }
    let all = look.expect(&who, "its dataset of all images", datasets::get(look.reader, model.all_images));
    if all.is_some_and(|all| all.model != model.id || all.name.is_some()) {
        look.problem(format!("{who} has a dataset of all images that is not its own"));
    }
    match listed(look.reader, model.id) {
        Err(error) => look.problem(format!("the experiments of {who} cannot be listed: {error}")),
        Ok(next) => experiments_of(look, &who, &model, next),
    }
    best_of(look, &who, model.id);
}

/// The ordinal after the last of the experiments that a model has, those in the trash included. Some may be missing:
/// they are gone for good.
fn listed(reader: &impl Read, model: ModelId) -> Result<u32> {
    let prefix = Key::new(key::EXPERIMENT_ORDER).id(model.0).done();
    let mut next = reader
        .prefix(prefix)
        .try_fold(0, |_, pair| pair.map(|pair| ordinal_of(&pair.0).unwrap_or(0).saturating_add(1)))?;
    let mut after = None;
    loop {
        let page = trash::of_model(reader, model, after, 64)?;
        let Some(last) = page.last() else { return Ok(next) };
        after = Some(last.id);
        for item in page {
            if let Trashed::Experiment(id) = item.what
                && let Some(experiment) = experiments::get(reader, id)?
            {
                next = next.max(experiment.ordinal.saturating_add(1));
            }
        }
    }
}

fn ordinal_of(key: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(key.get(9..)?.try_into().ok()?))
}

fn experiments_of<R: Read>(look: &mut Look<'_, R>, who: &str, model: &Model, next: u32) {
    if next > model.experiments {
        let what = format!("{who} lists {next} experiments and counts {}", model.experiments);
        match models::encode(&Model { experiments: next, ..model.clone() }) {
            Ok(bytes) => look.fixable(what, vec![(models::record_key(model.id), Some(bytes))]),
            Err(_) => look.problem(what),
        }
    }
}

/// The best result is a record of its own, so it has to be the one that the scores put first.
fn best_of<R: Read>(look: &mut Look<'_, R>, who: &str, model: ModelId) {
    let wanted = results::winner(look.reader, model)
        .and_then(|winner| winner.map(|winner| results::describe(look.reader, &winner)).transpose());
    // What keeps the scores from being read is found at the scores.
    let Ok(wanted) = wanted else { return };
    let key = results::best_key(model);
    let is_right = look.reader.get(&key).is_ok_and(|found| match (&found, &wanted) {
        (Some(found), Some(wanted)) => results::decode_best(found).is_ok_and(|found| found == *wanted),
        (None, None) => true,
        _ => false,
    });
    if is_right {
        return;
    }
    let what = format!("the best result of {who} is not the one that its results make the best");
    match wanted.as_ref().map(results::encode_best).transpose() {
        Ok(bytes) => look.fixable(what, vec![(key, bytes)]),
        Err(_) => look.problem(what),
    }
}

pub(super) fn model_name<R: Read>(look: &mut Look<'_, R>) {
    let Some((project, name)) = look.id_and_text() else { return };
    let id = ModelId(key::last_id(look.value()));
    let found = models::get(look.reader, id);
    let fits = |model: &Model| {
        model.stamp.trashed_at.is_none() && model.stamp.project.0 == project && model.name.as_str() == name
    };
    look.leads(format_args!("the model `{name}`, {id},"), found, fits);
}

pub(super) fn experiment<R: Read>(look: &mut Look<'_, R>) {
    let Some(experiment) = look.decoded("experiment", experiments::decode(look.value())) else { return };
    let who = format!("the experiment `{}` ({})", experiment.name, experiment.id);
    if !look.is_at(&who, &experiments::record_key(experiment.id)) {
        return;
    }
    let id = experiment.id.0.to_be_bytes();
    if experiment.stamp.trashed_at.is_none() {
        look.index(&who, "name", experiments::name_key(experiment.model, &experiment.name), &id);
        look.index(&who, "place", experiments::order_key(experiment.model, experiment.ordinal), &id);
        // What cannot be read is found at its own key.
        if columns::has_results(look.reader, &experiment).is_ok_and(|has| has) {
            columns::keys(&experiment).into_iter().for_each(|key| look.index(&who, "place in a column", key, &[]));
        }
    }
    if let Ok(None) = models::get(look.reader, experiment.model)
        && was_never_finished(look.reader, &experiment)
    {
        let what = format!("{who} belongs to a model whose making was cut short by a crash");
        let writes = all_of(&experiment);
        look.leftover(experiment.stamp.created_at, what, writes);
        return;
    }
    look.expect(&who, format_args!("its model {}", experiment.model), models::get(look.reader, experiment.model));
}

/// A model is written after its first experiments and before anything else of it.
fn was_never_finished(reader: &impl Read, experiment: &Experiment) -> bool {
    let none = |family: u8| {
        let found = reader.prefix(Key::new(family).id(experiment.model.0).done()).next();
        found.is_none()
    };
    experiment.is_default && none(key::RUN_OF_MODEL) && none(key::DATASET_NAME) && none(key::BEST)
}

fn all_of(experiment: &Experiment) -> Vec<OwnedWrite> {
    vec![
        (experiments::record_key(experiment.id), None),
        (experiments::name_key(experiment.model, &experiment.name), None),
        (experiments::order_key(experiment.model, experiment.ordinal), None),
    ]
}

pub(super) fn experiment_name<R: Read>(look: &mut Look<'_, R>) {
    let Some((model, name)) = look.id_and_text() else { return };
    let id = ExperimentId(key::last_id(look.value()));
    let found = experiments::get(look.reader, id);
    let fits = |experiment: &Experiment| {
        experiment.stamp.trashed_at.is_none() && experiment.model.0 == model && experiment.name.as_str() == name
    };
    look.leads(format_args!("the experiment `{name}`, {id},"), found, fits);
}

pub(super) fn experiment_order<R: Read>(look: &mut Look<'_, R>) {
    let (model, ordinal) = (key::id_at(look.key(), 0), look.key().get(8..).and_then(|place| place.try_into().ok()));
    let Some(ordinal) = ordinal.map(u32::from_be_bytes) else { return look.malformed() };
    let id = ExperimentId(key::last_id(look.value()));
    let found = experiments::get(look.reader, id);
    let fits = |experiment: &Experiment| {
        experiment.stamp.trashed_at.is_none() && experiment.model.0 == model && experiment.ordinal == ordinal
    };
    look.leads(format_args!("the experiment {id} at place {ordinal} of {}", ModelId(model)), found, fits);
}
