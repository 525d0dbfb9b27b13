//! Whether an actor may do what it wants with a model and all that belongs to it.
//!
//! What an actor may not even look at is answered as if it were not there.

use crate::domain::account::{Access, Permit, Right, Role};
use crate::domain::error::{Code, Error, Result};
use crate::domain::ids::ModelId;
use crate::domain::model::Model;
use crate::domain::name::Name;
use crate::store::{Read, models, shares};

/// The model with this name, if the actor may do with it what the permit is for.
///
/// # Errors
/// `not_found` naming it; `forbidden` where the actor may look at it but not more.
pub fn model<A: Access>(reader: &impl Read, permit: Permit<A>, name: &Name) -> Result<Model> {
    let model = models::named(reader, permit.actor().project, name)?;
    if allows(reader, permit, &model)? { Ok(model) } else { Err(models::unknown(name)) }
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

/// True if the actor may do with what belongs to this model what the permit is for; false where it may not know of it.
///
/// # Errors
/// `forbidden` where the actor may look at it but not more.
pub fn reaches<A: Access>(reader: &impl Read, permit: Permit<A>, id: ModelId) -> Result<bool> {
    if permit.actor().role == Role::Admin {
        return Ok(true);
    }
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
