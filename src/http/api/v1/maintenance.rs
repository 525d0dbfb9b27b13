//! `/api/v1/backup` and `/api/v1/maintenance/verify`: care of the data, streamed.

use crate::domain::account::{Administer, Oversee};
use crate::domain::error::{Error, Result};
use crate::http::auth::Granted;
use crate::http::error::{Shape, response};
use crate::http::openapi::words::BytesWord;
use crate::http::parameters::Parameters;
use crate::http::routes::{Routes, at};
use crate::service::Services;
use actix_web::http::header::CONTENT_DISPOSITION;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use std::time::SystemTime;
use tokio::sync::mpsc::Receiver;
use utoipa::OpenApi;

pub(super) fn configure(routes: &mut Routes<'_>) {
    routes.add(at("/api/v1/backup", Shape::Problem).get(backup));
    routes.add(at("/api/v1/maintenance/verify", Shape::Problem).post(verify));
}

#[derive(OpenApi)]
#[openapi(paths(backup, verify))]
pub(super) struct Docs;

/// What comes through a channel, as a stream.
fn stream<T>(receiver: Receiver<T>) -> impl futures::Stream<Item = T> {
    futures::stream::unfold(receiver, |mut receiver| async move {
        let item = receiver.recv().await?;
        Some((item, receiver))
    })
}

/// Everything of this moment, as one file
#[utoipa::path(get, path = "/api/v1/backup", operation_id = "get_backup", tag = "server",
    responses((status = 200, description = "A backup that `trainyard restore` reads", content_type = "application/octet-stream", body = BytesWord),
        (status = 409)))]
async fn backup(Granted(permit): Granted<Oversee>, services: Data<Services>) -> HttpResponse {
    match services.backup(permit) {
        Ok(pieces) => {
            let day = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
            let name = format!("attachment; filename=\"trainyard-{}.backup\"", day.get(..10).unwrap_or_default());
            let mut answer = HttpResponse::Ok();
            answer.content_type("application/octet-stream").insert_header((CONTENT_DISPOSITION, name));
            answer.streaming(stream(pieces))
        }
        Err(error) => response(Shape::Problem, &error),
    }
}

/// Check every record and every file
#[utoipa::path(post, path = "/api/v1/maintenance/verify", operation_id = "verify_data", tag = "server",
    params(("repair" = Option<bool>, Query, description = "True to repair what follows from something else")),
    responses((status = 200, description = "Progress, findings and a summary, a JSON object a line", content_type = "application/jsonl", body = String),
        (status = 409)))]
async fn verify(Granted(permit): Granted<Administer>, services: Data<Services>, request: HttpRequest) -> HttpResponse {
    let given = Parameters::from_query(request.query_string());
    let repair = given.flag("repair");
    match repair.and_then(|repair| services.verify(permit, repair)) {
        Ok(words) => {
            let lines = futures::StreamExt::map(stream(words), |word| -> Result<Bytes> {
                let mut line = serde_json::to_vec(&word).map_err(Error::internal)?;
                line.push(b'\n');
                Ok(Bytes::from(line))
            });
            HttpResponse::Ok().content_type("application/jsonl").streaming(lines)
        }
        Err(error) => response(Shape::Problem, &error),
    }
}
