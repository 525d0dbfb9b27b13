//! `.../images/content` and `.../images/thumbnail`: the bytes of an image, and a small picture of it.

use super::images::{image_name, label, source, version};
use super::run_files;
use crate::domain::account::{Permit, View};
use crate::domain::blob::ContentHash;
use crate::domain::error::{Code, Error, Result};
use crate::domain::name::{ImageName, Label};
use crate::http::auth::Granted;
use crate::http::error::{Shape, response};
use crate::http::openapi::parts::{OfDataset, OfImage, OfModel};
use crate::http::openapi::words::BytesWord;
use crate::http::parameters::Parameters;
use crate::http::routes::{Routes, at};
use crate::service::Services;
use crate::service::gallery::{Content, Source};
use crate::service::thumbnails::Small;
use actix_web::http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH};
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use utoipa::OpenApi;

pub(super) fn configure(routes: &mut Routes<'_>) {
    routes.add(at("/api/v1/models/{model}/images/content", Shape::Problem).get(content));
    routes.add(at("/api/v1/models/{model}/datasets/{dataset}/images/content", Shape::Problem).get(content_of_dataset));
    routes.add(at("/api/v1/models/{model}/images/thumbnail", Shape::Problem).get(thumbnail));
    let of_dataset = at("/api/v1/models/{model}/datasets/{dataset}/images/thumbnail", Shape::Problem);
    routes.add(of_dataset.get(thumbnail_of_dataset));
}

#[derive(OpenApi)]
#[openapi(paths(content, content_of_dataset, thumbnail, thumbnail_of_dataset))]
pub(super) struct Docs;

/// Which image is asked for.
struct Asked {
    source: Source,
    label: Option<Label>,
    name: ImageName,
    hash: Option<ContentHash>,
}

impl Asked {
    fn read(request: &HttpRequest, model: &str, dataset: Option<&str>) -> Result<Self> {
        let given = Parameters::from_query(request.query_string());
        let hash = given.optional("hash").map(|text| text.parse::<ContentHash>().map_err(|_| no_hash())).transpose()?;
        let name = image_name(given.required("name")?)?;
        Ok(Self { source: source(model, dataset, version(&given)?)?, label: label(&given)?, name, hash })
    }

    /// What browsers are told about keeping it: a name may come to mean other bytes, a hash never does.
    fn kept(&self) -> &'static str {
        if self.hash.is_some() { "private, max-age=31536000, immutable" } else { "private, no-cache" }
    }
}

/// The head of an answer, and whether that is all of it, since the one who asks has the rest.
fn head(request: &HttpRequest, asked: &Asked, etag: String) -> (HttpResponseBuilder, bool) {
    let is_same = request.headers().get(IF_NONE_MATCH).is_some_and(|given| given.as_bytes() == etag.as_bytes());
    let mut answer = if is_same { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    answer.insert_header((ETAG, etag)).insert_header((CACHE_CONTROL, asked.kept()));
    answer.insert_header(("x-content-type-options", "nosniff"));
    (answer, is_same)
}

/// The type of an image's bytes, by what its container is.
fn media_type(format: &str) -> &'static str {
    match format {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "bmp" => "image/bmp",
        "tif" | "tiff" => "image/tiff",
        _ => "application/octet-stream",
    }
}

async fn sent(
    permit: Permit<View>,
    services: &Services,
    request: &HttpRequest,
    model: &str,
    dataset: Option<&str>,
) -> HttpResponse {
    let found = Asked::read(request, model, dataset).and_then(|asked| {
        let Asked { source, label, name, hash } = &asked;
        services.image_content(permit, source, label.as_ref(), name, *hash).map(|content| (asked, content))
    });
    let (asked, Content { blob, path }) = match found {
        Ok(found) => found,
        Err(error) => return response(Shape::Problem, &error),
    };
    let (mut answer, is_all) = head(request, &asked, format!("\"{}\"", blob.hash));
    if is_all {
        return answer.finish();
    }
    let opened = tokio::task::spawn_blocking(move || run_files::open(path));
    match opened.await.map_err(std::io::Error::other).and_then(|opened| opened) {
        Ok(Some(file)) => {
            answer.content_type(media_type(&blob.format)).no_chunking(blob.size);
            answer.streaming(run_files::pieces(file, 0, blob.size))
        }
        Ok(None) => response(Shape::Problem, &Error::new(Code::NotFound, "the image is being removed for good")),
        Err(error) => response(Shape::Problem, &Error::internal(error)),
    }
}

async fn sent_small(
    permit: Permit<View>,
    services: &Services,
    request: &HttpRequest,
    model: &str,
    dataset: Option<&str>,
) -> HttpResponse {
    let made = async {
        let asked = Asked::read(request, model, dataset)?;
        let Asked { source, label, name, hash } = &asked;
        let small = services.thumbnail(permit, source, label.as_ref(), name, *hash).await?;
        Ok((asked, small))
    };
    match made.await {
        Ok((asked, Small { hash, bytes })) => {
            let (mut answer, is_all) = head(request, &asked, format!("\"{hash}-small\""));
            if is_all {
                return answer.finish();
            }
            let is_png = bytes.starts_with(b"\x89PNG");
            answer.content_type(if is_png { "image/png" } else { "image/jpeg" }).body(bytes)
        }
        Err(error) => response(Shape::Problem, &error),
    }
}

fn no_hash() -> Error {
    Error::parameter("hash must be 64 hexadecimal digits")
}

/// The bytes of an image of a model
#[utoipa::path(get, path = "/api/v1/models/{model}/images/content", operation_id = "get_image_content", tag = "images",
    params(OfModel, OfImage, ("If-None-Match" = Option<String>, Header, description = "The ETag of the bytes that one has")),
    responses((status = 200, content_type = "image/*", body = BytesWord, headers(("ETag" = String))),
        (status = 304, description = "They are still the same"), (status = 404)))]
async fn content(
    Granted(permit): Granted<View>,
    services: Data<Services>,
    request: HttpRequest,
    path: Path<String>,
) -> HttpResponse {
    sent(permit, &services, &request, &path, None).await
}

/// The bytes of an image of a dataset
#[utoipa::path(get, path = "/api/v1/models/{model}/datasets/{dataset}/images/content", operation_id = "get_dataset_image_content",
    tag = "images",
    params(OfDataset, OfImage, ("If-None-Match" = Option<String>, Header, description = "The ETag of the bytes that one has")),
    responses((status = 200, content_type = "image/*", body = BytesWord, headers(("ETag" = String))),
        (status = 304, description = "They are still the same"), (status = 404)))]
async fn content_of_dataset(
    Granted(permit): Granted<View>,
    services: Data<Services>,
    request: HttpRequest,
    path: Path<(String, String)>,
) -> HttpResponse {
    sent(permit, &services, &request, &path.0, Some(&path.1)).await
}

/// A small picture of an image of a model, at most 208 pixels a side
#[utoipa::path(get, path = "/api/v1/models/{model}/images/thumbnail", operation_id = "get_image_thumbnail", tag = "images",
    params(OfModel, OfImage, ("If-None-Match" = Option<String>, Header, description = "The ETag of the picture that one has")),
    responses((status = 200, content_type = "image/*", body = BytesWord, headers(("ETag" = String))),
        (status = 304, description = "It is still the same"), (status = 404), (status = 415)))]
async fn thumbnail(
    Granted(permit): Granted<View>,
    services: Data<Services>,
    request: HttpRequest,
    path: Path<String>,
) -> HttpResponse {
    sent_small(permit, &services, &request, &path, None).await
}

/// A small picture of an image of a dataset, at most 208 pixels a side
#[utoipa::path(get, path = "/api/v1/models/{model}/datasets/{dataset}/images/thumbnail",
    operation_id = "get_dataset_image_thumbnail", tag = "images",
    params(OfDataset, OfImage, ("If-None-Match" = Option<String>, Header, description = "The ETag of the picture that one has")),
    responses((status = 200, content_type = "image/*", body = BytesWord, headers(("ETag" = String))),
        (status = 304, description = "It is still the same"), (status = 404), (status = 415)))]
async fn thumbnail_of_dataset(
    Granted(permit): Granted<View>,
    services: Data<Services>,
    request: HttpRequest,
    path: Path<(String, String)>,
) -> HttpResponse {
    sent_small(permit, &services, &request, &path.0, Some(&path.1)).await
}
