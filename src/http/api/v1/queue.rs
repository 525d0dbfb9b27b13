//! `/api/v1/queue`

use crate::domain::account::View;
use crate::http::auth::Granted;
use crate::http::error::{Shape, response};
use crate::http::routes::{Routes, at};
use crate::service::Services;
use actix_web::HttpResponse;
use actix_web::web::Data;
use serde_json::json;

pub(super) fn configure(routes: &mut Routes<'_>) {
    routes.add(at("/api/v1/queue", Shape::Problem).get(get));
}

async fn get(Granted(permit): Granted<View>, services: Data<Services>) -> HttpResponse {
    match services.queue_status(permit) {
        Ok(status) => HttpResponse::Ok().json(json!({
            "queued": status.queued,
            "running": status.running,
            "concurrency": status.concurrency,
        })),
        Err(error) => response(Shape::Problem, &error),
    }
}
