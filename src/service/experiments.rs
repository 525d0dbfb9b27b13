//! Experiments.

use super::Services;
use crate::domain::account::Actor;
use crate::domain::error::{Code, Error, Result};
use crate::domain::event::EventKind;
use crate::domain::experiment::{Experiment, HyperParameters};
use crate::domain::ids::ExperimentId;
use crate::domain::model::Model;
use crate::domain::name::Name;
use crate::domain::stamp::{Stamp, Timestamp};
use crate::store::{Tx, experiments, models};

impl Services {
    /// Makes an experiment of a model.
    ///
    /// # Errors
    /// `not_found` for the model, `already_exists` where the name is taken.
    pub async fn create_experiment(
        &self,
        actor: Actor,
        model: Name,
        name: Name,
        parameters: HyperParameters,
    ) -> Result<ExperimentId> {
        let now = self.now();
        let write = self.parts.store.write(move |tx| {
            let mut model = models::named(tx, actor.project, &model)?;
            if experiments::id_of(tx, model.id, &name)?.is_some() {
                let message = format!("an experiment named `{name}` exists already in this model; choose another name");
                return Err(Error::new(Code::AlreadyExists, message));
            }
            let id = new_experiment(tx, actor, &mut model, name, false, parameters, now)?;
            model.stamp.touch(now);
            models::put(tx, &model)?;
            Ok(id)
        });
        write.await
    }
}

/// Writes the next experiment of `model`, which the caller writes after it.
pub(super) fn new_experiment(
    tx: &mut Tx<'_>,
    actor: Actor,
    model: &mut Model,
    name: Name,
    is_default: bool,
    parameters: HyperParameters,
    now: Timestamp,
) -> Result<ExperimentId> {
    let id = ExperimentId(tx.next_id()?);
    let ordinal = model.experiments;
    model.experiments += 1;
    let stamp = Stamp::new(actor, now);
    experiments::put(tx, &Experiment { id, stamp, model: model.id, name, ordinal, is_default, parameters })?;
    tx.event(actor, now, EventKind::ExperimentCreated, id.0, model.id.0)?;
    Ok(id)
}
