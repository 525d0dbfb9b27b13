//! `/api/v1/models/{model}/datasets`: lists of images that runs are submitted with.

use super::conditions::{self, escaped, if_match};
use super::fields::Fields;
use super::models::called;
use super::page::{self, Page};
use super::{answer, time, trash};
use crate::domain::account::{Change, View};
use crate::domain::dataset::Dataset;
use crate::domain::error::Result;
use crate::domain::ids::DatasetId;
use crate::domain::name::Name;
use crate::domain::reference::Reference;
use crate::http::auth::Granted;
use crate::http::body::Json;
use crate::http::error::{Shape, response};
use crate::http::keyed::Keyed;
use crate::http::openapi::parts::{IfMatch, OfDataset, OfFields, OfKey, OfModel, Paging};
use crate::http::parameters::Parameters;
use crate::http::routes::{Routes, at};
use crate::service::Services;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

pub(super) fn configure(routes: &mut Routes<'_>) {
    routes.add(at("/api/v1/models/{model}/datasets", Shape::Problem).get(list).post(create));
    let one = at("/api/v1/models/{model}/datasets/{dataset}", Shape::Problem);
    routes.add(one.get(get).patch(rename).delete(trash::delete_dataset));
}

#[derive(OpenApi)]
#[openapi(paths(list, create, get, rename))]
pub(super) struct Docs;

/// A dataset as `/api/v1` shows it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Dataset)]
pub(super) struct DatasetBody {
    id: String,
    /// Empty for the dataset of all of a model's images
    name: String,
    /// Images in the newest version
    images: u64,
    /// Those of them with a label
    labelled: u64,
    /// The number of the newest version
    version: u64,
    /// The version of another dataset that it began as
    base: Option<BaseBody>,
    /// Counts changes; also its ETag
    revision: u64,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: String,
}

/// What a dataset began as
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DatasetBase)]
struct BaseBody {
    dataset_id: String,
    version: u64,
}

impl From<Dataset> for DatasetBody {
    fn from(dataset: Dataset) -> Self {
        Self {
            id: dataset.id.to_string(),
            name: dataset.name_text().to_owned(),
            images: dataset.images,
            labelled: dataset.labelled,
            version: dataset.head.0,
            base: dataset.base.map(|base| BaseBody { dataset_id: base.dataset.to_string(), version: base.number.0 }),
            revision: dataset.stamp.revision,
            created_at: time(dataset.stamp.created_at),
            updated_at: time(dataset.stamp.updated_at),
        }
    }
}

/// A new dataset
#[derive(Deserialize, ToSchema)]
#[schema(as = NewDataset)]
#[serde(deny_unknown_fields)]
struct Create {
    #[schema(max_length = 128, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    name: String,
    /// The name or id of the dataset that it begins as a copy of, which costs nothing
    #[schema(max_length = 128, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    from: Option<String>,
}

/// What changes of a dataset
#[derive(Deserialize, ToSchema)]
#[schema(as = DatasetChange)]
#[serde(deny_unknown_fields)]
struct Changes {
    #[schema(max_length = 128, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    name: String,
}

/// Reads the dataset of a path.
pub(super) fn dataset_called(text: &str) -> Result<Reference<DatasetId>> {
    Reference::parse("dataset", text)
}

/// The datasets of a model, by their names
#[utoipa::path(get, path = "/api/v1/models/{model}/datasets", operation_id = "list_datasets", tag = "datasets",
    params(OfModel, Paging, OfFields), responses((status = 200, body = Page<DatasetBody>), (status = 404)))]
async fn list(
    Granted(permit): Granted<View>,
    services: Data<Services>,
    request: HttpRequest,
    path: Path<String>,
) -> HttpResponse {
    let given = Parameters::from_query(request.query_string());
    let outcome = (|| {
        let (limit, fields) = (page::limit(&given)?, Fields::read::<DatasetBody>(&given, "id")?);
        let after = given.optional("cursor").map(|text| Name::parse("cursor", text)).transpose()?;
        let mut found = services.datasets(permit, &called(&path)?, after.as_ref(), limit + 1)?;
        let next_cursor = found.get(limit).and_then(|_| found.get(limit - 1)).map(|last| last.name_text().to_owned());
        found.truncate(limit);
        Ok(Page { data: fields.of_all(found.into_iter().map(DatasetBody::from))?, next_cursor })
    })();
    answer(outcome)
}

/// Make a dataset, empty or as a copy of another one
#[utoipa::path(post, path = "/api/v1/models/{model}/datasets", operation_id = "create_dataset", tag = "datasets",
    params(OfModel, OfKey), request_body = Create,
    responses((status = 201, body = DatasetBody, headers(("Location" = String), ("ETag" = String))), (status = 404), (status = 409), (status = 422)))]
async fn create(
    Granted(permit): Granted<Change>,
    services: Data<Services>,
    path: Path<String>,
    body: Keyed<Create>,
) -> HttpResponse {
    let make = async |body: Create| {
        let outcome: Result<_> = async {
            let name = Name::parse("name", &body.name)?;
            let from = body.from.map(|from| Reference::parse("from", &from)).transpose()?;
            let model = called(&path)?;
            let id = services.create_dataset(permit, model.clone(), name, from).await?;
            services.dataset(permit.view(), &model, Some(&Reference::Id(id)))
        }
        .await;
        match outcome {
            Ok(dataset) => {
                let location = format!("/api/v1/models/{}/datasets/{}", escaped(&path), escaped(dataset.name_text()));
                conditions::made(dataset.stamp.revision, &location, DatasetBody::from(dataset))
            }
            Err(error) => response(Shape::Problem, &error),
        }
    };
    body.once(&services, permit, make).await
}

/// A dataset
#[utoipa::path(get, path = "/api/v1/models/{model}/datasets/{dataset}", operation_id = "get_dataset", tag = "datasets",
    params(OfDataset, OfFields), responses((status = 200, body = DatasetBody, headers(("ETag" = String))), (status = 404)))]
async fn get(
    Granted(permit): Granted<View>,
    services: Data<Services>,
    request: HttpRequest,
    path: Path<(String, String)>,
) -> HttpResponse {
    let given = Parameters::from_query(request.query_string());
    let outcome = (|| {
        let fields = Fields::read::<DatasetBody>(&given, "id")?;
        let dataset = services.dataset(permit, &called(&path.0)?, Some(&dataset_called(&path.1)?))?;
        Ok((dataset.stamp.revision, fields.of(DatasetBody::from(dataset))?))
    })();
    conditions::answer(outcome)
}

/// Give a dataset another name
#[utoipa::path(patch, path = "/api/v1/models/{model}/datasets/{dataset}", operation_id = "update_dataset", tag = "datasets",
    params(OfDataset, IfMatch), request_body = Changes,
    responses((status = 200, body = DatasetBody, headers(("ETag" = String))), (status = 404), (status = 409), (status = 412)))]
async fn rename(
    Granted(permit): Granted<Change>,
    services: Data<Services>,
    request: HttpRequest,
    path: Path<(String, String)>,
    Json(changes): Json<Changes>,
) -> HttpResponse {
    let outcome = async {
        let name = Name::parse("name", &changes.name)?;
        let (model, dataset) = (called(&path.0)?, dataset_called(&path.1)?);
        let dataset = services.rename_dataset(permit, model, dataset, if_match(&request)?, name).await?;
        Ok((dataset.stamp.revision, DatasetBody::from(dataset)))
    };
    conditions::answer(outcome.await)
}
