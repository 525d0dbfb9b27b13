//! `DELETE /api/v1/runs/{id}` and `/api/v1/sweeps/{id}`: what is over goes at once and for good.

use super::conditions::if_match;
use super::{answer, runs, sweeps};
use crate::domain::account::Change;
use crate::domain::error::Result;
use crate::http::auth::Granted;
use crate::http::openapi::parts::{DryRun, IfMatch, OfRun, OfSweep};
use crate::http::parameters::Parameters;
use crate::service::Services;
use crate::service::trash::Gone;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

#[derive(OpenApi)]
#[openapi(paths(delete_run, delete_sweep))]
pub(super) struct Docs;

/// What was removed, or would be
#[derive(Serialize, ToSchema)]
#[schema(as = RemovedRuns)]
struct RemovedBody {
    runs: u64,
    /// In their files
    bytes: u64,
}

/// Says what went; where it takes long and goes on by itself, nothing yet.
fn removed(outcome: Result<Gone>) -> HttpResponse {
    match outcome {
        Ok(gone) if gone.is_underway => HttpResponse::Accepted().finish(),
        outcome => answer(outcome.map(|Gone { runs, bytes, .. }| RemovedBody { runs, bytes })),
    }
}

fn dry_run(request: &HttpRequest) -> Result<bool> {
    Parameters::from_query(request.query_string()).flag("dry_run")
}

/// Remove a run that is over, with its log, its files and its result
///
/// At once and for good. What an earlier run of the experiment brought on the dataset counts again.
#[utoipa::path(delete, path = "/api/v1/runs/{id}", operation_id = "delete_run", tag = "runs",
    params(OfRun, IfMatch, DryRun),
    responses((status = 200, body = RemovedBody), (status = 202, description = "It takes long and goes on by itself"),
        (status = 404), (status = 409), (status = 412)))]
pub(super) async fn delete_run(
    Granted(permit): Granted<Change>,
    services: Data<Services>,
    path: Path<String>,
    request: HttpRequest,
) -> HttpResponse {
    let outcome = async {
        let (id, seen, dry_run) = (runs::id(&path)?, if_match(&request)?, dry_run(&request)?);
        services.into_inner().delete_run(permit, id, seen, dry_run).await
    };
    removed(outcome.await)
}

/// Remove a sweep whose runs are all over, with these
///
/// At once and for good: their logs, files and results.
#[utoipa::path(delete, path = "/api/v1/sweeps/{id}", operation_id = "delete_sweep", tag = "sweeps",
    params(OfSweep, DryRun),
    responses((status = 200, body = RemovedBody), (status = 202, description = "It takes long and goes on by itself"),
        (status = 404), (status = 409)))]
pub(super) async fn delete_sweep(
    Granted(permit): Granted<Change>,
    services: Data<Services>,
    path: Path<String>,
    request: HttpRequest,
) -> HttpResponse {
    let outcome = async {
        let (id, dry_run) = (sweeps::id(&path)?, dry_run(&request)?);
        services.into_inner().delete_sweep(permit, id, dry_run).await
    };
    removed(outcome.await)
}
