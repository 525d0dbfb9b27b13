//! `/api/v1/accounts`: for admins.

use super::page::{self, Page};
use super::{answer, answer_as, done, time};
use crate::domain::account::{Account, Administer, Oversee, Role};
use crate::domain::name::Name;
use crate::http::auth::Granted;
use crate::http::body::Json;
use crate::http::error::Shape;
use crate::http::parameters::Parameters;
use crate::http::routes::{Routes, at};
use crate::service::Services;
use crate::service::accounts::NewAccount;
use actix_web::http::StatusCode;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};

pub(super) fn configure(routes: &mut Routes<'_>) {
    routes.add(at("/api/v1/accounts", Shape::Problem).get(list).post(create));
    routes.add(at("/api/v1/accounts/{account}", Shape::Problem).get(get).patch(change).delete(remove));
}

/// An account as `/api/v1` shows it.
#[derive(Debug, Serialize)]
pub(super) struct AccountBody {
    id: String,
    name: String,
    role: &'static str,
    has_password: bool,
    created_at: String,
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    name: String,
    role: Option<String>,
    password: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    role: Option<String>,
    password: Option<String>,
}

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

async fn get(Granted(permit): Granted<Oversee>, services: Data<Services>, path: Path<String>) -> HttpResponse {
    answer(services.accounts().account(permit, &path).map(AccountBody::from))
}

async fn change(
    Granted(permit): Granted<Administer>,
    services: Data<Services>,
    path: Path<String>,
    Json(body): Json<Change>,
) -> HttpResponse {
    let outcome = async {
        let Change { role, password } = body;
        let role = role.map(|role| Role::parse(&role)).transpose()?;
        services.accounts().change(permit, path.into_inner(), role, password).await.map(AccountBody::from)
    };
    answer(outcome.await)
}

async fn remove(Granted(permit): Granted<Administer>, services: Data<Services>, path: Path<String>) -> HttpResponse {
    done(services.accounts().remove(permit, path.into_inner()).await)
}
