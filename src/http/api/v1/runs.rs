//! `/api/v1/runs`: a run; the runs of a model or a sweep; submitting one.

use super::conditions::{self, if_match};
use super::datasets::dataset_called;
use super::models::called;
use super::page::{self, Page};
use super::run_files::open;
use super::sweeps::{self, PointBody};
use super::{answer, answer_as, removals, time};
use crate::domain::account::{Change, Permit, View};
use crate::domain::error::{Error, Result};
use crate::domain::experiment::LearningRate;
use crate::domain::ids::{ParseIdError, RunId};
use crate::domain::run::{Outcome, RunState};
use crate::domain::text::printable;
use crate::http::auth::Granted;
use crate::http::body::Json;
use crate::http::error::{Shape, response};
use crate::http::experiments_api::number;
use crate::http::keyed::Keyed;
use crate::http::openapi::parts::{IfMatch, OfKey, OfRun, Paging};
use crate::http::openapi::words::StateWord;
use crate::http::parameters::Parameters;
use crate::http::routes::{Routes, at};
use crate::service::Services;
use crate::service::listing::{self, Only, Whose};
use crate::service::runs::{RunLog, RunView, Terms};
use crate::service::submit::Plan;
use actix_web::http::StatusCode;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Seek, SeekFrom};
use utoipa::{OpenApi, ToSchema};

/// How much of a failed run's log is shown beside its reason, in bytes.
const TAIL: u64 = 4 << 10;

/// How many lines of it.
const TAIL_LINES: usize = 20;

pub(super) fn configure(routes: &mut Routes<'_>) {
    routes.add(at("/api/v1/runs", Shape::Problem).get(list).post(submit));
    routes.add(at("/api/v1/runs/{id}", Shape::Problem).get(get).patch(change).delete(removals::delete_run));
    routes.add(at("/api/v1/runs/{id}/retry", Shape::Problem).post(retry));
    routes.add(at("/api/v1/runs/{id}/cancel", Shape::Problem).post(cancel));
}

#[derive(OpenApi)]
#[openapi(paths(list, submit, get, change, retry, cancel))]
pub(super) struct Docs;

/// A run as `/api/v1` shows it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Run)]
pub(super) struct RunBody {
    id: String,
    #[schema(value_type = StateWord)]
    state: &'static str,
    model: String,
    experiment: String,
    /// Empty for all of the model's images
    dataset: String,
    dataset_version: u64,
    #[serde(serialize_with = "number")]
    #[schema(value_type = f64)]
    learning_rate: LearningRate,
    layers: u32,
    steps: u64,
    seed: u32,
    sweep_id: Option<String>,
    priority: u8,
    timeout_seconds: Option<u32>,
    /// As the script printed it
    accuracy: Option<String>,
    validation_loss: Option<f64>,
    /// Why it failed
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// The last lines of a failed run's log; not in lists
    log_tail: Option<Vec<String>>,
    attempts: u32,
    #[schema(format = DateTime)]
    submitted_at: String,
    #[schema(format = DateTime)]
    started_at: Option<String>,
    #[schema(format = DateTime)]
    finished_at: Option<String>,
    duration_seconds: Option<f64>,
}

impl From<RunView> for RunBody {
    fn from(view: RunView) -> Self {
        let run = view.run;
        let (mut accuracy, mut validation_loss, mut reason, mut finished) = (None, None, None, None);
        if let RunState::Done { outcome, finished_at } = &run.state {
            finished = Some(*finished_at);
            match outcome {
                Outcome::Succeeded { accuracy: printed, validation_loss: loss } => {
                    accuracy = Some(printed.text().to_owned());
                    validation_loss = *loss;
                }
                Outcome::Failed { reason: why } => reason = Some(printable(why).into_owned()),
                Outcome::Cancelled => {}
            }
        }
        let duration = run.last_started_at.zip(finished).map(|(from, to)| to.0.saturating_sub(from.0) as f64 / 1000.0);
        Self {
            id: run.id.to_string(),
            state: run.state.name(),
            model: view.model,
            experiment: view.experiment,
            dataset: view.dataset,
            dataset_version: run.spec.version.number.0,
            learning_rate: run.spec.parameters.learning_rate,
            layers: run.spec.parameters.layers,
            steps: run.spec.parameters.steps,
            seed: run.spec.seed,
            sweep_id: run.sweep.map(|sweep| sweep.to_string()),
            priority: run.priority,
            timeout_seconds: run.spec.timeout_seconds,
            accuracy,
            validation_loss,
            reason,
            log_tail: None,
            attempts: run.attempts,
            submitted_at: time(run.stamp.created_at),
            started_at: run.last_started_at.map(time),
            finished_at: finished.map(time),
            duration_seconds: duration,
        }
    }
}

/// Reads a run's id.
pub(super) fn id(path: &str) -> Result<RunId> {
    path.parse().map_err(|error: ParseIdError| Error::parameter(error.to_string()))
}

/// The runs of a model, or of a sweep
#[utoipa::path(get, path = "/api/v1/runs", operation_id = "list_runs", tag = "runs",
    params(("model" = Option<String>, Query, description = "The model's name or id; needed without `sweep`", pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"),
        ("sweep" = Option<String>, Query, description = "The sweep's id", pattern = "^(swp_[0-9a-f][0-9a-hjkmnp-tv-z]{12})?$"),
        ("state" = Option<StateWord>, Query, description = "In this state only"),
        ("experiment" = Option<String>, Query, description = "Of this experiment only, by its name or id", pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"),
        ("dataset" = Option<String>, Query, description = "On this dataset only, by its name or id", pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"),
        ("order" = Option<String>, Query, description = "`oldest` first, unless it is `newest`", pattern = "^(oldest|newest)?$"), Paging),
    responses((status = 200, description = "A page; with filters it may hold fewer than there are, and the next one goes on", body = Page<RunBody>), (status = 404)))]
async fn list(Granted(permit): Granted<View>, services: Data<Services>, request: HttpRequest) -> HttpResponse {
    let given = Parameters::from_query(request.query_string());
    let outcome = (|| {
        let limit = page::limit(&given)?;
        let after = page::cursor(&given)?;
        let whose = match given.optional("sweep") {
            Some(sweep) => Whose::Sweep(sweeps::id(sweep)?),
            None => Whose::Model(given.reference("model")?),
        };
        let newest_first = match given.optional("order") {
            None | Some("oldest") => false,
            Some("newest") => true,
            Some(_) => return Err(Error::parameter("order must be oldest or newest")),
        };
        let only = Only {
            state: given.optional("state").map(listing::state).transpose()?,
            experiment: given.optional_reference("experiment")?,
            dataset: given.optional_reference("dataset")?,
            newest_first,
        };
        let (runs, next) = services.listed_runs(permit, &whose, &only, after, limit)?;
        let data: Vec<RunBody> = runs.into_iter().map(RunBody::from).collect();
        Ok(Page { data, next_cursor: next.map(|run| run.to_string()) })
    })();
    answer(outcome)
}

/// A run to be made: an experiment of the model, or parameters
#[derive(Deserialize, ToSchema)]
#[schema(as = NewRun)]
#[serde(deny_unknown_fields)]
struct NewRun {
    /// The model's name or id
    #[schema(max_length = 128, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    model: String,
    /// The dataset's name or id; without it, all of the model's images
    #[schema(max_length = 128, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    dataset: Option<String>,
    /// Its name or id
    #[schema(max_length = 128, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    experiment: Option<String>,
    parameters: Option<PointBody>,
    /// The higher, the earlier
    #[schema(minimum = 0, maximum = 100)]
    priority: Option<u8>,
    /// How long it may take
    #[schema(minimum = 1)]
    timeout_seconds: Option<u32>,
    /// Without it, the dataset version's own
    seed: Option<u32>,
}

/// Run one experiment
#[utoipa::path(post, path = "/api/v1/runs", operation_id = "create_run", tag = "runs",
    params(OfKey), request_body = NewRun,
    responses((status = 202, body = RunBody, headers(("Location" = String, description = "Where the run is followed"))),
        (status = 404), (status = 409), (status = 422)))]
async fn submit(Granted(permit): Granted<Change>, services: Data<Services>, body: Keyed<NewRun>) -> HttpResponse {
    let make = async |body: NewRun| {
        sweeps::accepted("/api/v1/runs", submitted(permit, &services, body).await, |made| &made.id)
    };
    body.once(&services, permit, make).await
}

async fn submitted(permit: Permit<Change>, services: &Services, body: NewRun) -> Result<RunBody> {
    let model = called(&body.model)?;
    let dataset = body.dataset.as_deref().map(dataset_called).transpose()?;
    let plan = match (body.experiment, body.parameters) {
        (Some(experiment), None) => Plan::Experiments(vec![experiment]),
        (None, Some(point)) => Plan::Points(vec![point.read()?]),
        _ => return Err(Error::parameter("give one of experiment and parameters")),
    };
    let terms = Terms { priority: body.priority.unwrap_or(0), timeout_seconds: body.timeout_seconds, seed: body.seed };
    let submitted = services.submit_one(permit, model, dataset, plan, terms).await?;
    let run = submitted.runs.first().copied().ok_or_else(|| Error::internal("a run has no id"))?;
    services.run(permit.view(), run).map(RunBody::from)
}

/// A run
#[utoipa::path(get, path = "/api/v1/runs/{id}", operation_id = "get_run", tag = "runs",
    params(OfRun), responses((status = 200, body = RunBody, headers(("ETag" = String))), (status = 404)))]
async fn get(Granted(permit): Granted<View>, services: Data<Services>, path: Path<String>) -> HttpResponse {
    let outcome = async {
        let id = id(&path)?;
        let view = services.run(permit, id)?;
        let revision = view.run.stamp.revision;
        let mut body = RunBody::from(view);
        if body.reason.is_some() {
            let log = services.run_log(permit, id)?;
            let tail = tokio::task::spawn_blocking(move || tail(log)).await.map_err(Error::internal)?;
            body.log_tail = Some(last_lines(&tail.map_err(Error::internal)?));
        }
        Ok((revision, body))
    };
    conditions::answer(outcome.await)
}

/// The last bytes of a log.
fn tail(log: RunLog) -> io::Result<Vec<u8>> {
    let path = match log {
        RunLog::Text(text) => return Ok(text),
        RunLog::File(path) => path,
    };
    let Some(mut file) = open(path)? else { return Ok(Vec::new()) };
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn last_lines(bytes: &[u8]) -> Vec<String> {
    // Each state of a progress bar is a line of its own.
    let text = String::from_utf8_lossy(bytes).replace("\r\n", "\n");
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let lines: Vec<&str> = if text.is_empty() { Vec::new() } else { text.split(['\n', '\r']).collect() };
    lines[lines.len().saturating_sub(TAIL_LINES)..].iter().map(|line| printable(line).into_owned()).collect()
}

/// Stop a run
#[utoipa::path(post, path = "/api/v1/runs/{id}/cancel", operation_id = "cancel_run", tag = "runs",
    params(OfRun), responses((status = 202, body = RunBody), (status = 404), (status = 409)))]
async fn cancel(Granted(permit): Granted<Change>, services: Data<Services>, path: Path<String>) -> HttpResponse {
    let outcome = async {
        let id = id(&path)?;
        services.cancel_run(permit, id).await?;
        Ok(RunBody::from(services.run(permit.view(), id)?))
    };
    match outcome.await {
        Ok(body) => HttpResponse::Accepted().json(body),
        Err(error) => response(Shape::Problem, &error),
    }
}

/// What changes of a run that waits
#[derive(Deserialize, ToSchema)]
#[schema(as = RunChange)]
#[serde(deny_unknown_fields)]
struct Changes {
    /// The higher, the earlier
    #[schema(minimum = 0, maximum = 100)]
    priority: u8,
}

/// Change the priority of a run that waits
#[utoipa::path(patch, path = "/api/v1/runs/{id}", operation_id = "update_run", tag = "runs",
    params(OfRun, IfMatch), request_body = Changes,
    responses((status = 200, body = RunBody, headers(("ETag" = String))), (status = 404), (status = 409), (status = 412)))]
async fn change(
    Granted(permit): Granted<Change>,
    services: Data<Services>,
    path: Path<String>,
    request: HttpRequest,
    Json(changes): Json<Changes>,
) -> HttpResponse {
    let outcome = async {
        let id = id(&path)?;
        services.prioritise(permit, id, if_match(&request)?, changes.priority).await?;
        let view = services.run(permit.view(), id)?;
        Ok((view.run.stamp.revision, RunBody::from(view)))
    };
    conditions::answer(outcome.await)
}

/// Submit a run that is over once more
#[utoipa::path(post, path = "/api/v1/runs/{id}/retry", operation_id = "retry_run", tag = "runs",
    params(OfRun), responses((status = 201, body = RunBody), (status = 404), (status = 409)))]
async fn retry(Granted(permit): Granted<Change>, services: Data<Services>, path: Path<String>) -> HttpResponse {
    let outcome = async {
        let made = services.retry_run(permit, id(&path)?).await?;
        Ok(RunBody::from(services.run(permit.view(), made)?))
    };
    answer_as(StatusCode::CREATED, outcome.await)
}
