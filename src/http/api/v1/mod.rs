//! `/api/v1`: plural nouns, snake_case, cursors, problem details. One file a resource.

mod accounts;
mod archives;
mod audit;
mod conditions;
mod datasets;
mod duplicates;
mod events;
mod experiments;
mod fields;
mod image_content;
mod images;
mod maintenance;
mod models;
mod page;
mod predictions;
mod queue;
mod removals;
mod results;
mod run_files;
mod runs;
mod session;
mod shares;
mod sweeps;
mod tokens;
mod trash;
mod versions;
mod webhooks;

use crate::domain::error::Result;
use crate::domain::stamp::Timestamp;
use crate::http::error::{Shape, response};
use crate::http::routes::Routes;
use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use serde::Serialize;
use std::time::{Duration, SystemTime};
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;

/// Adds the routes.
pub fn configure(routes: &mut Routes<'_>) {
    accounts::configure(routes);
    archives::configure(routes);
    audit::configure(routes);
    events::configure(routes);
    maintenance::configure(routes);
    predictions::configure(routes);
    datasets::configure(routes);
    duplicates::configure(routes);
    experiments::configure(routes);
    image_content::configure(routes);
    images::configure(routes);
    models::configure(routes);
    queue::configure(routes);
    results::configure(routes);
    run_files::configure(routes);
    runs::configure(routes);
    session::configure(routes);
    shares::configure(routes);
    sweeps::configure(routes);
    tokens::configure(routes);
    trash::configure(routes);
    versions::configure(routes);
    webhooks::configure(routes);
}

/// What the handlers say of the routes.
pub fn docs() -> Vec<OpenApi> {
    vec![
        accounts::Docs::openapi(),
        archives::Docs::openapi(),
        audit::Docs::openapi(),
        events::Docs::openapi(),
        maintenance::Docs::openapi(),
        predictions::Docs::openapi(),
        datasets::Docs::openapi(),
        duplicates::Docs::openapi(),
        experiments::Docs::openapi(),
        image_content::Docs::openapi(),
        images::Docs::openapi(),
        models::Docs::openapi(),
        queue::Docs::openapi(),
        results::Docs::openapi(),
        run_files::Docs::openapi(),
        runs::Docs::openapi(),
        removals::Docs::openapi(),
        session::Docs::openapi(),
        shares::Docs::openapi(),
        sweeps::Docs::openapi(),
        tokens::Docs::openapi(),
        trash::Docs::openapi(),
        versions::Docs::openapi(),
        webhooks::Docs::openapi(),
    ]
}

fn answer<T: Serialize>(outcome: Result<T>) -> HttpResponse {
    answer_as(StatusCode::OK, outcome)
}

fn answer_as<T: Serialize>(status: StatusCode, outcome: Result<T>) -> HttpResponse {
    match outcome {
        Ok(body) => HttpResponse::build(status).json(body),
        Err(error) => response(Shape::Problem, &error),
    }
}

/// An answer without a body.
fn done(outcome: Result<()>) -> HttpResponse {
    match outcome {
        Ok(()) => HttpResponse::NoContent().finish(),
        Err(error) => response(Shape::Problem, &error),
    }
}

/// RFC 3339, UTC.
fn time(at: Timestamp) -> String {
    humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + Duration::from_millis(at.0)).to_string()
}
