//! `/api/v1/webhooks`: being told when runs and sweeps end.

use super::models::called;
use super::{answer, answer_as, done, time};
use crate::domain::account::{Change, Permit};
use crate::domain::error::{Error, Result};
use crate::domain::ids::{ParseIdError, WebhookId};
use crate::domain::webhook::{Topic, Webhook};
use crate::http::auth::Granted;
use crate::http::error::Shape;
use crate::http::keyed::Keyed;
use crate::http::openapi::parts::{OfKey, OfWebhook};
use crate::http::openapi::words::TopicWord;
use crate::http::routes::{Routes, at};
use crate::service::Services;
use crate::service::webhooks::{NewWebhook, WebhookView};
use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::{Data, Path};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

pub(super) fn configure(routes: &mut Routes<'_>) {
    routes.add(at("/api/v1/webhooks", Shape::Problem).get(list).post(create));
    routes.add(at("/api/v1/webhooks/{id}", Shape::Problem).delete(remove));
}

#[derive(OpenApi)]
#[openapi(paths(list, create, remove))]
pub(super) struct Docs;

/// A webhook as `/api/v1` shows it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Webhook)]
struct WebhookBody {
    id: String,
    #[schema(pattern = "^https?://.+")]
    url: String,
    #[schema(value_type = Vec<TopicWord>)]
    events: Vec<&'static str>,
    model: Option<String>,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    last_delivered_at: Option<String>,
    attempts: u32,
    last_error: Option<String>,
}

impl From<WebhookView> for WebhookBody {
    fn from(view: WebhookView) -> Self {
        let WebhookView { webhook, delivery, model } = view;
        Self {
            id: webhook.id.to_string(),
            url: webhook.url,
            events: webhook.topics.into_iter().map(Topic::as_str).collect(),
            model,
            created_at: time(webhook.stamp.created_at),
            last_delivered_at: delivery.last_delivered_at.map(time),
            attempts: delivery.attempts,
            last_error: delivery.last_error,
        }
    }
}

/// A new webhook
#[derive(Deserialize, ToSchema)]
#[schema(as = NewWebhook)]
#[serde(deny_unknown_fields)]
struct Create {
    #[schema(pattern = "^https?://.+")]
    url: String,
    /// All, unless said otherwise
    #[schema(value_type = Option<Vec<TopicWord>>, min_items = 1)]
    events: Option<Vec<String>>,
    /// Of this model alone
    model: Option<String>,
    /// What deliveries are signed with; made up where it is left out
    secret: Option<String>,
}

/// A webhook that was made, with the secret that its deliveries are signed with
#[derive(Serialize, ToSchema)]
#[schema(as = MadeWebhook)]
struct MadeBody {
    id: String,
    secret: String,
}

/// All of them
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookList)]
struct List {
    data: Vec<WebhookBody>,
}

/// One's webhooks
#[utoipa::path(get, path = "/api/v1/webhooks", operation_id = "list_webhooks", tag = "webhooks",
    responses((status = 200, body = List)))]
async fn list(Granted(permit): Granted<Change>, services: Data<Services>) -> HttpResponse {
    answer(services.webhooks(permit).map(|found| List { data: found.into_iter().map(WebhookBody::from).collect() }))
}

/// Make a webhook
#[utoipa::path(post, path = "/api/v1/webhooks", operation_id = "create_webhook", tag = "webhooks",
    params(OfKey), request_body = Create,
    responses((status = 201, body = MadeBody), (status = 404), (status = 409), (status = 422), (status = 429)))]
async fn create(Granted(permit): Granted<Change>, services: Data<Services>, body: Keyed<Create>) -> HttpResponse {
    let make = async |body: Create| answer_as(StatusCode::CREATED, made(permit, &services, body).await);
    body.once(&services, permit, make).await
}

async fn made(permit: Permit<Change>, services: &Services, body: Create) -> Result<MadeBody> {
    let Create { url, events, model, secret } = body;
    let topics = match events {
        Some(events) if events.is_empty() => return Err(Error::parameter("events is empty")),
        Some(events) => events.iter().map(|event| Topic::parse(event)).collect::<Result<Vec<_>>>()?,
        None => Topic::ALL.to_vec(),
    };
    let model = model.as_deref().map(called).transpose()?;
    let Webhook { id, secret, .. } = services.create_webhook(permit, NewWebhook { url, topics, model, secret }).await?;
    Ok(MadeBody { id: id.to_string(), secret })
}

/// Remove a webhook
#[utoipa::path(delete, path = "/api/v1/webhooks/{id}", operation_id = "delete_webhook", tag = "webhooks",
    params(OfWebhook), responses((status = 204), (status = 404)))]
async fn remove(Granted(permit): Granted<Change>, services: Data<Services>, path: Path<String>) -> HttpResponse {
    let outcome = async {
        let id: WebhookId = path.parse().map_err(|error: ParseIdError| Error::parameter(error.to_string()))?;
        services.remove_webhook(permit, id).await
    };
    done(outcome.await)
}
