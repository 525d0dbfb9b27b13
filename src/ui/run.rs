//! `/runs/{id}`: one run, what it printed, what it reached and what it got wrong, and how to do it again.

use super::format::{self, Moment};
use super::page::{Frame, address, answer, see, show};
use crate::domain::account::{Change, Permit, View};
use crate::domain::error::{Error, Result};
use crate::domain::experiment::HyperParameters;
use crate::domain::ids::{ParseIdError, RunId};
use crate::domain::run::{Outcome, RunState};
use crate::domain::stamp::Seen;
use crate::domain::text::printable;
use crate::http::auth::Granted;
use crate::http::body::Fields;
use crate::http::error::Shape;
use crate::http::parameters::Parameters;
use crate::http::routes::{Routes, at};
use crate::service::Services;
use crate::service::runs::{RunLog, RunView};
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

/// How much of a log is shown, in bytes: its end.
const LOG: u64 = 64 << 10;

/// How much of an evaluation is read, in bytes.
const EVALUATION: u64 = 4 << 20;

/// Classes of a confusion matrix that is shown whole.
const CLASSES: usize = 20;

/// Points of a curve that are drawn.
const POINTS: usize = 400;

/// Kept files that are listed.
const FILES: usize = 200;

/// Misclassified images that are shown.
const MISTAKES: usize = 24;

/// Those of one kind that are shown.
const CHOSEN_MISTAKES: usize = 200;

pub(super) fn configure(routes: &mut Routes<'_>) {
    routes.add(at("/runs/{id}", Shape::Page).get(get));
    routes.add(at("/runs/{id}/curves.json", Shape::Page).get(curves));
    routes.add(at("/runs/{id}/cancel", Shape::Page).post(cancel));
    routes.add(at("/runs/{id}/retry", Shape::Page).post(retry));
    routes.add(at("/runs/{id}/priority", Shape::Page).post(priority));
    routes.add(at("/runs/{id}/delete", Shape::Page).post(delete));
}

/// What the built-in trainer tells of the images held out; a script may write the same.
#[derive(Deserialize)]
struct Evaluation {
    #[serde(default)]
    images: u64,
    labels: Vec<String>,
    #[serde(default)]
    confusion: Vec<Vec<u64>>,
    #[serde(default)]
    classes: Vec<ClassFigures>,
    #[serde(default)]
    errors: u64,
    #[serde(default)]
    misclassified: Vec<Misclassified>,
}

#[derive(Deserialize)]
struct ClassFigures {
    label: String,
    precision: Option<f64>,
    recall: f64,
    f1: f64,
    images: u64,
}

#[derive(Deserialize)]
struct Misclassified {
    image: String,
    label: String,
    predicted: String,
    #[serde(default)]
    probabilities: Vec<(String, f64)>,
}

struct HeatCell {
    count: u64,
    /// Where the images are looked at that were mixed up like this.
    href: Option<String>,
    is_chosen: bool,
    shade: u8,
    is_right: bool,
}

struct ClassShown {
    label: String,
    precision: String,
    recall: String,
    f1: String,
    images: u64,
}

struct Mistake {
    src: String,
    label: String,
    predicted: String,
    sure: String,
}

struct EvaluationShown {
    images: String,
    errors: String,
    labels: Vec<String>,
    matrix: Vec<(String, Vec<HeatCell>)>,
    confused: Vec<(String, String, u64)>,
    classes: Vec<ClassShown>,
    mistakes: Vec<Mistake>,
    /// The class and what it was taken for, where only such mistakes are shown.
    chosen: Option<(String, String)>,
}

pub(super) struct RunShown {
    pub id: String,
    pub state: &'static str,
    pub model: String,
    pub experiment: String,
    pub dataset: String,
    pub version: u64,
    pub parameters: HyperParameters,
    pub seed: u32,
    pub percent: Option<String>,
    pub printed: String,
    pub loss: Option<String>,
    pub reason: Option<String>,
    pub attempts: u32,
    pub priority: u8,
    pub sweep: Option<String>,
    pub submitted: Moment,
    pub took: Option<String>,
    pub is_over: bool,
    pub may_retry: bool,
}

impl RunShown {
    pub fn new(view: RunView, frame: &Frame) -> Self {
        let run = view.run;
        let mut shown = Self {
            id: run.id.to_string(),
            state: run.state.name(),
            model: view.model,
            experiment: view.experiment,
            dataset: view.dataset,
            version: run.spec.version.number.0,
            parameters: run.spec.parameters,
            seed: run.spec.seed,
            percent: None,
            printed: String::new(),
            loss: None,
            reason: None,
            attempts: run.attempts,
            priority: run.priority,
            sweep: run.sweep.map(|sweep| sweep.to_string()),
            submitted: frame.moment(run.stamp.created_at),
            took: None,
            is_over: false,
            may_retry: false,
        };
        if let RunState::Done { outcome, finished_at } = &run.state {
            shown.is_over = true;
            let started = run.last_started_at;
            shown.took = started.map(|from| format::took(finished_at.0.saturating_sub(from.0)));
            match outcome {
                Outcome::Succeeded { accuracy, validation_loss } => {
                    shown.percent = Some(format::percent(accuracy.value()));
                    shown.printed = accuracy.text().to_owned();
                    shown.loss = validation_loss.map(|loss| format!("{loss:.4}"));
                }
                Outcome::Failed { reason } => {
                    shown.may_retry = true;
                    shown.reason = Some(printable(reason).into_owned());
                }
                Outcome::Cancelled => shown.may_retry = true,
            }
        }
        shown
    }
}

#[derive(Template)]
#[template(path = "run.html")]
struct RunPage {
    frame: Frame,
    run: RunShown,
    log: String,
    log_is_cut: bool,
    log_end: u64,
    files: Vec<(String, String)>,
    evaluation: Option<EvaluationShown>,
    address: String,
}

pub(super) fn id(text: &str) -> Result<RunId> {
    text.parse().map_err(|error: ParseIdError| Error::parameter(error.to_string()))
}

async fn get(
    Granted(permit): Granted<View>,
    services: Data<Services>,
    request: HttpRequest,
    path: Path<String>,
) -> HttpResponse {
    let outcome = async {
        let id = id(&path)?;
        let view = services.run(permit, id)?;
        let title = format!("{} of {}", view.experiment, view.model);
        let frame = Frame::new(&services, &request, permit.actor(), "models", title)?;
        let run = RunShown::new(view, &frame);
        let log = services.run_log(permit, id)?;
        let (log, log_is_cut, log_end) = tokio::task::spawn_blocking(move || end_of(log))
            .await
            .map_err(Error::internal)?
            .map_err(Error::internal)?;
        let kept = services.artifacts(permit, id).await?;
        let has_evaluation = kept.iter().any(|file| file.name == "evaluation.json");
        let given = Parameters::from_query(request.query_string());
        let chosen = given.optional("label").zip(given.optional("predicted"));
        let chosen = chosen.map(|(label, predicted)| (label.to_owned(), predicted.to_owned()));
        let evaluation = match run.is_over && has_evaluation {
            true => evaluation(&services, permit, id, &run, chosen).await?,
            false => None,
        };
        let files = kept.into_iter().take(FILES).map(|file| (file.name, format::bytes(file.size))).collect();
        let address = address(&request);
        Ok(show(&RunPage { frame, run, log, log_is_cut, log_end, files, evaluation, address }))
    };
    answer(outcome.await)
}

/// The end of a log, whether there is more before it, and how much it is in all.
fn end_of(log: RunLog) -> io::Result<(String, bool, u64)> {
    let (bytes, from) = match log {
        RunLog::Text(text) => {
            let from = text.len().saturating_sub(LOG as usize);
            (text[from..].to_vec(), from as u64)
        }
        RunLog::File(path) => match File::open(path) {
            Ok(mut file) => {
                let from = file.seek(SeekFrom::End(0))?.saturating_sub(LOG);
                file.seek(SeekFrom::Start(from))?;
                let mut bytes = Vec::new();
                file.take(LOG).read_to_end(&mut bytes)?;
                (bytes, from)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((String::new(), false, 0)),
            Err(error) => return Err(error),
        },
    };
    let is_cut = from > 0;
    let text = String::from_utf8_lossy(&bytes).replace("\r\n", "\n").replace('\r', "\n");
    let lines = text.split('\n').skip(usize::from(is_cut)).map(printable);
    Ok((lines.collect::<Vec<_>>().join("\n"), is_cut, from + bytes.len() as u64))
}

/// What a run wrote of the images held out; nothing where that is not to be understood.
async fn evaluation(
    services: &Data<Services>,
    permit: Permit<View>,
    id: RunId,
    run: &RunShown,
    chosen: Option<(String, String)>,
) -> Result<Option<EvaluationShown>> {
    let (file, _) = services.artifact(permit, id, "evaluation.json".to_owned()).await?;
    let read = tokio::task::spawn_blocking(move || {
        let mut text = Vec::new();
        file.take(EVALUATION).read_to_end(&mut text)?;
        io::Result::Ok(serde_json::from_slice::<Evaluation>(&text).ok())
    });
    let read = read.await.map_err(Error::internal)?.map_err(Error::internal)?;
    Ok(read.map(|evaluation| evaluation_shown(evaluation, run, chosen)))
}

/// Where the images of a class are looked at that were taken for another one.
fn mistakes_address(run: &RunShown, label: &str, predicted: &str) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    let query = query.append_pair("label", label).append_pair("predicted", predicted).finish();
    format!("/runs/{}?{query}#mistakes", run.id)
}

fn evaluation_shown(found: Evaluation, run: &RunShown, chosen: Option<(String, String)>) -> EvaluationShown {
    let is_chosen =
        |label: &str, predicted: &str| chosen.as_ref().is_some_and(|chosen| chosen.0 == label && chosen.1 == predicted);
    let size = found.labels.len();
    let is_whole =
        size <= CLASSES && found.confusion.len() == size && found.confusion.iter().all(|row| row.len() == size);
    let row = |(at, (label, counts)): (usize, (&String, &Vec<u64>))| {
        let all: u64 = counts.iter().sum::<u64>().max(1);
        let cell = |(column, (count, predicted)): (usize, (&u64, &String))| HeatCell {
            count: *count,
            href: (column != at && *count > 0).then(|| mistakes_address(run, label, predicted)),
            is_chosen: is_chosen(label, predicted),
            shade: format::shade(*count as f64 / all as f64, 0.0, 1.0),
            is_right: column == at,
        };
        (label.clone(), counts.iter().zip(&found.labels).enumerate().map(cell).collect())
    };
    let matrix: Vec<_> = match is_whole {
        true => found.labels.iter().zip(&found.confusion).enumerate().map(row).collect(),
        false => Vec::new(),
    };
    let mut confused = Vec::new();
    for (label, counts) in found.labels.iter().zip(&found.confusion) {
        for (other, count) in found.labels.iter().zip(counts).filter(|(other, count)| *other != label && **count > 0) {
            confused.push((label.clone(), other.clone(), *count));
        }
    }
    confused.sort_by_key(|(_, _, count)| std::cmp::Reverse(*count));
    confused.truncate(8);
    let class = |figures: ClassFigures| ClassShown {
        label: figures.label,
        precision: figures.precision.map_or_else(|| "–".to_owned(), format::percent),
        recall: format::percent(figures.recall),
        f1: format::percent(figures.f1),
        images: figures.images,
    };
    let mistake = |wrong: Misclassified| {
        let sure = wrong.probabilities.first().map(|(_, value)| format::percent(*value)).unwrap_or_default();
        Mistake { src: image_address(run, &wrong.image), label: wrong.label, predicted: wrong.predicted, sure }
    };
    EvaluationShown {
        images: format::counted(found.images, "image"),
        errors: format::count(found.errors),
        labels: found.labels,
        matrix,
        confused,
        classes: found.classes.into_iter().map(class).collect(),
        mistakes: found
            .misclassified
            .into_iter()
            .filter(|wrong| chosen.is_none() || is_chosen(&wrong.label, &wrong.predicted))
            .take(if chosen.is_some() { CHOSEN_MISTAKES } else { MISTAKES })
            .map(mistake)
            .collect(),
        chosen: chosen.clone(),
    }
}

/// The address of an image that lies at `label/name` in the folder of a run's dataset.
fn image_address(run: &RunShown, path: &str) -> String {
    let (label, name) = path.rsplit_once('/').unwrap_or(("", path));
    super::dataset::image_address(&run.model, &run.dataset, label, name, "")
}

async fn curves(Granted(permit): Granted<View>, services: Data<Services>, path: Path<String>) -> HttpResponse {
    let outcome = async {
        let found = services.curves(permit, id(&path)?, None, POINTS).await?;
        let curves: BTreeMap<_, _> = found.curves.into_iter().map(|curve| (curve.metric, curve.points)).collect();
        Ok(HttpResponse::Ok().json(curves))
    };
    answer(outcome.await)
}

async fn cancel(Granted(permit): Granted<Change>, services: Data<Services>, path: Path<String>) -> HttpResponse {
    let outcome = async {
        let id = id(&path)?;
        services.cancel_run(permit, id).await?;
        Ok(see(&format!("/runs/{id}")))
    };
    answer(outcome.await)
}

async fn priority(
    Granted(permit): Granted<Change>,
    services: Data<Services>,
    path: Path<String>,
    Fields(given): Fields,
) -> HttpResponse {
    let outcome = async {
        let id = id(&path)?;
        let priority = given.required("priority")?.parse();
        let priority = priority.map_err(|_| Error::parameter("priority is a whole number from 0 to 100"))?;
        services.prioritise(permit, id, Seen::default(), priority).await?;
        Ok(see(&format!("/runs/{id}")))
    };
    answer(outcome.await)
}

async fn delete(Granted(permit): Granted<Change>, services: Data<Services>, path: Path<String>) -> HttpResponse {
    let outcome = async {
        let id = id(&path)?;
        let model = services.run(permit.view(), id)?.model;
        services.into_inner().delete_run(permit, id, Seen::default(), false).await?;
        Ok(see(&format!("/models/{model}/runs")))
    };
    answer(outcome.await)
}

async fn retry(Granted(permit): Granted<Change>, services: Data<Services>, path: Path<String>) -> HttpResponse {
    let outcome = async {
        let made = services.retry_run(permit, id(&path)?).await?;
        Ok(see(&format!("/runs/{made}")))
    };
    answer(outcome.await)
}
