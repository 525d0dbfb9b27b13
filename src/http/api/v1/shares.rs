//! `/api/v1/models/{model}/shares`: with whom a model is shared.

use super::{answer, done};
use crate::domain::account::{Change, Share, View};
use crate::domain::name::Name;
use crate::http::auth::Granted;
use crate::http::body::Json;
use crate::http::error::Shape;
use crate::http::routes::{Routes, at};
use crate::service::Services;
use crate::service::accounts::SharedWith;
use actix_web::HttpResponse;
use actix_web::web::{Data, Path};
use serde::{Deserialize, Serialize};

pub(super) fn configure(routes: &mut Routes<'_>) {
    routes.add(at("/api/v1/models/{model}/shares", Shape::Problem).get(list));
    routes.add(at("/api/v1/models/{model}/shares/{account}", Shape::Problem).put(share).delete(unshare));
}

#[derive(Serialize)]
struct ShareBody {
    account: String,
    access: &'static str,
}

#[derive(Serialize)]
struct List {
    data: Vec<ShareBody>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Put {
    access: String,
}

async fn list(Granted(permit): Granted<View>, services: Data<Services>, path: Path<String>) -> HttpResponse {
    let found = Name::parse("model", &path).and_then(|model| services.accounts().shares(permit, &model));
    let body = |found: Vec<_>| {
        let data =
            found.into_iter().map(|with: SharedWith| ShareBody { account: with.account, access: with.share.as_str() });
        List { data: data.collect() }
    };
    answer(found.map(body))
}

async fn share(
    Granted(permit): Granted<Change>,
    services: Data<Services>,
    path: Path<(String, String)>,
    Json(Put { access }): Json<Put>,
) -> HttpResponse {
    let outcome = async {
        let (model, account) = path.into_inner();
        let model = Name::parse("model", &model)?;
        services.accounts().share(permit, model, account, Share::parse(&access)?).await
    };
    done(outcome.await)
}

async fn unshare(
    Granted(permit): Granted<Change>,
    services: Data<Services>,
    path: Path<(String, String)>,
) -> HttpResponse {
    let outcome = async {
        let (model, account) = path.into_inner();
        services.accounts().unshare(permit, Name::parse("model", &model)?, account).await
    };
    done(outcome.await)
}
