//! `/api/v1/sweeps`: runs that were submitted together.

use super::datasets::dataset_called;
use super::models::called;
use super::page::{self, Page};
use super::queue::CancelledBody;
use super::{answer, answer_as, removals, time};
use crate::domain::account::{Change, Permit, View};
use crate::domain::error::{Error, Result};
use crate::domain::experiment::HyperParameters;
use crate::domain::ids::{ParseIdError, SweepId};
use crate::domain::sweep::Grid;
use crate::http::auth::Granted;
use crate::http::error::Shape;
use crate::http::keyed::Keyed;
use crate::http::openapi::parts::{OfKey, OfSweep, Paging};
use crate::http::openapi::words::{LayersWord, LearningRateWord, ReferenceWord, StepsWord};
use crate::http::parameters::Parameters;
use crate::http::routes::{Routes, at};
use crate::service::Services;
use crate::service::control::SweepView;
use crate::service::listing::SweepLine;
use crate::service::runs::Terms;
use crate::service::submit::Plan;
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderValue, LOCATION};
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::{OpenApi, ToSchema};

/// The largest list of experiments or points, in bytes: ten thousand of them fit.
const MAX_PLAN: usize = 2 << 20;

pub(super) fn configure(routes: &mut Routes<'_>) {
    routes.add(at("/api/v1/sweeps", Shape::Problem).get(list).post(submit).body(MAX_PLAN));
    routes.add(at("/api/v1/sweeps/{id}", Shape::Problem).get(get).delete(removals::delete_sweep));
    routes.add(at("/api/v1/sweeps/{id}/cancel", Shape::Problem).post(cancel));
    routes.add(at("/api/v1/sweeps/{id}/retry", Shape::Problem).post(retry));
}

#[derive(OpenApi)]
#[openapi(paths(list, submit, get, cancel, retry))]
pub(super) struct Docs;

/// A sweep as `/api/v1` shows it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Sweep)]
pub(super) struct SweepBody {
    id: String,
    model: String,
    dataset_version: u64,
    runs: u32,
    /// How many experiments stand where; of several runs of one the last counts.
    #[schema(value_type = BTreeMap<String, u64>)]
    states: Map<String, Value>,
    best: Option<SweepBestBody>,
    #[schema(format = DateTime)]
    submitted_at: String,
}

/// The best result of a sweep so far
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SweepBest)]
struct SweepBestBody {
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
            best: view
                .best
                .map(|best| SweepBestBody { run_id: best.run.to_string(), accuracy: best.accuracy.text().to_owned() }),
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

/// A sweep in a list
#[derive(Serialize, ToSchema)]
#[schema(as = SweepLine)]
struct LineBody {
    id: String,
    model: String,
    dataset_version: u64,
    runs: u32,
    /// How many of its runs are not over; null for a sweep of an early version
    open: Option<u64>,
    #[schema(format = DateTime)]
    submitted_at: String,
}

impl From<SweepLine> for LineBody {
    fn from(line: SweepLine) -> Self {
        let SweepLine { sweep, model, open } = line;
        Self {
            id: sweep.id.to_string(),
            model,
            dataset_version: sweep.version.number.0,
            runs: sweep.runs,
            open,
            submitted_at: time(sweep.stamp.created_at),
        }
    }
}

/// The sweeps of a model, the newest first
#[utoipa::path(get, path = "/api/v1/sweeps", operation_id = "list_sweeps", tag = "sweeps",
    params(("model" = String, Query, description = "The model's name or id", pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"), Paging),
    responses((status = 200, description = "A page; it may hold fewer than there are, and the next one goes on", body = Page<LineBody>), (status = 404)))]
async fn list(Granted(permit): Granted<View>, services: Data<Services>, request: HttpRequest) -> HttpResponse {
    let given = Parameters::from_query(request.query_string());
    let outcome = (|| {
        let (limit, before) = (page::limit(&given)?, page::cursor(&given)?);
        let (found, next) = services.sweeps(permit, &given.reference("model")?, before, limit)?;
        let data: Vec<LineBody> = found.into_iter().map(LineBody::from).collect();
        Ok(Page { data, next_cursor: next.map(|sweep| sweep.to_string()) })
    })();
    answer(outcome)
}

/// The values that a sweep combines, each with each
#[derive(Deserialize, ToSchema)]
#[schema(as = Grid)]
#[serde(deny_unknown_fields)]
struct GridBody {
    #[schema(value_type = Vec<LearningRateWord>, min_items = 1, max_items = 10000)]
    learning_rates: Vec<f64>,
    #[schema(value_type = Vec<LayersWord>, min_items = 1, max_items = 10000)]
    layers: Vec<u32>,
    #[schema(value_type = Vec<StepsWord>, min_items = 1, max_items = 10000)]
    steps: Vec<u64>,
}

/// What a run is told
#[derive(Deserialize, ToSchema)]
#[schema(as = Parameters)]
#[serde(deny_unknown_fields)]
pub(super) struct PointBody {
    #[schema(value_type = LearningRateWord)]
    learning_rate: f64,
    #[schema(value_type = LayersWord)]
    layers: u32,
    #[schema(value_type = StepsWord)]
    steps: u64,
}

impl PointBody {
    /// The point, checked.
    pub fn read(&self) -> Result<HyperParameters> {
        let Self { learning_rate, layers, steps } = self;
        Grid::new(&[*learning_rate], &[*layers], &[*steps])?
            .points()
            .next()
            .ok_or_else(|| Error::parameter("there is nothing to run"))
    }
}

/// A sweep to be run: a grid, points, or experiments; without any, the experiments that came with the model
#[derive(Deserialize, ToSchema)]
#[schema(as = NewSweep)]
#[serde(deny_unknown_fields)]
struct NewSweep {
    /// The model's name or id
    #[schema(max_length = 128, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    model: String,
    /// The dataset's name or id; without it, all of the model's images
    #[schema(max_length = 128, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    dataset: Option<String>,
    grid: Option<GridBody>,
    /// Names or ids
    #[schema(value_type = Option<Vec<ReferenceWord>>, min_items = 1, max_items = 10000)]
    experiments: Option<Vec<String>>,
    #[schema(min_items = 1, max_items = 10000)]
    parameters: Option<Vec<PointBody>>,
    /// The higher, the earlier
    #[schema(minimum = 0, maximum = 100)]
    priority: Option<u8>,
    /// How long each run may take
    #[schema(minimum = 1)]
    timeout_seconds: Option<u32>,
    /// For all runs; without it, the dataset version's own
    seed: Option<u32>,
}

impl NewSweep {
    fn plan(&self) -> Result<Plan> {
        match (&self.grid, &self.experiments, &self.parameters) {
            (None, None, None) => Ok(Plan::Defaults),
            (Some(grid), None, None) => {
                let grid = Grid::new(&grid.learning_rates, &grid.layers, &grid.steps)?;
                Ok(Plan::Points(grid.points().collect()))
            }
            (None, Some(names), None) => Ok(Plan::Experiments(names.clone())),
            (None, None, Some(points)) => {
                points.iter().map(PointBody::read).collect::<Result<Vec<_>>>().map(Plan::Points)
            }
            _ => Err(Error::parameter("give one of grid, experiments and parameters")),
        }
    }
}

/// Run a sweep
#[utoipa::path(post, path = "/api/v1/sweeps", operation_id = "create_sweep", tag = "sweeps",
    params(OfKey), request_body = NewSweep,
    responses((status = 202, body = SweepBody, headers(("Location" = String, description = "Where the sweep is followed"))),
        (status = 404), (status = 409), (status = 422)))]
async fn submit(Granted(permit): Granted<Change>, services: Data<Services>, body: Keyed<NewSweep>) -> HttpResponse {
    let make =
        async |body: NewSweep| accepted("/api/v1/sweeps", submitted(permit, &services, body).await, |made| &made.id);
    body.once(&services, permit, make).await
}

async fn submitted(permit: Permit<Change>, services: &Services, body: NewSweep) -> Result<SweepBody> {
    let model = called(&body.model)?;
    let dataset = body.dataset.as_deref().map(dataset_called).transpose()?;
    let terms = Terms { priority: body.priority.unwrap_or(0), timeout_seconds: body.timeout_seconds, seed: body.seed };
    let submitted = services.submit(permit, model, dataset, body.plan()?, terms).await?;
    let sweep = submitted.sweep.ok_or_else(|| Error::internal("a sweep has no id"))?;
    services.sweep(permit.view(), sweep).map(SweepBody::from)
}

/// An answer to what takes time, with where it is followed.
pub(super) fn accepted<T: Serialize>(path: &str, outcome: Result<T>, id: impl Fn(&T) -> &String) -> HttpResponse {
    let location = outcome.as_ref().ok().map(|body| format!("{path}/{}", id(body)));
    let mut answer = answer_as(StatusCode::ACCEPTED, outcome);
    if let Some(location) = location.and_then(|location| HeaderValue::from_str(&location).ok()) {
        answer.headers_mut().insert(LOCATION, location);
    }
    answer
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
