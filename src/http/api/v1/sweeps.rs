//! `/api/v1/sweeps`: runs that were submitted together.

use super::queue::CancelledBody;
use super::{answer, answer_as, time};
use crate::domain::account::{Change, View};
use crate::domain::error::{Error, Result};
use crate::domain::ids::{ParseIdError, SweepId};
use crate::http::auth::Granted;
use crate::http::error::Shape;
use crate::http::openapi::parts::OfSweep;
use crate::http::routes::{Routes, at};
use crate::service::Services;
use crate::service::control::SweepView;
use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::{Data, Path};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::{OpenApi, ToSchema};

pub(super) fn configure(routes: &mut Routes<'_>) {
    routes.add(at("/api/v1/sweeps/{id}", Shape::Problem).get(get));
    routes.add(at("/api/v1/sweeps/{id}/cancel", Shape::Problem).post(cancel));
    routes.add(at("/api/v1/sweeps/{id}/retry", Shape::Problem).post(retry));
}

#[derive(OpenApi)]
#[openapi(paths(get, cancel, retry))]
pub(super) struct Docs;

/// A sweep as `/api/v1` shows it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Sweep)]
struct SweepBody {
    id: String,
    model: String,
    dataset_version: u64,
    runs: u32,
    /// How many experiments stand where; of several runs of one the last counts.
    #[schema(value_type = BTreeMap<String, u64>)]
    states: Map<String, Value>,
    #[schema(format = DateTime)]
    submitted_at: String,
}

impl From<SweepView> for SweepBody {
    fn from(view: SweepView) -> Self {
        Self {
            id: view.sweep.id.to_string(),
            model: view.model,
            dataset_version: view.sweep.version.number.0,
            runs: view.sweep.runs,
            states: view.states.into_iter().map(|(state, count)| (state.to_owned(), json!(count))).collect(),
            submitted_at: time(view.sweep.stamp.created_at),
        }
    }
}

/// The runs that were submitted
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Submitted)]
struct SubmittedBody {
    run_ids: Vec<String>,
}

/// Reads a sweep's id.
pub(super) fn id(text: &str) -> Result<SweepId> {
    text.parse().map_err(|error: ParseIdError| Error::parameter(error.to_string()))
}

/// A sweep and where its runs stand
#[utoipa::path(get, path = "/api/v1/sweeps/{id}", operation_id = "get_sweep", tag = "sweeps",
    params(OfSweep), responses((status = 200, body = SweepBody), (status = 404)))]
async fn get(Granted(permit): Granted<View>, services: Data<Services>, path: Path<String>) -> HttpResponse {
    answer(id(&path).and_then(|id| services.sweep(permit, id)).map(SweepBody::from))
}

/// Stop all runs of a sweep
#[utoipa::path(post, path = "/api/v1/sweeps/{id}/cancel", operation_id = "cancel_sweep", tag = "sweeps",
    params(OfSweep), responses((status = 202, body = CancelledBody), (status = 404)))]
async fn cancel(Granted(permit): Granted<Change>, services: Data<Services>, path: Path<String>) -> HttpResponse {
    let outcome = async {
        let id = id(&path)?;
        services.cancel_sweep(permit, id).await.map(|cancelled| CancelledBody { cancelled })
    };
    answer_as(StatusCode::ACCEPTED, outcome.await)
}

/// Submit once more what failed of a sweep
#[utoipa::path(post, path = "/api/v1/sweeps/{id}/retry", operation_id = "retry_sweep", tag = "sweeps",
    params(OfSweep), responses((status = 201, body = SubmittedBody), (status = 404), (status = 409)))]
async fn retry(Granted(permit): Granted<Change>, services: Data<Services>, path: Path<String>) -> HttpResponse {
    let outcome = async {
        let runs = services.retry_sweep(permit, id(&path)?).await?;
        Ok(SubmittedBody { run_ids: runs.iter().map(ToString::to_string).collect() })
    };
    answer_as(StatusCode::CREATED, outcome.await)
}
