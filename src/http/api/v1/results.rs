//! `/api/v1/models/{model}/...`: the best result, all of them in order, and all of them to take away.

use super::answer;
use super::models::called;
use super::page::{self, Page};
use crate::domain::account::View;
use crate::domain::error::{Error, Result};
use crate::domain::experiment::LearningRate;
use crate::http::auth::Granted;
use crate::http::error::{Shape, response};
use crate::http::experiments_api::number;
use crate::http::openapi::parts::{OfModel, Paging};
use crate::http::parameters::Parameters;
use crate::http::routes::{Routes, at};
use crate::service::Services;
use crate::service::ranking::{Column, Export, Order, Place, Ranked};
use actix_web::http::header::CONTENT_DISPOSITION;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use serde::Serialize;
use std::fmt::Write;
use std::io;
use utoipa::{OpenApi, ToSchema};

pub(super) fn configure(routes: &mut Routes<'_>) {
    routes.add(at("/api/v1/models/{model}/best", Shape::Problem).get(best));
    routes.add(at("/api/v1/models/{model}/leaderboard", Shape::Problem).get(leaderboard));
    routes.add(at("/api/v1/models/{model}/results.csv", Shape::Problem).get(as_csv));
    routes.add(at("/api/v1/models/{model}/results.jsonl", Shape::Problem).get(as_json_lines));
}

#[derive(OpenApi)]
#[openapi(paths(best, leaderboard, as_csv, as_json_lines))]
pub(super) struct Docs;

/// The result of an experiment on a dataset
#[derive(Serialize, ToSchema)]
#[schema(as = Result)]
struct ResultBody {
    experiment: String,
    #[serde(serialize_with = "number")]
    #[schema(value_type = f64)]
    learning_rate: LearningRate,
    layers: u32,
    steps: u64,
    /// Empty for all of the model's images
    dataset: String,
    dataset_version: u64,
    /// As the script printed it
    accuracy: String,
    validation_loss: Option<f64>,
    run_id: String,
}

impl From<Ranked> for ResultBody {
    fn from(ranked: Ranked) -> Self {
        let Ranked { result, experiment, parameters, dataset } = ranked;
        Self {
            experiment,
            learning_rate: parameters.learning_rate,
            layers: parameters.layers,
            steps: parameters.steps,
            dataset,
            dataset_version: result.version.number.0,
            accuracy: result.accuracy.text().to_owned(),
            validation_loss: result.validation_loss,
            run_id: result.run.to_string(),
        }
    }
}

/// The best result of a model, or of those of an experiment or on a dataset
#[utoipa::path(get, path = "/api/v1/models/{model}/best", operation_id = "get_best", tag = "models",
    params(OfModel, ("experiment" = Option<String>, Query, description = "Of this experiment only, by its name or id", pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"),
        ("dataset" = Option<String>, Query, description = "On this dataset only, by its name or id", pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")),
    responses((status = 200, body = ResultBody), (status = 404), (status = 409)))]
async fn best(
    Granted(permit): Granted<View>,
    services: Data<Services>,
    path: Path<String>,
    request: HttpRequest,
) -> HttpResponse {
    let given = Parameters::from_query(request.query_string());
    let outcome = (|| {
        let model = called(&path)?;
        let (experiment, dataset) = (given.optional_reference("experiment")?, given.optional_reference("dataset")?);
        services.best_of(permit, &model, experiment.as_ref(), dataset.as_ref()).map(ResultBody::from)
    })();
    answer(outcome)
}

fn written(place: &Place) -> String {
    place.iter().fold(String::with_capacity(2 * place.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The longest place: two names and some numbers, in hexadecimal digits.
const MOST_DIGITS: usize = 640;

fn place(text: &str) -> Result<Place> {
    let wrong = || Error::parameter("cursor must be the next_cursor of an earlier page");
    if text.len() > MOST_DIGITS || !text.len().is_multiple_of(2) || !text.is_ascii() {
        return Err(wrong());
    }
    let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| wrong());
    (0..text.len()).step_by(2).map(byte).collect()
}

/// What a leaderboard can be sorted by
const SORTS: [(&str, Option<Column>); 5] = [
    ("accuracy", None),
    ("learning_rate", Some(Column::LearningRate)),
    ("layers", Some(Column::Layers)),
    ("steps", Some(Column::Steps)),
    ("experiment", Some(Column::Experiment)),
];

/// Reads `sort`; a minus turns it round. Accuracies come from the best on, all else from the least on.
fn order(given: &Parameters) -> Result<Order> {
    let Some(text) = given.optional("sort") else { return Ok(Order::BEST_FIRST) };
    let (name, turned) = text.strip_prefix('-').map_or((text, false), |name| (name, true));
    let found = SORTS.iter().find(|(sort, _)| *sort == name).map(|(_, by)| *by);
    let by = found.ok_or_else(|| {
        let names = SORTS.map(|(name, _)| name).join(", ");
        Error::parameter(format!("sort is one of {names}, with a minus before it for the other way round"))
    })?;
    Ok(Order { by, descending: by.is_none() != turned })
}

/// The results of a model, the best first
///
/// Or in the order of what the experiments are told and called; of equal ones, the earlier experiment comes first. A cursor goes with the order
/// that it was given for.
#[utoipa::path(get, path = "/api/v1/models/{model}/leaderboard", operation_id = "get_leaderboard", tag = "models",
    params(OfModel, Paging, ("sort" = Option<String>, Query, description = "`accuracy` (the best first), `learning_rate`, `layers`, `steps` or `experiment` (the least first); with a minus the other way round", pattern = "^(-?(accuracy|learning_rate|layers|steps|experiment))?$")),
    responses((status = 200, body = Page<ResultBody>), (status = 404)))]
async fn leaderboard(
    Granted(permit): Granted<View>,
    services: Data<Services>,
    path: Path<String>,
    request: HttpRequest,
) -> HttpResponse {
    let given = Parameters::from_query(request.query_string());
    let outcome = (|| {
        let model = called(&path)?;
        let (order, limit) = (order(&given)?, page::limit(&given)?);
        let after = given.optional("cursor").map(place).transpose()?;
        let found = services.leaderboard(permit, &model, order, after.as_ref(), limit + 1)?;
        let next_cursor = found.get(limit).and_then(|_| found.get(limit - 1)).map(|(place, _)| written(place));
        let data: Vec<ResultBody> = found.into_iter().take(limit).map(|(_, ranked)| ranked.into()).collect();
        Ok(Page { data, next_cursor })
    })();
    answer(outcome)
}

const COLUMNS: &str =
    "experiment,learning_rate,layers,steps,dataset,dataset_version,accuracy,validation_loss,run_id\r\n";

/// A line of CSV (RFC 4180). Names, ids and numbers hold nothing that would have to be quoted, and no name begins as a
/// formula does.
fn csv_line(text: &mut String, body: &ResultBody) {
    let loss = body.validation_loss.map(|loss| loss.to_string()).unwrap_or_default();
    let ResultBody { experiment, learning_rate, layers, steps, dataset, dataset_version, accuracy, run_id, .. } = body;
    let _ = write!(
        text,
        "{experiment},{learning_rate},{layers},{steps},{dataset},{dataset_version},{accuracy},{loss},{run_id}\r\n"
    );
}

fn json_line(text: &mut String, body: &ResultBody) {
    // Plain data is always written.
    text.push_str(&serde_json::to_string(body).unwrap_or_default());
    text.push('\n');
}

/// A file of all results, a page of them at a time.
fn file(
    outcome: Result<Export>,
    content_type: &'static str,
    name: &'static str,
    head: &'static str,
    line: fn(&mut String, &ResultBody),
) -> HttpResponse {
    let export = match outcome {
        Ok(export) => export,
        Err(error) => return response(Shape::Problem, &error),
    };
    let pieces = futures::stream::try_unfold((export, head), move |(mut export, head)| async move {
        let read = tokio::task::spawn_blocking(move || {
            let page = export.next_page();
            (export, page)
        });
        let (export, page) = read.await.map_err(io::Error::other)?;
        let Some(page) = page.map_err(io::Error::other)? else { return Ok::<_, io::Error>(None) };
        let mut text = head.to_owned();
        page.into_iter().for_each(|ranked| line(&mut text, &ResultBody::from(ranked)));
        Ok(Some((Bytes::from(text), (export, ""))))
    });
    HttpResponse::Ok()
        .content_type(content_type)
        .insert_header((CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")))
        .streaming(pieces)
}

/// All results of a model as CSV
#[utoipa::path(get, path = "/api/v1/models/{model}/results.csv", operation_id = "export_results_csv", tag = "models",
    params(OfModel), responses((status = 200, content_type = "text/csv", body = String), (status = 404)))]
async fn as_csv(Granted(permit): Granted<View>, services: Data<Services>, path: Path<String>) -> HttpResponse {
    let export = called(&path).and_then(|model| services.export(permit, &model));
    file(export, "text/csv; charset=utf-8", "results.csv", COLUMNS, csv_line)
}

/// All results of a model as JSON Lines
#[utoipa::path(get, path = "/api/v1/models/{model}/results.jsonl", operation_id = "export_results_jsonl", tag = "models",
    params(OfModel), responses((status = 200, description = "A result a line", content_type = "application/jsonl", body = String), (status = 404)))]
async fn as_json_lines(Granted(permit): Granted<View>, services: Data<Services>, path: Path<String>) -> HttpResponse {
    let export = called(&path).and_then(|model| services.export(permit, &model));
    file(export, "application/jsonl", "results.jsonl", "", json_line)
}
