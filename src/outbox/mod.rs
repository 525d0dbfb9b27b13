//! What goes out: webhooks and e-mail, told at least once of each end that they asked for, also over restarts.
//!
//! Reads the sequenced log of changes and keeps for each receiver the last change that needs no more telling. While there are no
//! receivers nothing wakes up. Webhooks and e-mail go round apart, so that neither waits for the other's network. Knows the store
//! and how to send; not HTTP's routes.

pub mod mail;
mod message;
mod receiver;

use crate::domain::error::Result;
use crate::domain::stamp::{Clock, Timestamp};
use crate::domain::webhook::Delivery;
use crate::ingest::fetch::Fetcher;
use crate::store::{Commit, Store, events, mails};
use futures::future::{join, join_all};
use mail::Mailer;
use receiver::{Receiver, ReceiverId, Receivers};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Webhooks that a server has at the most.
pub const MOST: usize = 100;

/// How often the log is looked at while there are receivers.
const RHYTHM: Duration = Duration::from_millis(500);

/// Changes looked at in one go, for one receiver.
const PAGE: usize = 200;

/// Changes that are passed over before that is written down.
const NOTED: u64 = 1000;

/// How far a receiver was read for, and when to go on.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    read: u64,
    not_before: Timestamp,
}

/// Tells webhooks and people what happened.
pub struct Outbox {
    store: Store,
    webhooks: Rounds,
    changed: Arc<Notify>,
    mail: Option<Rounds>,
    /// The addresses that are written to, and those of them that are new.
    addresses: Vec<String>,
    begun: Option<Commit<()>>,
}

impl Outbox {
    /// An outbox; `changed` wakes it when a webhook was made. Without a `mailer` no mail is sent. Addresses that are new are
    /// written to about what is stored after this.
    pub fn new(
        store: Store,
        fetcher: Arc<Fetcher>,
        mailer: Option<Mailer>,
        clock: Arc<dyn Clock>,
        changed: Arc<Notify>,
    ) -> Self {
        let addresses: Vec<_> = mailer.iter().flat_map(Mailer::addresses).map(|address| address.to_string()).collect();
        let is_idle = addresses.is_empty() && matches!(mails::known(&store), Ok(known) if known.is_empty());
        let begun = (!is_idle).then(|| keep(&store, &addresses));
        let rounds = |receivers| Rounds::new(store.clone(), receivers, Arc::clone(&clock));
        let mail = mailer.map(|mailer| rounds(Receivers::Mail(Arc::new(mailer))));
        let webhooks = rounds(Receivers::Webhooks(fetcher));
        Self { store, webhooks, changed, mail, addresses, begun }
    }

    /// Works until it is dropped.
    pub async fn run(self) {
        let Self { store, webhooks, changed, mail, addresses, mut begun } = self;
        let mail = async {
            while let Some(commit) = begun.take() {
                if let Err(error) = commit.await {
                    tracing::error!(%error, "who gets mail cannot be noted; nothing is sent before");
                    tokio::time::sleep(RHYTHM * 20).await;
                    begun = Some(keep(&store, &addresses));
                }
            }
            if let Some(mail) = mail {
                // Addresses come and go with the settings alone.
                mail.go(&Notify::new()).await;
            }
        };
        join(webhooks.go(&changed), mail).await;
    }
}

fn keep(store: &Store, addresses: &[String]) -> Commit<()> {
    let addresses = addresses.to_vec();
    store.settle(move |tx| mails::keep(tx, &addresses))
}

/// Receivers of one kind, and how far each of them is.
struct Rounds {
    store: Store,
    receivers: Receivers,
    clock: Arc<dyn Clock>,
    places: HashMap<ReceiverId, Place>,
}

impl Rounds {
    fn new(store: Store, receivers: Receivers, clock: Arc<dyn Clock>) -> Self {
        Self { store, receivers, clock, places: HashMap::new() }
    }

    /// Goes round for as long as there are receivers, and waits for some.
    async fn go(mut self, changed: &Notify) {
        loop {
            match self.receivers.all(&self.store) {
                Ok(found) if found.is_empty() => changed.notified().await,
                Ok(found) => {
                    if !self.round(found).await {
                        tokio::time::sleep(RHYTHM).await;
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "who is to be told cannot be read");
                    tokio::time::sleep(RHYTHM * 20).await;
                }
            }
        }
    }

    /// Tells each receiver at most one thing. True where there may be more to tell at once.
    async fn round(&mut self, found: Vec<Receiver>) -> bool {
        self.places.retain(|id, _| found.iter().any(|receiver| receiver.id() == *id));
        let now = self.clock.now();
        let this = &*self;
        let told = join_all(found.iter().map(|receiver| this.step(receiver, now))).await;
        let mut again = false;
        for (receiver, outcome) in found.iter().zip(told) {
            match outcome {
                Ok((place, more)) => {
                    self.places.insert(receiver.id(), place);
                    again |= more;
                }
                Err(error) => tracing::error!(receiver = %receiver.id(), %error, "a receiver could not be served"),
            }
        }
        again
    }

    /// Looks for the next thing to tell and tells it.
    async fn step(&self, receiver: &Receiver, now: Timestamp) -> Result<(Place, bool)> {
        let delivery = receiver.delivery(&self.store)?;
        let mut place = match self.places.get(&receiver.id()) {
            Some(place) => *place,
            None => Place { read: delivery.told, not_before: Timestamp(0) },
        };
        if now < place.not_before {
            return Ok((place, false));
        }
        let page = events::page(&self.store, place.read, PAGE)?;
        for event in &page {
            if receiver.concerns(&self.store, event)? {
                let sent = receiver.send(&self.store, event).await?;
                let told = self.told(receiver, event.sequence, delivery, sent).await?;
                place.not_before = Timestamp(self.clock.now().0.saturating_add(told.wait()));
                place.read = told.told.max(place.read);
                return Ok((place, told.attempts == 0));
            }
            place.read = event.sequence;
        }
        if place.read.saturating_sub(delivery.told) >= NOTED {
            self.note(receiver, Delivery { told: place.read, ..delivery }).await?;
        }
        Ok((place, page.len() == PAGE))
    }

    /// Writes down how a try went.
    async fn told(
        &self,
        receiver: &Receiver,
        sequence: u64,
        delivery: Delivery,
        sent: std::result::Result<(), String>,
    ) -> Result<Delivery> {
        let now = self.clock.now();
        let told = match sent {
            Ok(()) => delivery.delivered(sequence, now),
            Err(why) => {
                let told = delivery.failed(sequence, why.clone(), now);
                let id = receiver.id();
                match told.attempts {
                    0 => tracing::warn!(receiver = %id, why, "a message was given up"),
                    attempt => {
                        tracing::info!(receiver = %id, why, attempt, "a message was not delivered; it is tried again")
                    }
                }
                told
            }
        };
        self.note(receiver, told.clone()).await?;
        Ok(told)
    }

    async fn note(&self, receiver: &Receiver, delivery: Delivery) -> Result<()> {
        let receiver = receiver.clone();
        self.store.settle(move |tx| receiver.put_delivery(tx, &delivery)).await
    }
}
