//! `/api/v1/queue`

use crate::http::error::{Shape, response};
use crate::http::server::methods;
use crate::service::Services;
use actix_web::HttpResponse;
use actix_web::web::{self, Data};
use serde_json::json;

pub(super) fn configure(app: &mut web::ServiceConfig) {
    app.service(methods("/api/v1/queue", "GET", web::get().to(get), Shape::Problem));
}

async fn get(services: Data<Services>) -> HttpResponse {
    match services.queue_status() {
        Ok(status) => HttpResponse::Ok().json(json!({
            "queued": status.queued,
            "running": status.running,
            "concurrency": status.concurrency,
        })),
        Err(error) => response(Shape::Problem, &error),
    }
}
