//! `/api/v1/models/{model}/predictions`: one image or many, asked of the best model as they come.

use super::answer;
use super::models::called;
use crate::domain::account::View;
use crate::domain::error::Result;
use crate::http::asked;
use crate::http::auth::Granted;
use crate::http::error::{Shape, response};
use crate::http::openapi::parts::OfModel;
use crate::http::routes::{Routes, at};
use crate::service::Services;
use crate::service::predictions::Answer;
use actix_multipart::Multipart;
use actix_web::HttpResponse;
use actix_web::web::{Data, Path};
use serde::Serialize;
use serde_json::Value;
use utoipa::{OpenApi, ToSchema};

pub(super) fn configure(routes: &mut Routes<'_>) {
    routes.add(at("/api/v1/models/{model}/predictions", Shape::Problem).post(predict));
}

#[derive(OpenApi)]
#[openapi(paths(predict))]
pub(super) struct Docs;

/// Images to be asked about
#[derive(ToSchema)]
#[schema(as = PredictionForm)]
#[expect(dead_code, reason = "it is read by whoever reads the document")]
struct ImagesForm {
    /// One image or many
    #[schema(value_type = Vec<String>, format = Binary)]
    file: Vec<Vec<u8>>,
}

/// What the best model says
#[derive(Serialize, ToSchema)]
#[schema(as = Prediction)]
struct PredictionBody {
    /// The class
    label: Option<String>,
    /// As the test command printed it
    accuracy: String,
    /// Of each class
    probabilities: Option<Value>,
    /// What else it printed
    output: Option<Value>,
    experiment: String,
    /// Empty for all of the model's images
    dataset: String,
    run_id: String,
}

impl From<Answer> for PredictionBody {
    fn from(answer: Answer) -> Self {
        let Answer { best, prediction } = answer;
        Self {
            label: prediction.label,
            accuracy: prediction.accuracy.text().to_owned(),
            probabilities: prediction.probabilities,
            output: prediction.output,
            experiment: best.experiment_name,
            dataset: best.dataset_name,
            run_id: best.run.to_string(),
        }
    }
}

/// Why there is none of an image
#[derive(Serialize, ToSchema)]
#[schema(as = PredictionError)]
struct ErrorBody {
    code: &'static str,
    detail: String,
}

/// An image, and what the best model says of it or why it says nothing
#[derive(Serialize, ToSchema)]
#[schema(as = ImagePrediction)]
struct ImageBody {
    /// What the client called it
    file: String,
    prediction: Option<PredictionBody>,
    error: Option<ErrorBody>,
}

/// One for each image, in their order
#[derive(Serialize, ToSchema)]
#[schema(as = Predictions)]
struct ListBody {
    data: Vec<ImageBody>,
}

/// Ask the best model about images
///
/// Up to 100 of them, each as a part named `file`. They are answered in their order, one that cannot be with its error; they are
/// not kept.
#[utoipa::path(post, path = "/api/v1/models/{model}/predictions", operation_id = "predict", tag = "models",
    params(OfModel), request_body(content = ImagesForm, content_type = "multipart/form-data"),
    responses((status = 200, body = ListBody), (status = 404), (status = 408), (status = 409), (status = 413)))]
async fn predict(
    Granted(permit): Granted<View>,
    services: Data<Services>,
    path: Path<String>,
    body: Multipart,
) -> HttpResponse {
    let outcome = async {
        let model = called(&path)?;
        // Said before a byte is read.
        services.best(permit, &model, None)?;
        let body_of = |(file, asked): (String, Result<Answer>)| match asked {
            Ok(answer) => ImageBody { file, prediction: Some(answer.into()), error: None },
            Err(error) => {
                let error = ErrorBody { code: error.code.as_str(), detail: error.message };
                ImageBody { file, prediction: None, error: Some(error) }
            }
        };
        let data = asked::all(&services, permit, &model, body).await?.into_iter().map(body_of).collect();
        Ok(ListBody { data })
    };
    match outcome.await {
        Ok(body) => answer(Ok(body)),
        Err(error) => response(Shape::Problem, &error),
    }
}
