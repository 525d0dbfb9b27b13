//! Who is told: a webhook or an e-mail address. What concerns each, and how it is reached.

use super::mail::Mailer;
use super::{MOST, message};
use crate::domain::account::{Actor, LOCAL_ACCOUNT, Right};
use crate::domain::error::Result;
use crate::domain::event::Event;
use crate::domain::ids::{ModelId, WebhookId};
use crate::domain::webhook::{Delivery, Topic, Webhook};
use crate::ingest::fetch::Fetcher;
use crate::store::{Store, Tx, accounts, mails, models, shares, webhooks};
use lettre::Address;
use std::fmt;
use std::sync::Arc;

/// Where receivers of one kind are found, and what reaches them.
pub(super) enum Receivers {
    /// The webhooks of the store.
    Webhooks(Arc<Fetcher>),
    /// The addresses of the settings.
    Mail(Arc<Mailer>),
}

impl Receivers {
    /// All there are.
    pub fn all(&self, store: &Store) -> Result<Vec<Receiver>> {
        match self {
            Self::Webhooks(fetcher) => {
                let receiver = |webhook| Receiver::Webhook(Box::new(webhook), Arc::clone(fetcher));
                Ok(webhooks::page(store, MOST)?.into_iter().map(receiver).collect())
            }
            Self::Mail(mailer) => {
                Ok(mailer.addresses().map(|address| Receiver::Address(address, Arc::clone(mailer))).collect())
            }
        }
    }
}

/// One who is told, and what reaches them.
#[derive(Clone)]
pub(super) enum Receiver {
    Webhook(Box<Webhook>, Arc<Fetcher>),
    Address(Address, Arc<Mailer>),
}

/// What a receiver is known by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum ReceiverId {
    Webhook(WebhookId),
    Address(Address),
}

impl fmt::Display for ReceiverId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Webhook(id) => id.fmt(f),
            Self::Address(address) => address.fmt(f),
        }
    }
}

impl Receiver {
    pub fn id(&self) -> ReceiverId {
        match self {
            Self::Webhook(webhook, _) => ReceiverId::Webhook(webhook.id),
            Self::Address(address, _) => ReceiverId::Address(address.clone()),
        }
    }

    /// How its deliveries stand.
    pub fn delivery(&self, store: &Store) -> Result<Delivery> {
        match self {
            Self::Webhook(webhook, _) => webhooks::delivery(store, webhook.id),
            Self::Address(address, _) => mails::delivery(store, address.as_ref()),
        }
    }

    pub fn put_delivery(&self, tx: &mut Tx<'_>, delivery: &Delivery) -> Result<()> {
        match self {
            Self::Webhook(webhook, _) => webhooks::put_delivery(tx, webhook.id, delivery),
            Self::Address(address, _) => mails::put_delivery(tx, address.as_ref(), delivery),
        }
    }

    /// Whether it asked for this and may see it.
    pub fn concerns(&self, store: &Store, event: &Event) -> Result<bool> {
        match self {
            Self::Webhook(webhook, _) => concerns(store, webhook, event),
            Self::Address(_, mailer) => mailer.concerns(store, event),
        }
    }

    /// Tells it of an event. The inner error is what went wrong on the way, in words.
    ///
    /// # Errors
    /// `internal` where the store cannot be read.
    pub async fn send(&self, store: &Store, event: &Event) -> Result<std::result::Result<(), String>> {
        match self {
            Self::Webhook(webhook, fetcher) => {
                let body = message::body(store, event)?;
                Ok(message::send(fetcher, webhook, &format!("{}-{}", webhook.id, event.sequence), body).await)
            }
            Self::Address(address, mailer) => mailer.send(store, address, event).await,
        }
    }
}

/// Whether the webhook's owner asked for this and may see it.
fn concerns(store: &Store, webhook: &Webhook, event: &Event) -> Result<bool> {
    let model = ModelId(event.model);
    let is_asked = Topic::of(event.kind).is_some_and(|topic| webhook.topics.contains(&topic))
        && webhook.model.is_none_or(|only| only == model);
    if !is_asked || webhook.stamp.owner == LOCAL_ACCOUNT {
        return Ok(is_asked);
    }
    let owner = accounts::get(store, webhook.stamp.owner)?.filter(|owner| owner.stamp.trashed_at.is_none());
    let (Some(owner), Some(model)) = (owner, models::get(store, model)?) else { return Ok(false) };
    let actor = Actor { account: owner.id, project: webhook.stamp.project, role: owner.role };
    let share = shares::get(store, model.id, owner.id)?;
    Ok(actor.right(model.stamp.owner, share) >= Right::View)
}
