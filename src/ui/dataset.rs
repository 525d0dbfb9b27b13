//! `/models/{model}/datasets/{dataset}`: the images of a dataset, how many there are of each class, and ways to add more.

use super::format;
use super::page::{Frame, answer, see, show};
use crate::domain::account::{Change, View};
use crate::domain::dataset::ManifestCursor;
use crate::domain::error::{Error, Result};
use crate::domain::name::{ImageName, Label, Name};
use crate::domain::reference::Reference;
use crate::domain::stamp::Seen;
use crate::http::auth::Granted;
use crate::http::body::Fields;
use crate::http::error::Shape;
use crate::http::form;
use crate::http::parameters::Parameters;
use crate::http::routes::{Routes, at};
use crate::service::Services;
use crate::service::gallery::{ImageView, Source, Wanted};
use crate::service::images::{MAX_URLS, NewImage};
use crate::service::trash::Target;
use actix_multipart::Multipart;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

/// Images on a page.
const PAGE: usize = 60;

/// Classes that are listed.
const CLASSES: usize = 100;

/// How the dataset of all images is called in addresses; no name begins so.
const ALL: &str = "_all";

/// How images without a label are called in addresses; no label is empty.
const NO_LABEL: &str = "";

pub(super) fn configure(routes: &mut Routes<'_>) {
    let shape = Shape::Page;
    routes.add(at("/models/{model}/datasets", shape).post(create));
    routes.add(at("/models/{model}/datasets/{dataset}", shape).get(get));
    routes.add(at("/models/{model}/datasets/{dataset}/upload", shape).post(upload));
    routes.add(at("/models/{model}/datasets/{dataset}/fetch", shape).post(fetch));
    routes.add(at("/models/{model}/datasets/{dataset}/remove", shape).post(remove));
}

/// The address of an image of a dataset; with a hash, of these very bytes, which a browser may keep.
pub(super) fn image_address(model: &str, dataset: &str, label: &str, name: &str, hash: &str) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (key, value) in [("label", label), ("name", name), ("hash", hash)] {
        if !value.is_empty() {
            query.append_pair(key, value);
        }
    }
    let dataset = if dataset.is_empty() { String::new() } else { format!("/datasets/{dataset}") };
    format!("/api/v1/models/{model}{dataset}/images/content?{}", query.finish())
}

struct Thumb {
    src: String,
    name: String,
    label: String,
}

struct Class {
    label: String,
    href: String,
    count: String,
    share: f64,
    is_shown: bool,
}

#[derive(Template)]
#[template(path = "dataset.html")]
struct DatasetPage {
    frame: Frame,
    model: String,
    title: String,
    name: String,
    segment: String,
    images: String,
    labelled: String,
    version: u64,
    classes: Vec<Class>,
    more_classes: bool,
    thumbs: Vec<Thumb>,
    only: Option<String>,
    is_first: bool,
    next: Option<String>,
}

/// Model and dataset of a path; no dataset is that of all images.
fn names(path: &(String, String)) -> Result<(Name, Option<Name>)> {
    let dataset = if path.1 == ALL { None } else { Some(Name::parse("dataset", &path.1)?) };
    Ok((Name::parse("model", &path.0)?, dataset))
}

fn place(path: &(String, String)) -> String {
    format!("/models/{}/datasets/{}", path.0, path.1)
}

/// Reads `after`, which is written `part.sequence`.
fn cursor(text: &str) -> Result<ManifestCursor> {
    let parsed = text.split_once('.').and_then(|(part, sequence)| Some((part.parse().ok()?, sequence.parse().ok()?)));
    let (part, sequence) = parsed.ok_or_else(|| Error::parameter("after is what the link to the next page says"))?;
    Ok(ManifestCursor { part, sequence })
}

fn label_of(text: &str) -> Result<Option<Label>> {
    if text == NO_LABEL { Ok(None) } else { Label::parse(text).map(Some) }
}

fn classes(balance: Vec<(Option<Label>, u64)>, only: Option<&str>) -> Vec<Class> {
    let most = balance.iter().map(|(_, count)| *count).max().unwrap_or(1).max(1);
    let class = |(label, count): (Option<Label>, u64)| {
        let text = label.map(|label| label.as_str().to_owned()).unwrap_or_default();
        let query: String = form_urlencoded::Serializer::new(String::new()).append_pair("label", &text).finish();
        Class {
            href: format!("?{query}#gallery"),
            is_shown: only == Some(text.as_str()),
            label: if text.is_empty() { "without a label".to_owned() } else { text },
            count: format::count(count),
            share: count as f64 / most as f64,
        }
    };
    balance.into_iter().map(class).collect()
}

async fn get(
    Granted(permit): Granted<View>,
    services: Data<Services>,
    request: HttpRequest,
    path: Path<(String, String)>,
) -> HttpResponse {
    let outcome = async {
        let (model, name) = names(&path)?;
        let query = request.query_string().to_owned();
        let given = Parameters::from_query(&query);
        let after = given.optional("after").map(cursor).transpose()?;
        // An empty label is one to be asked for.
        let only =
            form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "label").map(|(_, text)| text.into_owned());
        let wanted = match only.as_deref().map(label_of).transpose()? {
            None => Wanted::All,
            Some(None) => Wanted::Unlabelled,
            Some(Some(label)) => Wanted::Of(label),
        };
        let source = Source { model: model.clone().into(), dataset: name.clone().map(Reference::Name), version: None };
        let dataset = services.dataset(permit, &source.model, source.dataset.as_ref())?;
        let asked = services.clone();
        let images = tokio::task::spawn_blocking(move || asked.images(permit, &source, &wanted, after, PAGE));
        let (images, next) = images.await.map_err(Error::internal)??;
        let (of_model, id) = (Reference::Id(dataset.model), Reference::Id(dataset.id));
        let (balance, more_classes) = services.balance(permit, &of_model, &id, dataset.head.0, None, CLASSES).await?;
        let title = name.as_ref().map_or("all images", Name::as_str).to_owned();
        let frame = Frame::new(&services, &request, permit.actor(), "models", format!("{title} of {model}"))?;
        let text = dataset.name_text().to_owned();
        let thumb = |image: ImageView| {
            let entry = image.placed.entry;
            let label = entry.label.map(|label| label.as_str().to_owned()).unwrap_or_default();
            Thumb {
                src: image_address(model.as_str(), &text, &label, entry.name.as_str(), &entry.hash.to_string()),
                name: entry.name.as_str().to_owned(),
                label,
            }
        };
        let next = next.map(|next| {
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.append_pair("after", &format!("{}.{}", next.part, next.sequence));
            if let Some(only) = &only {
                query.append_pair("label", only);
            }
            format!("?{}#gallery", query.finish())
        });
        Ok(show(&DatasetPage {
            frame,
            model: model.as_str().to_owned(),
            title,
            segment: path.1.clone(),
            images: format::counted(dataset.images, "image"),
            labelled: format::count(dataset.labelled),
            version: dataset.head.0,
            classes: classes(balance, only.as_deref()),
            more_classes: more_classes.is_some(),
            thumbs: images.into_iter().map(thumb).collect(),
            name: text.clone(),
            is_first: after.is_none(),
            only,
            next,
        }))
    };
    answer(outcome.await)
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
            .add_images(permit, model.into(), dataset.map(Reference::Name), vec![NewImage { image, file_name, label }])
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
        Ok(see(&place(&path)))
    };
    answer(outcome.await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_images_hold_whatever_names_hold() {
        assert_eq!(
            image_address("m", "", "käse & brot", "a b.png", "12ab"),
            "/api/v1/models/m/images/content?label=k%C3%A4se+%26+brot&name=a+b.png&hash=12ab"
        );
        assert_eq!(image_address("m", "d", "", "a.png", ""), "/api/v1/models/m/datasets/d/images/content?name=a.png");
    }

    #[test]
    fn cursors_are_read_as_they_are_written() {
        assert_eq!(cursor("2.17").unwrap(), ManifestCursor { part: 2, sequence: 17 });
        for bad in ["", "1", "1.", "a.b", "-1.2"] {
            assert!(cursor(bad).is_err(), "{bad}");
        }
    }
}
