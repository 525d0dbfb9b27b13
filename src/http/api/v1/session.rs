//! `/api/v1/session`: signing in and out, and who one is.

use super::{answer, done};
use crate::domain::account::{Own, View};
use crate::domain::error::Result;
use crate::http::auth::{self, Came, Granted};
use crate::http::body::Json;
use crate::http::error::{Shape, response};
use crate::http::openapi::words::RoleWord;
use crate::http::routes::{Routes, at};
use crate::service::Services;
use actix_web::cookie::time::Duration;
use actix_web::http::Method;
use actix_web::web::{Data, ReqData};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

pub(super) fn configure(routes: &mut Routes<'_>) {
    routes.add(at("/api/v1/session", Shape::Problem).get(get).open(Method::POST, sign_in).delete(sign_out));
    routes.add(at("/api/v1/session/password", Shape::Problem).put(change_password));
}

/// How long a cookie lasts.
const LASTS: Duration = Duration::days(14);

#[derive(OpenApi)]
#[openapi(paths(get, sign_in, sign_out, change_password))]
pub(super) struct Docs;

/// Who one is
#[derive(Serialize, ToSchema)]
#[schema(as = Session)]
struct SessionBody {
    /// Null for the machine's owner
    account: Option<String>,
    #[schema(value_type = RoleWord)]
    role: &'static str,
    /// True on a server without accounts
    open: bool,
}

/// An account's name and password
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SignIn {
    name: String,
    password: String,
}

/// The password as it was and as it is to be
#[derive(Deserialize, ToSchema)]
#[schema(as = PasswordChange)]
#[serde(deny_unknown_fields)]
struct ChangePassword {
    old: String,
    new: String,
}

/// Who one is
#[utoipa::path(get, path = "/api/v1/session", operation_id = "get_session", tag = "accounts",
    responses((status = 200, body = SessionBody)))]
async fn get(Granted(permit): Granted<View>, services: Data<Services>) -> HttpResponse {
    let actor = permit.actor();
    answer(services.accounts().who(actor.account).map(|account| SessionBody {
        account: account.map(|account| account.name.as_str().to_owned()),
        role: actor.role.as_str(),
        open: services.accounts().is_open(),
    }))
}

/// Sign in: the answer sets a cookie
#[utoipa::path(post, path = "/api/v1/session", operation_id = "sign_in", tag = "accounts",
    request_body = SignIn, responses((status = 200, body = SessionBody), (status = 401), (status = 403), (status = 409)))]
async fn sign_in(services: Data<Services>, request: HttpRequest, Json(body): Json<SignIn>) -> HttpResponse {
    let outcome: Result<_> = async {
        auth::check_page(&request)?;
        let SignIn { name, password } = body;
        let (secret, known) = services.accounts().sign_in(&name, &password, auth::place(&request)).await?;
        Ok((secret, SessionBody { account: Some(name), role: known.actor.role.as_str(), open: false }))
    }
    .await;
    match outcome {
        Ok((secret, body)) => HttpResponse::Ok().cookie(auth::session_cookie(&request, &secret, LASTS)).json(body),
        Err(error) => response(Shape::Problem, &error),
    }
}

/// End the session that one came with
#[utoipa::path(delete, path = "/api/v1/session", operation_id = "sign_out", tag = "accounts",
    responses((status = 204)))]
async fn sign_out(
    Granted(permit): Granted<Own>,
    services: Data<Services>,
    request: HttpRequest,
    came: Option<ReqData<Came>>,
) -> HttpResponse {
    let ended = match came {
        Some(came) => services.accounts().end_session(permit, came.0).await,
        None => Ok(()),
    };
    match ended {
        Ok(()) => HttpResponse::NoContent().cookie(auth::session_cookie(&request, "", Duration::ZERO)).finish(),
        Err(error) => response(Shape::Problem, &error),
    }
}

/// Change one's own password
#[utoipa::path(put, path = "/api/v1/session/password", operation_id = "change_password", tag = "accounts",
    request_body = ChangePassword, responses((status = 204), (status = 409)))]
async fn change_password(
    Granted(permit): Granted<Own>,
    services: Data<Services>,
    request: HttpRequest,
    Json(body): Json<ChangePassword>,
) -> HttpResponse {
    let outcome = async {
        let ChangePassword { old, new } = body;
        services.accounts().change_password(permit, &old, new, auth::place(&request)).await
    };
    done(outcome.await)
}
