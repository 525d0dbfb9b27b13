//! `/models/{model}/datasets/{dataset}/versions`: what a dataset was when runs took it, and what any two versions of it
//! have not in common.

use super::dataset::{Thumb, api_address, names, place};
use super::format::{self, Moment};
use super::page::{Frame, answer, show};
use crate::domain::account::View;
use crate::domain::error::{Error, Result};
use crate::domain::name::Name;
use crate::domain::reference::Reference;
use crate::http::auth::Granted;
use crate::http::error::Shape;
use crate::http::parameters::Parameters;
use crate::http::routes::{Routes, at};
use crate::service::Services;
use crate::service::versions::{Difference, VersionView};
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

/// Versions on a page, and differences.
const VERSIONS: usize = 50;
const DIFFERENCES: usize = 100;

pub(super) fn configure(routes: &mut Routes<'_>) {
    routes.add(at("/models/{model}/datasets/{dataset}/versions", Shape::Page).get(get));
}

struct Pinned {
    number: u64,
    since: Option<Moment>,
    images: String,
    labelled: String,
}

/// What one of two versions has and the other has not.
struct Changed {
    thumb: Thumb,
    number: u64,
    is_added: bool,
}

#[derive(Template)]
#[template(path = "versions.html")]
struct VersionsPage {
    frame: Frame,
    model: String,
    title: String,
    place: String,
    api: String,
    is_all: bool,
    newest: u64,
    pinned: Vec<Pinned>,
    more_pinned: Option<u64>,
    from: u64,
    to: u64,
    is_compared: bool,
    changed: Vec<Changed>,
    next: Option<String>,
}

fn number(given: &Parameters, name: &str) -> Result<Option<u64>> {
    let number = given.optional(name).map(str::parse).transpose();
    number.map_err(|_| Error::parameter(format!("{name} is the number of a version, a whole number from 0")))
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
        let (from, to) = (number(&given, "from")?, number(&given, "to")?);
        let (after, later_than) = (number(&given, "after")?, number(&given, "later_than")?);
        let named = name.clone().map(Reference::Name);
        let dataset = services.dataset(permit, &model.clone().into(), named.as_ref())?;
        let (of_model, id, newest) = (Reference::Id(dataset.model), Reference::Id(dataset.id), dataset.head.0);
        let asked = services.clone();
        let looking = tokio::task::spawn_blocking(move || {
            let pinned = asked.versions(permit, &of_model, &id, true, later_than, VERSIONS + 1)?;
            let before = pinned.iter().rev().map(|version| version.number.0).find(|number| *number < newest);
            let between = (from.or(before).unwrap_or(0), to.unwrap_or(newest));
            let changed = match from.or(to) {
                None => (Vec::new(), None),
                Some(_) => asked.difference(permit, &of_model, &id, between, after, DIFFERENCES)?,
            };
            Ok((pinned, between, changed))
        });
        let looked: Result<_> = looking.await.map_err(Error::internal)?;
        let (mut pinned, (old, new), (changed, next)) = looked?;
        let more_pinned = pinned.get(VERSIONS).and_then(|_| pinned.get(VERSIONS - 1)).map(|last| last.number.0);
        pinned.truncate(VERSIONS);
        let title = name.as_ref().map_or("all images", Name::as_str).to_owned();
        let frame =
            Frame::new(&services, &request, permit.actor(), "models", format!("Versions of {title} of {model}"))?;
        let row = |version: VersionView| Pinned {
            number: version.number.0,
            since: version.frozen_at.map(|at| frame.moment(at)),
            images: version.counts.map_or_else(String::new, |(images, _)| format::count(images)),
            labelled: version.counts.map_or_else(String::new, |(_, labelled)| format::count(labelled)),
        };
        let pinned = pinned.into_iter().map(row).collect();
        let text = dataset.name_text();
        let change = |Difference { number, is_added, entry }: Difference| {
            // One that came is in the version that it came with, and one that went in the one before.
            let came = is_added == (old <= new);
            let seen_in = if came { number.0 } else { number.0.saturating_sub(1) };
            Changed { thumb: Thumb::new(model.as_str(), text, &entry, Some(seen_in)), number: number.0, is_added }
        };
        Ok(show(&VersionsPage {
            model: model.as_str().to_owned(),
            title,
            place: place(&path),
            api: api_address(model.as_str(), text),
            is_all: name.is_none(),
            newest,
            pinned,
            more_pinned,
            from: old,
            to: new,
            is_compared: from.or(to).is_some(),
            changed: changed.into_iter().map(change).collect(),
            next: next.map(|at| format!("?from={old}&to={new}&after={at}#diff")),
            frame,
        }))
    };
    answer(outcome.await)
}
