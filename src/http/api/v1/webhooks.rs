//! `/api/v1/webhooks`: being told when runs and sweeps end.

use super::{answer, answer_as, done, time};
use crate::domain::account::Change;
use crate::domain::error::{Error, Result};
use crate::domain::ids::{ParseIdError, WebhookId};
use crate::domain::name::Name;
use crate::domain::webhook::{Topic, Webhook};
use crate::http::auth::Granted;
use crate::http::body::Json;
use crate::http::error::Shape;
use crate::http::routes::{Routes, at};
use crate::service::Services;
use crate::service::webhooks::{NewWebhook, WebhookView};
use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::{Data, Path};
use serde::{Deserialize, Serialize};
use serde_json::json;

pub(super) fn configure(routes: &mut Routes<'_>) {
    routes.add(at("/api/v1/webhooks", Shape::Problem).get(list).post(create));
    routes.add(at("/api/v1/webhooks/{id}", Shape::Problem).delete(remove));
}

/// A webhook as `/api/v1` shows it.
#[derive(Debug, Serialize)]
struct WebhookBody {
    id: String,
    url: String,
    events: Vec<&'static str>,
    model: Option<String>,
    created_at: String,
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    url: String,
    events: Option<Vec<String>>,
    model: Option<String>,
    secret: Option<String>,
}

#[derive(Serialize)]
struct List {
    data: Vec<WebhookBody>,
}

async fn list(Granted(permit): Granted<Change>, services: Data<Services>) -> HttpResponse {
    answer(services.webhooks(permit).map(|found| List { data: found.into_iter().map(WebhookBody::from).collect() }))
}

async fn create(Granted(permit): Granted<Change>, services: Data<Services>, Json(body): Json<Create>) -> HttpResponse {
    let outcome = async {
        let Create { url, events, model, secret } = body;
        let topics = match events {
            Some(events) if events.is_empty() => return Err(Error::parameter("events is empty")),
            Some(events) => events.iter().map(|event| Topic::parse(event)).collect::<Result<Vec<_>>>()?,
            None => Topic::ALL.to_vec(),
        };
        let model = model.map(|model| Name::parse("model", &model)).transpose()?;
        let Webhook { id, secret, .. } =
            services.create_webhook(permit, NewWebhook { url, topics, model, secret }).await?;
        Ok(json!({ "id": id.to_string(), "secret": secret }))
    };
    answer_as(StatusCode::CREATED, outcome.await)
}

async fn remove(Granted(permit): Granted<Change>, services: Data<Services>, path: Path<String>) -> HttpResponse {
    let outcome = async {
        let id: WebhookId = path.parse().map_err(|error: ParseIdError| Error::parameter(error.to_string()))?;
        services.remove_webhook(permit, id).await
    };
    done(outcome.await)
}
