//! Webhooks: made, listed, removed. The outbox delivers.

use super::{Services, access};
use crate::domain::account::{Change, Permit, Role};
use crate::domain::error::{Code, Error, Result};
use crate::domain::event::EventKind;
use crate::domain::ids::{ModelId, WebhookId};
use crate::domain::reference::Reference;
use crate::domain::stamp::Stamp;
use crate::domain::webhook::{Delivery, Topic, Webhook};
use crate::outbox::MOST;
use crate::store::{models, webhooks};

/// A webhook that is to be made.
#[derive(Debug)]
pub struct NewWebhook {
    /// Where to.
    pub url: String,
    /// Of what.
    pub topics: Vec<Topic>,
    /// Of which model alone, if only one.
    pub model: Option<Reference<ModelId>>,
    /// What messages are signed with; made unless given.
    pub secret: Option<String>,
}

/// A webhook with how its deliveries stand.
#[derive(Debug)]
pub struct WebhookView {
    /// The webhook.
    pub webhook: Webhook,
    /// How its deliveries stand.
    pub delivery: Delivery,
    /// The name of its model, where it has one.
    pub model: Option<String>,
}

/// The longest secret, in bytes.
const MAX_SECRET: usize = 200;

impl Services {
    /// Makes a webhook; it is told what happens from now on.
    ///
    /// # Errors
    /// `invalid_parameter` for a url that cannot be called; `not_found` for the model; `too_many`.
    pub async fn create_webhook(&self, permit: Permit<Change>, new: NewWebhook) -> Result<Webhook> {
        let NewWebhook { url, topics, model, secret } = new;
        self.parts.fetcher.check(&url).map_err(|error| Error::parameter(error.to_string()))?;
        let secret = match secret {
            Some(secret) if secret.is_empty() || secret.len() > MAX_SECRET => {
                return Err(Error::parameter(format!("secret has from 1 to {MAX_SECRET} bytes")));
            }
            Some(secret) => secret,
            None => new_secret()?,
        };
        let (actor, now) = (permit.actor(), self.now());
        let write = self.parts.store.write(move |tx| {
            let model = model.map(|model| access::called(tx, permit.view(), &model)).transpose()?;
            if webhooks::page(tx, MOST)?.len() >= MOST {
                return Err(Error::new(Code::TooMany, format!("there are {MOST} webhooks; remove some first")));
            }
            let id = WebhookId(tx.next_id()?);
            let model = model.map(|model| model.id);
            let webhook = Webhook { id, stamp: Stamp::new(actor, now), url, secret, topics, model };
            webhooks::put(tx, &webhook)?;
            tx.event(actor, now, EventKind::WebhookCreated, id.0, model.map_or(0, |model| model.0))?;
            webhooks::put_delivery(tx, id, &Delivery { told: tx.last_event(), ..Delivery::default() })?;
            Ok(webhook)
        });
        let made = write.await?;
        self.parts.webhooks_changed.notify_one();
        Ok(made)
    }

    /// One's own webhooks; all of them for an admin.
    ///
    /// # Errors
    /// `internal` where the store cannot be read.
    pub fn webhooks(&self, permit: Permit<Change>) -> Result<Vec<WebhookView>> {
        let (store, actor) = (&self.parts.store, permit.actor());
        let mut found = Vec::new();
        for webhook in webhooks::page(store, MOST)? {
            if actor.role != Role::Admin && webhook.stamp.owner != actor.account {
                continue;
            }
            let model = match webhook.model {
                Some(id) => models::get(store, id)?.map(|model| model.name.as_str().to_owned()),
                None => None,
            };
            found.push(WebhookView { delivery: webhooks::delivery(store, webhook.id)?, webhook, model });
        }
        Ok(found)
    }

    /// Removes a webhook.
    ///
    /// # Errors
    /// `not_found`, also for somebody else's.
    pub async fn remove_webhook(&self, permit: Permit<Change>, id: WebhookId) -> Result<()> {
        let (actor, now) = (permit.actor(), self.now());
        let write = self.parts.store.settle(move |tx| {
            let webhook = webhooks::get(tx, id)?;
            let webhook = webhook.filter(|it| actor.role == Role::Admin || it.stamp.owner == actor.account);
            if webhook.is_none() {
                return Err(Error::new(Code::NotFound, format!("there is no webhook {id}")));
            }
            webhooks::delete(tx, id);
            tx.event(actor, now, EventKind::WebhookRemoved, id.0, 0)
        });
        write.await
    }
}

fn new_secret() -> Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(Error::internal)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
