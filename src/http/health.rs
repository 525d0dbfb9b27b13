//! Whether the server lives and whether it takes work, for load balancers and process managers.

use super::error::{Shape, response};
use super::routes::{Routes, at};
use crate::service::Services;
use actix_web::HttpResponse;
use actix_web::http::Method;
use actix_web::web::Data;
use utoipa::{OpenApi, ToSchema};

/// Adds `/healthz` and `/readyz`.
pub fn configure(routes: &mut Routes<'_>) {
    let shape = Shape::Problem;
    routes.add(at("/healthz", shape).open(Method::GET, healthz).open(Method::HEAD, healthz));
    routes.add(at("/readyz", shape).open(Method::GET, readyz).open(Method::HEAD, readyz));
}

#[derive(OpenApi)]
#[openapi(paths(healthz, readyz))]
pub(super) struct Docs;

/// How the server is
#[derive(ToSchema)]
#[expect(dead_code, reason = "the two bodies that there are stand in the handlers")]
struct Health {
    /// `ok` or `ready`
    status: String,
}

/// Whether the server lives
#[utoipa::path(method(get, head), path = "/healthz", operation_id = "get_health", tag = "health",
    responses((status = 200, body = Health)))]
async fn healthz() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(r#"{"status":"ok"}"#)
}

/// Whether the server takes new work
#[utoipa::path(method(get, head), path = "/readyz", operation_id = "get_readiness", tag = "health",
    responses((status = 200, body = Health), (status = 507)))]
async fn readyz(services: Data<Services>) -> HttpResponse {
    match services.readiness() {
        Ok(()) => HttpResponse::Ok().content_type("application/json").body(r#"{"status":"ready"}"#),
        Err(error) => response(Shape::Problem, &error),
    }
}
