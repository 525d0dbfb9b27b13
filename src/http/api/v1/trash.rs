//! `DELETE` of models, datasets, experiments and images, whose routes are the nouns' own, and `/api/v1/trash`, where they
//! go first.

use super::conditions::if_match;
use super::images::{image_name, label};
use super::models::called;
use super::page::{self, Page};
use super::{answer, done, time};
use crate::domain::account::{Change, Permit, View};
use crate::domain::error::{Error, Result};
use crate::domain::ids::{ParseIdError, TrashId};
use crate::domain::name::Name;
use crate::domain::reference::Reference;
use crate::domain::trash::Trashed;
use crate::http::auth::Granted;
use crate::http::body::OptionalJson;
use crate::http::error::Shape;
use crate::http::openapi::parts::{DryRun, GoneImage, IfMatch, OfDataset, OfExperiment, OfModel, OfTrash, Paging};
use crate::http::openapi::words::TrashWord;
use crate::http::parameters::Parameters;
use crate::http::routes::{Routes, at};
use crate::service::Services;
use crate::service::trash::{Freed, Frees, Purged, Target, TrashView};
use actix_web::http::header::LOCATION;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

pub(super) fn configure(routes: &mut Routes<'_>) {
    routes.add(at("/api/v1/trash", Shape::Problem).get(list).delete(empty));
    routes.add(at("/api/v1/trash/{id}", Shape::Problem).get(get).delete(purge));
    routes.add(at("/api/v1/trash/{id}/restore", Shape::Problem).post(restore));
}

#[derive(OpenApi)]
#[openapi(paths(
    delete_model,
    delete_experiment,
    delete_dataset,
    delete_image,
    delete_image_of_dataset,
    list,
    get,
    restore,
    purge,
    empty
))]
pub(super) struct Docs;

/// Something in the trash as `/api/v1` shows it.
#[derive(Serialize, ToSchema)]
#[schema(as = TrashItem)]
struct TrashBody {
    /// Not there for what was only asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[schema(value_type = TrashWord)]
    kind: &'static str,
    name: String,
    model: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    #[schema(format = DateTime)]
    deleted_at: String,
    #[schema(format = DateTime)]
    expires_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    frees: Option<FreesBody>,
}

/// What removing it for good frees
#[derive(Serialize, ToSchema)]
#[schema(as = Frees)]
struct FreesBody {
    bytes: u64,
    images: u64,
    images_in_all: u64,
    image_bytes: u64,
    runs: u64,
    run_bytes: u64,
}

/// What was freed
#[derive(Serialize, ToSchema)]
#[schema(as = Freed)]
struct FreedBody {
    items: u64,
    images: u64,
    runs: u64,
    bytes: u64,
}

/// How it comes back
#[derive(Deserialize, Default, ToSchema)]
#[serde(deny_unknown_fields, default)]
struct Restore {
    /// Another name than the old one
    #[schema(max_length = 128, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    name: Option<String>,
}

impl From<TrashView> for TrashBody {
    fn from(view: TrashView) -> Self {
        let TrashView { item, model, expires_at, frees } = view;
        let label = match &item.what {
            Trashed::Image(removal) => removal.entry.label.as_ref().map(|label| label.as_str().to_owned()),
            _ => None,
        };
        Self {
            id: Some(item.id.to_string()),
            kind: item.what.kind(),
            name: item.name,
            model,
            label,
            deleted_at: time(item.stamp.created_at),
            expires_at: time(expires_at),
            frees: frees.map(FreesBody::from),
        }
    }
}

impl From<Frees> for FreesBody {
    fn from(frees: Frees) -> Self {
        Self {
            bytes: frees.freed_image_bytes + frees.freed_run_bytes,
            images: frees.freed_images,
            images_in_all: frees.images,
            image_bytes: frees.freed_image_bytes,
            runs: frees.runs,
            run_bytes: frees.freed_run_bytes,
        }
    }
}

impl From<Freed> for FreedBody {
    fn from(Freed { items, images, runs, bytes }: Freed) -> Self {
        Self { items, images, runs, bytes }
    }
}

async fn delete(
    permit: Permit<Change>,
    services: &Services,
    request: &HttpRequest,
    model: &str,
    target: impl FnOnce(&Parameters) -> Result<Target>,
) -> HttpResponse {
    let parameters = Parameters::from_query(request.query_string());
    let outcome = async {
        let only_asks = parameters.flag("dry_run")?;
        let (model, seen) = (called(model)?, if_match(request)?);
        let mut body: TrashBody = services.delete(permit, model, target(&parameters)?, seen, only_asks).await?.into();
        if only_asks {
            body.id = None;
        }
        Ok(body)
    };
    answer(outcome.await)
}

/// Put a model into the trash
#[utoipa::path(delete, path = "/api/v1/models/{model}", operation_id = "delete_model", tag = "models",
    params(OfModel, DryRun, IfMatch), responses((status = 200, body = TrashBody), (status = 404), (status = 412)))]
pub(super) async fn delete_model(
    Granted(permit): Granted<Change>,
    services: Data<Services>,
    request: HttpRequest,
    path: Path<String>,
) -> HttpResponse {
    delete(permit, &services, &request, &path, |_| Ok(Target::Model)).await
}

/// Put an experiment into the trash
#[utoipa::path(delete, path = "/api/v1/models/{model}/experiments/{experiment}", operation_id = "delete_experiment", tag = "experiments",
    params(OfExperiment, DryRun, IfMatch),
    responses((status = 200, body = TrashBody), (status = 404), (status = 412)))]
pub(super) async fn delete_experiment(
    Granted(permit): Granted<Change>,
    services: Data<Services>,
    request: HttpRequest,
    path: Path<(String, String)>,
) -> HttpResponse {
    let (model, experiment) = path.into_inner();
    let target = |_: &Parameters| Reference::parse("experiment", &experiment).map(Target::Experiment);
    delete(permit, &services, &request, &model, target).await
}

/// Put a dataset into the trash
#[utoipa::path(delete, path = "/api/v1/models/{model}/datasets/{dataset}", operation_id = "delete_dataset", tag = "datasets",
    params(OfDataset, DryRun, IfMatch),
    responses((status = 200, body = TrashBody), (status = 404), (status = 412)))]
pub(super) async fn delete_dataset(
    Granted(permit): Granted<Change>,
    services: Data<Services>,
    request: HttpRequest,
    path: Path<(String, String)>,
) -> HttpResponse {
    let (model, dataset) = path.into_inner();
    let target = |_: &Parameters| Reference::parse("dataset", &dataset).map(Target::Dataset);
    delete(permit, &services, &request, &model, target).await
}

/// The image of a query, of a dataset where there is one.
fn image(parameters: &Parameters, dataset: Option<&str>) -> Result<Target> {
    Ok(Target::Image {
        dataset: dataset.map(|dataset| Reference::parse("dataset", dataset)).transpose()?,
        label: label(parameters)?,
        name: image_name(parameters.required("name")?)?,
    })
}

/// Put an image of a model into the trash
#[utoipa::path(delete, path = "/api/v1/models/{model}/images", operation_id = "delete_image", tag = "images",
    params(OfModel, GoneImage, ("dataset" = Option<String>, Query, description = "Of this dataset, not of the model", pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"), DryRun),
    responses((status = 200, body = TrashBody), (status = 404)))]
pub(super) async fn delete_image(
    Granted(permit): Granted<Change>,
    services: Data<Services>,
    request: HttpRequest,
    path: Path<String>,
) -> HttpResponse {
    let target = |parameters: &Parameters| {
        let dataset = parameters.optional_name("dataset")?;
        image(parameters, dataset.as_ref().map(Name::as_str))
    };
    delete(permit, &services, &request, &path, target).await
}

/// Put an image of a dataset into the trash
#[utoipa::path(delete, path = "/api/v1/models/{model}/datasets/{dataset}/images", operation_id = "delete_dataset_image",
    tag = "images", params(OfDataset, GoneImage, DryRun), responses((status = 200, body = TrashBody), (status = 404)))]
pub(super) async fn delete_image_of_dataset(
    Granted(permit): Granted<Change>,
    services: Data<Services>,
    request: HttpRequest,
    path: Path<(String, String)>,
) -> HttpResponse {
    let (model, dataset) = path.into_inner();
    delete(permit, &services, &request, &model, |parameters| image(parameters, Some(&dataset))).await
}

fn id(path: &str) -> Result<TrashId> {
    path.parse().map_err(|error: ParseIdError| Error::parameter(error.to_string()))
}

/// What is in the trash, the oldest first
#[utoipa::path(get, path = "/api/v1/trash", operation_id = "list_trash", tag = "trash",
    params(Paging), responses((status = 200, body = Page<TrashBody>)))]
async fn list(Granted(permit): Granted<View>, services: Data<Services>, request: HttpRequest) -> HttpResponse {
    let parameters = Parameters::from_query(request.query_string());
    let page = || {
        let (limit, after) = (page::limit(&parameters)?, page::cursor(&parameters)?);
        let (found, next) = services.trash(permit, after, limit)?;
        let data = found.into_iter().map(TrashBody::from).collect::<Vec<_>>();
        Ok(Page { data, next_cursor: next.map(|id| id.to_string()) })
    };
    answer(page())
}

/// Something in the trash, and what removing it frees
#[utoipa::path(get, path = "/api/v1/trash/{id}", operation_id = "get_trash_item", tag = "trash",
    params(OfTrash), responses((status = 200, body = TrashBody), (status = 404)))]
async fn get(Granted(permit): Granted<View>, services: Data<Services>, path: Path<String>) -> HttpResponse {
    let outcome = async { services.trash_item(permit, id(&path)?).await.map(TrashBody::from) };
    answer(outcome.await)
}

/// Take something out of the trash
#[utoipa::path(post, path = "/api/v1/trash/{id}/restore", operation_id = "restore_trash_item", tag = "trash",
    params(OfTrash), request_body = Option<Restore>,
    responses((status = 204), (status = 404), (status = 409)))]
async fn restore(
    Granted(permit): Granted<Change>,
    services: Data<Services>,
    path: Path<String>,
    OptionalJson(Restore { name }): OptionalJson<Restore>,
) -> HttpResponse {
    let outcome = async {
        let name = name.map(|name| Name::parse("name", &name)).transpose()?;
        services.restore(permit, id(&path)?, name).await
    };
    done(outcome.await)
}

/// What was freed, or where to look at what still is.
fn purged(outcome: Result<Purged>) -> HttpResponse {
    match outcome {
        Ok(Purged::Underway) => HttpResponse::Accepted().insert_header((LOCATION, "/api/v1/trash")).finish(),
        Ok(Purged::Done(freed)) => answer(Ok(FreedBody::from(freed))),
        Err(error) => answer::<()>(Err(error)),
    }
}

/// Remove something for good
#[utoipa::path(delete, path = "/api/v1/trash/{id}", operation_id = "purge_trash_item", tag = "trash",
    params(OfTrash), responses((status = 200, body = FreedBody), (status = 202, description = "It takes long and goes on; the trash lists what is left"),
    (status = 404), (status = 409)))]
async fn purge(Granted(permit): Granted<Change>, services: Data<Services>, path: Path<String>) -> HttpResponse {
    let outcome = async { services.into_inner().purge(permit, id(&path)?).await };
    purged(outcome.await)
}

/// Remove everything for good that one may
#[utoipa::path(delete, path = "/api/v1/trash", operation_id = "empty_trash", tag = "trash",
    responses((status = 200, body = FreedBody), (status = 202, description = "It takes long and goes on; the trash lists what is left"),
    (status = 409)))]
async fn empty(Granted(permit): Granted<Change>, services: Data<Services>) -> HttpResponse {
    purged(services.into_inner().empty_trash(permit).await)
}
