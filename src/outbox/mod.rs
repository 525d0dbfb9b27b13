//! What goes out: webhooks, told at least once of each end that they asked for, also over restarts.
//!
//! Reads the sequenced log of changes and keeps for each webhook the last change that needs no more telling. While there are no
//! webhooks nothing wakes up. Knows the store and how to send; not HTTP's routes.

mod message;

use crate::domain::account::{Actor, LOCAL_ACCOUNT, Right};
use crate::domain::error::Result;
use crate::domain::event::Event;
use crate::domain::ids::{ModelId, WebhookId};
use crate::domain::stamp::{Clock, Timestamp};
use crate::domain::webhook::{Delivery, Topic, Webhook};
use crate::ingest::fetch::Fetcher;
use crate::store::{Store, accounts, events, models, shares, webhooks};
use futures::future::join_all;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Webhooks that a server has at the most.
pub const MOST: usize = 100;

/// How often the log is looked at while there are webhooks.
const RHYTHM: Duration = Duration::from_millis(500);

/// Changes looked at in one go, for one webhook.
const PAGE: usize = 200;

/// Changes that are passed over before that is written down.
const NOTED: u64 = 1000;

/// How far a webhook was read, and when to go on.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    read: u64,
    not_before: Timestamp,
}

/// Tells webhooks what happened.
pub struct Outbox {
    store: Store,
    fetcher: Arc<Fetcher>,
    clock: Arc<dyn Clock>,
    changed: Arc<Notify>,
    places: HashMap<WebhookId, Place>,
}

impl Outbox {
    /// An outbox; `changed` wakes it when a webhook was made.
    pub fn new(store: Store, fetcher: Arc<Fetcher>, clock: Arc<dyn Clock>, changed: Arc<Notify>) -> Self {
        Self { store, fetcher, clock, changed, places: HashMap::new() }
    }

    /// Works until it is dropped.
    pub async fn run(mut self) {
        loop {
            match webhooks::page(&self.store, MOST) {
                Ok(found) if found.is_empty() => self.changed.notified().await,
                Ok(found) => {
                    if !self.round(found).await {
                        tokio::time::sleep(RHYTHM).await;
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "webhooks cannot be read");
                    tokio::time::sleep(RHYTHM * 20).await;
                }
            }
        }
    }

    /// Tells each webhook at most one thing. True where there may be more to tell at once.
    async fn round(&mut self, found: Vec<Webhook>) -> bool {
        self.places.retain(|id, _| found.iter().any(|webhook| webhook.id == *id));
        let now = self.clock.now();
        let this = &*self;
        let told = join_all(found.iter().map(|webhook| this.step(webhook, now))).await;
        let mut again = false;
        for (webhook, outcome) in found.iter().zip(told) {
            match outcome {
                Ok((place, more)) => {
                    self.places.insert(webhook.id, place);
                    again |= more;
                }
                Err(error) => tracing::error!(webhook = %webhook.id, %error, "a webhook could not be served"),
            }
        }
        again
    }

    /// Looks for the next thing to tell and tells it.
    async fn step(&self, webhook: &Webhook, now: Timestamp) -> Result<(Place, bool)> {
        let delivery = webhooks::delivery(&self.store, webhook.id)?;
        let mut place = match self.places.get(&webhook.id) {
            Some(place) => *place,
            None => Place { read: delivery.told, not_before: Timestamp(0) },
        };
        if now < place.not_before {
            return Ok((place, false));
        }
        let page = events::page(&self.store, place.read, PAGE)?;
        for event in &page {
            if self.concerns(webhook, event)? {
                let told = self.tell(webhook, event, delivery).await?;
                place.not_before = Timestamp(self.clock.now().0.saturating_add(told.wait()));
                place.read = told.told.max(place.read);
                return Ok((place, told.attempts == 0));
            }
            place.read = event.sequence;
        }
        if place.read.saturating_sub(delivery.told) >= NOTED {
            self.note(webhook.id, Delivery { told: place.read, ..delivery }).await?;
        }
        Ok((place, page.len() == PAGE))
    }

    /// Whether the owner asked for this and may see it.
    fn concerns(&self, webhook: &Webhook, event: &Event) -> Result<bool> {
        let model = ModelId(event.model);
        let is_asked = Topic::of(event.kind).is_some_and(|topic| webhook.topics.contains(&topic))
            && webhook.model.is_none_or(|only| only == model);
        if !is_asked || webhook.stamp.owner == LOCAL_ACCOUNT {
            return Ok(is_asked);
        }
        let owner = accounts::get(&self.store, webhook.stamp.owner)?.filter(|owner| owner.stamp.trashed_at.is_none());
        let (Some(owner), Some(model)) = (owner, models::get(&self.store, model)?) else { return Ok(false) };
        let actor = Actor { account: owner.id, project: webhook.stamp.project, role: owner.role };
        let share = shares::get(&self.store, model.id, owner.id)?;
        Ok(actor.right(model.stamp.owner, share) >= Right::View)
    }

    async fn tell(&self, webhook: &Webhook, event: &Event, delivery: Delivery) -> Result<Delivery> {
        let body = message::body(&self.store, event)?;
        let sent = message::send(&self.fetcher, webhook, &format!("{}-{}", webhook.id, event.sequence), body).await;
        let now = self.clock.now();
        let told = match sent {
            Ok(()) => delivery.delivered(event.sequence, now),
            Err(why) => {
                tracing::info!(webhook = %webhook.id, why, attempt = delivery.attempts + 1, "a webhook was not told");
                delivery.failed(event.sequence, why, now)
            }
        };
        self.note(webhook.id, told.clone()).await?;
        Ok(told)
    }

    async fn note(&self, id: WebhookId, delivery: Delivery) -> Result<()> {
        self.store.settle(move |tx| webhooks::put_delivery(tx, id, &delivery)).await
    }
}
