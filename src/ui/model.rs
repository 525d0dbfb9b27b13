//! `/models/{model}`: its best result, its last sweep as a grid, its leaderboard, its datasets, and everything that can be
//! done with it.

use super::format::{self, Moment};
use super::page::{Frame, answer, see, show, show_as};
use crate::domain::account::{Change, Permit, View};
use crate::domain::error::{Code, Error, Result};
use crate::domain::experiment::HyperParameters;
use crate::domain::ids::{ParseIdError, SweepId};
use crate::domain::name::Name;
use crate::domain::stamp::Seen;
use crate::domain::sweep;
use crate::http::auth::Granted;
use crate::http::body::Fields;
use crate::http::error::{Shape, status};
use crate::http::form;
use crate::http::parameters::Parameters;
use crate::http::routes::{Routes, at};
use crate::service::Services;
use crate::service::overview::{LastSweep, ModelView, Row, SortBy};
use crate::service::predictions::Answer;
use crate::service::runs::Terms;
use crate::service::submit::Plan;
use crate::service::trash::Target;
use actix_multipart::Multipart;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use flate2::Compression;
use std::sync::Arc;

/// Lines of a leaderboard on a page.
const PAGE: usize = 50;

/// The most points that charts are given.
const POINTS: usize = 10_000;

/// Points of a sweep that are shown as cells of a grid; a larger one has its leaderboard.
const MOST_CELLS: usize = 400;

/// Probabilities that are shown as bars.
const BARS: usize = 8;

pub(super) fn configure(routes: &mut Routes<'_>) {
    let shape = Shape::Page;
    routes.add(at("/models/{model}", shape).get(get));
    routes.add(at("/models/{model}/points.json", shape).get(points));
    routes.add(at("/models/{model}/sweep", shape).post(default_sweep));
    routes.add(at("/models/{model}/grid", shape).post(grid_sweep));
    routes.add(at("/models/{model}/experiment", shape).post(experiment));
    routes.add(at("/models/{model}/predict", shape).post(predict));
    routes.add(at("/models/{model}/cancel", shape).post(cancel));
    routes.add(at("/models/{model}/delete", shape).post(delete));
    routes.add(at("/sweeps/{id}/cancel", shape).post(cancel_sweep));
    routes.add(at("/sweeps/{id}/retry", shape).post(retry_sweep));
}

struct BestShown {
    percent: String,
    printed: String,
    experiment: String,
    parameters: HyperParameters,
    dataset: String,
    run: String,
}

struct CellShown {
    href: Option<String>,
    state: &'static str,
    text: String,
    about: String,
    shade: u8,
    is_best: bool,
}

struct Line {
    head: String,
    cells: Vec<Option<CellShown>>,
}

/// The sweep as a table: a line for each learning rate and layer count, a column for each step count.
struct Grid {
    steps: Vec<u64>,
    lines: Vec<Line>,
}

struct SweepShown {
    id: Option<String>,
    when: Option<Moment>,
    total: usize,
    over: usize,
    counts: Vec<(&'static str, usize)>,
    is_open: bool,
    has_failed: bool,
    grid: Option<Grid>,
}

struct Column {
    title: &'static str,
    href: String,
    sorted: &'static str,
    is_number: bool,
}

struct BoardShown {
    columns: Vec<Column>,
    rows: Vec<(usize, RowShown)>,
    previous: Option<String>,
    next: Option<String>,
    is_empty: bool,
}

struct RowShown {
    percent: String,
    printed: String,
    experiment: String,
    parameters: HyperParameters,
    dataset: String,
    loss: Option<String>,
    run: String,
    is_best: bool,
}

struct DatasetShown {
    name: String,
    images: String,
    labelled: String,
}

struct Prediction {
    label: Option<String>,
    bars: Vec<(String, String, f64)>,
    output: Option<String>,
    experiment: String,
    run: String,
}

#[derive(Template)]
#[template(path = "model.html")]
struct ModelPage {
    frame: Frame,
    name: String,
    experiments: u32,
    images: String,
    has_images: bool,
    best: Option<BestShown>,
    sweep: SweepShown,
    board: BoardShown,
    datasets: Vec<DatasetShown>,
    prediction: Option<Prediction>,
    problem: Option<String>,
}

fn best_shown(view: &ModelView) -> Option<BestShown> {
    view.best.as_ref().map(|best| BestShown {
        percent: format::percent(best.accuracy.value()),
        printed: best.accuracy.text().to_owned(),
        experiment: best.experiment_name.clone(),
        parameters: best.parameters,
        dataset: best.dataset_name.clone(),
        run: best.run.to_string(),
    })
}

fn sweep_shown(sweep: LastSweep, frame: &Frame, best: Option<&str>) -> SweepShown {
    let count = |state: &str| sweep.cells.iter().filter(|cell| cell.state() == state).count();
    let counts = ["succeeded", "running", "queued", "failed", "cancelled"];
    let counts: Vec<_> = counts.into_iter().map(|state| (state, count(state))).filter(|(_, n)| *n > 0).collect();
    let open = count("queued") + count("running");
    let (total, is_new) = (sweep.cells.len(), sweep.id.is_none());
    SweepShown {
        id: sweep.id.map(|id| id.to_string()),
        when: sweep.submitted_at.map(|at| frame.moment(at)),
        total,
        over: if is_new { 0 } else { total - open },
        is_open: open > 0,
        has_failed: count("failed") > 0,
        counts,
        grid: (total <= MOST_CELLS).then(|| grid(&sweep, best)),
    }
}

fn grid(sweep: &LastSweep, best: Option<&str>) -> Grid {
    let (low, high) = sweep
        .cells
        .iter()
        .filter_map(|cell| cell.accuracy())
        .fold((f64::MAX, f64::MIN), |(low, high), (_, value)| (low.min(value), high.max(value)));
    let mut steps: Vec<u64> = sweep.cells.iter().map(|cell| cell.parameters.steps).collect();
    steps.sort_unstable();
    steps.dedup();
    let mut rows: Vec<_> =
        sweep.cells.iter().map(|cell| (cell.parameters.learning_rate, cell.parameters.layers)).collect();
    rows.sort_by(|a, b| a.0.get().total_cmp(&b.0.get()).then(a.1.cmp(&b.1)));
    rows.dedup();
    let lines = rows.into_iter().map(|(rate, layers)| {
        let cell = |steps: &u64| {
            let found = sweep.cells.iter().find(|cell| {
                let at = &cell.parameters;
                at.learning_rate == rate && at.layers == layers && at.steps == *steps
            })?;
            let run = found.run.as_ref().map(|run| run.id.to_string());
            let (text, shade) = match found.accuracy() {
                Some((_, value)) => (format!("{:.1}", value * 100.0), format::shade(value, low, high)),
                None => (state_word(found.state()).to_owned(), 0),
            };
            Some(CellShown {
                is_best: run.is_some() && run.as_deref() == best,
                href: run.map(|run| format!("/runs/{run}")),
                state: found.state(),
                about: format!(
                    "{}: learning rate {rate}, {}, {}",
                    found.experiment,
                    format::counted(u64::from(layers), "layer"),
                    format::counted(*steps, "step")
                ),
                text,
                shade,
            })
        };
        let head = format!("{rate} × {}", format::counted(u64::from(layers), "layer"));
        Line { head, cells: steps.iter().map(cell).collect() }
    });
    Grid { lines: lines.collect(), steps }
}

/// A state in a word that fits a cell.
fn state_word(state: &str) -> &'static str {
    match state {
        "queued" => "waits",
        "running" => "runs",
        "failed" => "failed",
        "cancelled" => "stopped",
        _ => "–",
    }
}

/// The columns that a leaderboard is sorted by: the name in addresses, the title, the order, whether it is a number.
const COLUMNS: [(&str, &str, SortBy, bool); 5] = [
    ("accuracy", "Accuracy", SortBy::Accuracy, true),
    ("experiment", "Experiment", SortBy::Experiment, false),
    ("learning_rate", "Learning rate", SortBy::LearningRate, true),
    ("layers", "Layers", SortBy::Layers, true),
    ("steps", "Steps", SortBy::Steps, true),
];

/// What part of a leaderboard is asked for.
#[derive(Clone, Copy)]
struct Asked {
    column: usize,
    descending: bool,
    page: usize,
}

impl Asked {
    fn read(given: &Parameters) -> Result<Self> {
        let column = match given.optional("sort") {
            None => 0,
            Some(name) => COLUMNS.iter().position(|column| column.0 == name).ok_or_else(|| {
                let names: Vec<_> = COLUMNS.iter().map(|column| column.0).collect();
                Error::parameter(format!("sort is one of {}", names.join(", ")))
            })?,
        };
        let descending = match given.optional("order") {
            None => column == 0,
            Some("asc") => false,
            Some("desc") => true,
            Some(_) => return Err(Error::parameter("order is asc or desc")),
        };
        let page = given.optional("page").map_or(Ok(1), str::parse).ok().filter(|page| (1..=100_000).contains(page));
        Ok(Self { column, descending, page: page.ok_or_else(|| Error::parameter("page is a whole number from 1"))? })
    }

    fn href(self) -> String {
        let order = if self.descending { "desc" } else { "asc" };
        let page = if self.page > 1 { format!("&page={}", self.page) } else { String::new() };
        format!("?sort={}&order={order}{page}#leaderboard", COLUMNS[self.column].0)
    }

    fn columns(self) -> Vec<Column> {
        let column = |(at, (_, title, _, is_number)): (usize, &(&str, &'static str, SortBy, bool))| {
            let is_sorted = at == self.column;
            let descending = if is_sorted { !self.descending } else { at == 0 };
            let sorted = match (is_sorted, self.descending) {
                (true, true) => "descending",
                (true, false) => "ascending",
                (false, _) => "none",
            };
            let href = Self { column: at, descending, page: 1 }.href();
            Column { title, href, sorted, is_number: *is_number }
        };
        COLUMNS.iter().enumerate().map(column).collect()
    }
}

fn row_shown(row: Row, best: Option<&str>) -> RowShown {
    let run = row.run.to_string();
    RowShown {
        percent: format::percent(row.value),
        printed: row.accuracy,
        experiment: row.experiment,
        parameters: row.parameters,
        dataset: row.dataset,
        loss: row.validation_loss.map(|loss| format!("{loss:.4}")),
        is_best: Some(run.as_str()) == best,
        run,
    }
}

/// Reads all of the page; it may block, since it may have to sort.
fn read(services: &Services, permit: Permit<View>, name: &Name, asked: Asked, frame: Frame) -> Result<ModelPage> {
    let view = services.model_overview(permit, name)?;
    let best = best_shown(&view);
    let best_run = best.as_ref().map(|best| best.run.as_str());
    let sort = (COLUMNS[asked.column].2, asked.descending);
    let skipped = (asked.page - 1) * PAGE;
    let board = services.board(permit, name, sort, skipped, PAGE)?;
    let sweep = sweep_shown(services.last_sweep(permit, name)?, &frame, best_run);
    let is_empty = board.rows.is_empty();
    let to = |page| Asked { page, ..asked }.href();
    let dataset = |dataset: &crate::domain::dataset::Dataset| DatasetShown {
        name: dataset.name_text().to_owned(),
        images: format::count(dataset.images),
        labelled: format::count(dataset.labelled),
    };
    let datasets = std::iter::once(&view.all_images).chain(&view.datasets).map(dataset).collect();
    Ok(ModelPage {
        frame,
        name: name.as_str().to_owned(),
        experiments: view.model.experiments,
        images: format::counted(view.all_images.images, "image"),
        has_images: view.all_images.images > 0,
        board: BoardShown {
            columns: asked.columns(),
            rows: board
                .rows
                .into_iter()
                .enumerate()
                .map(|(at, row)| (skipped + at + 1, row_shown(row, best_run)))
                .collect(),
            previous: (asked.page > 1).then(|| to(asked.page - 1)),
            next: board.has_more.then(|| to(asked.page + 1)),
            is_empty,
        },
        best,
        sweep,
        datasets,
        prediction: None,
        problem: None,
    })
}

async fn make(
    services: &Data<Services>,
    request: &HttpRequest,
    permit: Permit<View>,
    name: &Name,
) -> Result<ModelPage> {
    let asked = Asked::read(&Parameters::from_query(request.query_string()))?;
    let frame = Frame::new(services, request, permit.actor(), "models", name.as_str())?;
    let (services, name) = (Arc::clone(services), name.clone());
    let made = tokio::task::spawn_blocking(move || read(&services, permit, &name, asked, frame));
    made.await.map_err(Error::internal)?
}

async fn get(
    Granted(permit): Granted<View>,
    services: Data<Services>,
    request: HttpRequest,
    path: Path<String>,
) -> HttpResponse {
    let outcome = async {
        let name = Name::parse("model", &path)?;
        Ok(show(&make(&services, &request, permit, &name).await?))
    };
    answer(outcome.await)
}

/// All results as charts want them: `[learning rate, layers, steps, accuracy, run, experiment]`.
async fn points(
    Granted(permit): Granted<View>,
    services: Data<Services>,
    request: HttpRequest,
    path: Path<String>,
) -> HttpResponse {
    let packs = super::assets::takes_gzip(&request);
    let outcome = async {
        let name = Name::parse("model", &path)?;
        let made = tokio::task::spawn_blocking(move || {
            let board = services.board(permit, &name, (SortBy::Accuracy, true), 0, POINTS)?;
            let point = |row: &Row| {
                let at = &row.parameters;
                (at.learning_rate.get(), at.layers, at.steps, row.value, row.run.to_string(), row.experiment.clone())
            };
            let points: Vec<_> = board.rows.iter().map(point).collect();
            let text = serde_json::to_vec(&points).map_err(Error::internal)?;
            if packs { super::assets::gzip(&text, Compression::fast()).map_err(Error::internal) } else { Ok(text) }
        });
        let body = made.await.map_err(Error::internal)??;
        let mut answer = HttpResponse::Ok();
        answer.insert_header((CONTENT_TYPE, "application/json"));
        if packs {
            answer.insert_header((CONTENT_ENCODING, "gzip"));
        }
        Ok(answer.body(body))
    };
    answer(outcome.await)
}

async fn default_sweep(
    Granted(permit): Granted<Change>,
    services: Data<Services>,
    path: Path<String>,
    Fields(given): Fields,
) -> HttpResponse {
    let outcome = async {
        let name = Name::parse("model", &path)?;
        let dataset = given.optional("dataset").map(|text| Name::parse("dataset", text)).transpose()?;
        services.run_default_experiments(permit, name.clone(), dataset, Terms::default()).await?;
        Ok(see(&format!("/models/{name}#sweep")))
    };
    answer(outcome.await)
}

/// The numbers of a list that somebody typed, with commas, spaces or both between them.
fn numbers<T>(given: &Parameters, name: &str, read: impl Fn(&str) -> Option<T>) -> Result<Vec<T>> {
    let parts = given.required(name)?.split([',', ' ', ';']).filter(|part| !part.is_empty());
    let number = |part: &str| {
        let shown: String = part.chars().take(40).collect();
        read(part).ok_or_else(|| Error::parameter(format!("{name} has {shown:?}; enter numbers with commas between")))
    };
    parts.map(number).collect()
}

/// A sweep over a grid of one's own.
async fn grid_sweep(
    Granted(permit): Granted<Change>,
    services: Data<Services>,
    path: Path<String>,
    Fields(given): Fields,
) -> HttpResponse {
    let outcome = async {
        let name = Name::parse("model", &path)?;
        let dataset = given.optional("dataset").map(|text| Name::parse("dataset", text)).transpose()?;
        let rates: Vec<f64> = numbers(&given, "learning_rates", |text| text.parse().ok())?;
        let layers: Vec<u32> = numbers(&given, "layers", |text| text.parse().ok())?;
        let steps: Vec<u64> = numbers(&given, "steps", |text| text.parse().ok())?;
        let points = sweep::Grid::new(&rates, &layers, &steps)?.points().collect();
        services.submit(permit, name.clone(), dataset, Plan::Points(points), Terms::default()).await?;
        Ok(see(&format!("/models/{name}#sweep")))
    };
    answer(outcome.await)
}

/// Makes an experiment and trains it.
async fn experiment(
    Granted(permit): Granted<Change>,
    services: Data<Services>,
    path: Path<String>,
    Fields(given): Fields,
) -> HttpResponse {
    let outcome = async {
        let model = Name::parse("model", &path)?;
        let dataset = given.optional("dataset").map(|text| Name::parse("dataset", text)).transpose()?;
        let parameters = HyperParameters::parse(
            given.required("learning_rate")?,
            given.required("layers")?,
            given.required("steps")?,
        )?;
        let name = match given.optional("name") {
            Some(text) => Name::parse("name", text)?,
            None => {
                let HyperParameters { learning_rate, layers, steps } = parameters;
                Name::parse("name", &format!("lr{learning_rate}_l{layers}_s{steps}"))?
            }
        };
        match services.create_experiment(permit, model.clone().into(), name.clone(), parameters).await {
            Ok(_) => {}
            // Without a name of its own it is known by its parameters, and to ask for it again is to train it again.
            Err(error) if error.code == Code::AlreadyExists && given.optional("name").is_none() => {}
            Err(error) => return Err(error),
        }
        let submitted = services.train(permit, model.clone(), name, dataset, Terms::default()).await?;
        let run = submitted.runs.first().ok_or_else(|| Error::internal("nothing was submitted"))?;
        Ok(see(&format!("/runs/{run}")))
    };
    answer(outcome.await)
}

fn prediction_shown(asked: Answer) -> Prediction {
    let Answer { best, prediction } = asked;
    let mut bars = match prediction.probabilities {
        Some(serde_json::Value::Object(all)) => {
            let bar = |(label, value): (String, serde_json::Value)| Some((label, value.as_f64()?));
            all.into_iter().filter_map(bar).collect::<Vec<_>>()
        }
        _ => Vec::new(),
    };
    bars.sort_by(|a, b| b.1.total_cmp(&a.1));
    bars.truncate(BARS);
    Prediction {
        label: prediction.label,
        bars: bars.into_iter().map(|(label, value)| (label, format::percent(value), value.clamp(0.0, 1.0))).collect(),
        output: prediction.output.map(|output| output.to_string()),
        experiment: best.experiment_name,
        run: best.run.to_string(),
    }
}

async fn predict(
    Granted(permit): Granted<View>,
    services: Data<Services>,
    request: HttpRequest,
    path: Path<String>,
    body: Multipart,
) -> HttpResponse {
    let outcome = async {
        let name = Name::parse("model", &path)?;
        let asked = async {
            let (_, image) = form::read(&services, &request, body).await?.into_file()?;
            services.predict(permit, &name, image).await
        };
        let asked = asked.await;
        let mut page = make(&services, &request, permit, &name).await?;
        // What shows the page anew asks for the page, not for another prediction.
        page.frame.here = format!("/models/{name}");
        match asked {
            Ok(asked) => {
                page.prediction = Some(prediction_shown(asked));
                Ok(show(&page))
            }
            Err(error) => {
                let code = status(error.code);
                page.problem = Some(error.message.clone());
                Ok(show_as(if code.is_server_error() { StatusCode::OK } else { code }, &page))
            }
        }
    };
    answer(outcome.await)
}

async fn cancel(Granted(permit): Granted<Change>, services: Data<Services>, path: Path<String>) -> HttpResponse {
    let outcome = async {
        let name = Name::parse("model", &path)?;
        services.cancel_queued(permit, Some(name.clone())).await?;
        Ok(see(&format!("/models/{name}#sweep")))
    };
    answer(outcome.await)
}

async fn delete(
    Granted(permit): Granted<Change>,
    services: Data<Services>,
    path: Path<String>,
    Fields(given): Fields,
) -> HttpResponse {
    let outcome = async {
        let name = Name::parse("model", &path)?;
        if given.optional("name") != Some(name.as_str()) {
            return Err(Error::parameter(format!(
                "to delete the model, enter its name, `{name}`, in the field beside"
            )));
        }
        services.delete(permit, name.into(), Target::Model, Seen::default(), false).await?;
        Ok(see("/settings#trash"))
    };
    answer(outcome.await)
}

fn sweep_id(text: &str) -> Result<SweepId> {
    text.parse().map_err(|error: ParseIdError| Error::parameter(error.to_string()))
}

async fn cancel_sweep(Granted(permit): Granted<Change>, services: Data<Services>, path: Path<String>) -> HttpResponse {
    let outcome = async {
        let id = sweep_id(&path)?;
        services.cancel_sweep(permit, id).await?;
        Ok(see(&format!("/models/{}#sweep", services.sweep(permit.view(), id)?.model)))
    };
    answer(outcome.await)
}

async fn retry_sweep(Granted(permit): Granted<Change>, services: Data<Services>, path: Path<String>) -> HttpResponse {
    let outcome = async {
        let id = sweep_id(&path)?;
        services.retry_sweep(permit, id).await?;
        Ok(see(&format!("/models/{}#sweep", services.sweep(permit.view(), id)?.model)))
    };
    answer(outcome.await)
}
