//! The experiments API: ten calls, word for word as its source document has them.

use super::auth::Granted;
use super::error::{Shape, response};
use super::form;
use super::parameters::Parameters;
use super::routes::{Routes, at};
use crate::domain::account::{Change, View};
use crate::domain::error::{Code, Error, Result};
use crate::domain::experiment::{HyperParameters, LearningRate};
use crate::domain::name::Label;
use crate::service::Services;
use crate::service::control::MAX_PRIORITY;
use crate::service::images::{MAX_URLS, NewImage};
use crate::service::predictions::Answer;
use crate::service::results::{AccuracyPages, ExperimentAccuracies};
use crate::service::runs::Terms;
use actix_multipart::Multipart;
use actix_web::http::Version;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

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

fn parameters(request: &HttpRequest) -> Parameters {
    Parameters::from_query(request.query_string())
}

fn answer(outcome: Result<Value>) -> HttpResponse {
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
    Ok(Terms { priority: priority.unwrap_or(0), timeout_seconds })
}

fn ok(message: impl Into<String>) -> Value {
    json!({ "status": "ok", "message": message.into() })
}

async fn create_model(
    Granted(permit): Granted<Change>,
    services: Data<Services>,
    request: HttpRequest,
) -> HttpResponse {
    let outcome = async {
        let name = parameters(&request).name("model_name")?;
        let (id, experiments) = services.create_model(permit, name.clone()).await?;
        let mut body = ok(format!("model {name} created with {experiments} default experiments"));
        body["model_id"] = json!(id.to_string());
        Ok(body)
    };
    answer(outcome.await)
}

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
        let id = services.create_dataset(permit, model, name, from).await?;
        let mut body = ok(message);
        body["dataset_id"] = json!(id.to_string());
        Ok(body)
    };
    answer(outcome.await)
}

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
        let id = services.create_experiment(permit, model, name.clone(), parameters).await?;
        let mut body = ok(format!("experiment {name} created"));
        body["experiment_id"] = json!(id.to_string());
        Ok(body)
    };
    answer(outcome.await)
}

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
        let image = NewImage { image, file_name, label };
        services.add_images(permit, model, dataset, vec![image]).await?;
        Ok(ok("Images added For training"))
    };
    answer(outcome.await)
}

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
        services.add_from_urls(permit, model, dataset, label, &urls).await?;
        Ok(ok("Images added For training"))
    };
    answer(outcome.await)
}

async fn train(Granted(permit): Granted<Change>, services: Data<Services>, request: HttpRequest) -> HttpResponse {
    let outcome = async {
        let given = parameters(&request);
        let (model, experiment) = (given.name("model_name")?, given.name("experiment_name")?);
        let dataset = given.optional_name("dataset_name")?;
        let submitted = services.train(permit, model, experiment, dataset, terms(&given)?).await?;
        let mut body = ok("training for exp started");
        body["run_id"] = json!(submitted.runs.first().map(ToString::to_string));
        Ok(body)
    };
    answer(outcome.await)
}

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
        Ok(json!({
            "status": "Ok",
            "message": format!("training started on {} experiments", runs.len()),
            "sweep_id": submitted.sweep.map(|sweep| sweep.to_string()),
            "run_ids": runs,
        }))
    };
    answer(outcome.await)
}

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

fn predicted(answer: Answer) -> Value {
    let Answer { best, prediction } = answer;
    let mut body = json!({
        "Experiment": best.experiment_name,
        "accuracy": prediction.accuracy.text(),
        "layers": best.parameters.layers.to_string(),
        "learningRate": best.parameters.learning_rate.to_string(),
        "steps": best.parameters.steps.to_string(),
        "run_id": best.run.to_string(),
    });
    if let Some(label) = prediction.label {
        body["label"] = json!(label);
    }
    if let Some(probabilities) = prediction.probabilities {
        body["probabilities"] = probabilities;
    }
    if let Some(output) = prediction.output {
        body["output"] = output;
    }
    json!({ "Status": "ok", "body": body })
}

async fn best_accuracy(Granted(permit): Granted<View>, services: Data<Services>, request: HttpRequest) -> HttpResponse {
    #[derive(Serialize)]
    struct Body<'a> {
        #[serde(rename = "bestDataset")]
        dataset: &'a str,
        #[serde(rename = "bestExperiment")]
        experiment: &'a str,
        #[serde(rename = "bestaccuracy")]
        accuracy: &'a str,
    }
    #[derive(Serialize)]
    struct Best<'a> {
        body: Body<'a>,
        status: &'static str,
    }
    let given = parameters(&request);
    let found = given.name("model_name").and_then(|model| {
        let experiment = given.optional_name("experiment_name")?;
        services.best(permit, &model, experiment.as_ref())
    });
    match found {
        Ok(best) => HttpResponse::Ok().json(Best {
            body: Body {
                dataset: &best.dataset_name,
                experiment: &best.experiment_name,
                accuracy: best.accuracy.text(),
            },
            status: "ok",
        }),
        Err(error) => response(Shape::Experiments, &error),
    }
}

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

/// The listing of all results on its way out, a page at a time.
struct Listing {
    page: Option<Vec<ExperimentAccuracies>>,
    rest: AccuracyPages,
    started: bool,
    ended: bool,
}

impl Listing {
    fn new(first: Vec<ExperimentAccuracies>, rest: AccuracyPages) -> Self {
        Self { page: Some(first), rest, started: false, ended: false }
    }

    fn whole(mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        while !self.ended {
            body.extend_from_slice(&self.text()?);
        }
        Ok(body)
    }

    async fn next(mut self) -> Option<(Result<Bytes, Error>, Self)> {
        if self.ended {
            return None;
        }
        let text = self.text();
        self.ended |= text.is_err();
        Some((text, self))
    }

    fn text(&mut self) -> Result<Bytes, Error> {
        let page = match self.page.take() {
            Some(first) => Some(first),
            None => self.rest.next_page()?,
        };
        let mut text = String::new();
        if !self.started {
            text.push_str(r#"{"body":{"AllExperiments":["#);
        }
        match page {
            Some(experiments) => {
                for experiment in &experiments {
                    if self.started {
                        text.push(',');
                    }
                    self.started = true;
                    text.push_str(&serde_json::to_string(&Line::from(experiment)).map_err(Error::internal)?);
                }
                self.started = true;
            }
            None => {
                text.push_str(r#"]},"status":"ok"}"#);
                self.ended = true;
            }
        }
        Ok(Bytes::from(text))
    }
}

#[derive(Serialize)]
struct Line<'a> {
    accuracies: Vec<AccuracyLine<'a>>,
    #[serde(rename = "experimentName")]
    name: &'a str,
    layers: u32,
    #[serde(rename = "learningRate", serialize_with = "number")]
    learning_rate: LearningRate,
    steps: u64,
}

#[derive(Serialize)]
struct AccuracyLine<'a> {
    accuracy: &'a str,
    #[serde(rename = "datasetName")]
    dataset: &'a str,
}

impl<'a> From<&'a ExperimentAccuracies> for Line<'a> {
    fn from(experiment: &'a ExperimentAccuracies) -> Self {
        Self {
            accuracies: experiment
                .accuracies
                .iter()
                .map(|(accuracy, dataset)| AccuracyLine { accuracy, dataset })
                .collect(),
            name: &experiment.experiment,
            layers: experiment.parameters.layers,
            learning_rate: experiment.parameters.learning_rate,
            steps: experiment.parameters.steps,
        }
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
