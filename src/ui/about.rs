//! `/models/{model}/settings`: what a model is called and is for, with whom it is shared, and its end.

use super::format;
use super::page::{Frame, answer, see, show};
use crate::domain::account::{Change, Role, Share, View};
use crate::domain::error::{Error, Result};
use crate::domain::model::Description;
use crate::domain::name::Name;
use crate::domain::reference::Reference;
use crate::domain::stamp::Seen;
use crate::http::auth::Granted;
use crate::http::body::Fields;
use crate::http::error::Shape;
use crate::http::routes::{Routes, at};
use crate::service::Services;
use crate::service::trash::Target;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

pub(super) fn configure(routes: &mut Routes<'_>) {
    let shape = Shape::Page;
    routes.add(at("/models/{model}/settings", shape).get(get).post(change));
    routes.add(at("/models/{model}/shares", shape).post(share));
    routes.add(at("/models/{model}/shares/{account}/end", shape).post(unshare));
    routes.add(at("/models/{model}/delete", shape).post(delete));
}

/// The query that asks what the model's end would free.
const COUNTED: &str = "frees";

#[derive(Template)]
#[template(path = "about.html")]
struct AboutPage {
    frame: Frame,
    model: String,
    id: String,
    revision: u64,
    description: String,
    owner: Option<String>,
    is_open: bool,
    may_share: bool,
    shares: Vec<(String, &'static str)>,
    frees: Option<String>,
}

async fn get(
    Granted(permit): Granted<View>,
    services: Data<Services>,
    request: HttpRequest,
    path: Path<String>,
) -> HttpResponse {
    let outcome = async {
        let reference = Reference::from(Name::parse("model", &path)?);
        let actor = permit.actor();
        let view = services.model(permit, &reference)?;
        let shares = services.accounts().shares(permit, &reference)?;
        // All of its runs are looked at for that, and whoever may not delete it has no use for it.
        let frees = match actor.permit::<Change>() {
            Ok(change) if request.query_string() == COUNTED => {
                let seen = Seen::default();
                services.delete(change, reference, Target::Model, seen, true).await?.frees
            }
            _ => None,
        };
        let frees = frees.map(|frees| {
            format!(
                "{} and {} with {}",
                format::counted(frees.images, "image"),
                format::counted(frees.runs, "run"),
                format::bytes(frees.freed_image_bytes + frees.freed_run_bytes)
            )
        });
        let name = view.model.name.as_str().to_owned();
        Ok(show(&AboutPage {
            frame: Frame::new(&services, &request, actor, "models", format!("Settings of {name}"))?,
            id: view.model.id.to_string(),
            revision: view.model.stamp.revision,
            description: view.model.description.as_str().to_owned(),
            owner: view.owner,
            is_open: services.accounts().is_open(),
            may_share: actor.role == Role::Admin || actor.account == view.model.stamp.owner,
            shares: shares.into_iter().map(|with| (with.account, with.share.as_str())).collect(),
            model: name,
            frees,
        }))
    };
    answer(outcome.await)
}

async fn change(
    Granted(permit): Granted<Change>,
    services: Data<Services>,
    path: Path<String>,
    Fields(given): Fields,
) -> HttpResponse {
    let outcome = async {
        let model = Name::parse("model", &path)?;
        let revision = given.required("revision")?.parse();
        let revision = revision.map_err(|_| Error::parameter("revision is the number that the form came with"))?;
        // Forms send line ends as mail does.
        let description = given.optional("description").unwrap_or_default().replace("\r\n", "\n");
        let description = Description::parse(&description)?;
        let (seen, name) = (Seen(Some(vec![revision])), given.name("name")?);
        let changed = services.change_model(permit, model.into(), seen, Some(name), Some(description)).await?;
        Ok(see(&format!("/models/{}", changed.model.name)))
    };
    answer(outcome.await)
}

fn place(model: &Name) -> HttpResponse {
    see(&format!("/models/{model}/settings#sharing"))
}

async fn share(
    Granted(permit): Granted<Change>,
    services: Data<Services>,
    path: Path<String>,
    Fields(given): Fields,
) -> HttpResponse {
    let outcome = async {
        let model = Name::parse("model", &path)?;
        let (with, access) = (given.required("account")?.to_owned(), Share::parse(given.required("access")?)?);
        services.accounts().share(permit, model.clone().into(), with, access).await?;
        Ok(place(&model))
    };
    answer(outcome.await)
}

async fn unshare(
    Granted(permit): Granted<Change>,
    services: Data<Services>,
    path: Path<(String, String)>,
) -> HttpResponse {
    let outcome = async {
        let (model, account) = path.into_inner();
        let model = Name::parse("model", &model)?;
        services.accounts().unshare(permit, model.clone().into(), account).await?;
        Ok(place(&model))
    };
    answer(outcome.await)
}

async fn delete(
    Granted(permit): Granted<Change>,
    services: Data<Services>,
    path: Path<String>,
    Fields(given): Fields,
) -> HttpResponse {
    let outcome: Result<HttpResponse> = async {
        let name = Name::parse("model", &path)?;
        if given.optional("name") != Some(name.as_str()) {
            return Err(Error::parameter(format!(
                "to delete the model, enter its name, `{name}`, in the field beside"
            )));
        }
        services.delete(permit, name.into(), Target::Model, Seen::default(), false).await?;
        Ok(see("/settings#trash"))
    }
    .await;
    answer(outcome)
}
