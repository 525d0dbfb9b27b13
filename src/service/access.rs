//! Whether an actor may do what it wants with a model and all that belongs to it.
//!
//! What an actor may not even look at is answered as if it were not there.

use crate::domain::account::{Access, Permit, Right, Role, View};
use crate::domain::dataset::Dataset;
use crate::domain::error::{Code, Error, Result};
use crate::domain::experiment::Experiment;
use crate::domain::ids::{DatasetId, ExperimentId, ModelId};
use crate::domain::model::Model;
use crate::domain::name::Name;
use crate::domain::reference::Reference;
use crate::store::{Read, datasets, experiments, models, shares};

/// The model with this name, if the actor may do with it what the permit is for.
///
/// # Errors
/// `not_found` naming it; `forbidden` where the actor may look at it but not more.
pub fn model<A: Access>(reader: &impl Read, permit: Permit<A>, name: &Name) -> Result<Model> {
    let model = models::named(reader, permit.actor().project, name)?;
    if allows(reader, permit, &model)? { Ok(model) } else { Err(models::unknown(name)) }
}

/// The same for a model that is called by its name or its id.
///
/// # Errors
/// As [`model`].
pub fn called<A: Access>(reader: &impl Read, permit: Permit<A>, reference: &Reference<ModelId>) -> Result<Model> {
    let id = match reference {
        Reference::Name(name) => return model(reader, permit, name),
        Reference::Id(id) => *id,
    };
    match models::get(reader, id)? {
        Some(model)
            if model.stamp.trashed_at.is_none()
                && model.stamp.project == permit.actor().project
                && allows(reader, permit, &model)? =>
        {
            Ok(model)
        }
        _ => Err(Error::not_found(format_args!("there is no model {id}"))),
    }
}

/// An experiment of a model, called by its name or its id.
///
/// # Errors
/// `not_found` naming it.
pub fn experiment(reader: &impl Read, model: ModelId, reference: &Reference<ExperimentId>) -> Result<Experiment> {
    let id = match reference {
        Reference::Name(name) => return experiments::named(reader, model, name),
        Reference::Id(id) => *id,
    };
    experiments::get(reader, id)?
        .filter(|found| found.model == model && found.stamp.trashed_at.is_none())
        .ok_or_else(|| Error::not_found(format_args!("the model has no experiment {id}")))
}

/// A dataset of a model, called by its name or its id.
///
/// # Errors
/// `not_found` naming it.
pub fn dataset(reader: &impl Read, model: ModelId, reference: &Reference<DatasetId>) -> Result<Dataset> {
    let id = match reference {
        Reference::Name(name) => return datasets::named(reader, model, name),
        Reference::Id(id) => *id,
    };
    datasets::get(reader, id)?
        .filter(|found| found.model == model && found.name.is_some() && found.stamp.trashed_at.is_none())
        .ok_or_else(|| Error::not_found(format_args!("the model has no dataset {id}")))
}

/// The dataset of a model that is called so; that of all of its images without a call.
///
/// # Errors
/// As [`dataset`].
pub fn dataset_or_all(reader: &impl Read, model: &Model, reference: Option<&Reference<DatasetId>>) -> Result<Dataset> {
    match reference {
        Some(Reference::Id(id)) if *id == model.all_images => datasets::must_get(reader, model.all_images),
        Some(reference) => dataset(reader, model.id, reference),
        None => datasets::must_get(reader, model.all_images),
    }
}

/// True if the actor may look at this model.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn shows(reader: &impl Read, permit: Permit<View>, model: &Model) -> Result<bool> {
    Ok(model.stamp.project == permit.actor().project && allows(reader, permit, model)?)
}

/// The id of the model with this name; cheaper than [`model`] for those who may do everything.
///
/// # Errors
/// As [`model`].
pub fn model_id<A: Access>(reader: &impl Read, permit: Permit<A>, name: &Name) -> Result<ModelId> {
    let actor = permit.actor();
    if actor.role != Role::Admin {
        return model(reader, permit, name).map(|model| model.id);
    }
    models::id_of(reader, actor.project, name)?.ok_or_else(|| models::unknown(name))
}

/// The same for a model that is called by its name or its id.
///
/// # Errors
/// As [`model`].
pub fn called_id<A: Access>(reader: &impl Read, permit: Permit<A>, reference: &Reference<ModelId>) -> Result<ModelId> {
    match reference {
        Reference::Name(name) => model_id(reader, permit, name),
        Reference::Id(_) => called(reader, permit, reference).map(|model| model.id),
    }
}

/// True if the actor may do with what belongs to this model what the permit is for; false where it may not know of it.
///
/// # Errors
/// `forbidden` where the actor may look at it but not more.
pub fn reaches<A: Access>(reader: &impl Read, permit: Permit<A>, id: ModelId) -> Result<bool> {
    match models::get(reader, id)? {
        Some(model) if model.stamp.trashed_at.is_none() => allows(reader, permit, &model),
        _ => Ok(false),
    }
}

/// As [`reaches`], for what may be in the trash with its model.
///
/// # Errors
/// As [`reaches`].
pub fn reaches_trash<A: Access>(reader: &impl Read, permit: Permit<A>, id: ModelId) -> Result<bool> {
    match models::get(reader, id)? {
        Some(model) => allows(reader, permit, &model),
        None => Ok(false),
    }
}

fn allows<A: Access>(reader: &impl Read, permit: Permit<A>, model: &Model) -> Result<bool> {
    let actor = permit.actor();
    let is_own = actor.role == Role::Admin || actor.account == model.stamp.owner;
    let shared = if is_own { None } else { shares::get(reader, model.id, actor.account)? };
    let right = actor.right(model.stamp.owner, shared);
    if right >= A::RIGHT {
        return Ok(true);
    }
    if right == Right::Nothing {
        return Ok(false);
    }
    let message = format!("the model `{}` is shared with this account to look at, not to change", model.name);
    Err(Error::new(Code::Forbidden, message))
}
