//! `/settings`: one's password and tokens, webhooks, the trash; for admins the accounts.

use super::format::Moment;
use super::page::{Frame, address, answer, see, show};
use crate::domain::account::{Administer, Change, Own, Role, TokenKind, View};
use crate::domain::error::{Error, Result};
use crate::domain::ids::{ParseIdError, TrashId};
use crate::domain::name::Name;
use crate::domain::stamp::Seen;
use crate::domain::webhook::Topic;
use crate::http::auth::{self, Granted};
use crate::http::body::Fields;
use crate::http::error::Shape;
use crate::http::routes::{Routes, at};
use crate::service::Services;
use crate::service::accounts::{NewAccount, NewToken};
use crate::service::webhooks::NewWebhook;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use std::str::FromStr;

/// Things of each kind that are listed.
const PAGE: usize = 100;

pub(super) fn configure(routes: &mut Routes<'_>) {
    let shape = Shape::Page;
    routes.add(at("/settings", shape).get(get));
    routes.add(at("/settings/password", shape).post(password));
    routes.add(at("/settings/tokens", shape).post(token));
    routes.add(at("/settings/tokens/{id}/revoke", shape).post(revoke));
    routes.add(at("/settings/accounts", shape).post(account));
    routes.add(at("/settings/accounts/{account}/remove", shape).post(remove_account));
    routes.add(at("/settings/accounts/{account}/change", shape).post(change_account));
    routes.add(at("/settings/webhooks", shape).post(webhook));
    routes.add(at("/settings/webhooks/{id}/remove", shape).post(remove_webhook));
    routes.add(at("/settings/trash/empty", shape).post(empty));
    routes.add(at("/settings/trash/{id}/restore", shape).post(restore));
    routes.add(at("/settings/trash/{id}/purge", shape).post(purge));
}

struct AccountShown {
    name: String,
    role: &'static str,
    made: Moment,
    is_self: bool,
}

struct TokenShown {
    id: String,
    label: String,
    kind: &'static str,
    made: Moment,
    used: Option<Moment>,
    ends: Option<Moment>,
}

struct WebhookShown {
    id: String,
    url: String,
    topics: String,
    model: Option<String>,
    delivered: Option<Moment>,
    error: Option<String>,
}

struct TrashShown {
    id: String,
    kind: &'static str,
    name: String,
    model: String,
    deleted: Moment,
    goes: Moment,
}

#[derive(Template)]
#[template(path = "settings.html")]
struct SettingsPage {
    frame: Frame,
    role: &'static str,
    is_open: bool,
    accounts: Vec<AccountShown>,
    tokens: Vec<TokenShown>,
    webhooks: Vec<WebhookShown>,
    trash: Vec<TrashShown>,
    more_trash: bool,
    roles: Vec<&'static str>,
}

/// A secret that is shown once.
#[derive(Template)]
#[template(path = "secret.html")]
struct SecretPage {
    frame: Frame,
    what: &'static str,
    secret: String,
    usage: String,
}

fn parse<T: FromStr<Err = ParseIdError>>(text: &str) -> Result<T> {
    text.parse().map_err(|error: ParseIdError| Error::parameter(error.to_string()))
}

async fn get(Granted(permit): Granted<View>, services: Data<Services>, request: HttpRequest) -> HttpResponse {
    let outcome = async {
        let actor = permit.actor();
        let frame = Frame::new(&services, &request, actor, "settings", "Settings")?;
        let accounts = services.accounts();
        let is_open = accounts.is_open();
        let mut listed = Vec::new();
        if let Ok(oversee) = actor.permit()
            && !is_open
        {
            for account in accounts.list(oversee, None, PAGE)? {
                listed.push(AccountShown {
                    is_self: account.id == actor.account,
                    name: account.name.as_str().to_owned(),
                    role: account.role.as_str(),
                    made: frame.moment(account.stamp.created_at),
                });
            }
        }
        let mut tokens = Vec::new();
        if let Ok(own) = actor.permit::<Own>()
            && !is_open
        {
            for owned in accounts.tokens(own, None)?.into_iter().take(PAGE) {
                let token = owned.token;
                tokens.push(TokenShown {
                    id: token.id.to_string(),
                    kind: if token.kind == TokenKind::Token { "token" } else { "session" },
                    made: frame.moment(token.created_at),
                    used: token.last_used_at.map(|at| frame.moment(at)),
                    ends: token.expires_at.map(|at| frame.moment(at)),
                    label: token.label,
                });
            }
        }
        let mut webhooks = Vec::new();
        if let Ok(change) = actor.permit() {
            for view in services.webhooks(change)?.into_iter().take(PAGE) {
                webhooks.push(WebhookShown {
                    id: view.webhook.id.to_string(),
                    url: view.webhook.url,
                    topics: view.webhook.topics.into_iter().map(Topic::as_str).collect::<Vec<_>>().join(", "),
                    model: view.model,
                    delivered: view.delivery.last_delivered_at.map(|at| frame.moment(at)),
                    error: view.delivery.last_error,
                });
            }
        }
        let (found, next) = services.trash(permit, None, PAGE)?;
        let trash = found.into_iter().map(|view| TrashShown {
            id: view.item.id.to_string(),
            kind: view.item.what.kind(),
            deleted: frame.moment(view.item.stamp.created_at),
            goes: frame.moment(view.expires_at),
            name: view.item.name,
            model: view.model,
        });
        Ok(show(&SettingsPage {
            role: actor.role.as_str(),
            is_open,
            accounts: listed,
            tokens,
            webhooks,
            trash: trash.collect(),
            more_trash: next.is_some(),
            roles: Role::ALL.iter().rev().map(|role| role.as_str()).collect(),
            frame,
        }))
    };
    answer(outcome.await)
}

async fn password(
    Granted(permit): Granted<Own>,
    services: Data<Services>,
    request: HttpRequest,
    Fields(given): Fields,
) -> HttpResponse {
    let outcome = async {
        let (old, new) = (given.required("old")?, given.required("new")?.to_owned());
        services.accounts().change_password(permit, old, new, auth::place(&request)).await?;
        Ok(see("/settings"))
    };
    answer(outcome.await)
}

async fn token(
    Granted(permit): Granted<Own>,
    services: Data<Services>,
    request: HttpRequest,
    Fields(given): Fields,
) -> HttpResponse {
    let outcome = async {
        let days = given.optional("days").map(str::parse).transpose();
        let days =
            days.map_err(|_| Error::parameter("days is a whole number, or nothing for a token without an end"))?;
        let label = given.optional("label").unwrap_or_default().to_owned();
        let account = given.optional("account").map(str::to_owned);
        let (_, secret) = services.accounts().create_token(permit, NewToken { label, account, days }).await?;
        let usage = format!("curl -H 'Authorization: Bearer {secret}' {}/api/v1/queue", address(&request));
        let frame = Frame::new(&services, &request, permit.actor(), "settings", "A new token")?;
        Ok(show(&SecretPage { frame, what: "token", secret, usage }))
    };
    answer(outcome.await)
}

async fn revoke(Granted(permit): Granted<Own>, services: Data<Services>, path: Path<String>) -> HttpResponse {
    let outcome = async {
        services.accounts().revoke(permit, parse(&path)?).await?;
        Ok(see("/settings#tokens"))
    };
    answer(outcome.await)
}

async fn account(
    Granted(permit): Granted<Administer>,
    services: Data<Services>,
    Fields(given): Fields,
) -> HttpResponse {
    let outcome = async {
        let name = given.name("name")?;
        let role = Role::parse(given.required("role")?)?;
        let password = given.optional("password").map(str::to_owned);
        services.accounts().add(permit, NewAccount { name, role, password }).await?;
        Ok(see("/settings#accounts"))
    };
    answer(outcome.await)
}

async fn change_account(
    Granted(permit): Granted<Administer>,
    services: Data<Services>,
    path: Path<String>,
    Fields(given): Fields,
) -> HttpResponse {
    let outcome = async {
        let role = given.optional("role").map(Role::parse).transpose()?;
        let password = given.optional("password").map(str::to_owned);
        services.accounts().change(permit, path.into_inner(), Seen::default(), role, password).await?;
        Ok(see("/settings#accounts"))
    };
    answer(outcome.await)
}

async fn remove_account(
    Granted(permit): Granted<Administer>,
    services: Data<Services>,
    path: Path<String>,
) -> HttpResponse {
    let outcome = async {
        services.accounts().remove(permit, path.into_inner()).await?;
        Ok(see("/settings#accounts"))
    };
    answer(outcome.await)
}

async fn webhook(
    Granted(permit): Granted<Change>,
    services: Data<Services>,
    request: HttpRequest,
    Fields(given): Fields,
) -> HttpResponse {
    let outcome = async {
        let url = given.required("url")?.to_owned();
        let model = given.optional("model").map(|text| Name::parse("model", text)).transpose()?;
        let topics = given.list("events").iter().map(|text| Topic::parse(text)).collect::<Result<Vec<_>>>()?;
        let topics = if topics.is_empty() { Topic::ALL.to_vec() } else { topics };
        let secret = given.optional("secret").map(str::to_owned);
        let new = NewWebhook { url, topics, model: model.map(Into::into), secret };
        let made = services.create_webhook(permit, new).await?;
        let frame = Frame::new(&services, &request, permit.actor(), "settings", "A new webhook")?;
        let usage = "Every message is signed with it; README.md says how to check that.".to_owned();
        Ok(show(&SecretPage { frame, what: "webhook's secret", secret: made.secret, usage }))
    };
    answer(outcome.await)
}

async fn remove_webhook(
    Granted(permit): Granted<Change>,
    services: Data<Services>,
    path: Path<String>,
) -> HttpResponse {
    let outcome = async {
        services.remove_webhook(permit, parse(&path)?).await?;
        Ok(see("/settings#webhooks"))
    };
    answer(outcome.await)
}

async fn restore(
    Granted(permit): Granted<Change>,
    services: Data<Services>,
    path: Path<String>,
    Fields(given): Fields,
) -> HttpResponse {
    let outcome = async {
        services.restore(permit, parse::<TrashId>(&path)?, given.optional_name("name")?).await?;
        Ok(see("/settings#trash"))
    };
    answer(outcome.await)
}

async fn empty(Granted(permit): Granted<Change>, services: Data<Services>) -> HttpResponse {
    answer(services.into_inner().empty_trash(permit).await.map(|_| see("/settings#trash")))
}

async fn purge(Granted(permit): Granted<Change>, services: Data<Services>, path: Path<String>) -> HttpResponse {
    let outcome = async {
        services.into_inner().purge(permit, parse::<TrashId>(&path)?).await?;
        Ok(see("/settings#trash"))
    };
    answer(outcome.await)
}
