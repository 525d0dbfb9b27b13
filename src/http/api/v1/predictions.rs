//! `/api/v1/models/{model}/predictions`: one image or many, asked of the best model as they come.

use super::answer;
use super::models::called;
use crate::domain::account::View;
use crate::domain::error::{Code, Error, Result};
use crate::http::auth::Granted;
use crate::http::error::{Shape, response};
use crate::http::form;
use crate::http::openapi::parts::OfModel;
use crate::http::routes::{Routes, at};
use crate::service::Services;
use crate::service::images::{CheckedImage, too_large};
use crate::service::predictions::Answer;
use actix_multipart::{Field, Multipart};
use actix_web::HttpResponse;
use actix_web::web::{Data, Path};
use serde::Serialize;
use serde_json::Value;
use utoipa::{OpenApi, ToSchema};

/// The most images in one call.
const MOST: usize = 100;

/// How much may come of images that are refused, as a multiple of what one may hold: it has to be read to get at the next.
const REFUSED: u64 = 2;

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
    mut body: Multipart,
) -> HttpResponse {
    let outcome = async {
        let model = called(&path)?;
        // Said before a byte is read.
        services.best(permit, &model, None)?;
        let (mut data, mut refused) = (Vec::new(), 0);
        while let Some(mut field) = form::next(&mut body).await? {
            if data.len() >= MOST {
                return Err(Error::new(Code::InvalidBody, format!("send at most {MOST} images a call")));
            }
            if field.name() != Some("file") {
                return Err(Error::new(Code::InvalidBody, "each part of the form is an image and named `file`"));
            }
            let disposition = field.content_disposition().and_then(|header| header.get_filename());
            let file = disposition.unwrap_or_default().chars().take(255).collect();
            let asked = match image(&services, &mut field, &mut refused).await? {
                Ok(image) => services.predict(permit, &model, image).await,
                Err(error) => Err(error),
            };
            data.push(match asked {
                Ok(answer) => ImageBody { file, prediction: Some(answer.into()), error: None },
                // What is wrong with the server or the model is so for all of them.
                Err(error) if matches!(error.code, Code::Internal | Code::Unavailable | Code::NoResults) => {
                    return Err(error);
                }
                Err(error) => {
                    let error = ErrorBody { code: error.code.as_str(), detail: error.message };
                    ImageBody { file, prediction: None, error: Some(error) }
                }
            });
        }
        if data.is_empty() {
            return Err(Error::new(Code::InvalidBody, "send at least one image, as in curl -F file=@cat.jpg"));
        }
        Ok(ListBody { data })
    };
    match outcome.await {
        Ok(body) => answer(Ok(body)),
        Err(error) => response(Shape::Problem, &error),
    }
}

/// An image, or what is wrong with it; its part has come to its end then. A form that is broken is an error of all of it.
async fn image(services: &Services, field: &mut Field, refused: &mut u64) -> Result<Result<CheckedImage>> {
    let mut upload = Some(services.begin_upload());
    let mut wrong = None;
    let most = services.limits().max_upload_bytes;
    while let Some(piece) = form::next(field).await? {
        match &mut upload {
            Some(taking) => {
                if let Err(error) = taking.write(piece).await {
                    if error.code != Code::TooLarge {
                        return Err(error);
                    }
                    (upload, wrong) = (None, Some(error));
                }
            }
            None => {
                *refused += piece.len() as u64;
                if *refused > REFUSED * most {
                    return Err(too_large(most));
                }
            }
        }
    }
    match (upload, wrong) {
        (Some(upload), _) => Ok(upload.finish().await),
        (None, wrong) => Ok(Err(wrong.unwrap_or_else(|| too_large(most)))),
    }
}
