//! `/api/v1/models/{model}/images` and `/api/v1/models/{model}/datasets/{dataset}/images`: listed, added, relabelled.

use super::conditions::{escaped, if_match, tag};
use super::datasets::dataset_called;
use super::fields::Fields;
use super::models::called;
use super::page::{self, Page};
use super::{answer, trash};
use crate::domain::account::{Change, Permit, View};
use crate::domain::blob::Blob;
use crate::domain::dataset::{Entry, ManifestCursor};
use crate::domain::error::{Error, Result};
use crate::domain::name::{ImageName, Label};
use crate::http::auth::Granted;
use crate::http::body::Json;
use crate::http::error::{Shape, response};
use crate::http::form;
use crate::http::openapi::parts::{IfMatch, OfDataset, OfFields, OfImages, OfModel, Paging};
use crate::http::parameters::Parameters;
use crate::http::routes::{Routes, at};
use crate::service::Services;
use crate::service::gallery::{ImageView, MAX_CHANGES, Relabelling, Source, Wanted};
use crate::service::images::{Added, NewImage};
use actix_multipart::Multipart;
use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

pub(super) fn configure(routes: &mut Routes<'_>) {
    let all = at("/api/v1/models/{model}/images", Shape::Problem);
    routes.add(all.get(list).post(add).patch(relabel).delete(trash::delete_image));
    let some = at("/api/v1/models/{model}/datasets/{dataset}/images", Shape::Problem);
    let some = some.get(list_of_dataset).post(add_to_dataset).patch(relabel_in_dataset);
    routes.add(some.delete(trash::delete_image_of_dataset));
}

#[derive(OpenApi)]
#[openapi(paths(list, add, relabel, list_of_dataset, add_to_dataset, relabel_in_dataset))]
pub(super) struct Docs;

/// An image as `/api/v1` shows it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Image)]
struct ImageBody {
    /// Its class, where it has one
    label: Option<String>,
    /// Its file name, unique within the label
    name: String,
    hash: String,
    /// In bytes
    size: Option<u64>,
    width: Option<u32>,
    height: Option<u32>,
    /// Such as `png`
    format: Option<String>,
    /// The version in which it came; of an image that a copy began with, of the dataset that was copied
    sequence: Option<u64>,
    /// Where its bytes are; what is there never changes
    url: String,
}

impl ImageBody {
    fn new(base: &str, entry: &Entry, blob: Option<&Blob>, sequence: Option<u64>) -> Self {
        Self {
            label: entry.label.as_ref().map(Label::as_str).map(str::to_owned),
            name: entry.name.as_str().to_owned(),
            hash: entry.hash.to_string(),
            size: blob.map(|blob| blob.size),
            width: blob.map(|blob| blob.width),
            height: blob.map(|blob| blob.height),
            format: blob.map(|blob| blob.format.clone()),
            sequence,
            url: url(base, entry),
        }
    }
}

/// Where an image's bytes are.
pub(super) fn url(base: &str, entry: &Entry) -> String {
    let label = entry.label.as_ref().map_or(String::new(), |label| format!("label={}&", escaped(label.as_str())));
    format!("{base}/content?{label}name={}&hash={}", escaped(entry.name.as_str()), entry.hash)
}

/// An image, and what it is called
#[derive(ToSchema)]
#[expect(dead_code, reason = "forms are read part by part")]
struct NewImageForm {
    #[schema(format = Binary)]
    file: String,
    /// Without it, the folder or leading word of the file's name
    #[schema(
        max_length = 128,
        pattern = "^$|^\\s*[^\\s./\\\\\\x00-\\x1f\\x7f-\\x9f][^/\\\\\\x00-\\x1f\\x7f-\\x9f]*\\s*$"
    )]
    label: Option<String>,
}

/// Images that get other labels: all of them, or none
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct LabelChanges {
    #[schema(min_items = 1, max_items = 200)]
    changes: Vec<LabelChange>,
}

/// Another label for an image
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct LabelChange {
    /// The label that it has; null or left out where it has none
    #[schema(
        max_length = 128,
        pattern = "^\\s*[^\\s./\\\\\\x00-\\x1f\\x7f-\\x9f][^/\\\\\\x00-\\x1f\\x7f-\\x9f]*\\s*$"
    )]
    label: Option<String>,
    #[schema(min_length = 1, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]+$")]
    name: String,
    /// The label that it is to have; null or left out for none
    #[schema(
        max_length = 128,
        pattern = "^\\s*[^\\s./\\\\\\x00-\\x1f\\x7f-\\x9f][^/\\\\\\x00-\\x1f\\x7f-\\x9f]*\\s*$"
    )]
    new_label: Option<String>,
}

/// The images as they are called now, in the order of the changes
#[derive(Serialize, ToSchema)]
struct Relabelled {
    /// The number of the dataset's newest version
    version: u64,
    data: Vec<ImageBody>,
}

/// Reads an image's name.
pub(super) fn image_name(text: &str) -> Result<ImageName> {
    if text.is_empty() || text.contains(char::is_control) {
        return Err(Error::parameter("name is empty or has a control character, which no image's name has"));
    }
    Ok(ImageName::from_store(text.to_owned()))
}

/// Reads `label`.
pub(super) fn label(given: &Parameters) -> Result<Option<Label>> {
    given.optional("label").map(Label::parse).transpose()
}

pub(super) fn version(given: &Parameters) -> Result<Option<u64>> {
    let version = given.optional("version").map(str::parse).transpose();
    version.map_err(|_| Error::parameter("version must be a whole number from 0"))
}

/// The source that a path names.
pub(super) fn source(model: &str, dataset: Option<&str>, version: Option<u64>) -> Result<Source> {
    Ok(Source { model: called(model)?, dataset: dataset.map(dataset_called).transpose()?, version })
}

/// Where the images of a source are.
pub(super) fn base(model: &str, dataset: Option<&str>) -> String {
    match dataset {
        None => format!("/api/v1/models/{}/images", escaped(model)),
        Some(dataset) => format!("/api/v1/models/{}/datasets/{}/images", escaped(model), escaped(dataset)),
    }
}

/// A place in a list as it is written: the part of the chain of copies, and the number in it.
fn place(text: &str) -> Option<ManifestCursor> {
    let (part, sequence) = text.split_once('-')?;
    Some(ManifestCursor { part: part.parse().ok()?, sequence: sequence.parse().ok()? })
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
        let (limit, fields) = (page::limit(&given)?, Fields::read::<ImageBody>(&given, "name")?);
        let cursor = given.optional("cursor").map(|text| {
            place(text).ok_or_else(|| Error::parameter("cursor must be the next_cursor of an earlier page"))
        });
        let wanted = match (label(&given)?, given.flag("unlabelled")?) {
            (Some(_), true) => return Err(Error::parameter("give label or unlabelled=true, not both")),
            (Some(label), false) => Wanted::Of(label),
            (None, true) => Wanted::Unlabelled,
            (None, false) => Wanted::All,
        };
        let source = source(model, dataset, version(&given)?)?;
        let (found, next) = services.images(permit, &source, &wanted, cursor.transpose()?, limit)?;
        let base = base(model, dataset);
        let body = |view: ImageView| {
            ImageBody::new(&base, &view.placed.entry, view.blob.as_ref(), Some(view.placed.at.sequence))
        };
        let data = fields.of_all(found.into_iter().map(body))?;
        Ok(Page { data, next_cursor: next.map(|at| format!("{}-{}", at.part, at.sequence)) })
    })();
    answer(outcome)
}

/// The images of a model
#[utoipa::path(get, path = "/api/v1/models/{model}/images", operation_id = "list_images", tag = "images",
    params(OfModel, OfImages, Paging, OfFields), responses((status = 200, body = Page<ImageBody>), (status = 404)))]
async fn list(
    Granted(permit): Granted<View>,
    services: Data<Services>,
    request: HttpRequest,
    path: Path<String>,
) -> HttpResponse {
    listed(permit, &services, &request, &path, None)
}

/// The images of a dataset
#[utoipa::path(get, path = "/api/v1/models/{model}/datasets/{dataset}/images", operation_id = "list_dataset_images",
    tag = "images", params(OfDataset, OfImages, Paging, OfFields),
    responses((status = 200, body = Page<ImageBody>), (status = 404)))]
async fn list_of_dataset(
    Granted(permit): Granted<View>,
    services: Data<Services>,
    request: HttpRequest,
    path: Path<(String, String)>,
) -> HttpResponse {
    listed(permit, &services, &request, &path.0, Some(&path.1))
}

async fn added(
    permit: Permit<Change>,
    services: &Services,
    request: &HttpRequest,
    form: Multipart,
    (model, dataset): (&str, Option<&str>),
) -> HttpResponse {
    let outcome: Result<Added> = async {
        let Source { model, dataset, .. } = source(model, dataset, None)?;
        services.check_target(permit, &model, dataset.as_ref())?;
        let form = form::read(services, request, form).await?;
        let label = label(&form.fields)?;
        let (file_name, image) = form.into_file()?;
        let added =
            services.add_images(permit, model, dataset, vec![NewImage::of_file(image, file_name, label)]).await?;
        added.into_iter().next().ok_or_else(|| Error::internal("an image was added and is not there"))
    }
    .await;
    match outcome {
        Ok(Added { entry, blob, is_new }) => {
            let base = base(model, dataset);
            let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
            let location = (LOCATION, url(&base, &entry));
            let body = ImageBody::new(&base, &entry, Some(&blob), None);
            HttpResponse::build(status).insert_header(location).json(body)
        }
        Err(error) => response(Shape::Problem, &error),
    }
}

/// Add an image to a model
#[utoipa::path(post, path = "/api/v1/models/{model}/images", operation_id = "create_image", tag = "images", params(OfModel),
    request_body(content = NewImageForm, content_type = "multipart/form-data"),
    responses((status = 200, description = "It was there before", body = ImageBody),
        (status = 201, body = ImageBody, headers(("Location" = String))), (status = 404), (status = 409), (status = 415)))]
async fn add(
    Granted(permit): Granted<Change>,
    services: Data<Services>,
    request: HttpRequest,
    path: Path<String>,
    form: Multipart,
) -> HttpResponse {
    added(permit, &services, &request, form, (&path, None)).await
}

/// Add an image to a dataset, and to its model
#[utoipa::path(post, path = "/api/v1/models/{model}/datasets/{dataset}/images", operation_id = "create_dataset_image",
    tag = "images", params(OfDataset), request_body(content = NewImageForm, content_type = "multipart/form-data"),
    responses((status = 200, description = "It was there before", body = ImageBody),
        (status = 201, body = ImageBody, headers(("Location" = String))), (status = 404), (status = 409), (status = 415)))]
async fn add_to_dataset(
    Granted(permit): Granted<Change>,
    services: Data<Services>,
    request: HttpRequest,
    path: Path<(String, String)>,
    form: Multipart,
) -> HttpResponse {
    added(permit, &services, &request, form, (&path.0, Some(&path.1))).await
}

async fn relabelled(
    permit: Permit<Change>,
    services: &Services,
    request: &HttpRequest,
    LabelChanges { changes }: LabelChanges,
    (model, dataset): (&str, Option<&str>),
) -> HttpResponse {
    let outcome: Result<_> = async {
        let read = |change: LabelChange| {
            Ok(Relabelling {
                label: change.label.as_deref().map(Label::parse).transpose()?,
                name: image_name(&change.name)?,
                new_label: change.new_label.as_deref().map(Label::parse).transpose()?,
            })
        };
        if changes.len() > MAX_CHANGES {
            return Err(Error::parameter(format!("one call changes at most {MAX_CHANGES} labels")));
        }
        let changes = changes.into_iter().map(read).collect::<Result<Vec<_>>>()?;
        services.relabel(permit, source(model, dataset, None)?, if_match(request)?, changes).await
    }
    .await;
    match outcome {
        Ok((now, entries)) => {
            let base = base(model, dataset);
            let data = entries.iter().map(|entry| ImageBody::new(&base, entry, None, None)).collect();
            HttpResponse::Ok().insert_header(tag(now.stamp.revision)).json(Relabelled { version: now.head.0, data })
        }
        Err(error) => response(Shape::Problem, &error),
    }
}

/// Give images of a model other labels
#[utoipa::path(patch, path = "/api/v1/models/{model}/images", operation_id = "relabel_images", tag = "images",
    params(OfModel, IfMatch), request_body = LabelChanges,
    responses((status = 200, body = Relabelled, headers(("ETag" = String))), (status = 404), (status = 409), (status = 412)))]
async fn relabel(
    Granted(permit): Granted<Change>,
    services: Data<Services>,
    request: HttpRequest,
    path: Path<String>,
    Json(changes): Json<LabelChanges>,
) -> HttpResponse {
    relabelled(permit, &services, &request, changes, (&path, None)).await
}

/// Give images of a dataset other labels
#[utoipa::path(patch, path = "/api/v1/models/{model}/datasets/{dataset}/images", operation_id = "relabel_dataset_images",
    tag = "images", params(OfDataset, IfMatch), request_body = LabelChanges,
    responses((status = 200, body = Relabelled, headers(("ETag" = String))), (status = 404), (status = 409), (status = 412)))]
async fn relabel_in_dataset(
    Granted(permit): Granted<Change>,
    services: Data<Services>,
    request: HttpRequest,
    path: Path<(String, String)>,
    Json(changes): Json<LabelChanges>,
) -> HttpResponse {
    relabelled(permit, &services, &request, changes, (&path.0, Some(&path.1))).await
}
