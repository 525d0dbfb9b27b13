//! `/sweeps/{id}`: a sweep as a grid of its points, live, and what can be done with all of it at once. The model's page shows the
//! last one with the same parts.

use super::format::{self, Moment};
use super::page::{Frame, answer, see, show};
use crate::domain::account::{Change, View};
use crate::domain::error::{Error, Result};
use crate::domain::ids::{ParseIdError, SweepId};
use crate::http::auth::Granted;
use crate::http::error::Shape;
use crate::http::routes::{Routes, at};
use crate::service::Services;
use crate::service::overview::LastSweep;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

pub(super) fn configure(routes: &mut Routes<'_>) {
    let shape = Shape::Page;
    routes.add(at("/sweeps/{id}", shape).get(get));
    routes.add(at("/sweeps/{id}/cancel", shape).post(cancel));
    routes.add(at("/sweeps/{id}/retry", shape).post(retry));
    routes.add(at("/sweeps/{id}/delete", shape).post(delete));
}

pub(super) struct CellShown {
    pub href: Option<String>,
    pub state: &'static str,
    pub text: String,
    pub about: String,
    pub shade: u8,
    pub is_best: bool,
}

pub(super) struct Line {
    pub head: String,
    pub cells: Vec<Option<CellShown>>,
}

/// The sweep as a table: a line for each learning rate and layer count, a column for each step count.
pub(super) struct Grid {
    pub steps: Vec<u64>,
    pub lines: Vec<Line>,
}

pub(super) struct SweepShown {
    pub id: Option<String>,
    pub when: Option<Moment>,
    pub total: usize,
    pub over: usize,
    pub counts: Vec<(&'static str, usize)>,
    pub is_open: bool,
    pub has_failed: bool,
    pub grid: Option<Grid>,
}

pub(super) fn sweep_shown(sweep: LastSweep, frame: &Frame, best: Option<&str>) -> SweepShown {
    let count = |state: &str| sweep.cells.iter().filter(|cell| cell.state() == state).count();
    let counts = ["succeeded", "running", "queued", "failed", "cancelled"];
    let counts: Vec<_> = counts.into_iter().map(|state| (state, count(state))).filter(|(_, n)| *n > 0).collect();
    let (total, open, is_new) = (sweep.total, sweep.open, sweep.id.is_none());
    SweepShown {
        id: sweep.id.map(|id| id.to_string()),
        when: sweep.submitted_at.map(|at| frame.moment(at)),
        total,
        over: if is_new { 0 } else { total - open },
        is_open: open > 0,
        // Where its points are not looked at one by one, nobody knows; the answer will say.
        has_failed: count("failed") > 0 || (!is_new && sweep.cells.is_empty() && open == 0),
        counts,
        grid: (!sweep.cells.is_empty()).then(|| grid(&sweep, best)),
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

#[derive(Template)]
#[template(path = "sweep.html")]
struct SweepPage {
    frame: Frame,
    model: String,
    sweep: SweepShown,
}

async fn get(
    Granted(permit): Granted<View>,
    services: Data<Services>,
    request: HttpRequest,
    path: Path<String>,
) -> HttpResponse {
    let outcome = async {
        let id = sweep_id(&path)?;
        let asked = services.clone();
        let read = tokio::task::spawn_blocking(move || asked.sweep_points(permit, id));
        let (model, points) = read.await.map_err(Error::internal)??;
        let frame = Frame::new(&services, &request, permit.actor(), "models", format!("A sweep of {model}"))?;
        let best = points.best().map(|run| run.to_string());
        let sweep = sweep_shown(points, &frame, best.as_deref());
        Ok(show(&SweepPage { frame, model, sweep }))
    };
    answer(outcome.await)
}

pub(super) fn sweep_id(text: &str) -> Result<SweepId> {
    text.parse().map_err(|error: ParseIdError| Error::parameter(error.to_string()))
}

async fn cancel(Granted(permit): Granted<Change>, services: Data<Services>, path: Path<String>) -> HttpResponse {
    let outcome = async {
        let id = sweep_id(&path)?;
        services.cancel_sweep(permit, id).await?;
        Ok(see(&format!("/models/{}#sweep", services.sweep(permit.view(), id)?.model)))
    };
    answer(outcome.await)
}

async fn delete(Granted(permit): Granted<Change>, services: Data<Services>, path: Path<String>) -> HttpResponse {
    let outcome = async {
        let id = sweep_id(&path)?;
        let model = services.sweep(permit.view(), id)?.model;
        services.into_inner().delete_sweep(permit, id, false).await?;
        Ok(see(&format!("/models/{model}/sweeps")))
    };
    answer(outcome.await)
}

async fn retry(Granted(permit): Granted<Change>, services: Data<Services>, path: Path<String>) -> HttpResponse {
    let outcome = async {
        let id = sweep_id(&path)?;
        services.retry_sweep(permit, id).await?;
        Ok(see(&format!("/models/{}#sweep", services.sweep(permit.view(), id)?.model)))
    };
    answer(outcome.await)
}
