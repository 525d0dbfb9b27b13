//! `/api/v1/models/{model}/datasets/{dataset}/versions`: what a dataset was, and what changed since.

use super::datasets::dataset_called;
use super::models::called;
use super::page::{self, Page};
use super::{answer, time};
use crate::domain::account::View;
use crate::domain::error::{Error, Result};
use crate::domain::name::Label;
use crate::http::auth::Granted;
use crate::http::error::Shape;
use crate::http::openapi::parts::{OfDataset, OfVersion, OfVersions, Paging};
use crate::http::parameters::Parameters;
use crate::http::routes::{Routes, at};
use crate::service::Services;
use crate::service::versions::{Difference, VersionView};
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

pub(super) fn configure(routes: &mut Routes<'_>) {
    routes.add(at("/api/v1/models/{model}/datasets/{dataset}/versions", Shape::Problem).get(list));
    routes.add(at("/api/v1/models/{model}/datasets/{dataset}/versions/{version}", Shape::Problem).get(get));
    let balance = "/api/v1/models/{model}/datasets/{dataset}/versions/{version}/balance";
    routes.add(at(balance, Shape::Problem).get(labels));
    let diff = "/api/v1/models/{model}/datasets/{dataset}/versions/{version}/diff/{other}";
    routes.add(at(diff, Shape::Problem).get(difference));
}

#[derive(OpenApi)]
#[openapi(paths(list, get, difference, labels))]
pub(super) struct Docs;

/// A version as `/api/v1` shows it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Version)]
struct VersionBody {
    number: u64,
    /// True for the newest
    is_newest: bool,
    /// Since when runs or copies are pinned to it; null where none is
    #[schema(format = DateTime)]
    pinned_at: Option<String>,
    /// Its images; known of pinned versions and of the newest
    images: Option<u64>,
    /// Those of them with a label
    labelled: Option<u64>,
}

impl From<VersionView> for VersionBody {
    fn from(view: VersionView) -> Self {
        Self {
            number: view.number.0,
            is_newest: view.is_newest,
            pinned_at: view.frozen_at.map(time),
            images: view.counts.map(|(images, _)| images),
            labelled: view.counts.map(|(_, labelled)| labelled),
        }
    }
}

/// An image that one version has and the other has not
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Difference)]
struct DifferenceBody {
    /// The version in which it came or went
    version: u64,
    /// `added` where only the second version has it, `removed` where only the first has
    #[schema(pattern = "^(added|removed)$")]
    change: &'static str,
    label: Option<String>,
    name: String,
    hash: String,
}

impl From<Difference> for DifferenceBody {
    fn from(difference: Difference) -> Self {
        let Difference { number, is_added, entry } = difference;
        Self {
            version: number.0,
            change: if is_added { "added" } else { "removed" },
            label: entry.label.as_ref().map(Label::as_str).map(str::to_owned),
            name: entry.name.as_str().to_owned(),
            hash: entry.hash.to_string(),
        }
    }
}

/// A label and how many images have it
#[derive(Debug, Serialize, ToSchema)]
struct LabelCount {
    /// Null for the images without one
    label: Option<String>,
    images: u64,
}

fn number(text: &str) -> Result<u64> {
    text.parse().map_err(|_| Error::parameter("a version is a whole number from 0"))
}

/// The versions of a dataset, the newest first; with `pinned`, the oldest first
#[utoipa::path(get, path = "/api/v1/models/{model}/datasets/{dataset}/versions", operation_id = "list_versions", tag = "datasets",
    params(OfDataset, ("pinned" = Option<bool>, Query, description = "True for only those that runs or copies are pinned to"), Paging),
    responses((status = 200, body = Page<VersionBody>), (status = 404)))]
async fn list(
    Granted(permit): Granted<View>,
    services: Data<Services>,
    request: HttpRequest,
    path: Path<(String, String)>,
) -> HttpResponse {
    let given = Parameters::from_query(request.query_string());
    let outcome = (|| {
        let (limit, from, pinned) = (page::limit(&given)?, page::cursor(&given)?, given.flag("pinned")?);
        let (model, dataset) = (called(&path.0)?, dataset_called(&path.1)?);
        let mut found = services.versions(permit, &model, &dataset, pinned, from, limit + 1)?;
        let next_cursor = found.get(limit).and_then(|_| found.get(limit - 1)).map(|last| last.number.0.to_string());
        found.truncate(limit);
        Ok(Page { data: found.into_iter().map(VersionBody::from).collect(), next_cursor })
    })();
    answer(outcome)
}

/// A version of a dataset
#[utoipa::path(get, path = "/api/v1/models/{model}/datasets/{dataset}/versions/{version}", operation_id = "get_version",
    tag = "datasets", params(OfVersion), responses((status = 200, body = VersionBody), (status = 404)))]
async fn get(
    Granted(permit): Granted<View>,
    services: Data<Services>,
    path: Path<(String, String, String)>,
) -> HttpResponse {
    let outcome = (|| {
        let (model, dataset) = (called(&path.0)?, dataset_called(&path.1)?);
        services.version(permit, &model, &dataset, number(&path.2)?).map(VersionBody::from)
    })();
    answer(outcome)
}

/// How many images of each label a version has, by the labels' names
#[utoipa::path(get, path = "/api/v1/models/{model}/datasets/{dataset}/versions/{version}/balance", operation_id = "get_balance",
    tag = "datasets", params(OfVersion, Paging), responses((status = 200, body = Page<LabelCount>), (status = 404)))]
async fn labels(
    Granted(permit): Granted<View>,
    services: Data<Services>,
    request: HttpRequest,
    path: Path<(String, String, String)>,
) -> HttpResponse {
    let given = Parameters::from_query(request.query_string());
    let outcome = async {
        let limit = page::limit(&given)?;
        // No label is empty, and yet it may be what a page ends with.
        let after = match given.optional("cursor").map(|cursor| cursor.strip_prefix('=')) {
            None => None,
            Some(Some(label)) => Some(label.to_owned()),
            Some(None) => return Err(Error::parameter("cursor must be the next_cursor of an earlier page")),
        };
        let (model, dataset) = (called(&path.0)?, dataset_called(&path.1)?);
        let (found, next) = services.balance(permit, &model, &dataset, number(&path.2)?, after, limit).await?;
        let body = |(label, images): (Option<Label>, u64)| LabelCount {
            label: label.as_ref().map(Label::as_str).map(str::to_owned),
            images,
        };
        Ok(Page { data: found.into_iter().map(body).collect(), next_cursor: next.map(|next| format!("={next}")) })
    };
    answer(outcome.await)
}

/// What one version of a dataset has and another has not
#[utoipa::path(get, path = "/api/v1/models/{model}/datasets/{dataset}/versions/{version}/diff/{other}",
    operation_id = "diff_versions", tag = "datasets", params(OfVersions, Paging),
    responses((status = 200, body = Page<DifferenceBody>), (status = 404)))]
async fn difference(
    Granted(permit): Granted<View>,
    services: Data<Services>,
    request: HttpRequest,
    path: Path<(String, String, String, String)>,
) -> HttpResponse {
    let given = Parameters::from_query(request.query_string());
    let outcome = (|| {
        let (limit, after) = (page::limit(&given)?, page::cursor(&given)?);
        let (model, dataset) = (called(&path.0)?, dataset_called(&path.1)?);
        let between = (number(&path.2)?, number(&path.3)?);
        let (found, next) = services.difference(permit, &model, &dataset, between, after, limit)?;
        let data = found.into_iter().map(DifferenceBody::from).collect();
        Ok(Page { data, next_cursor: next.map(|next| next.to_string()) })
    })();
    answer(outcome)
}
