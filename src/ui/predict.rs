//! What the best result says about images, on the model's page.

use super::format;
use super::model::make;
use super::page::{answer, show, show_as};
use crate::domain::account::View;
use crate::domain::name::Name;
use crate::http::asked;
use crate::http::auth::Granted;
use crate::http::error::{Shape, status};
use crate::http::routes::{Routes, at};
use crate::service::Services;
use crate::service::predictions::Answer;
use actix_multipart::Multipart;
use actix_web::http::StatusCode;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};

/// Probabilities that are shown as bars.
const BARS: usize = 8;

pub(super) fn configure(routes: &mut Routes<'_>) {
    routes.add(at("/models/{model}/predict", Shape::Page).post(predict));
}

pub(super) struct Prediction {
    pub file: String,
    pub label: Option<String>,
    pub bars: Vec<(String, String, f64)>,
    pub output: Option<String>,
    pub experiment: String,
    pub run: String,
}

fn prediction_shown(file: String, asked: Answer) -> Prediction {
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
        file,
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
        let asked = asked::all(&services, permit, &name.clone().into(), body).await;
        let mut page = make(&services, &request, permit, &name).await?;
        // What shows the page anew asks for the page, not for another prediction.
        page.frame.here = format!("/models/{name}");
        // Of a single image, what is wrong with it is all there is to say.
        let asked = asked.and_then(|mut all| match (all.len(), all.pop()) {
            (1, Some((_, Err(error)))) => Err(error),
            (_, last) => {
                all.extend(last);
                Ok(all)
            }
        });
        match asked {
            Ok(asked) => {
                page.predictions = asked
                    .into_iter()
                    .map(|(file, asked)| match asked {
                        Ok(asked) => Ok(prediction_shown(file, asked)),
                        Err(error) => Err((file, error.message)),
                    })
                    .collect();
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
