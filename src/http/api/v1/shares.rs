//! `/api/v1/models/{model}/shares`: with whom a model is shared.

use super::models::called;
use super::{answer, done};
use crate::domain::account::{Change, Share, View};
use crate::http::auth::Granted;
use crate::http::body::Json;
use crate::http::error::Shape;
use crate::http::openapi::parts::{OfAccount, OfModel};
use crate::http::openapi::words::AccessWord;
use crate::http::routes::{Routes, at};
use crate::service::Services;
use crate::service::accounts::SharedWith;
use actix_web::HttpResponse;
use actix_web::web::{Data, Path};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

pub(super) fn configure(routes: &mut Routes<'_>) {
    routes.add(at("/api/v1/models/{model}/shares", Shape::Problem).get(list));
    routes.add(at("/api/v1/models/{model}/shares/{account}", Shape::Problem).put(share).delete(unshare));
}

#[derive(OpenApi)]
#[openapi(paths(list, share, unshare))]
pub(super) struct Docs;

/// With whom a model is shared, and for what
#[derive(Serialize, ToSchema)]
#[schema(as = Share)]
struct ShareBody {
    account: String,
    #[schema(value_type = AccessWord)]
    access: &'static str,
}

/// All of them
#[derive(Serialize, ToSchema)]
#[schema(as = ShareList)]
struct List {
    data: Vec<ShareBody>,
}

/// What a model is shared for
#[derive(Deserialize, ToSchema)]
#[schema(as = NewShare)]
#[serde(deny_unknown_fields)]
struct Put {
    #[schema(value_type = AccessWord)]
    access: String,
}

/// With whom a model is shared
#[utoipa::path(get, path = "/api/v1/models/{model}/shares", operation_id = "list_shares", tag = "models",
    params(OfModel), responses((status = 200, body = List), (status = 404)))]
async fn list(Granted(permit): Granted<View>, services: Data<Services>, path: Path<String>) -> HttpResponse {
    let found = called(&path).and_then(|model| services.accounts().shares(permit, &model));
    let body = |found: Vec<_>| {
        let data =
            found.into_iter().map(|with: SharedWith| ShareBody { account: with.account, access: with.share.as_str() });
        List { data: data.collect() }
    };
    answer(found.map(body))
}

/// Share a model with an account
#[utoipa::path(put, path = "/api/v1/models/{model}/shares/{account}", operation_id = "share_model", tag = "models",
    params(OfModel, OfAccount), request_body = Put, responses((status = 204), (status = 404), (status = 409)))]
async fn share(
    Granted(permit): Granted<Change>,
    services: Data<Services>,
    path: Path<(String, String)>,
    Json(Put { access }): Json<Put>,
) -> HttpResponse {
    let outcome = async {
        let (model, account) = path.into_inner();
        let model = called(&model)?;
        services.accounts().share(permit, model, account, Share::parse(&access)?).await
    };
    done(outcome.await)
}

/// Share a model no longer
#[utoipa::path(delete, path = "/api/v1/models/{model}/shares/{account}", operation_id = "unshare_model", tag = "models",
    params(OfModel, OfAccount), responses((status = 204), (status = 404)))]
async fn unshare(
    Granted(permit): Granted<Change>,
    services: Data<Services>,
    path: Path<(String, String)>,
) -> HttpResponse {
    let outcome = async {
        let (model, account) = path.into_inner();
        services.accounts().unshare(permit, called(&model)?, account).await
    };
    done(outcome.await)
}
