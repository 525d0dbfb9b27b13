//! `/models/{model}/experiments`: all of a model's experiments, those without a result too; some of them run together, made
//! without a run, renamed, deleted.

use super::format;
use super::page::{Frame, answer, see, show};
use super::submit::{dataset, terms};
use crate::domain::account::{Change, View};
use crate::domain::error::{Error, Result};
use crate::domain::experiment::HyperParameters;
use crate::domain::ids::ExperimentId;
use crate::domain::name::Name;
use crate::domain::reference::Reference;
use crate::domain::stamp::Seen;
use crate::http::auth::Granted;
use crate::http::body::Fields;
use crate::http::error::Shape;
use crate::http::parameters::Parameters;
use crate::http::routes::{Routes, at};
use crate::service::Services;
use crate::service::catalogue::ExperimentView;
use crate::service::submit::Plan;
use crate::service::trash::Target;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

/// Experiments on a page.
const PAGE: usize = 200;

/// Datasets that one may choose from.
const DATASETS: usize = 200;

pub(super) fn configure(routes: &mut Routes<'_>) {
    let shape = Shape::Page;
    routes.add(at("/models/{model}/experiments", shape).get(get).post(create));
    routes.add(at("/models/{model}/experiments/run", shape).post(run));
    routes.add(at("/models/{model}/experiments/{experiment}/rename", shape).post(rename));
    routes.add(at("/models/{model}/experiments/{experiment}/delete", shape).post(delete));
}

struct ExperimentShown {
    id: String,
    name: String,
    parameters: HyperParameters,
    is_default: bool,
    best: Option<(String, String)>,
}

#[derive(Template)]
#[template(path = "experiments.html")]
struct ExperimentsPage {
    frame: Frame,
    model: String,
    datasets: Vec<String>,
    experiments: Vec<ExperimentShown>,
    is_first: bool,
    next: Option<u32>,
}

fn shown(view: ExperimentView) -> ExperimentShown {
    let best = view.best.map(|best| (format::percent(best.accuracy.value()), best.run.to_string()));
    let ExperimentView { experiment, .. } = view;
    ExperimentShown {
        id: experiment.id.to_string(),
        name: experiment.name.as_str().to_owned(),
        parameters: experiment.parameters,
        is_default: experiment.is_default,
        best,
    }
}

async fn get(
    Granted(permit): Granted<View>,
    services: Data<Services>,
    request: HttpRequest,
    path: Path<String>,
) -> HttpResponse {
    let outcome = async {
        let model = Name::parse("model", &path)?;
        let given = Parameters::from_query(request.query_string());
        let from = given.optional("from").map_or(Ok(0), str::parse::<u32>);
        let from = from.map_err(|_| Error::parameter("from is the place of the first experiment, a whole number"))?;
        let (asked, reference) = (services.clone(), Reference::from(model.clone()));
        let read = move || {
            let found = asked.experiments(permit, &reference, from, PAGE + 1)?;
            let datasets = asked.datasets(permit, &reference, None, DATASETS)?;
            Result::Ok((found, datasets))
        };
        let (mut found, datasets) = tokio::task::spawn_blocking(read).await.map_err(Error::internal)??;
        let next = found.get(PAGE).map(|more| more.experiment.ordinal);
        found.truncate(PAGE);
        Ok(show(&ExperimentsPage {
            frame: Frame::new(&services, &request, permit.actor(), "models", format!("Experiments of {model}"))?,
            model: model.as_str().to_owned(),
            datasets: datasets.iter().map(|dataset| dataset.name_text().to_owned()).collect(),
            experiments: found.into_iter().map(shown).collect(),
            is_first: from == 0,
            next,
        }))
    };
    answer(outcome.await)
}

fn place(model: &Name) -> HttpResponse {
    see(&format!("/models/{model}/experiments"))
}

async fn create(
    Granted(permit): Granted<Change>,
    services: Data<Services>,
    path: Path<String>,
    Fields(given): Fields,
) -> HttpResponse {
    let outcome = async {
        let model = Name::parse("model", &path)?;
        let parameters = HyperParameters::parse(
            given.required("learning_rate")?,
            given.required("layers")?,
            given.required("steps")?,
        )?;
        services.create_experiment(permit, model.clone().into(), given.name("name")?, parameters).await?;
        Ok(place(&model))
    };
    answer(outcome.await)
}

/// Submits those that are ticked, as one sweep.
async fn run(
    Granted(permit): Granted<Change>,
    services: Data<Services>,
    path: Path<String>,
    Fields(given): Fields,
) -> HttpResponse {
    let outcome = async {
        let model = Name::parse("model", &path)?;
        let chosen = given.list("experiments");
        if chosen.is_empty() {
            return Err(Error::parameter("tick the experiments that are to be run"));
        }
        let plan = Plan::Experiments(chosen);
        let submitted = services.submit(permit, model.clone(), dataset(&given)?, plan, terms(&given)?).await?;
        Ok(match submitted.sweep {
            Some(sweep) => see(&format!("/sweeps/{sweep}")),
            None => see(&format!("/models/{model}#sweep")),
        })
    };
    answer(outcome.await)
}

fn named(path: &(String, String)) -> Result<(Name, Reference<ExperimentId>)> {
    Ok((Name::parse("model", &path.0)?, Reference::parse("experiment", &path.1)?))
}

async fn rename(
    Granted(permit): Granted<Change>,
    services: Data<Services>,
    path: Path<(String, String)>,
    Fields(given): Fields,
) -> HttpResponse {
    let outcome = async {
        let (model, experiment) = named(&path)?;
        let name = given.name("name")?;
        services.rename_experiment(permit, model.clone().into(), experiment, Seen::default(), name).await?;
        Ok(place(&model))
    };
    answer(outcome.await)
}

async fn delete(
    Granted(permit): Granted<Change>,
    services: Data<Services>,
    path: Path<(String, String)>,
) -> HttpResponse {
    let outcome = async {
        let (model, experiment) = named(&path)?;
        services.delete(permit, model.clone().into(), Target::Experiment(experiment), Seen::default(), false).await?;
        Ok(place(&model))
    };
    answer(outcome.await)
}
