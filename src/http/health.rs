//! Whether the server lives and whether it takes work, for load balancers and process managers.

use super::error::{Shape, response};
use super::server::methods_with_head;
use crate::service::Services;
use actix_web::HttpResponse;
use actix_web::web::{self, Data};

/// Adds `/healthz` and `/readyz`.
pub fn configure(app: &mut web::ServiceConfig) {
    app.service(methods_with_head("/healthz", || web::to(healthz)))
        .service(methods_with_head("/readyz", || web::to(readyz)));
}

async fn healthz() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(r#"{"status":"ok"}"#)
}

async fn readyz(services: Data<Services>) -> HttpResponse {
    match services.readiness() {
        Ok(()) => HttpResponse::Ok().content_type("application/json").body(r#"{"status":"ready"}"#),
        Err(error) => response(Shape::Problem, &error),
    }
}
