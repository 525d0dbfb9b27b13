//! `/api/v1/runs`: a run, its log, its metrics; a model's runs.

use super::page::{self, Page};
use super::sweeps;
use super::{answer, answer_as, time};
use crate::domain::account::{Change, View};
use crate::domain::error::{Error, Result};
use crate::domain::experiment::LearningRate;
use crate::domain::ids::{ParseIdError, RunId};
use crate::domain::run::{Outcome, RunState};
use crate::domain::text::printable;
use crate::http::auth::Granted;
use crate::http::body::Json;
use crate::http::error::{Shape, response};
use crate::http::experiments_api::number;
use crate::http::openapi::parts::{OfRun, Paging};
use crate::http::openapi::words::StateWord;
use crate::http::parameters::Parameters;
use crate::http::routes::{Routes, at};
use crate::service::Services;
use crate::service::runs::{RunLog, RunView};
use actix_web::http::StatusCode;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use utoipa::{OpenApi, ToSchema};

/// How a file leaves: a piece at a time.
const PIECE: usize = 64 << 10;

/// How much of a failed run's log is shown beside its reason, in bytes.
const TAIL: u64 = 4 << 10;

/// How many lines of it.
const TAIL_LINES: usize = 20;

pub(super) fn configure(routes: &mut Routes<'_>) {
    routes.add(at("/api/v1/runs", Shape::Problem).get(list));
    routes.add(at("/api/v1/runs/{id}", Shape::Problem).get(get).patch(change));
    routes.add(at("/api/v1/runs/{id}/retry", Shape::Problem).post(retry));
    routes.add(at("/api/v1/runs/{id}/log", Shape::Problem).get(log));
    routes.add(at("/api/v1/runs/{id}/metrics", Shape::Problem).get(metrics));
    routes.add(at("/api/v1/runs/{id}/cancel", Shape::Problem).post(cancel));
}

#[derive(OpenApi)]
#[openapi(paths(list, get, change, retry, log, metrics, cancel))]
pub(super) struct Docs;

/// A run as `/api/v1` shows it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Run)]
struct RunBody {
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

fn id(path: &str) -> Result<RunId> {
    path.parse().map_err(|error: ParseIdError| Error::parameter(error.to_string()))
}

/// The runs of a model, or of a sweep
#[utoipa::path(get, path = "/api/v1/runs", operation_id = "list_runs", tag = "runs",
    params(("model" = Option<String>, Query, description = "The model's name; needed without `sweep`"),
        ("sweep" = Option<String>, Query, description = "The sweep's id"), Paging),
    responses((status = 200, body = Page<RunBody>), (status = 404)))]
async fn list(Granted(permit): Granted<View>, services: Data<Services>, request: HttpRequest) -> HttpResponse {
    let given = Parameters::from_query(request.query_string());
    let outcome = (|| {
        let limit = page::limit(&given)?;
        let after = page::cursor(&given)?;
        let runs = match given.optional("sweep") {
            Some(sweep) => services.runs_of_sweep(permit, sweeps::id(sweep)?, after, limit + 1)?,
            None => services.runs(permit, &given.name("model")?, after, limit + 1)?,
        };
        let next_cursor = runs.get(limit).and_then(|_| runs.get(limit - 1)).map(|view| view.run.id.to_string());
        let data: Vec<RunBody> = runs.into_iter().take(limit).map(RunBody::from).collect();
        Ok(Page { data, next_cursor })
    })();
    answer(outcome)
}

/// A run
#[utoipa::path(get, path = "/api/v1/runs/{id}", operation_id = "get_run", tag = "runs",
    params(OfRun), responses((status = 200, body = RunBody), (status = 404)))]
async fn get(Granted(permit): Granted<View>, services: Data<Services>, path: Path<String>) -> HttpResponse {
    let outcome = async {
        let id = id(&path)?;
        let mut body = RunBody::from(services.run(permit, id)?);
        if body.reason.is_some() {
            let log = services.run_log(permit, id)?;
            let tail = tokio::task::spawn_blocking(move || tail(log)).await.map_err(Error::internal)?;
            body.log_tail = Some(last_lines(&tail.map_err(Error::internal)?));
        }
        Ok(body)
    };
    answer(outcome.await)
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

/// Opens a file of a run; one that printed nothing has none.
pub(super) fn open(path: PathBuf) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// What a run has printed so far
#[utoipa::path(get, path = "/api/v1/runs/{id}/log", operation_id = "get_run_log", tag = "runs",
    params(OfRun), responses((status = 200, content_type = "text/plain", body = String), (status = 404)))]
async fn log(Granted(permit): Granted<View>, services: Data<Services>, path: Path<String>) -> HttpResponse {
    match id(&path).and_then(|id| services.run_log(permit, id)) {
        Ok(RunLog::File(path)) => send("text/plain; charset=utf-8", path).await,
        Ok(RunLog::Text(text)) => plain("text/plain; charset=utf-8").body(text),
        Err(error) => response(Shape::Problem, &error),
    }
}

/// The points of a run's curves so far
#[utoipa::path(get, path = "/api/v1/runs/{id}/metrics", operation_id = "get_run_metrics", tag = "runs",
    params(OfRun),
    responses((status = 200, description = "A JSON object a line", content_type = "application/jsonl", body = String), (status = 404)))]
async fn metrics(Granted(permit): Granted<View>, services: Data<Services>, path: Path<String>) -> HttpResponse {
    match id(&path).and_then(|id| services.run_points(permit, id)) {
        Ok(path) => send("application/jsonl", path).await,
        Err(error) => response(Shape::Problem, &error),
    }
}

/// Sends what a file holds now.
async fn send(content_type: &'static str, path: PathBuf) -> HttpResponse {
    let opened = tokio::task::spawn_blocking(move || {
        let file = open(path)?;
        let length = file.as_ref().map(File::metadata).transpose()?.map_or(0, |file| file.len());
        io::Result::Ok((file, length))
    });
    let opened = opened.await.map_err(io::Error::other).and_then(|opened| opened);
    let mut answer = plain(content_type);
    match opened {
        Ok((Some(file), length)) => answer.no_chunking(length).streaming(pieces(file, length)),
        Ok((None, _)) => answer.finish(),
        Err(error) => response(Shape::Problem, &Error::internal(error)),
    }
}

/// What a script printed is never to be taken for a page.
fn plain(content_type: &'static str) -> HttpResponseBuilder {
    let mut answer = HttpResponse::Ok();
    answer.content_type(content_type).insert_header(("x-content-type-options", "nosniff"));
    answer
}

/// The first `length` bytes of a file, which may be growing.
pub(super) fn pieces(file: File, length: u64) -> impl futures::Stream<Item = io::Result<Bytes>> {
    futures::stream::try_unfold((file, length), |(mut file, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let read = tokio::task::spawn_blocking(move || {
            let mut piece = vec![0; PIECE.min(usize::try_from(left).unwrap_or(PIECE))];
            let length = file.read(&mut piece)?;
            piece.truncate(length);
            io::Result::Ok((file, piece))
        });
        let (file, piece) = read.await.map_err(io::Error::other)??;
        if piece.is_empty() {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        let left = left - piece.len() as u64;
        Ok(Some((Bytes::from(piece), (file, left))))
    })
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
    params(OfRun), request_body = Changes,
    responses((status = 200, body = RunBody), (status = 404), (status = 409)))]
async fn change(
    Granted(permit): Granted<Change>,
    services: Data<Services>,
    path: Path<String>,
    Json(changes): Json<Changes>,
) -> HttpResponse {
    let outcome = async {
        let id = id(&path)?;
        services.prioritise(permit, id, changes.priority).await?;
        Ok(RunBody::from(services.run(permit.view(), id)?))
    };
    answer(outcome.await)
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
