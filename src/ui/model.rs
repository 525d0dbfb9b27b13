//! `/models/{model}`: its best result, its last sweep as a grid, its leaderboard, its datasets, and everything that can be
//! done with it.

use super::board::{self, Asked, BoardShown};
use super::format;
use super::page::{Frame, answer, see, show};
use super::predict::Prediction;
use super::sweep::{SweepShown, sweep_shown};
use crate::domain::account::{Change, Permit, View};
use crate::domain::dataset::Dataset;
use crate::domain::error::{Error, Result};
use crate::domain::experiment::HyperParameters;
use crate::domain::name::Name;
use crate::http::auth::Granted;
use crate::http::error::Shape;
use crate::http::parameters::Parameters;
use crate::http::routes::{Routes, at};
use crate::service::Services;
use crate::service::overview::{ModelView, Row};
use crate::service::ranking::Order;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use flate2::Compression;
use std::sync::Arc;

/// The most points that charts are given.
const POINTS: usize = 10_000;

pub(super) fn configure(routes: &mut Routes<'_>) {
    let shape = Shape::Page;
    routes.add(at("/models/{model}", shape).get(get));
    routes.add(at("/models/{model}/points.json", shape).get(points));
    routes.add(at("/models/{model}/cancel", shape).post(cancel));
}

struct BestShown {
    percent: String,
    printed: String,
    experiment: String,
    parameters: HyperParameters,
    dataset: String,
    run: String,
}

struct DatasetShown {
    name: String,
    images: String,
    labelled: String,
}

#[derive(Template)]
#[template(path = "model.html")]
pub(super) struct ModelPage {
    pub frame: Frame,
    model: String,
    description: String,
    experiments: u32,
    images: String,
    has_images: bool,
    best: Option<BestShown>,
    sweep: SweepShown,
    board: BoardShown,
    datasets: Vec<DatasetShown>,
    /// One for each image that was asked about, or what the client called it and why there is none.
    pub predictions: Vec<Result<Prediction, (String, String)>>,
    pub problem: Option<String>,
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

/// Reads all of the page; it may block.
fn read(services: &Services, permit: Permit<View>, name: &Name, asked: Asked, frame: Frame) -> Result<ModelPage> {
    let view = services.model_overview(permit, name)?;
    let best = best_shown(&view);
    let best_run = best.as_ref().map(|best| best.run.as_str());
    let board = board::read(services, permit, name, asked, best_run)?;
    let sweep = sweep_shown(services.last_sweep(permit, name)?, &frame, best_run);
    let dataset = |dataset: &Dataset| DatasetShown {
        name: dataset.name_text().to_owned(),
        images: format::count(dataset.images),
        labelled: format::count(dataset.labelled),
    };
    let datasets = std::iter::once(&view.all_images).chain(&view.datasets).map(dataset).collect();
    Ok(ModelPage {
        frame,
        model: name.as_str().to_owned(),
        description: view.model.description.as_str().to_owned(),
        experiments: view.model.experiments,
        images: format::counted(view.all_images.images, "image"),
        has_images: view.all_images.images > 0,
        board,
        best,
        sweep,
        datasets,
        predictions: Vec::new(),
        problem: None,
    })
}

/// The page as it stands.
pub(super) async fn make(
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
            let board = services.board(permit, &name, Order::BEST_FIRST, 0, POINTS)?;
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

async fn cancel(Granted(permit): Granted<Change>, services: Data<Services>, path: Path<String>) -> HttpResponse {
    let outcome = async {
        let name = Name::parse("model", &path)?;
        services.cancel_queued(permit, Some(&name.clone().into())).await?;
        Ok(see(&format!("/models/{name}#sweep")))
    };
    answer(outcome.await)
}
