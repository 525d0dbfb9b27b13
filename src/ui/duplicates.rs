//! `/models/{model}/datasets/{dataset}/duplicates`: images that are there more than once, under several names or labels.

use super::dataset::{Thumb, names, place};
use super::page::{Frame, answer, show};
use crate::domain::account::View;
use crate::domain::blob::ContentHash;
use crate::domain::error::{Error, Result};
use crate::domain::name::Name;
use crate::domain::reference::Reference;
use crate::http::auth::Granted;
use crate::http::error::Shape;
use crate::http::parameters::Parameters;
use crate::http::routes::{Routes, at};
use crate::service::Services;
use crate::service::gallery::{Group, Source};
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

/// Groups on a page.
const PAGE: usize = 40;

pub(super) fn configure(routes: &mut Routes<'_>) {
    routes.add(at("/models/{model}/datasets/{dataset}/duplicates", Shape::Page).get(get));
}

/// Images with the same bytes.
struct Copies {
    images: Vec<Thumb>,
    has_more: bool,
    /// Whether they have several labels: then one of them is wrong.
    differ: bool,
}

#[derive(Template)]
#[template(path = "duplicates.html")]
struct DuplicatesPage {
    frame: Frame,
    model: String,
    title: String,
    place: String,
    groups: Vec<Copies>,
    is_first: bool,
    next: Option<String>,
}

async fn get(
    Granted(permit): Granted<View>,
    services: Data<Services>,
    request: HttpRequest,
    path: Path<(String, String)>,
) -> HttpResponse {
    let outcome = async {
        let (model, name) = names(&path)?;
        let given = Parameters::from_query(request.query_string());
        let after = given.optional("after").map(str::parse::<ContentHash>).transpose();
        let after = after.map_err(|_| Error::parameter("after is what the link to the next page says"))?;
        let source = Source { model: model.clone().into(), dataset: name.clone().map(Reference::Name), version: None };
        let asked = services.clone();
        let looking = tokio::task::spawn_blocking(move || asked.duplicates(permit, &source, after, PAGE));
        let looked: Result<_> = looking.await.map_err(Error::internal)?;
        let (found, next) = looked?;
        let text = name.as_ref().map_or("", Name::as_str);
        let copies = |group: Group| Copies {
            images: group.entries.iter().map(|entry| Thumb::new(model.as_str(), text, entry, None)).collect(),
            has_more: group.has_more,
            differ: group.entries.windows(2).any(|pair| pair[0].label != pair[1].label),
        };
        let title = name.as_ref().map_or("all images", Name::as_str).to_owned();
        let frame =
            Frame::new(&services, &request, permit.actor(), "models", format!("Duplicates in {title} of {model}"))?;
        Ok(show(&DuplicatesPage {
            frame,
            model: model.as_str().to_owned(),
            title,
            place: place(&path),
            groups: found.into_iter().map(copies).collect(),
            is_first: after.is_none(),
            next: next.map(|hash| format!("?after={hash}")),
        }))
    };
    answer(outcome.await)
}
