//! `.../archive` and `.../export.zip`: many images at once, with a folder for each class, both ways.

use super::datasets::dataset_called;
use super::images::source;
use super::models::called;
use crate::domain::account::{Change, Permit, View};
use crate::domain::error::{Error, Result};
use crate::http::auth::Granted;
use crate::http::error::{Shape, response};
use crate::http::form;
use crate::http::openapi::parts::{OfDataset, OfModel, OfVersion};
use crate::http::openapi::words::BytesWord;
use crate::http::routes::{Routes, at};
use crate::service::Services;
use crate::service::archives::{Adding, Word};
use actix_multipart::Multipart;
use actix_web::http::header::CONTENT_DISPOSITION;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use futures::stream::{try_unfold, unfold};
use utoipa::{OpenApi, ToSchema};

pub(super) fn configure(routes: &mut Routes<'_>) {
    routes.add(at("/api/v1/models/{model}/archive", Shape::Problem).post(add));
    routes.add(at("/api/v1/models/{model}/datasets/{dataset}/archive", Shape::Problem).post(add_to_dataset));
    routes.add(at("/api/v1/models/{model}/export.zip", Shape::Problem).get(export));
    routes.add(at("/api/v1/models/{model}/datasets/{dataset}/export.zip", Shape::Problem).get(export_dataset));
    let version = "/api/v1/models/{model}/datasets/{dataset}/versions/{version}/export.zip";
    routes.add(at(version, Shape::Problem).get(export_version));
}

#[derive(OpenApi)]
#[openapi(paths(add, add_to_dataset, export, export_dataset, export_version))]
pub(super) struct Docs;

/// A zip file with a folder for each class
#[derive(ToSchema)]
#[expect(dead_code, reason = "forms are read part by part")]
struct ArchiveForm {
    #[schema(format = Binary)]
    file: String,
}

async fn taken(
    permit: Permit<Change>,
    services: Data<Services>,
    request: &HttpRequest,
    form: Multipart,
    (model, dataset): (&str, Option<&str>),
) -> HttpResponse {
    let outcome: Result<Adding> = async {
        let (model, dataset) = (called(model)?, dataset.map(dataset_called).transpose()?);
        services.check_target(permit, &model, dataset.as_ref())?;
        let received = form::read_archive(&services, request, form).await?;
        Ok(services.into_inner().add_archive(permit, model, dataset, received))
    }
    .await;
    match outcome {
        Ok(adding) => HttpResponse::Ok().content_type("application/jsonl").streaming(unfold(adding, line)),
        Err(error) => response(Shape::Problem, &error),
    }
}

/// What is said next, as a line.
async fn line(mut adding: Adding) -> Option<(Result<Bytes>, Adding)> {
    let word: Word = adding.next_word().await?;
    let line = serde_json::to_vec(&word).map_err(Error::internal).map(|mut line| {
        line.push(b'\n');
        Bytes::from(line)
    });
    Some((line, adding))
}

/// Add the images of a zip file to a model
///
/// Each entry is added as a whole or refused with a reason. The answer is told while it happens; its last line is of type
/// `done` with what became of the entries, or `failed` with that and a reason. Sent again, nothing is stored twice.
#[utoipa::path(post, path = "/api/v1/models/{model}/archive", operation_id = "create_images", tag = "images", params(OfModel),
    request_body(content = ArchiveForm, content_type = "multipart/form-data"),
    responses((status = 200, description = "Progress and a report, a JSON object a line", content_type = "application/jsonl", body = String),
        (status = 404)))]
async fn add(
    Granted(permit): Granted<Change>,
    services: Data<Services>,
    request: HttpRequest,
    path: Path<String>,
    form: Multipart,
) -> HttpResponse {
    taken(permit, services, &request, form, (&path, None)).await
}

/// Add the images of a zip file to a dataset, and to its model
///
/// Each entry is added as a whole or refused with a reason. The answer is told while it happens; its last line is of type
/// `done` with what became of the entries, or `failed` with that and a reason. Sent again, nothing is stored twice.
#[utoipa::path(post, path = "/api/v1/models/{model}/datasets/{dataset}/archive", operation_id = "create_dataset_images",
    tag = "images", params(OfDataset), request_body(content = ArchiveForm, content_type = "multipart/form-data"),
    responses((status = 200, description = "Progress and a report, a JSON object a line", content_type = "application/jsonl", body = String),
        (status = 404)))]
async fn add_to_dataset(
    Granted(permit): Granted<Change>,
    services: Data<Services>,
    request: HttpRequest,
    path: Path<(String, String)>,
    form: Multipart,
) -> HttpResponse {
    taken(permit, services, &request, form, (&path.0, Some(&path.1))).await
}

fn sent(
    permit: Permit<View>,
    services: &Services,
    model: &str,
    dataset: Option<&str>,
    version: Option<&str>,
) -> HttpResponse {
    let begun = (|| {
        let version = version.map(str::parse).transpose();
        let version = version.map_err(|_| Error::parameter("a version is a whole number from 0"))?;
        services.export_images(permit, &source(model, dataset, version)?)
    })();
    let (export, dataset, version) = match begun {
        Ok(begun) => begun,
        Err(error) => return response(Shape::Problem, &error),
    };
    let name = if dataset.name_text().is_empty() { "images" } else { dataset.name_text() };
    let name = format!("attachment; filename=\"{name}-version-{}.zip\"", version.number.0);
    let pieces = try_unfold(export, |mut export| async move {
        let made = tokio::task::spawn_blocking(move || {
            let piece = export.next_piece()?;
            Ok(piece.map(|piece| (piece, export)))
        });
        let made: Result<_> = made.await.map_err(Error::internal)?;
        if let Err(error) = &made {
            tracing::warn!(%error, "an export ended early");
        }
        made
    });
    HttpResponse::Ok()
        .content_type("application/zip")
        .insert_header((CONTENT_DISPOSITION, name))
        .streaming::<_, Error>(pieces)
}

/// All images of a model as a zip file with a folder for each class
#[utoipa::path(get, path = "/api/v1/models/{model}/export.zip", operation_id = "export_images", tag = "images", params(OfModel),
    responses((status = 200, content_type = "application/zip", body = BytesWord), (status = 404), (status = 507)))]
async fn export(Granted(permit): Granted<View>, services: Data<Services>, path: Path<String>) -> HttpResponse {
    sent(permit, &services, &path, None, None)
}

/// A dataset as a zip file with a folder for each class
#[utoipa::path(get, path = "/api/v1/models/{model}/datasets/{dataset}/export.zip", operation_id = "export_dataset",
    tag = "datasets", params(OfDataset), responses((status = 200, content_type = "application/zip", body = BytesWord), (status = 404), (status = 507)))]
async fn export_dataset(
    Granted(permit): Granted<View>,
    services: Data<Services>,
    path: Path<(String, String)>,
) -> HttpResponse {
    sent(permit, &services, &path.0, Some(&path.1), None)
}

/// A version of a dataset as a zip file with a folder for each class
#[utoipa::path(get, path = "/api/v1/models/{model}/datasets/{dataset}/versions/{version}/export.zip",
    operation_id = "export_version", tag = "datasets", params(OfVersion),
    responses((status = 200, content_type = "application/zip", body = BytesWord), (status = 404), (status = 507)))]
async fn export_version(
    Granted(permit): Granted<View>,
    services: Data<Services>,
    path: Path<(String, String, String)>,
) -> HttpResponse {
    sent(permit, &services, &path.0, Some(&path.1), Some(&path.2))
}
