//! `/models/{model}/datasets/{dataset}`: the images of a dataset, how many there are of each class, and ways to add more.

use super::format;
use super::page::{Frame, answer, see, show};
use crate::domain::account::{Change, View};
use crate::domain::dataset::{Entry, ManifestCursor};
use crate::domain::error::{Error, Result};
use crate::domain::name::{ImageName, Label, Name};
use crate::http::auth::Granted;
use crate::http::body::Fields;
use crate::http::error::Shape;
use crate::http::form;
use crate::http::parameters::Parameters;
use crate::http::routes::{Routes, at};
use crate::service::Services;
use crate::service::gallery::{Balance, Shown};
use crate::service::images::{MAX_URLS, NewImage};
use crate::service::trash::Target;
use actix_multipart::Multipart;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use bytes::Bytes;
use std::fs::File;
use std::io::{self, Read};

/// Images on a page.
const PAGE: usize = 60;

/// Classes that are listed.
const CLASSES: usize = 100;

/// How a file leaves: a piece at a time.
const PIECE: usize = 64 << 10;

/// How the dataset of all images is called in addresses; no name begins so.
const ALL: &str = "_all";

/// How images without a label are called in addresses; no label is empty.
const NO_LABEL: &str = "";

pub(super) fn configure(routes: &mut Routes<'_>) {
    let shape = Shape::Page;
    routes.add(at("/models/{model}/datasets", shape).post(create));
    routes.add(at("/models/{model}/datasets/{dataset}", shape).get(get));
    routes.add(at("/models/{model}/datasets/{dataset}/image", shape).get(image));
    routes.add(at("/models/{model}/datasets/{dataset}/upload", shape).post(upload));
    routes.add(at("/models/{model}/datasets/{dataset}/fetch", shape).post(fetch));
    routes.add(at("/models/{model}/datasets/{dataset}/remove", shape).post(remove));
}

/// The address of an image of a dataset; `mark` makes it another one when other bytes come under the same name.
pub(super) fn image_address(model: &str, dataset: &str, label: &str, name: &str, mark: &str) -> String {
    let dataset = if dataset.is_empty() { ALL } else { dataset };
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("label", label).append_pair("name", name);
    if !mark.is_empty() {
        query.append_pair("mark", mark);
    }
    format!("/models/{model}/datasets/{dataset}/image?{}", query.finish())
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
    more_classes: usize,
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

fn classes(balance: &Balance, only: Option<&str>) -> Vec<Class> {
    let most = balance.values().max().copied().unwrap_or(1).max(1);
    let class = |(label, count): (&Option<String>, &u64)| {
        let text = label.clone().unwrap_or_default();
        let query: String = form_urlencoded::Serializer::new(String::new()).append_pair("label", &text).finish();
        Class {
            href: format!("?{query}#gallery"),
            is_shown: only == Some(text.as_str()),
            label: if text.is_empty() { "without a label".to_owned() } else { text },
            count: format::count(*count),
            share: *count as f64 / most as f64,
        }
    };
    balance.iter().take(CLASSES).map(class).collect()
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
        let shown = only.as_deref().map_or(Ok(Shown::All), |text| label_of(text).map(Shown::Only))?;
        let (asked, asked_model, asked_name) = (services.clone(), model.clone(), name.clone());
        let gallery = tokio::task::spawn_blocking(move || {
            asked.gallery(permit, &asked_model, asked_name.as_ref(), &shown, after, PAGE)
        });
        let gallery = gallery.await.map_err(Error::internal)??;
        let balance = services.balance(&gallery.dataset).await?;
        let title = name.as_ref().map_or("all images", Name::as_str).to_owned();
        let frame = Frame::new(&services, &request, permit.actor(), "models", format!("{title} of {model}"))?;
        let text = gallery.dataset.name_text().to_owned();
        let thumb = |entry: Entry| {
            let label = entry.label.map(|label| label.as_str().to_owned()).unwrap_or_default();
            let mark = &entry.hash.to_string()[..8];
            Thumb {
                src: image_address(model.as_str(), &text, &label, entry.name.as_str(), mark),
                name: entry.name.as_str().to_owned(),
                label,
            }
        };
        let next = gallery.next.map(|next| {
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
            images: format::counted(gallery.dataset.images, "image"),
            labelled: format::count(gallery.dataset.labelled),
            version: gallery.dataset.head.0,
            classes: classes(&balance, only.as_deref()),
            more_classes: balance.len().saturating_sub(CLASSES),
            thumbs: gallery.entries.into_iter().map(thumb).collect(),
            name: text.clone(),
            is_first: after.is_none(),
            only,
            next,
        }))
    };
    answer(outcome.await)
}

/// An image's bytes. A browser asks again whether they have changed, and for other bytes under another address.
async fn image(
    Granted(permit): Granted<View>,
    services: Data<Services>,
    request: HttpRequest,
    path: Path<(String, String)>,
) -> HttpResponse {
    let outcome = async {
        let (model, dataset) = names(&path)?;
        let given = Parameters::from_query(request.query_string());
        let label = given.optional("label").map(Label::parse).transpose()?;
        let name = given.required("name")?;
        if name.contains(char::is_control) {
            return Err(Error::parameter("name has a control character, which no image's name has"));
        }
        let name = ImageName::from_store(name.to_owned());
        let (file, blob) = services.image(permit, &model, dataset.as_ref(), label.as_ref(), &name)?;
        let tag = format!("\"{}\"", blob.hash);
        let kept =
            if given.optional("mark").is_some() { "private, max-age=31536000, immutable" } else { "private, no-cache" };
        if request.headers().get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
            return Ok(HttpResponse::NotModified()
                .insert_header((ETAG, tag))
                .insert_header((CACHE_CONTROL, kept))
                .finish());
        }
        let opened = tokio::task::spawn_blocking(move || File::open(file)).await.map_err(Error::internal)?;
        let file = opened.map_err(Error::internal)?;
        let kind = match blob.format.as_str() {
            "jpg" | "jpeg" => "image/jpeg".to_owned(),
            "tif" | "tiff" => "image/tiff".to_owned(),
            other => format!("image/{other}"),
        };
        Ok(HttpResponse::Ok()
            .insert_header((CONTENT_TYPE, kind))
            .insert_header((ETAG, tag))
            .insert_header((CACHE_CONTROL, kept))
            .no_chunking(blob.size)
            .streaming(pieces(file, blob.size)))
    };
    answer(outcome.await)
}

/// The first `length` bytes of a file.
pub(super) fn pieces(file: File, length: u64) -> impl futures::Stream<Item = io::Result<Bytes>> {
    futures::stream::try_unfold((file, length), |(mut file, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let read = tokio::task::spawn_blocking(move || {
            let mut piece = vec![0; PIECE.min(usize::try_from(left).unwrap_or(PIECE))];
            let length = file.read(&mut piece)?;
            piece.truncate(length);
            io::Result::Ok((file, piece))
        });
        let (file, piece) = read.await.map_err(io::Error::other)??;
        if piece.is_empty() {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        let left = left - piece.len() as u64;
        Ok(Some((Bytes::from(piece), (file, left))))
    })
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
        services.create_dataset(permit, model.clone(), name.clone(), from).await?;
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
        services.add_images(permit, model, dataset, vec![NewImage { image, file_name, label }]).await?;
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
        services.add_from_urls(permit, model, dataset, label, &urls).await?;
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
        services.delete(permit, model, Target::Image { dataset, label, name }, false).await?;
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
            "/models/m/datasets/_all/image?label=k%C3%A4se+%26+brot&name=a+b.png&mark=12ab"
        );
    }

    #[test]
    fn cursors_are_read_as_they_are_written() {
        assert_eq!(cursor("2.17").unwrap(), ManifestCursor { part: 2, sequence: 17 });
        for bad in ["", "1", "1.", "a.b", "-1.2"] {
            assert!(cursor(bad).is_err(), "{bad}");
        }
    }
}
