//! Experiments.

use super::{Services, access};
use crate::domain::account::{Actor, Change, Permit};
use crate::domain::error::{Code, Error, Result};
use crate::domain::event::EventKind;
use crate::domain::experiment::{Experiment, HyperParameters};
use crate::domain::ids::{ExperimentId, ModelId};
use crate::domain::name::Name;
use crate::domain::reference::Reference;
use crate::domain::stamp::{Stamp, Timestamp};
use crate::store::{Tx, experiments, models};

impl Services {
    /// Makes an experiment of a model.
    ///
    /// # Errors
    /// `not_found` for the model, `already_exists` where the name is taken.
    pub async fn create_experiment(
        &self,
        permit: Permit<Change>,
        model: Reference<ModelId>,
        name: Name,
        parameters: HyperParameters,
    ) -> Result<ExperimentId> {
        let (actor, now) = (permit.actor(), self.now());
        let write = self.parts.store.write(move |tx| {
            let mut model = access::called(tx, permit, &model)?;
            if experiments::id_of(tx, model.id, &name)?.is_some() {
                let message = format!("an experiment named `{name}` exists already in this model; choose another name");
                return Err(Error::new(Code::AlreadyExists, message));
            }
            let place = Place { model: model.id, ordinal: model.experiments, is_default: false };
            let id = new_experiment(tx, actor, place, name, parameters, now)?;
            model.experiments += 1;
            model.stamp.touch(now);
            models::put(tx, &model)?;
            Ok(id)
        });
        write.await
    }
}

/// What tells one experiment of a model from another.
pub(super) struct Place {
    /// Whose it is.
    pub model: ModelId,
    /// Its place in the order of creation.
    pub ordinal: u32,
    /// True for one of the sweep that comes with the model.
    pub is_default: bool,
}

/// Writes an experiment; the caller writes its model.
pub(super) fn new_experiment(
    tx: &mut Tx<'_>,
    actor: Actor,
    place: Place,
    name: Name,
    parameters: HyperParameters,
    now: Timestamp,
) -> Result<ExperimentId> {
    let Place { model, ordinal, is_default } = place;
    let id = ExperimentId(tx.next_id()?);
    let stamp = Stamp::new(actor, now);
    experiments::put(tx, &Experiment { id, stamp, model, name, ordinal, is_default, parameters })?;
    tx.event(actor, now, EventKind::ExperimentCreated, id.0, model.0)?;
    Ok(id)
}
