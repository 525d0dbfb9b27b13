//! Sharing: a model's owner lets other accounts look at it or work on it.

use super::Accounts;
use crate::domain::account::{Actor, Change, Permit, Role, Share, Shared, View};
use crate::domain::error::{Code, Error, Result};
use crate::domain::event::EventKind;
use crate::domain::ids::ModelId;
use crate::domain::model::Model;
use crate::domain::reference::Reference;
use crate::service::access;
use crate::store::{accounts, shares};

/// The most accounts that one model is shared with.
const MOST: usize = 1000;

/// An account that a model is shared with.
#[derive(Debug)]
pub struct SharedWith {
    /// Its name.
    pub account: String,
    /// How.
    pub share: Share,
}

impl Accounts {
    /// With whom a model is shared.
    ///
    /// # Errors
    /// `not_found` for the model.
    pub fn shares(&self, permit: Permit<View>, model: &Reference<ModelId>) -> Result<Vec<SharedWith>> {
        let model = access::called(&self.store, permit, model)?;
        let mut found = Vec::new();
        for shared in shares::of_model(&self.store, model.id, MOST)? {
            let account = accounts::get(&self.store, shared.account)?;
            if let Some(account) = account.filter(|account| account.stamp.trashed_at.is_none()) {
                found.push(SharedWith { account: account.name.as_str().to_owned(), share: shared.share });
            }
        }
        Ok(found)
    }

    /// Shares a model, or shares it in another way.
    ///
    /// # Errors
    /// `not_found` for the model or the account; `forbidden` for somebody else's model; `conflict` for its owner.
    pub async fn share(
        &self,
        permit: Permit<Change>,
        model: Reference<ModelId>,
        with: String,
        share: Share,
    ) -> Result<()> {
        let (actor, now) = (permit.actor(), self.now());
        let write = self.store.write(move |tx| {
            let model = access::called(tx, permit, &model)?;
            check_owner(actor, &model)?;
            let account = super::find(tx, &with)?;
            if account.id == model.stamp.owner {
                return Err(Error::new(Code::Conflict, format!("the model is {with}'s own")));
            }
            if shares::get(tx, model.id, account.id)?.is_none() && shares::of_model(tx, model.id, MOST)?.len() >= MOST {
                return Err(Error::new(Code::TooMany, format!("a model is shared with at most {MOST} accounts")));
            }
            shares::put(tx, Shared { model: model.id, account: account.id, share });
            tx.event(actor, now, EventKind::ModelShared, account.id.0, model.id.0)
        });
        write.await
    }

    /// Ends that a model is shared with an account.
    ///
    /// # Errors
    /// As [`share`](Self::share); `not_found` where it was not.
    pub async fn unshare(&self, permit: Permit<Change>, model: Reference<ModelId>, with: String) -> Result<()> {
        let (actor, now) = (permit.actor(), self.now());
        let write = self.store.settle(move |tx| {
            let model = access::called(tx, permit, &model)?;
            check_owner(actor, &model)?;
            let account = super::find(tx, &with)?;
            if shares::get(tx, model.id, account.id)?.is_none() {
                return Err(Error::new(Code::NotFound, format!("the model is not shared with {with}")));
            }
            shares::delete(tx, model.id, account.id);
            tx.event(actor, now, EventKind::ModelUnshared, account.id.0, model.id.0)
        });
        write.await
    }
}

fn check_owner(actor: Actor, model: &Model) -> Result<()> {
    if actor.role == Role::Admin || actor.account == model.stamp.owner {
        return Ok(());
    }
    Err(Error::new(Code::Forbidden, "only the model's owner and admins say with whom it is shared"))
}
