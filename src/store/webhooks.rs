//! Webhook records, and how their deliveries stand.

use super::codec::{self, CodecError};
use super::key::{self, Key};
use super::record::StampV1;
use super::tx::{Read, Tx, damaged};
use crate::domain::error::Result;
use crate::domain::ids::{ModelId, WebhookId};
use crate::domain::stamp::Timestamp;
use crate::domain::webhook::{Delivery, Topic, Webhook};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct WebhookV1 {
    id: u64,
    stamp: StampV1,
    url: String,
    secret: String,
    topics: Vec<TopicV1>,
    model: Option<u64>,
}

#[derive(Serialize, Deserialize)]
enum TopicV1 {
    RunFinished,
    SweepFinished,
}

#[derive(Serialize, Deserialize)]
pub(super) struct DeliveryV1 {
    told: u64,
    attempts: u32,
    failing_since: Option<u64>,
    last_error: Option<String>,
    last_delivered_at: Option<u64>,
}

pub(super) fn decode(bytes: &[u8]) -> Result<Webhook, CodecError> {
    let stored: WebhookV1 = codec::decode_v1(bytes)?;
    let topic = |topic: TopicV1| match topic {
        TopicV1::RunFinished => Topic::RunFinished,
        TopicV1::SweepFinished => Topic::SweepFinished,
    };
    Ok(Webhook {
        id: WebhookId(stored.id),
        stamp: stored.stamp.into(),
        url: stored.url,
        secret: stored.secret,
        topics: stored.topics.into_iter().map(topic).collect(),
        model: stored.model.map(ModelId),
    })
}

pub(super) fn decode_delivery(bytes: &[u8]) -> Result<Delivery, CodecError> {
    codec::decode_v1::<DeliveryV1>(bytes).map(Delivery::from)
}

impl From<DeliveryV1> for Delivery {
    fn from(stored: DeliveryV1) -> Self {
        Self {
            told: stored.told,
            attempts: stored.attempts,
            failing_since: stored.failing_since.map(Timestamp),
            last_error: stored.last_error,
            last_delivered_at: stored.last_delivered_at.map(Timestamp),
        }
    }
}

impl From<&Delivery> for DeliveryV1 {
    fn from(delivery: &Delivery) -> Self {
        Self {
            told: delivery.told,
            attempts: delivery.attempts,
            failing_since: delivery.failing_since.map(|at| at.0),
            last_error: delivery.last_error.clone(),
            last_delivered_at: delivery.last_delivered_at.map(|at| at.0),
        }
    }
}

pub(super) fn record_key(id: WebhookId) -> Vec<u8> {
    Key::new(key::WEBHOOK).id(id.0).done()
}

fn delivery_key(id: WebhookId) -> Vec<u8> {
    Key::new(key::WEBHOOK_DELIVERY).id(id.0).done()
}

/// The webhook with this id.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn get(reader: &impl Read, id: WebhookId) -> Result<Option<Webhook>> {
    reader.get(&record_key(id))?.map(|bytes| decode(&bytes).map_err(damaged("webhook"))).transpose()
}

/// Up to `limit` webhooks.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn page(reader: &impl Read, limit: usize) -> Result<Vec<Webhook>> {
    let pairs = reader.prefix(vec![key::WEBHOOK]).take(limit);
    pairs.map(|pair| decode(&pair?.1).map_err(damaged("webhook"))).collect()
}

/// How the deliveries of a webhook stand.
///
/// # Errors
/// `internal` where the store cannot be read.
pub fn delivery(reader: &impl Read, id: WebhookId) -> Result<Delivery> {
    match reader.get(&delivery_key(id))? {
        Some(bytes) => decode_delivery(&bytes).map_err(damaged("webhook's delivery")),
        None => Ok(Delivery::default()),
    }
}

/// Writes a webhook.
///
/// # Errors
/// `internal` where it does not encode.
pub fn put(tx: &mut Tx<'_>, webhook: &Webhook) -> Result<()> {
    let topic = |topic: &Topic| match topic {
        Topic::RunFinished => TopicV1::RunFinished,
        Topic::SweepFinished => TopicV1::SweepFinished,
    };
    let stored = WebhookV1 {
        id: webhook.id.0,
        stamp: (&webhook.stamp).into(),
        url: webhook.url.clone(),
        secret: webhook.secret.clone(),
        topics: webhook.topics.iter().map(topic).collect(),
        model: webhook.model.map(|model| model.0),
    };
    tx.put(record_key(webhook.id), codec::encode(1, &stored))
}

/// Writes how its deliveries stand, unless it is gone.
///
/// # Errors
/// `internal` where it does not encode.
pub fn put_delivery(tx: &mut Tx<'_>, id: WebhookId, delivery: &Delivery) -> Result<()> {
    if tx.get(&record_key(id))?.is_none() {
        return Ok(());
    }
    tx.put(delivery_key(id), codec::encode(1, &DeliveryV1::from(delivery)))
}

/// Removes a webhook.
pub fn delete(tx: &mut Tx<'_>, id: WebhookId) {
    tx.delete(record_key(id));
    tx.delete(delivery_key(id));
}
