//! Models.

use super::Services;
use super::experiments::new_experiment;
use crate::domain::account::Actor;
use crate::domain::dataset::{Dataset, Digest, VersionNumber};
use crate::domain::error::{Code, Error, Result};
use crate::domain::event::EventKind;
use crate::domain::ids::{DatasetId, ModelId};
use crate::domain::model::Model;
use crate::domain::name::Name;
use crate::domain::stamp::Stamp;
use crate::store::{datasets, models};

impl Services {
    /// Makes a model with its default experiments. Returns its id and how many experiments it got.
    ///
    /// # Errors
    /// `already_exists` where the name is taken.
    pub async fn create_model(&self, actor: Actor, name: Name) -> Result<(ModelId, u32)> {
        let now = self.now();
        let grid = self.parts.grid.clone();
        let write = self.parts.store.write(move |tx| {
            if models::id_of(tx, actor.project, &name)?.is_some() {
                let message = format!("a model named `{name}` exists already; choose another name");
                return Err(Error::new(Code::AlreadyExists, message));
            }
            let id = ModelId(tx.next_id()?);
            let all_images = DatasetId(tx.next_id()?);
            let mut model = Model { id, stamp: Stamp::new(actor, now), name, all_images, experiments: 0 };
            datasets::put(tx, &empty_dataset(all_images, id, None, Stamp::new(actor, now)))?;
            tx.event(actor, now, EventKind::ModelCreated, id.0, id.0)?;
            for (number, parameters) in (1..).zip(grid.points()) {
                let name = Name::parse("experiment_name", &format!("default_{number}"))?;
                new_experiment(tx, actor, &mut model, name, true, parameters, now)?;
            }
            models::put(tx, &model)?;
            Ok((id, model.experiments))
        });
        write.await
    }
}

/// A dataset that holds nothing yet.
pub(super) fn empty_dataset(id: DatasetId, model: ModelId, name: Option<Name>, stamp: Stamp) -> Dataset {
    Dataset {
        id,
        stamp,
        model,
        name,
        base: None,
        head: VersionNumber(0),
        images: 0,
        labelled: 0,
        digest: Digest::default(),
    }
}
