//! `/api/v1/queue`

use super::{answer, answer_as};
use crate::domain::account::{Administer, Change, View};
use crate::domain::job::MemoryWait;
use crate::http::auth::Granted;
use crate::http::error::Shape;
use crate::http::parameters::Parameters;
use crate::http::routes::{Routes, at};
use crate::service::Services;
use crate::service::status::QueueStatus;
use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

pub(super) fn configure(routes: &mut Routes<'_>) {
    routes.add(at("/api/v1/queue", Shape::Problem).get(get));
    routes.add(at("/api/v1/queue/pause", Shape::Problem).post(pause));
    routes.add(at("/api/v1/queue/resume", Shape::Problem).post(resume));
    routes.add(at("/api/v1/queue/cancel", Shape::Problem).post(cancel));
}

/// In numbers, and in words.
fn waiting(wait: MemoryWait) -> Value {
    let MemoryWait { needed_bytes, available_bytes } = wait;
    let message = format!(
        "the next run starts once {} MiB of memory are free for it, of which {} MiB are now; runs that end make room",
        needed_bytes.div_ceil(1 << 20),
        available_bytes >> 20
    );
    json!({ "needed_bytes": needed_bytes, "available_bytes": available_bytes, "message": message })
}

/// The queue as `/api/v1` shows it.
pub(super) fn body(status: QueueStatus) -> Value {
    json!({
        "queued": status.queued,
        "running": status.running,
        "concurrency": status.concurrency,
        "paused": status.paused,
        "waiting_for_memory": status.waits_for_memory.map(waiting),
    })
}

async fn get(Granted(permit): Granted<View>, services: Data<Services>) -> HttpResponse {
    answer(services.queue_status(permit).map(body))
}

async fn pause(Granted(permit): Granted<Administer>, services: Data<Services>) -> HttpResponse {
    answer(services.pause_queue(permit, true).await.map(|()| json!({ "paused": true })))
}

async fn resume(Granted(permit): Granted<Administer>, services: Data<Services>) -> HttpResponse {
    answer(services.pause_queue(permit, false).await.map(|()| json!({ "paused": false })))
}

/// Everything that waits, or with `model` what waits of that one.
async fn cancel(Granted(permit): Granted<Change>, services: Data<Services>, request: HttpRequest) -> HttpResponse {
    let outcome = async {
        let model = Parameters::from_query(request.query_string()).optional_name("model")?;
        services.cancel_queued(permit, model).await.map(|count| json!({ "cancelled": count }))
    };
    answer_as(StatusCode::ACCEPTED, outcome.await)
}
