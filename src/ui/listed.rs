//! `/models/{model}/runs` and `/models/{model}/sweeps`: all of them, the newest first, those that failed too.

use super::format::Moment;
use super::page::{Frame, answer, show};
use super::run::{RunShown, id};
use super::sweep::sweep_id;
use crate::domain::account::View;
use crate::domain::error::Error;
use crate::domain::name::Name;
use crate::domain::run::StateKind;
use crate::http::auth::Granted;
use crate::http::error::Shape;
use crate::http::parameters::Parameters;
use crate::http::routes::{Routes, at};
use crate::service::Services;
use crate::service::listing::{self, Only, Whose};
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

/// Lines of a page.
const PAGE: usize = 100;

/// What runs may be asked for by.
const STATES: [StateKind; 5] =
    [StateKind::Running, StateKind::Queued, StateKind::Succeeded, StateKind::Failed, StateKind::Cancelled];

pub(super) fn configure(routes: &mut Routes<'_>) {
    routes.add(at("/models/{model}/runs", Shape::Page).get(runs));
    routes.add(at("/models/{model}/sweeps", Shape::Page).get(sweeps));
}

#[derive(Template)]
#[template(path = "runs.html")]
struct RunsPage {
    frame: Frame,
    model: String,
    sweep: Option<String>,
    only: Option<StateKind>,
    runs: Vec<RunShown>,
    is_first: bool,
    next: Option<String>,
}

impl RunsPage {
    /// Where the runs in a state are, behind one of them.
    fn href(&self, only: Option<StateKind>, after: Option<&str>) -> String {
        let only = only.map(|only| format!("state={}", only.name()));
        let sweep = self.sweep.as_ref().map(|sweep| format!("sweep={sweep}"));
        let after = after.map(|after| format!("after={after}"));
        let query: Vec<_> = [only, sweep, after].into_iter().flatten().collect();
        let mark = if query.is_empty() { "" } else { "?" };
        format!("/models/{}/runs{mark}{}", self.model, query.join("&"))
    }

    /// Where more of what is shown is.
    fn again(&self, after: Option<&str>) -> String {
        self.href(self.only, after)
    }

    /// What can be chosen: its name, where it is, and whether it is what is shown.
    fn choices(&self) -> Vec<(&'static str, String, bool)> {
        let choice =
            |only: Option<StateKind>| (only.map_or("all", StateKind::name), self.href(only, None), only == self.only);
        std::iter::once(None).chain(STATES.map(Some)).map(choice).collect()
    }
}

async fn runs(
    Granted(permit): Granted<View>,
    services: Data<Services>,
    request: HttpRequest,
    path: Path<String>,
) -> HttpResponse {
    let outcome = async {
        let model = Name::parse("model", &path)?;
        let given = Parameters::from_query(request.query_string());
        let state = given.optional("state").map(listing::state).transpose()?;
        let after = given.optional("after").map(id).transpose()?;
        let sweep = given.optional("sweep").map(sweep_id).transpose()?;
        let whose = sweep.map_or_else(|| Whose::Model(model.clone().into()), Whose::Sweep);
        let only = Only { state, newest_first: true, ..Only::default() };
        let asked = services.clone();
        let listed = move || {
            // A sweep is asked for on its model's page, so its model has to be there as well.
            asked.model(permit, &model.clone().into())?;
            asked.listed_runs(permit, &whose, &only, after, PAGE).map(|page| (model, page))
        };
        let (model, (found, next)) = tokio::task::spawn_blocking(listed).await.map_err(Error::internal)??;
        let frame = Frame::new(&services, &request, permit.actor(), "models", format!("Runs of {model}"))?;
        let runs = found.into_iter().map(|run| RunShown::new(run, &frame)).collect();
        Ok(show(&RunsPage {
            model: model.as_str().to_owned(),
            sweep: sweep.map(|sweep| sweep.to_string()),
            only: state,
            runs,
            is_first: after.is_none(),
            next: next.map(|run| run.to_string()),
            frame,
        }))
    };
    answer(outcome.await)
}

struct SweepLine {
    id: String,
    submitted: Moment,
    runs: u32,
    open: u64,
}

#[derive(Template)]
#[template(path = "sweeps.html")]
struct SweepsPage {
    frame: Frame,
    model: String,
    sweeps: Vec<SweepLine>,
    is_first: bool,
    next: Option<String>,
}

async fn sweeps(
    Granted(permit): Granted<View>,
    services: Data<Services>,
    request: HttpRequest,
    path: Path<String>,
) -> HttpResponse {
    let outcome = async {
        let model = Name::parse("model", &path)?;
        let given = Parameters::from_query(request.query_string());
        let before = given.optional("before").map(sweep_id).transpose()?;
        let (asked, named) = (services.clone(), model.clone().into());
        let listed = tokio::task::spawn_blocking(move || asked.sweeps(permit, &named, before, PAGE));
        let (found, next) = listed.await.map_err(Error::internal)??;
        let frame = Frame::new(&services, &request, permit.actor(), "models", format!("Sweeps of {model}"))?;
        let line = |line: listing::SweepLine| SweepLine {
            id: line.sweep.id.to_string(),
            submitted: frame.moment(line.sweep.stamp.created_at),
            runs: line.sweep.runs,
            open: line.open.unwrap_or(0),
        };
        Ok(show(&SweepsPage {
            model: model.as_str().to_owned(),
            sweeps: found.into_iter().map(line).collect(),
            is_first: before.is_none(),
            next: next.map(|sweep| sweep.to_string()),
            frame,
        }))
    };
    answer(outcome.await)
}
