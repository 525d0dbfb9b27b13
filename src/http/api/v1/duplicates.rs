//! `.../duplicates`: images of a model or a dataset that hold the same bytes under several names or labels.

use super::answer;
use super::images::{base, source, url, version};
use super::page::{self, Page};
use crate::domain::account::{Permit, View};
use crate::domain::blob::ContentHash;
use crate::domain::dataset::Entry;
use crate::domain::error::Error;
use crate::domain::name::Label;
use crate::http::auth::Granted;
use crate::http::error::Shape;
use crate::http::openapi::parts::{AsOf, OfDataset, OfModel, Paging};
use crate::http::parameters::Parameters;
use crate::http::routes::{Routes, at};
use crate::service::Services;
use crate::service::gallery::Group;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

pub(super) fn configure(routes: &mut Routes<'_>) {
    routes.add(at("/api/v1/models/{model}/duplicates", Shape::Problem).get(list));
    routes.add(at("/api/v1/models/{model}/datasets/{dataset}/duplicates", Shape::Problem).get(list_of_dataset));
}

#[derive(OpenApi)]
#[openapi(paths(list, list_of_dataset))]
pub(super) struct Docs;

/// Images with the same bytes
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Duplicate)]
struct DuplicateBody {
    /// Of their bytes
    hash: String,
    /// Two or more, in the order in which they came
    images: Vec<CopyBody>,
    /// Whether there may be more of them than these
    has_more: bool,
}

/// An image whose bytes are another one's as well
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Copy)]
struct CopyBody {
    /// Its class, where it has one
    label: Option<String>,
    /// Its file name
    name: String,
    /// Where its bytes are
    url: String,
}

impl DuplicateBody {
    fn new(base: &str, group: Group) -> Self {
        let copy = |entry: &Entry| CopyBody {
            label: entry.label.as_ref().map(Label::as_str).map(str::to_owned),
            name: entry.name.as_str().to_owned(),
            url: url(base, entry),
        };
        Self {
            hash: group.hash.to_string(),
            images: group.entries.iter().map(copy).collect(),
            has_more: group.has_more,
        }
    }
}

fn listed(
    permit: Permit<View>,
    services: &Services,
    request: &HttpRequest,
    model: &str,
    dataset: Option<&str>,
) -> HttpResponse {
    let given = Parameters::from_query(request.query_string());
    let outcome = (|| {
        let limit = page::limit(&given)?;
        let after = given.optional("cursor").map(str::parse::<ContentHash>).transpose();
        let after = after.map_err(|_| Error::parameter("cursor must be the next_cursor of an earlier page"))?;
        let source = source(model, dataset, version(&given)?)?;
        let (found, next) = services.duplicates(permit, &source, after, limit)?;
        let base = base(model, dataset);
        let data = found.into_iter().map(|group| DuplicateBody::new(&base, group)).collect();
        Ok(Page { data, next_cursor: next.map(|hash| hash.to_string()) })
    })();
    answer(outcome)
}

/// The images of a model that are there more than once
#[utoipa::path(get, path = "/api/v1/models/{model}/duplicates", operation_id = "list_duplicates", tag = "images",
    params(OfModel, AsOf, Paging), responses((status = 200, body = Page<DuplicateBody>), (status = 404)))]
async fn list(
    Granted(permit): Granted<View>,
    services: Data<Services>,
    request: HttpRequest,
    path: Path<String>,
) -> HttpResponse {
    listed(permit, &services, &request, &path, None)
}

/// The images of a dataset that are there more than once
#[utoipa::path(get, path = "/api/v1/models/{model}/datasets/{dataset}/duplicates", operation_id = "list_dataset_duplicates",
    tag = "images", params(OfDataset, AsOf, Paging), responses((status = 200, body = Page<DuplicateBody>), (status = 404)))]
async fn list_of_dataset(
    Granted(permit): Granted<View>,
    services: Data<Services>,
    request: HttpRequest,
    path: Path<(String, String)>,
) -> HttpResponse {
    listed(permit, &services, &request, &path.0, Some(&path.1))
}
