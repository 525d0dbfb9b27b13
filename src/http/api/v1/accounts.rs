//! `/api/v1/accounts`: for admins.

use super::conditions::{self, if_match};
use super::page::{self, Page};
use super::{answer, answer_as, done, time};
use crate::domain::account::{Account, Administer, Oversee, Role};
use crate::domain::name::Name;
use crate::http::auth::Granted;
use crate::http::body::Json;
use crate::http::error::Shape;
use crate::http::openapi::parts::{IfMatch, OfAccount, Paging};
use crate::http::openapi::words::RoleWord;
use crate::http::parameters::Parameters;
use crate::http::routes::{Routes, at};
use crate::service::Services;
use crate::service::accounts::NewAccount;
use actix_web::http::StatusCode;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

pub(super) fn configure(routes: &mut Routes<'_>) {
    routes.add(at("/api/v1/accounts", Shape::Problem).get(list).post(create));
    routes.add(at("/api/v1/accounts/{account}", Shape::Problem).get(get).patch(change).delete(remove));
}

#[derive(OpenApi)]
#[openapi(paths(list, create, get, change, remove))]
pub(super) struct Docs;

/// An account as `/api/v1` shows it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Account)]
pub(super) struct AccountBody {
    id: String,
    name: String,
    #[schema(value_type = RoleWord)]
    role: &'static str,
    has_password: bool,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: String,
}

impl From<Account> for AccountBody {
    fn from(account: Account) -> Self {
        Self {
            id: account.id.to_string(),
            name: account.name.as_str().to_owned(),
            role: account.role.as_str(),
            has_password: account.password.is_some(),
            created_at: time(account.stamp.created_at),
            updated_at: time(account.stamp.updated_at),
        }
    }
}

/// A new account
#[derive(Deserialize, ToSchema)]
#[schema(as = NewAccount)]
#[serde(deny_unknown_fields)]
struct Create {
    #[schema(max_length = 128, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    name: String,
    /// A member, unless said otherwise
    #[schema(value_type = Option<RoleWord>)]
    role: Option<String>,
    /// Without one, the account has tokens alone
    #[schema(min_length = 8, max_length = 1024)]
    password: Option<String>,
}

/// What changes of an account
#[derive(Deserialize, ToSchema)]
#[schema(as = AccountChange)]
#[serde(deny_unknown_fields)]
struct Change {
    #[schema(value_type = Option<RoleWord>)]
    role: Option<String>,
    #[schema(min_length = 8, max_length = 1024)]
    password: Option<String>,
}

/// All accounts
#[utoipa::path(get, path = "/api/v1/accounts", operation_id = "list_accounts", tag = "accounts",
    params(Paging), responses((status = 200, body = Page<AccountBody>)))]
async fn list(Granted(permit): Granted<Oversee>, services: Data<Services>, request: HttpRequest) -> HttpResponse {
    let given = Parameters::from_query(request.query_string());
    let outcome = (|| {
        let limit = page::limit(&given)?;
        let after = given.optional("cursor").map(|text| Name::parse("cursor", text)).transpose()?;
        let found = services.accounts().list(permit, after.as_ref(), limit + 1)?;
        let next_cursor = found.get(limit).and_then(|_| found.get(limit - 1)).map(|last| last.name.as_str().to_owned());
        let data: Vec<AccountBody> = found.into_iter().take(limit).map(AccountBody::from).collect();
        Ok(Page { data, next_cursor })
    })();
    answer(outcome)
}

/// Make an account
#[utoipa::path(post, path = "/api/v1/accounts", operation_id = "create_account", tag = "accounts",
    request_body = Create, responses((status = 201, body = AccountBody), (status = 409)))]
async fn create(
    Granted(permit): Granted<Administer>,
    services: Data<Services>,
    Json(body): Json<Create>,
) -> HttpResponse {
    let outcome = async {
        let Create { name, role, password } = body;
        let name = Name::parse("name", &name)?;
        let role = role.map_or(Ok(Role::Member), |role| Role::parse(&role))?;
        services.accounts().add(permit, NewAccount { name, role, password }).await.map(AccountBody::from)
    };
    answer_as(StatusCode::CREATED, outcome.await)
}

/// An account
#[utoipa::path(get, path = "/api/v1/accounts/{account}", operation_id = "get_account", tag = "accounts",
    params(OfAccount), responses((status = 200, body = AccountBody, headers(("ETag" = String))), (status = 404)))]
async fn get(Granted(permit): Granted<Oversee>, services: Data<Services>, path: Path<String>) -> HttpResponse {
    conditions::answer(services.accounts().account(permit, &path).map(tagged))
}

fn tagged(account: Account) -> (u64, AccountBody) {
    (account.stamp.revision, account.into())
}

/// Change an account's role or password
#[utoipa::path(patch, path = "/api/v1/accounts/{account}", operation_id = "update_account", tag = "accounts",
    params(OfAccount, IfMatch), request_body = Change,
    responses((status = 200, body = AccountBody, headers(("ETag" = String))), (status = 404), (status = 409), (status = 412)))]
async fn change(
    Granted(permit): Granted<Administer>,
    services: Data<Services>,
    path: Path<String>,
    request: HttpRequest,
    Json(body): Json<Change>,
) -> HttpResponse {
    let outcome = async {
        let (Change { role, password }, seen) = (body, if_match(&request)?);
        let role = role.map(|role| Role::parse(&role)).transpose()?;
        services.accounts().change(permit, path.into_inner(), seen, role, password).await.map(tagged)
    };
    conditions::answer(outcome.await)
}

/// Remove an account
#[utoipa::path(delete, path = "/api/v1/accounts/{account}", operation_id = "delete_account", tag = "accounts",
    params(OfAccount), responses((status = 204), (status = 404), (status = 409)))]
async fn remove(Granted(permit): Granted<Administer>, services: Data<Services>, path: Path<String>) -> HttpResponse {
    done(services.accounts().remove(permit, path.into_inner()).await)
}
