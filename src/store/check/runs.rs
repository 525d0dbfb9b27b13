//! Runs, where they wait or run, sweeps, logs and events.

use super::super::codec;
use super::super::key::{self, Key};
use super::super::runs::Listed;
use super::super::tx::Read;
use super::super::{columns, results};
use super::super::{datasets, events, experiments, logs, models, queue as waiting, runs, sweeps};
use super::look::Look;
use crate::domain::dataset::{DatasetVersion, VersionNumber};
use crate::domain::experiment::Experiment;
use crate::domain::ids::{DatasetId, ExperimentId, ModelId, RunId, SweepId};
use crate::domain::result::ExperimentResult;
use crate::domain::run::{Outcome, Run, RunState};

pub(super) fn run<R: Read>(look: &mut Look<'_, R>) {
    let Some(run) = look.decoded("run", runs::decode(look.value())) else { return };
    let who = run.id.to_string();
    if !look.is_at(&who, &runs::record_key(run.id)) {
        return;
    }
    look.expect(&who, format_args!("its model {}", run.spec.model), models::get(look.reader, run.spec.model));
    let found = experiments::get(look.reader, run.spec.experiment);
    let experiment = look.expect(&who, format_args!("its experiment {}", run.spec.experiment), found);
    if experiment.as_ref().is_some_and(|experiment| experiment.model != run.spec.model) {
        look.problem(format!("{who} is a run of {} and of an experiment of another model", run.spec.model));
    }
    let DatasetVersion { dataset, number } = run.spec.version;
    let version = datasets::frozen(look.reader, run.spec.version);
    look.expect(&who, format_args!("version {} of {dataset}", number.0), version);
    if let Some(sweep) = run.sweep {
        look.expect(&who, format_args!("its sweep {sweep}"), sweeps::get(look.reader, sweep));
    }
    look.index(&who, "model's list", Listed::OfModel(run.spec.model).key_of(run.id), &[]);
    look.index(&who, "experiment's list", Listed::OfExperiment(run.spec.experiment).key_of(run.id), &[]);
    if let Some(listed) = runs::in_state(&run) {
        look.index(&who, "state's list", listed, &[]);
    }
    if let Some(sweep) = run.sweep {
        look.index(&who, "sweep's list", Listed::OfSweep(sweep).key_of(run.id), &[]);
    }
    match &run.state {
        RunState::Queued => look.index(&who, "place in the queue", waiting::key_of(&run), &[]),
        RunState::Running { .. } => look.index(&who, "slot", runs::lease_key(run.id), &[]),
        RunState::Done { outcome: Outcome::Succeeded { .. }, .. } => {
            if let Some(experiment) = experiment {
                has_result(look, &run, &experiment);
            }
        }
        RunState::Done { .. } => {}
    }
}

/// The result of a run that succeeded is stored, or that of a later one. It can be made anew from the run.
fn has_result<R: Read>(look: &mut Look<'_, R>, run: &Run, experiment: &Experiment) {
    let Some(own) = ExperimentResult::of(run, experiment.ordinal) else { return };
    // One that cannot be read is as good as none: the run says all that it said.
    let stored = results::get(look.reader, own.experiment, own.dataset).ok().flatten();
    if stored.as_ref().is_some_and(|stored| stored.run > own.run || *stored == own) {
        return;
    }
    let mut writes = vec![];
    if let Some(stored) = &stored {
        writes.push((results::score_key(run.spec.model, stored), None));
    }
    let what = format!("the result of {} is not stored, or says something else", run.id);
    match results::encode(&own) {
        Ok(bytes) => {
            writes.push((results::result_key(own.experiment, own.dataset), Some(bytes)));
            if results::is_shown(look.reader, Some(experiment), &own).is_ok_and(|shown| shown) {
                writes.push((results::score_key(run.spec.model, &own), Some(results::pointer(&own).to_vec())));
                writes.extend(columns::keys(experiment).map(|key| (key, Some(Vec::new()))));
            }
            look.fixable(what, writes);
        }
        Err(_) => look.problem(what),
    }
}

/// Whether an entry of what waits or runs leads to a run that does, or to one that cannot be read, which is found
/// elsewhere. One that does not keeps others waiting, and the model's list still knows the run.
fn led_to<R: Read>(look: &Look<'_, R>, id: RunId, fits: impl Fn(&Run) -> bool) -> bool {
    runs::get(look.reader, id).map_or(true, |run| run.is_some_and(|run| fits(&run)))
}

pub(super) fn queue<R: Read>(look: &mut Look<'_, R>) {
    let id = RunId(key::last_id(look.key()));
    let own = look.key().to_vec();
    if !led_to(look, id, |run| run.state == RunState::Queued && waiting::key_of(run)[1..] == own) {
        look.stale(format!("{id} as waiting"));
    }
}

pub(super) fn lease<R: Read>(look: &mut Look<'_, R>) {
    let Some([id]) = look.ids() else { return };
    if !led_to(look, RunId(id), |run| matches!(run.state, RunState::Running { .. })) {
        look.stale(format!("{} as running", RunId(id)));
    }
}

pub(super) fn pending<R: Read>(look: &mut Look<'_, R>) {
    let Some([experiment, dataset, number]) = look.ids() else { return };
    let version = DatasetVersion { dataset: DatasetId(dataset), number: VersionNumber(number) };
    let (experiment, id) = (ExperimentId(experiment), RunId(key::last_id(look.value())));
    let fits =
        |run: &Run| run.state == RunState::Queued && run.spec.experiment == experiment && run.spec.version == version;
    if !led_to(look, id, fits) {
        look.stale(format!("{id} as the run of {experiment} that waits"));
    }
}

pub(super) fn of_model<R: Read>(look: &mut Look<'_, R>) {
    let Some([model, id]) = look.ids() else { return };
    let found = runs::get(look.reader, RunId(id));
    look.leads(format_args!("{} of {}", RunId(id), ModelId(model)), found, |run| run.spec.model.0 == model);
}

pub(super) fn in_state<R: Read>(look: &mut Look<'_, R>) {
    let id = RunId(key::last_id(look.key()));
    let own = look.whole_key().to_vec();
    let fits = |run: &Run| runs::in_state(run).as_ref() == Some(&own);
    look.leads(format_args!("{id} in its state"), runs::get(look.reader, id), fits);
}

pub(super) fn of_experiment<R: Read>(look: &mut Look<'_, R>) {
    let Some([experiment, id]) = look.ids() else { return };
    let found = runs::get(look.reader, RunId(id));
    let what = format!("{} of {}", RunId(id), ExperimentId(experiment));
    look.leads(what, found, |run| run.spec.experiment.0 == experiment);
}

pub(super) fn sweep_of_model<R: Read>(look: &mut Look<'_, R>) {
    let Some([model, id]) = look.ids() else { return };
    let found = sweeps::get(look.reader, SweepId(id));
    look.leads(format_args!("{} of {}", SweepId(id), ModelId(model)), found, |sweep| sweep.model.0 == model);
}

pub(super) fn of_sweep<R: Read>(look: &mut Look<'_, R>) {
    let Some([sweep, id]) = look.ids() else { return };
    let found = runs::get(look.reader, RunId(id));
    let what = format!("{} of {}", RunId(id), SweepId(sweep));
    look.leads(what, found, |run| run.sweep == Some(SweepId(sweep)));
}

/// How many of its runs are not over, or that it is being submitted.
pub(super) fn sweep_count<R: Read>(look: &mut Look<'_, R>) {
    let Some([id]) = look.ids() else { return };
    if !look.value().is_empty() {
        look.decoded::<u64>("sweep's count", codec::decode_v1(look.value()));
    }
    look.leads(format_args!("the count of {}", SweepId(id)), sweeps::get(look.reader, SweepId(id)), |_| true);
}

pub(super) fn sweep<R: Read>(look: &mut Look<'_, R>) {
    let Some(sweep) = look.decoded("sweep", sweeps::decode(look.value())) else { return };
    let who = sweep.id.to_string();
    if !look.is_at(&who, &sweeps::record_key(sweep.id)) {
        return;
    }
    look.expect(&who, format_args!("its model {}", sweep.model), models::get(look.reader, sweep.model));
    look.index(&who, "model's list", sweeps::listed_key(&sweep), &[]);
    let DatasetVersion { dataset, number } = sweep.version;
    let version = datasets::frozen(look.reader, sweep.version);
    look.expect(&who, format_args!("version {} of {dataset}", number.0), version);
}

pub(super) fn log<R: Read>(look: &mut Look<'_, R>) {
    let Some([id]) = look.ids() else { return };
    let id = RunId(id);
    if let Err(error) = logs::get(look.reader, id) {
        return look.problem(format!("the log of {id} cannot be read: {error}"));
    }
    look.leads(format_args!("the log of {id}"), runs::get(look.reader, id), |_| true);
}

pub(super) fn event<R: Read>(look: &mut Look<'_, R>) {
    let Some([sequence]) = look.ids() else { return };
    let Some(event) = look.decoded("event", events::decode(look.value())) else { return };
    if event.sequence != sequence {
        look.problem(format!("event {} stands at the place of event {sequence}", event.sequence));
    } else if event.kind.is_by_people() {
        let value = look.value().to_vec();
        look.index(
            format!("event {sequence}"),
            "entry in the audit log",
            Key::new(key::AUDIT).id(sequence).done(),
            &value,
        );
    }
}

pub(super) fn audit<R: Read>(look: &mut Look<'_, R>) {
    let Some([sequence]) = look.ids() else { return };
    let Some(event) = look.decoded("audit log's entry", events::decode(look.value())) else { return };
    if event.sequence != sequence {
        look.problem(format!("entry {} of the audit log stands at the place of entry {sequence}", event.sequence));
    }
}
