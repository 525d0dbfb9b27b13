//! `/api/v1/tokens`: secrets for programs.

use super::{answer, answer_as, done, time};
use crate::domain::account::{Own, TokenKind};
use crate::domain::error::Error;
use crate::domain::ids::{ParseIdError, TokenId};
use crate::http::auth::Granted;
use crate::http::body::Json;
use crate::http::error::Shape;
use crate::http::openapi::parts::OfToken;
use crate::http::openapi::words::TokenWord;
use crate::http::parameters::Parameters;
use crate::http::routes::{Routes, at};
use crate::service::Services;
use crate::service::accounts::{NewToken, Owned};
use actix_web::http::StatusCode;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

pub(super) fn configure(routes: &mut Routes<'_>) {
    routes.add(at("/api/v1/tokens", Shape::Problem).get(list).post(create));
    routes.add(at("/api/v1/tokens/{id}", Shape::Problem).delete(revoke));
}

#[derive(OpenApi)]
#[openapi(paths(list, create, revoke))]
pub(super) struct Docs;

/// A token as `/api/v1` shows it: the secret once, when it is made.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Token)]
struct TokenBody {
    id: String,
    account: String,
    #[schema(value_type = TokenWord)]
    kind: &'static str,
    label: String,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    #[schema(format = DateTime)]
    last_used_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// The secret, only in the answer to its making
    token: Option<String>,
}

impl TokenBody {
    fn new(owned: Owned, secret: Option<String>) -> Self {
        let Owned { token, owner } = owned;
        Self {
            id: token.id.to_string(),
            account: owner,
            kind: match token.kind {
                TokenKind::Token => "token",
                TokenKind::Session => "session",
            },
            label: token.label,
            created_at: time(token.created_at),
            expires_at: token.expires_at.map(time),
            last_used_at: token.last_used_at.map(time),
            token: secret,
        }
    }
}

/// A new token
#[derive(Deserialize, ToSchema)]
#[schema(as = NewToken)]
#[serde(deny_unknown_fields)]
struct Create {
    #[serde(default)]
    #[schema(max_length = 100, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*$")]
    label: String,
    /// For whom; oneself, unless an admin says otherwise
    #[schema(max_length = 128, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    account: Option<String>,
    #[schema(minimum = 1, maximum = 3650)]
    expires_in_days: Option<u64>,
}

/// All of them
#[derive(Serialize, ToSchema)]
#[schema(as = TokenList)]
struct List {
    data: Vec<TokenBody>,
}

/// One's tokens and sessions
#[utoipa::path(get, path = "/api/v1/tokens", operation_id = "list_tokens", tag = "accounts",
    params(("account" = Option<String>, Query, description = "For admins: whose, by name or id", pattern = "^([A-Za-z0-9][A-Za-z0-9._-]{0,127})?$")),
    responses((status = 200, body = List), (status = 400), (status = 404), (status = 409)))]
async fn list(Granted(permit): Granted<Own>, services: Data<Services>, request: HttpRequest) -> HttpResponse {
    let given = Parameters::from_query(request.query_string());
    let found = services.accounts().tokens(permit, given.optional("account"));
    answer(found.map(|found| List { data: found.into_iter().map(|owned| TokenBody::new(owned, None)).collect() }))
}

/// Make a token
#[utoipa::path(post, path = "/api/v1/tokens", operation_id = "create_token", tag = "accounts",
    request_body = Create, responses((status = 201, body = TokenBody), (status = 404), (status = 409)))]
async fn create(Granted(permit): Granted<Own>, services: Data<Services>, Json(body): Json<Create>) -> HttpResponse {
    let outcome = async {
        let Create { label, account, expires_in_days: days } = body;
        let (owned, secret) = services.accounts().create_token(permit, NewToken { label, account, days }).await?;
        Ok(TokenBody::new(owned, Some(secret)))
    };
    answer_as(StatusCode::CREATED, outcome.await)
}

/// End a token or a session
#[utoipa::path(delete, path = "/api/v1/tokens/{id}", operation_id = "revoke_token", tag = "accounts",
    params(OfToken), responses((status = 204), (status = 404)))]
async fn revoke(Granted(permit): Granted<Own>, services: Data<Services>, path: Path<String>) -> HttpResponse {
    let outcome = async {
        let id: TokenId = path.parse().map_err(|error: ParseIdError| Error::parameter(error.to_string()))?;
        services.accounts().revoke(permit, id).await
    };
    done(outcome.await)
}
