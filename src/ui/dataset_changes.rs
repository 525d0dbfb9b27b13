//! What changes a dataset from its page: images come, go and get other labels. Forms that work without a script; scripts
//! use the API.

use super::dataset::{names, place};
use super::page::{Frame, answer, own_place, see, show};
use crate::domain::account::Change;
use crate::domain::error::{Error, Result};
use crate::domain::name::{ImageName, Label, Name};
use crate::domain::reference::Reference;
use crate::domain::stamp::Seen;
use crate::http::auth::Granted;
use crate::http::body::Fields;
use crate::http::error::Shape;
use crate::http::form;
use crate::http::routes::{Routes, at};
use crate::service::Services;
use crate::service::archives::Report;
use crate::service::gallery::{Relabelling, Source};
use crate::service::images::{MAX_URLS, NewImage};
use crate::service::trash::Target;
use actix_multipart::Multipart;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

pub(super) fn configure(routes: &mut Routes<'_>) {
    let shape = Shape::Page;
    routes.add(at("/models/{model}/datasets", shape).post(create));
    routes.add(at("/models/{model}/datasets/{dataset}/upload", shape).post(upload));
    routes.add(at("/models/{model}/datasets/{dataset}/archive", shape).post(archive));
    routes.add(at("/models/{model}/datasets/{dataset}/fetch", shape).post(fetch));
    routes.add(at("/models/{model}/datasets/{dataset}/relabel", shape).post(relabel));
    routes.add(at("/models/{model}/datasets/{dataset}/remove", shape).post(remove));
}

async fn create(
    Granted(permit): Granted<Change>,
    services: Data<Services>,
    path: Path<String>,
    Fields(given): Fields,
) -> HttpResponse {
    let outcome = async {
        let (model, name) = (Name::parse("model", &path)?, given.name("name")?);
        let from = given.optional("from").map(|text| Name::parse("from", text)).transpose()?;
        services.create_dataset(permit, model.clone().into(), name.clone(), from.map(Reference::Name)).await?;
        Ok(see(&format!("/models/{model}/datasets/{name}")))
    };
    answer(outcome.await)
}

/// One image; a script sends many, one after the other.
async fn upload(
    Granted(permit): Granted<Change>,
    services: Data<Services>,
    request: HttpRequest,
    path: Path<(String, String)>,
    body: Multipart,
) -> HttpResponse {
    let outcome = async {
        let (model, dataset) = names(&path)?;
        let form = form::read(&services, &request, body).await?;
        let label = form.fields.optional("label").map(Label::parse).transpose()?;
        let (file_name, image) = form.into_file()?;
        services
            .add_images(
                permit,
                model.into(),
                dataset.map(Reference::Name),
                vec![NewImage::of_file(image, file_name, label)],
            )
            .await?;
        Ok(see(&place(&path)))
    };
    answer(outcome.await)
}

async fn fetch(
    Granted(permit): Granted<Change>,
    services: Data<Services>,
    path: Path<(String, String)>,
    Fields(given): Fields,
) -> HttpResponse {
    let outcome = async {
        let (model, dataset) = names(&path)?;
        let label = given.optional("label").map(Label::parse).transpose()?;
        let urls: Vec<String> = given.required("urls")?.split_whitespace().map(str::to_owned).collect();
        if urls.len() > MAX_URLS {
            return Err(Error::parameter(format!("these are {} urls; enter at most {MAX_URLS} at once", urls.len())));
        }
        services.add_from_urls(permit, model.into(), dataset.map(Reference::Name), label, &urls).await?;
        Ok(see(&place(&path)))
    };
    answer(outcome.await)
}

/// Puts an image into the trash.
async fn remove(
    Granted(permit): Granted<Change>,
    services: Data<Services>,
    path: Path<(String, String)>,
    Fields(given): Fields,
) -> HttpResponse {
    let outcome = async {
        let (model, dataset) = names(&path)?;
        let label = given.optional("label").map(Label::parse).transpose()?;
        let name = ImageName::from_store(given.required("name")?.to_owned());
        let target = Target::Image { dataset: dataset.map(Reference::Name), label, name };
        services.delete(permit, model.into(), target, Seen::default(), false).await?;
        Ok(see(own_place(given.optional("back")).unwrap_or(&place(&path))))
    };
    answer(outcome.await)
}

/// What became of a zip file.
#[derive(Template)]
#[template(path = "archive.html")]
struct ArchivePage {
    frame: Frame,
    place: String,
    report: Report,
    untold: u64,
}

/// A zip file with a folder for each class; a script sends it to the API, and shows how far it is.
async fn archive(
    Granted(permit): Granted<Change>,
    services: Data<Services>,
    request: HttpRequest,
    path: Path<(String, String)>,
    body: Multipart,
) -> HttpResponse {
    let outcome = async {
        let (model, dataset) = names(&path)?;
        let (model, dataset) = (model.into(), dataset.map(Reference::Name));
        services.check_target(permit, &model, dataset.as_ref())?;
        let received = form::read_archive(&services, &request, body).await?;
        let adding = services.clone().into_inner().add_archive(permit, model, dataset, received);
        let report = adding.to_the_end().await?;
        if report.refused == 0 {
            return Ok(see(&place(&path)));
        }
        let frame = Frame::new(&services, &request, permit.actor(), "models", "Zip file")?;
        let untold = report.refused.saturating_sub(report.refusals.len() as u64);
        Ok(show(&ArchivePage { frame, place: place(&path), report, untold }))
    };
    answer(outcome.await)
}

/// Gives the images that are ticked another label.
async fn relabel(
    Granted(permit): Granted<Change>,
    services: Data<Services>,
    path: Path<(String, String)>,
    Fields(given): Fields,
) -> HttpResponse {
    let outcome = async {
        let (model, dataset) = names(&path)?;
        let new_label = given.optional("new_label").map(Label::parse).transpose()?;
        let change = |image: &str| {
            let (label, name) =
                image.split_once('/').ok_or_else(|| Error::parameter("image is a label, / and a name"))?;
            let label = if label.is_empty() { None } else { Some(Label::parse(label)?) };
            Ok(Relabelling { label, name: ImageName::from_store(name.to_owned()), new_label: new_label.clone() })
        };
        let changes = given.all("image").map(change).collect::<Result<Vec<_>>>()?;
        if changes.is_empty() {
            return Err(Error::parameter("no image is ticked; tick those that are to get the label"));
        }
        let source = Source { model: model.into(), dataset: dataset.map(Reference::Name), version: None };
        services.relabel(permit, source, Seen::default(), changes).await?;
        Ok(see(own_place(given.optional("back")).unwrap_or(&place(&path))))
    };
    answer(outcome.await)
}
