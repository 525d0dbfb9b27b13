//! `/api/v1/sweeps`: runs that were submitted together.

use super::{answer, answer_as, time};
use crate::domain::account::{Change, View};
use crate::domain::error::{Error, Result};
use crate::domain::ids::{ParseIdError, SweepId};
use crate::http::auth::Granted;
use crate::http::error::Shape;
use crate::http::routes::{Routes, at};
use crate::service::Services;
use crate::service::control::SweepView;
use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::{Data, Path};
use serde::Serialize;
use serde_json::{Map, Value, json};

pub(super) fn configure(routes: &mut Routes<'_>) {
    routes.add(at("/api/v1/sweeps/{id}", Shape::Problem).get(get));
    routes.add(at("/api/v1/sweeps/{id}/cancel", Shape::Problem).post(cancel));
    routes.add(at("/api/v1/sweeps/{id}/retry", Shape::Problem).post(retry));
}

/// A sweep as `/api/v1` shows it.
#[derive(Debug, Serialize)]
pub(super) struct SweepBody {
    id: String,
    model: String,
    dataset_version: u64,
    runs: u32,
    /// How many experiments stand where; of several runs of one the last counts.
    states: Map<String, Value>,
    /// The best result so far.
    best: Option<BestBody>,
    submitted_at: String,
}

/// The best result of a sweep.
#[derive(Debug, Serialize)]
struct BestBody {
    run_id: String,
    accuracy: String,
}

impl From<SweepView> for SweepBody {
    fn from(view: SweepView) -> Self {
        Self {
            id: view.sweep.id.to_string(),
            model: view.model,
            dataset_version: view.sweep.version.number.0,
            runs: view.sweep.runs,
            states: view.states.into_iter().map(|(state, count)| (state.to_owned(), json!(count))).collect(),
            best: view.best.map(|best| BestBody {
                run_id: best.run.to_string(),
                accuracy: best.accuracy.text().to_owned(),
            }),
            submitted_at: time(view.sweep.stamp.created_at),
        }
    }
}

/// Reads a sweep's id.
pub(super) fn id(text: &str) -> Result<SweepId> {
    text.parse().map_err(|error: ParseIdError| Error::parameter(error.to_string()))
}

async fn get(Granted(permit): Granted<View>, services: Data<Services>, path: Path<String>) -> HttpResponse {
    answer(id(&path).and_then(|id| services.sweep(permit, id)).map(SweepBody::from))
}

async fn cancel(Granted(permit): Granted<Change>, services: Data<Services>, path: Path<String>) -> HttpResponse {
    let outcome = async {
        let id = id(&path)?;
        services.cancel_sweep(permit, id).await.map(|count| json!({ "cancelled": count }))
    };
    answer_as(StatusCode::ACCEPTED, outcome.await)
}

async fn retry(Granted(permit): Granted<Change>, services: Data<Services>, path: Path<String>) -> HttpResponse {
    let outcome = async {
        let runs = services.retry_sweep(permit, id(&path)?).await?;
        Ok(json!({ "run_ids": runs.iter().map(ToString::to_string).collect::<Vec<_>>() }))
    };
    answer_as(StatusCode::CREATED, outcome.await)
}
