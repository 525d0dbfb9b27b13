//! `/api/v1/queue`

use crate::domain::job::MemoryWait;
use crate::http::error::{Shape, response};
use crate::http::server::methods;
use crate::service::Services;
use actix_web::HttpResponse;
use actix_web::web::{self, Data};
use serde_json::{Value, json};

pub(super) fn configure(app: &mut web::ServiceConfig) {
    app.service(methods("/api/v1/queue", "GET", web::get().to(get), Shape::Problem));
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

async fn get(services: Data<Services>) -> HttpResponse {
    match services.queue_status() {
        Ok(status) => HttpResponse::Ok().json(json!({
            "queued": status.queued,
            "running": status.running,
            "concurrency": status.concurrency,
            "waiting_for_memory": status.waits_for_memory.map(waiting),
        })),
        Err(error) => response(Shape::Problem, &error),
    }
}
