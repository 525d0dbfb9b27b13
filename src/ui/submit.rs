//! The forms of a model's page that train: the sweep it came with, one of one's own, a single experiment.

use super::page::{answer, see};
use crate::domain::account::Change;
use crate::domain::error::{Code, Error, Result};
use crate::domain::experiment::HyperParameters;
use crate::domain::name::Name;
use crate::domain::sweep;
use crate::http::auth::Granted;
use crate::http::body::Fields;
use crate::http::error::Shape;
use crate::http::parameters::Parameters;
use crate::http::routes::{Routes, at};
use crate::service::Services;
use crate::service::runs::Terms;
use crate::service::submit::Plan;
use actix_web::HttpResponse;
use actix_web::web::{Data, Path};
use std::str::FromStr;

pub(super) fn configure(routes: &mut Routes<'_>) {
    let shape = Shape::Page;
    routes.add(at("/models/{model}/sweep", shape).post(default_sweep));
    routes.add(at("/models/{model}/grid", shape).post(grid_sweep));
    routes.add(at("/models/{model}/experiment", shape).post(experiment));
}

/// The dataset that a form names; nothing for all images of the model.
pub(super) fn dataset(given: &Parameters) -> Result<Option<Name>> {
    given.optional("dataset").map(|text| Name::parse("dataset", text)).transpose()
}

/// On which terms a form submits.
pub(super) fn terms(given: &Parameters) -> Result<Terms> {
    fn number<T: FromStr>(given: &Parameters, name: &str) -> Result<Option<T>> {
        let read = given.optional(name).map(str::parse).transpose();
        read.map_err(|_| Error::parameter(format!("{name} is a whole number, or nothing")))
    }
    Ok(Terms {
        priority: number(given, "priority")?.unwrap_or(0),
        timeout_seconds: number(given, "timeout_seconds")?,
        seed: number(given, "seed")?,
    })
}

async fn default_sweep(
    Granted(permit): Granted<Change>,
    services: Data<Services>,
    path: Path<String>,
    Fields(given): Fields,
) -> HttpResponse {
    let outcome = async {
        let name = Name::parse("model", &path)?;
        let on = dataset(&given)?;
        services.run_default_experiments(permit, name.clone(), on, terms(&given)?).await?;
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
        let on = dataset(&given)?;
        let rates: Vec<f64> = numbers(&given, "learning_rates", |text| text.parse().ok())?;
        let layers: Vec<u32> = numbers(&given, "layers", |text| text.parse().ok())?;
        let steps: Vec<u64> = numbers(&given, "steps", |text| text.parse().ok())?;
        let points = sweep::Grid::new(&rates, &layers, &steps)?.points().collect();
        services.submit(permit, name.clone(), on, Plan::Points(points), terms(&given)?).await?;
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
        let on = dataset(&given)?;
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
        let submitted = services.train(permit, model.clone(), name, on, terms(&given)?).await?;
        let run = submitted.runs.first().ok_or_else(|| Error::internal("nothing was submitted"))?;
        Ok(see(&format!("/runs/{run}")))
    };
    answer(outcome.await)
}
