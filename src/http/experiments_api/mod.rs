//! The experiments API: ten calls, word for word as its source document has them.

mod listing;

use super::auth::Granted;
use super::error::{Shape, response};
use super::form;
use super::openapi::parts::{AnyDataset, AnyExperiment, ExperimentName, ModelName, OfTerms};
use super::parameters::Parameters;
use super::routes::{Routes, at};
use crate::domain::account::{Change, View};
use crate::domain::error::{Code, Error, Result};
use crate::domain::experiment::{HyperParameters, LearningRate};
use crate::domain::model::Description;
use crate::domain::name::{Label, Name};
use crate::domain::reference::Reference;
use crate::service::Services;
use crate::service::control::MAX_PRIORITY;
use crate::service::images::{MAX_URLS, NewImage};
use crate::service::predictions::Answer;
use crate::service::runs::Terms;
use actix_multipart::Multipart;
use actix_web::http::Version;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use listing::{Listing, Written};
use serde::{Serialize, Serializer};
use serde_json::Value;
use utoipa::{OpenApi, ToSchema};

/// Adds the ten routes.
pub fn configure(routes: &mut Routes<'_>) {
    let shape = Shape::Experiments;
    routes.add(at("/createModel", shape).get(create_model));
    routes.add(at("/createDataset", shape).get(create_dataset));
    routes.add(at("/createExperiment", shape).get(create_experiment));
    routes.add(at("/uploadTrainingImage", shape).post(upload_training_image));
    routes.add(at("/uploadTrainingImages", shape).get(upload_training_images));
    routes.add(at("/train", shape).get(train));
    routes.add(at("/runDefaultExperiments", shape).get(run_default_experiments));
    routes.add(at("/test", Shape::Test).post(test));
    routes.add(at("/allAccuracies", shape).get(all_accuracies));
    routes.add(at("/bestAccuracy", shape).get(best_accuracy));
}

#[derive(OpenApi)]
#[openapi(paths(
    create_model,
    create_dataset,
    create_experiment,
    upload_training_image,
    upload_training_images,
    train,
    run_default_experiments,
    test,
    all_accuracies,
    best_accuracy
))]
pub(super) struct Docs;

fn parameters(request: &HttpRequest) -> Parameters {
    Parameters::from_query(request.query_string())
}

fn answer(outcome: Result<Done>) -> HttpResponse {
    match outcome {
        Ok(body) => HttpResponse::Ok().json(body),
        Err(error) => response(Shape::Experiments, &error),
    }
}

/// Reads `priority` and `timeout_seconds`.
fn terms(given: &Parameters) -> Result<Terms> {
    let priority = given.optional("priority").map(str::parse::<u8>).transpose();
    let priority =
        priority.map_err(|_| Error::parameter(format!("priority is a whole number from 0 to {MAX_PRIORITY}")))?;
    let timeout_seconds = given.optional("timeout_seconds").map(str::parse::<u32>).transpose();
    let timeout_seconds =
        timeout_seconds.map_err(|_| Error::parameter("timeout_seconds is a whole number of seconds, from 1"))?;
    Ok(Terms { priority: priority.unwrap_or(0), timeout_seconds, seed: None })
}

/// That it was done, and the ids of what was made
#[derive(Serialize, Default, ToSchema)]
struct Done {
    /// `ok`, or `Ok` of a sweep
    status: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    model_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dataset_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    experiment_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sweep_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_ids: Option<Vec<String>>,
}

fn ok(message: impl Into<String>) -> Done {
    Done { status: "ok", message: message.into(), ..Done::default() }
}

/// An image, and what it is added to
#[derive(ToSchema)]
#[expect(dead_code, reason = "forms are read part by part")]
struct TrainingImage {
    #[schema(max_length = 128, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    model_name: String,
    #[schema(format = Binary)]
    file: String,
    #[schema(max_length = 128, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    dataset_name: Option<String>,
    /// Without it, the folder or leading word of the file's name
    #[schema(
        max_length = 128,
        pattern = "^$|^\\s*[^\\s./\\\\\\x00-\\x1f\\x7f-\\x9f][^/\\\\\\x00-\\x1f\\x7f-\\x9f]*\\s*$"
    )]
    label: Option<String>,
}

/// An image to predict with, and the model that is asked
#[derive(ToSchema)]
#[expect(dead_code, reason = "forms are read part by part")]
struct TestImage {
    #[schema(max_length = 128, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    model_name: String,
    #[schema(format = Binary)]
    file: String,
}

/// Make a model with its default experiments
#[utoipa::path(get, path = "/createModel", operation_id = "create_model_by_name", tag = "experiments API",
    params(ModelName), responses((status = 200, body = Done), (status = 409)))]
async fn create_model(
    Granted(permit): Granted<Change>,
    services: Data<Services>,
    request: HttpRequest,
) -> HttpResponse {
    let outcome = async {
        let name = parameters(&request).name("model_name")?;
        let (id, experiments) = services.create_model(permit, name.clone(), Description::default()).await?;
        let mut body = ok(format!("model {name} created with {experiments} default experiments"));
        body.model_id = Some(id.to_string());
        Ok(body)
    };
    answer(outcome.await)
}

/// Make a dataset of a model, empty or as a copy
#[utoipa::path(get, path = "/createDataset", operation_id = "create_dataset_by_name", tag = "experiments API",
    params(ModelName, ("dataset_name" = String, Query, description = "The new dataset's name", max_length = 128, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$"),
        ("dataset_name_old" = Option<String>, Query, description = "The dataset that it begins as", max_length = 128, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$")),
    responses((status = 200, body = Done), (status = 404), (status = 409)))]
async fn create_dataset(
    Granted(permit): Granted<Change>,
    services: Data<Services>,
    request: HttpRequest,
) -> HttpResponse {
    let outcome = async {
        let given = parameters(&request);
        let (model, name) = (given.name("model_name")?, given.name("dataset_name")?);
        let from = given.optional_name("dataset_name_old")?;
        let message = match &from {
            Some(from) => format!("dataset {name} created as a copy of {from}"),
            None => format!("dataset {name} created"),
        };
        let id = services.create_dataset(permit, model.into(), name, from.map(Name::into)).await?;
        let mut body = ok(message);
        body.dataset_id = Some(id.to_string());
        Ok(body)
    };
    answer(outcome.await)
}

/// Make an experiment of a model
#[utoipa::path(get, path = "/createExperiment", operation_id = "create_experiment_by_name", tag = "experiments API",
    params(ModelName, ExperimentName, ("learning_rate" = f64, Query, minimum = 0.000000000001, maximum = 1000000.0),
        ("num_layers" = u32, Query, minimum = 1, maximum = 10000), ("num_steps" = u64, Query, minimum = 1, maximum = 1000000000000.0)),
    responses((status = 200, body = Done), (status = 404), (status = 409)))]
async fn create_experiment(
    Granted(permit): Granted<Change>,
    services: Data<Services>,
    request: HttpRequest,
) -> HttpResponse {
    let outcome = async {
        let given = parameters(&request);
        let (model, name) = (given.name("model_name")?, given.name("experiment_name")?);
        let parameters = HyperParameters::parse(
            given.required("learning_rate")?,
            given.required("num_layers")?,
            given.required("num_steps")?,
        )?;
        let id = services.create_experiment(permit, model.into(), name.clone(), parameters).await?;
        let mut body = ok(format!("experiment {name} created"));
        body.experiment_id = Some(id.to_string());
        Ok(body)
    };
    answer(outcome.await)
}

/// Add an image to a model, and to one of its datasets
#[utoipa::path(post, path = "/uploadTrainingImage", operation_id = "upload_training_image", tag = "experiments API",
    request_body(content = TrainingImage, content_type = "multipart/form-data"),
    responses((status = 200, body = Done), (status = 404), (status = 409), (status = 415)))]
async fn upload_training_image(
    Granted(permit): Granted<Change>,
    services: Data<Services>,
    request: HttpRequest,
    body: Multipart,
) -> HttpResponse {
    let outcome = async {
        let form = form::read(&services, &request, body).await?;
        let model = form.fields.name("model_name")?;
        let dataset = form.fields.optional_name("dataset_name")?;
        let label = form.fields.optional("label").map(Label::parse).transpose()?;
        let (file_name, image) = form.into_file()?;
        let image = NewImage::of_file(image, file_name, label);
        services.add_images(permit, model.into(), dataset.map(Name::into), vec![image]).await?;
        Ok(ok("Images added For training"))
    };
    answer(outcome.await)
}

/// Fetch images and add them to a model; all or none
#[utoipa::path(get, path = "/uploadTrainingImages", operation_id = "upload_training_images", tag = "experiments API",
    params(ModelName, AnyDataset, ("image_urls" = String, Query, description = "At most three, with commas between them", pattern = "^https?://.+"),
        ("label" = Option<String>, Query, max_length = 128, pattern = "^\\s*[^\\s./\\\\\\x00-\\x1f\\x7f-\\x9f][^/\\\\\\x00-\\x1f\\x7f-\\x9f]*\\s*$")),
    responses((status = 200, body = Done), (status = 404), (status = 409), (status = 413), (status = 415), (status = 502)))]
async fn upload_training_images(
    Granted(permit): Granted<Change>,
    services: Data<Services>,
    request: HttpRequest,
) -> HttpResponse {
    let outcome = async {
        let given = parameters(&request);
        let model = given.name("model_name")?;
        let dataset = given.optional_name("dataset_name")?;
        let label = given.optional("label").map(Label::parse).transpose()?;
        let urls = given.list("image_urls");
        if urls.is_empty() {
            return Err(Error::parameter("image_urls is missing; give one to three urls, separated by commas"));
        }
        if urls.len() > MAX_URLS {
            let message = format!("image_urls has {} urls; one call takes at most {MAX_URLS}", urls.len());
            return Err(Error::parameter(message));
        }
        services.add_from_urls(permit, model.into(), dataset.map(Name::into), label, &urls).await?;
        Ok(ok("Images added For training"))
    };
    answer(outcome.await)
}

/// Submit one run of an experiment
#[utoipa::path(get, path = "/train", operation_id = "train", tag = "experiments API",
    params(ModelName, ExperimentName, AnyDataset, OfTerms), responses((status = 200, body = Done), (status = 404), (status = 409)))]
async fn train(Granted(permit): Granted<Change>, services: Data<Services>, request: HttpRequest) -> HttpResponse {
    let outcome = async {
        let given = parameters(&request);
        let (model, experiment) = (given.name("model_name")?, given.name("experiment_name")?);
        let dataset = given.optional_name("dataset_name")?;
        let submitted = services.train(permit, model, experiment, dataset, terms(&given)?).await?;
        let mut body = ok("training for exp started");
        body.run_id = submitted.runs.first().map(ToString::to_string);
        Ok(body)
    };
    answer(outcome.await)
}

/// Submit the sweep that a model came with
#[utoipa::path(get, path = "/runDefaultExperiments", operation_id = "run_default_experiments", tag = "experiments API",
    params(ModelName, AnyDataset, OfTerms), responses((status = 200, body = Done), (status = 404), (status = 409)))]
async fn run_default_experiments(
    Granted(permit): Granted<Change>,
    services: Data<Services>,
    request: HttpRequest,
) -> HttpResponse {
    let outcome = async {
        let given = parameters(&request);
        let model = given.name("model_name")?;
        let dataset = given.optional_name("dataset_name")?;
        let submitted = services.run_default_experiments(permit, model, dataset, terms(&given)?).await?;
        let runs: Vec<String> = submitted.runs.iter().map(ToString::to_string).collect();
        Ok(Done {
            status: "Ok",
            message: format!("training started on {} experiments", runs.len()),
            sweep_id: submitted.sweep.map(|sweep| sweep.to_string()),
            run_ids: Some(runs),
            ..Done::default()
        })
    };
    answer(outcome.await)
}

/// Predict with the best experiment of a model
#[utoipa::path(post, path = "/test", operation_id = "test_image", tag = "experiments API",
    request_body(content = TestImage, content_type = "multipart/form-data"),
    responses((status = 200, body = Predicted), (status = 404), (status = 409), (status = 415), (status = 502)))]
async fn test(
    Granted(permit): Granted<View>,
    services: Data<Services>,
    request: HttpRequest,
    body: Multipart,
) -> HttpResponse {
    let outcome = async {
        let form = form::read(&services, &request, body).await?;
        let model = form.fields.name("model_name")?;
        let (_, image) = form.into_file()?;
        services.predict(permit, &model, image).await
    };
    match outcome.await {
        Ok(answer) => HttpResponse::Ok().json(predicted(answer)),
        Err(error) => response(Shape::Test, &error),
    }
}

/// What the best experiment says of an image
#[derive(Serialize, ToSchema)]
struct Predicted {
    #[serde(rename = "Status")]
    status: &'static str,
    body: PredictedBody,
}

/// The experiment that was asked, and its answer
#[derive(Serialize, ToSchema)]
struct PredictedBody {
    #[serde(rename = "Experiment")]
    experiment: String,
    /// As the test command printed it
    accuracy: String,
    layers: String,
    #[serde(rename = "learningRate")]
    learning_rate: String,
    steps: String,
    run_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    /// As the test command printed them
    #[serde(skip_serializing_if = "Option::is_none")]
    probabilities: Option<Value>,
    /// What else it printed
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<Value>,
}

fn predicted(answer: Answer) -> Predicted {
    let Answer { best, prediction } = answer;
    let body = PredictedBody {
        experiment: best.experiment_name,
        accuracy: prediction.accuracy.text().to_owned(),
        layers: best.parameters.layers.to_string(),
        learning_rate: best.parameters.learning_rate.to_string(),
        steps: best.parameters.steps.to_string(),
        run_id: best.run.to_string(),
        label: prediction.label,
        probabilities: prediction.probabilities,
        output: prediction.output,
    };
    Predicted { status: "ok", body }
}

/// The best result
#[derive(Serialize, ToSchema)]
struct BestAccuracy<'a> {
    body: BestAccuracyBody<'a>,
    status: &'static str,
}

/// Whose it is, and what the script printed
#[derive(Serialize, ToSchema)]
struct BestAccuracyBody<'a> {
    #[serde(rename = "bestDataset")]
    dataset: &'a str,
    #[serde(rename = "bestExperiment")]
    experiment: &'a str,
    #[serde(rename = "bestaccuracy")]
    accuracy: &'a str,
}

/// The best result of a model or of one experiment
#[utoipa::path(get, path = "/bestAccuracy", operation_id = "best_accuracy", tag = "experiments API",
    params(ModelName, AnyExperiment), responses((status = 200, body = BestAccuracy), (status = 404), (status = 409)))]
async fn best_accuracy(Granted(permit): Granted<View>, services: Data<Services>, request: HttpRequest) -> HttpResponse {
    let given = parameters(&request);
    let found = given.name("model_name").and_then(|model| {
        let experiment = given.optional_name("experiment_name")?.map(Reference::from);
        services.best(permit, &model, experiment.as_ref())
    });
    match found {
        Ok(best) => HttpResponse::Ok().json(BestAccuracy {
            body: BestAccuracyBody {
                dataset: &best.dataset_name,
                experiment: &best.experiment_name,
                accuracy: best.accuracy.text(),
            },
            status: "ok",
        }),
        Err(error) => response(Shape::Experiments, &error),
    }
}

/// All results of a model or of one experiment
#[utoipa::path(get, path = "/allAccuracies", operation_id = "all_accuracies", tag = "experiments API",
    params(ModelName, AnyExperiment), responses((status = 200, body = Written), (status = 404)))]
async fn all_accuracies(
    Granted(permit): Granted<View>,
    services: Data<Services>,
    request: HttpRequest,
) -> HttpResponse {
    let given = parameters(&request);
    let pages = given.name("model_name").and_then(|model| {
        let experiment = given.optional_name("experiment_name")?;
        let mut pages = services.accuracies(permit, &model, experiment)?;
        // The first page is read before the status is sent, so that its failure has one.
        let first = pages.next_page()?.unwrap_or_default();
        Ok((first, pages))
    });
    match pages {
        Ok((first, rest)) => {
            let listing = Listing::new(first, rest);
            let mut answer = HttpResponse::Ok();
            answer.content_type("application/json");
            if request.version() > Version::HTTP_10 {
                return answer.streaming(futures::stream::unfold(listing, Listing::next));
            }
            // Clients of HTTP/1.0 know no chunks.
            match listing.whole() {
                Ok(body) => answer.body(body),
                Err(error) => response(Shape::Experiments, &error),
            }
        }
        Err(error) => response(Shape::Experiments, &error),
    }
}

/// Writes `1`, not `1.0`, as the source document does.
pub fn number<S: Serializer>(rate: &LearningRate, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    let value = rate.get();
    if value.fract() == 0.0 { serializer.serialize_u64(value as u64) } else { serializer.serialize_f64(value) }
}

/// The answer to a path that does not exist.
pub fn unknown_path(path: &str, shape: Shape) -> HttpResponse {
    let shown: String = path.chars().take(100).collect();
    let error = Error::new(Code::NotFound, format!("there is no call {shown}; README.md lists the calls"));
    response(shape, &error)
}
