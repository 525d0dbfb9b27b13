//! `/compare`: runs side by side.

use super::page::{Frame, answer, show};
use super::run::{RunShown, id};
use crate::domain::account::View;
use crate::domain::error::{Error, Result};
use crate::http::auth::Granted;
use crate::http::error::Shape;
use crate::http::parameters::Parameters;
use crate::http::routes::{Routes, at};
use crate::service::Services;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

/// The most runs side by side.
const MOST: usize = 8;

pub(super) fn configure(routes: &mut Routes<'_>) {
    routes.add(at("/compare", Shape::Page).get(get));
}

struct Line {
    title: &'static str,
    values: Vec<String>,
    differs: bool,
}

#[derive(Template)]
#[template(path = "compare.html")]
struct ComparePage {
    frame: Frame,
    runs: Vec<RunShown>,
    lines: Vec<Line>,
    ids: String,
}

fn lines(runs: &[RunShown]) -> Vec<Line> {
    let line = |title, value: &dyn Fn(&RunShown) -> String| {
        let values: Vec<String> = runs.iter().map(value).collect();
        Line { title, differs: values.windows(2).any(|pair| pair[0] != pair[1]), values }
    };
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "–".to_owned());
    vec![
        line("State", &|run| run.state.to_owned()),
        line("Accuracy", &|run| or_none(&run.percent)),
        line("Validation loss", &|run| or_none(&run.loss)),
        line("Learning rate", &|run| run.parameters.learning_rate.to_string()),
        line("Layers", &|run| run.parameters.layers.to_string()),
        line("Steps", &|run| run.parameters.steps.to_string()),
        line("Model", &|run| run.model.clone()),
        line("Dataset", &|run| match run.dataset.as_str() {
            "" => format!("all images, version {}", run.version),
            name => format!("{name}, version {}", run.version),
        }),
        line("Seed", &|run| run.seed.to_string()),
        line("Took", &|run| or_none(&run.took)),
    ]
}

async fn get(Granted(permit): Granted<View>, services: Data<Services>, request: HttpRequest) -> HttpResponse {
    let outcome = async {
        let mut asked = Parameters::from_query(request.query_string()).list("runs");
        asked.dedup();
        if asked.is_empty() {
            return Err(Error::parameter("no runs are chosen; tick some in a model's leaderboard"));
        }
        if asked.len() > MOST {
            return Err(Error::parameter(format!(
                "{} runs are too many side by side; tick at most {MOST}",
                asked.len()
            )));
        }
        let frame = Frame::new(&services, &request, permit.actor(), "models", "Compare")?;
        let runs = asked.iter().map(|text| Ok(RunShown::new(services.run(permit, id(text)?)?, &frame)));
        let runs = runs.collect::<Result<Vec<_>>>()?;
        let ids = runs.iter().map(|run| run.id.as_str()).collect::<Vec<_>>().join(",");
        Ok(show(&ComparePage { lines: lines(&runs), frame, runs, ids }))
    };
    answer(outcome.await)
}
