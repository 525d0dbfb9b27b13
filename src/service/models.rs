//! Models.

use super::experiments::{Place, new_experiment};
use super::{CHUNK, Services};
use crate::domain::account::{Actor, Change, Permit};
use crate::domain::dataset::{Dataset, Digest, VersionNumber};
use crate::domain::error::{Code, Error, Result};
use crate::domain::event::EventKind;
use crate::domain::experiment::HyperParameters;
use crate::domain::ids::{DatasetId, ModelId};
use crate::domain::model::{Description, Model};
use crate::domain::name::Name;
use crate::domain::stamp::{Stamp, Timestamp};
use crate::store::{Tx, datasets, models};

impl Services {
    /// Makes a model with its default experiments. Returns its id and how many experiments it got.
    ///
    /// A large sweep is written in several transactions, so that none of them needs much memory; the model and its name
    /// come last, and until then nothing of it can be seen.
    ///
    /// # Errors
    /// `already_exists` where the name is taken.
    pub async fn create_model(
        &self,
        permit: Permit<Change>,
        name: Name,
        description: Description,
    ) -> Result<(ModelId, u32)> {
        let (actor, now) = (permit.actor(), self.now());
        let wanted = name.clone();
        let first = self.parts.store.write(move |tx| {
            check_free(tx, actor, &wanted)?;
            Ok((ModelId(tx.next_id()?), DatasetId(tx.next_id()?)))
        });
        let (id, all_images) = first.await?;
        let points: Vec<HyperParameters> = self.parts.grid.points().collect();
        let mut ordinal = 0;
        for chunk in points.chunks(CHUNK) {
            let chunk = chunk.to_vec();
            let from = ordinal;
            let write = self.parts.store.write(move |tx| default_experiments(tx, actor, id, from, &chunk, now));
            ordinal = write.await?;
        }
        let write = self.parts.store.write(move |tx| {
            check_free(tx, actor, &name)?;
            let stamp = Stamp::new(actor, now);
            let model = Model { id, stamp, name, description, all_images, experiments: ordinal };
            datasets::put(tx, &empty_dataset(all_images, id, None, Stamp::new(actor, now)))?;
            models::put(tx, &model)?;
            tx.event(actor, now, EventKind::ModelCreated, id.0, id.0)?;
            Ok((id, ordinal))
        });
        write.await
    }
}

fn check_free(tx: &Tx<'_>, actor: Actor, name: &Name) -> Result<()> {
    if models::id_of(tx, actor.project, name)?.is_none() {
        return Ok(());
    }
    let message = format!("a model named `{name}` exists already; choose another name");
    Err(Error::new(Code::AlreadyExists, message))
}

/// Writes experiments of a sweep from the ordinal `from` on. Returns the ordinal after the last.
fn default_experiments(
    tx: &mut Tx<'_>,
    actor: Actor,
    model: ModelId,
    from: u32,
    points: &[HyperParameters],
    now: Timestamp,
) -> Result<u32> {
    let mut ordinal = from;
    for parameters in points {
        let name = Name::parse("experiment_name", &format!("default_{}", ordinal + 1))?;
        new_experiment(tx, actor, Place { model, ordinal, is_default: true }, name, *parameters, now)?;
        ordinal += 1;
    }
    Ok(ordinal)
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
