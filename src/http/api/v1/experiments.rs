//! `/api/v1/models/{model}/experiments`: points in the space of hyper-parameters.

use super::conditions::{self, escaped, if_match};
use super::fields::Fields;
use super::models::{BestBody, called};
use super::page::{self, Page};
use super::{answer, time, trash};
use crate::domain::account::{Change, View};
use crate::domain::error::Result;
use crate::domain::experiment::{HyperParameters, LearningRate};
use crate::domain::ids::ExperimentId;
use crate::domain::name::Name;
use crate::domain::reference::Reference;
use crate::http::auth::Granted;
use crate::http::body::Json;
use crate::http::error::{Shape, response};
use crate::http::experiments_api::number;
use crate::http::keyed::Keyed;
use crate::http::openapi::parts::{IfMatch, OfExperiment, OfFields, OfKey, OfModel, Paging};
use crate::http::parameters::Parameters;
use crate::http::routes::{Routes, at};
use crate::service::Services;
use crate::service::catalogue::ExperimentView;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

pub(super) fn configure(routes: &mut Routes<'_>) {
    routes.add(at("/api/v1/models/{model}/experiments", Shape::Problem).get(list).post(create));
    let one = at("/api/v1/models/{model}/experiments/{experiment}", Shape::Problem);
    routes.add(one.get(get).patch(rename).delete(trash::delete_experiment));
}

#[derive(OpenApi)]
#[openapi(paths(list, create, get, rename))]
pub(super) struct Docs;

/// An experiment as `/api/v1` shows it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Experiment)]
struct ExperimentBody {
    id: String,
    name: String,
    #[serde(serialize_with = "number")]
    #[schema(value_type = f64)]
    learning_rate: LearningRate,
    layers: u32,
    steps: u64,
    /// True for one of the sweep that the model came with
    is_default: bool,
    /// Its place in the order in which they were made; of equal results the lower one's wins
    ordinal: u32,
    best: Option<BestBody>,
    /// Counts changes; also its ETag
    revision: u64,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: String,
}

impl From<ExperimentView> for ExperimentBody {
    fn from(view: ExperimentView) -> Self {
        let ExperimentView { experiment, best } = view;
        Self {
            id: experiment.id.to_string(),
            name: experiment.name.as_str().to_owned(),
            learning_rate: experiment.parameters.learning_rate,
            layers: experiment.parameters.layers,
            steps: experiment.parameters.steps,
            is_default: experiment.is_default,
            ordinal: experiment.ordinal,
            best: best.map(BestBody::from),
            revision: experiment.stamp.revision,
            created_at: time(experiment.stamp.created_at),
            updated_at: time(experiment.stamp.updated_at),
        }
    }
}

/// A new experiment
#[derive(Deserialize, ToSchema)]
#[schema(as = NewExperiment)]
#[serde(deny_unknown_fields)]
struct Create {
    #[schema(max_length = 128, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    name: String,
    #[schema(minimum = 0.000000000001, maximum = 1000000.0)]
    learning_rate: f64,
    #[schema(minimum = 1, maximum = 10000)]
    layers: u64,
    #[schema(minimum = 1, maximum = 1000000000000.0)]
    steps: u64,
}

/// What changes of an experiment: its results are of its parameters, so those never do
#[derive(Deserialize, ToSchema)]
#[schema(as = ExperimentChange)]
#[serde(deny_unknown_fields)]
struct Changes {
    #[schema(max_length = 128, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    name: String,
}

/// The experiments of a model, in the order in which they were made
#[utoipa::path(get, path = "/api/v1/models/{model}/experiments", operation_id = "list_experiments", tag = "experiments",
    params(OfModel, Paging, OfFields), responses((status = 200, body = Page<ExperimentBody>), (status = 404)))]
async fn list(
    Granted(permit): Granted<View>,
    services: Data<Services>,
    request: HttpRequest,
    path: Path<String>,
) -> HttpResponse {
    let given = Parameters::from_query(request.query_string());
    let outcome = (|| {
        let (limit, fields) = (page::limit(&given)?, Fields::read::<ExperimentBody>(&given, "id")?);
        let from = page::cursor::<u32>(&given)?.unwrap_or(0);
        let mut found = services.experiments(permit, &called(&path)?, from, limit + 1)?;
        let next_cursor = found.get(limit).map(|next| next.experiment.ordinal.to_string());
        found.truncate(limit);
        Ok(Page { data: fields.of_all(found.into_iter().map(ExperimentBody::from))?, next_cursor })
    })();
    answer(outcome)
}

/// Make an experiment
#[utoipa::path(post, path = "/api/v1/models/{model}/experiments", operation_id = "create_experiment", tag = "experiments",
    params(OfModel, OfKey), request_body = Create,
    responses((status = 201, body = ExperimentBody, headers(("Location" = String), ("ETag" = String))), (status = 404), (status = 409), (status = 422)))]
async fn create(
    Granted(permit): Granted<Change>,
    services: Data<Services>,
    path: Path<String>,
    body: Keyed<Create>,
) -> HttpResponse {
    let make = async |body: Create| {
        let outcome: Result<_> = async {
            let name = Name::parse("name", &body.name)?;
            let parameters = HyperParameters::new(body.learning_rate, body.layers, body.steps)?;
            let model = called(&path)?;
            let id = services.create_experiment(permit, model.clone(), name, parameters).await?;
            services.experiment(permit.view(), &model, &Reference::Id(id))
        }
        .await;
        match outcome {
            Ok(view) => {
                let name = escaped(view.experiment.name.as_str());
                let location = format!("/api/v1/models/{}/experiments/{name}", escaped(&path));
                conditions::made(view.experiment.stamp.revision, &location, ExperimentBody::from(view))
            }
            Err(error) => response(Shape::Problem, &error),
        }
    };
    body.once(&services, permit, make).await
}

fn experiment(text: &str) -> Result<Reference<ExperimentId>> {
    Reference::parse("experiment", text)
}

/// An experiment
#[utoipa::path(get, path = "/api/v1/models/{model}/experiments/{experiment}", operation_id = "get_experiment", tag = "experiments",
    params(OfExperiment, OfFields), responses((status = 200, body = ExperimentBody, headers(("ETag" = String))), (status = 404)))]
async fn get(
    Granted(permit): Granted<View>,
    services: Data<Services>,
    request: HttpRequest,
    path: Path<(String, String)>,
) -> HttpResponse {
    let given = Parameters::from_query(request.query_string());
    let outcome = (|| {
        let fields = Fields::read::<ExperimentBody>(&given, "id")?;
        let view = services.experiment(permit, &called(&path.0)?, &experiment(&path.1)?)?;
        Ok((view.experiment.stamp.revision, fields.of(ExperimentBody::from(view))?))
    })();
    conditions::answer(outcome)
}

/// Give an experiment another name
#[utoipa::path(patch, path = "/api/v1/models/{model}/experiments/{experiment}", operation_id = "update_experiment", tag = "experiments",
    params(OfExperiment, IfMatch), request_body = Changes,
    responses((status = 200, body = ExperimentBody, headers(("ETag" = String))), (status = 404), (status = 409), (status = 412)))]
async fn rename(
    Granted(permit): Granted<Change>,
    services: Data<Services>,
    request: HttpRequest,
    path: Path<(String, String)>,
    Json(changes): Json<Changes>,
) -> HttpResponse {
    let outcome = async {
        let name = Name::parse("name", &changes.name)?;
        let (model, experiment) = (called(&path.0)?, experiment(&path.1)?);
        let view = services.rename_experiment(permit, model, experiment, if_match(&request)?, name).await?;
        Ok((view.experiment.stamp.revision, ExperimentBody::from(view)))
    };
    conditions::answer(outcome.await)
}
