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
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

pub(super) fn configure(routes: &mut Routes<'_>) {
    routes.add(at("/api/v1/queue", Shape::Problem).get(get));
    routes.add(at("/api/v1/queue/pause", Shape::Problem).post(pause));
    routes.add(at("/api/v1/queue/resume", Shape::Problem).post(resume));
    routes.add(at("/api/v1/queue/cancel", Shape::Problem).post(cancel));
}

#[derive(OpenApi)]
#[openapi(paths(get, pause, resume, cancel))]
pub(super) struct Docs;

/// The queue at a glance
#[derive(Serialize, ToSchema)]
#[schema(as = Queue)]
pub(super) struct QueueBody {
    queued: u64,
    running: u64,
    concurrency: u64,
    paused: bool,
    /// Null unless the next run could have a slot but finds no memory
    waiting_for_memory: Option<WaitBody>,
}

/// What the next run waits for: in numbers, and in words
#[derive(Serialize, ToSchema)]
#[schema(as = MemoryWait)]
struct WaitBody {
    needed_bytes: u64,
    available_bytes: u64,
    message: String,
}

/// Whether runs are started
#[derive(Serialize, ToSchema)]
#[schema(as = QueueState)]
struct PausedBody {
    paused: bool,
}

/// How many runs were told to stop
#[derive(Serialize, ToSchema)]
#[schema(as = Cancelled)]
pub(super) struct CancelledBody {
    pub cancelled: u64,
}

fn waiting(wait: MemoryWait) -> WaitBody {
    let MemoryWait { needed_bytes, available_bytes } = wait;
    let message = format!(
        "the next run starts once {} MiB of memory are free for it, of which {} MiB are now; runs that end make room",
        needed_bytes.div_ceil(1 << 20),
        available_bytes >> 20
    );
    WaitBody { needed_bytes, available_bytes, message }
}

/// The queue as `/api/v1` shows it.
pub(super) fn body(status: QueueStatus) -> QueueBody {
    QueueBody {
        queued: status.queued,
        running: status.running,
        concurrency: status.concurrency,
        paused: status.paused,
        waiting_for_memory: status.waits_for_memory.map(waiting),
    }
}

/// What waits and what runs
#[utoipa::path(get, path = "/api/v1/queue", operation_id = "get_queue", tag = "queue",
    responses((status = 200, body = QueueBody)))]
async fn get(Granted(permit): Granted<View>, services: Data<Services>) -> HttpResponse {
    answer(services.queue_status(permit).map(body))
}

/// Start nothing more
#[utoipa::path(post, path = "/api/v1/queue/pause", operation_id = "pause_queue", tag = "queue",
    responses((status = 200, body = PausedBody)))]
async fn pause(Granted(permit): Granted<Administer>, services: Data<Services>) -> HttpResponse {
    answer(services.pause_queue(permit, true).await.map(|()| PausedBody { paused: true }))
}

/// Start runs again
#[utoipa::path(post, path = "/api/v1/queue/resume", operation_id = "resume_queue", tag = "queue",
    responses((status = 200, body = PausedBody)))]
async fn resume(Granted(permit): Granted<Administer>, services: Data<Services>) -> HttpResponse {
    answer(services.pause_queue(permit, false).await.map(|()| PausedBody { paused: false }))
}

/// Cancel everything that waits, or what waits of one model
#[utoipa::path(post, path = "/api/v1/queue/cancel", operation_id = "cancel_queued", tag = "queue",
    params(("model" = Option<String>, Query, description = "Of this model only, by its name or id", pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")),
    responses((status = 202, body = CancelledBody), (status = 404)))]
async fn cancel(Granted(permit): Granted<Change>, services: Data<Services>, request: HttpRequest) -> HttpResponse {
    let outcome = async {
        let model = Parameters::from_query(request.query_string()).optional_reference("model")?;
        services.cancel_queued(permit, model.as_ref()).await.map(|cancelled| CancelledBody { cancelled })
    };
    answer_as(StatusCode::ACCEPTED, outcome.await)
}
