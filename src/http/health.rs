//! Whether the server lives and whether it takes work, for load balancers and process managers.

use super::error::{Shape, response};
use super::routes::{Routes, at};
use crate::service::Services;
use actix_web::HttpResponse;
use actix_web::http::Method;
use actix_web::web::Data;

/// Adds `/healthz` and `/readyz`.
pub fn configure(routes: &mut Routes<'_>) {
    let shape = Shape::Problem;
    routes.add(at("/healthz", shape).open(Method::GET, healthz).open(Method::HEAD, healthz));
    routes.add(at("/readyz", shape).open(Method::GET, readyz).open(Method::HEAD, readyz));
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
