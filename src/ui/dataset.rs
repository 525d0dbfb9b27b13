//! `/models/{model}/datasets/{dataset}`: the images of a dataset, and how many there are of each class.

use super::format;
use super::page::{Frame, answer, show};
use crate::domain::account::View;
use crate::domain::dataset::{Entry, ManifestCursor};
use crate::domain::error::{Error, Result};
use crate::domain::name::{Label, Name};
use crate::domain::reference::Reference;
use crate::http::auth::Granted;
use crate::http::error::Shape;
use crate::http::parameters::Parameters;
use crate::http::routes::{Routes, at};
use crate::service::Services;
use crate::service::gallery::{ImageView, MAX_CHANGES, Source, Wanted};
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

/// Images on a page.
const PAGE: usize = 100;

/// Classes that are listed.
const CLASSES: usize = 100;

/// How the dataset of all images is called in addresses; no name begins so.
const ALL: &str = "_all";

/// How images without a label are called in addresses; no label is empty.
const NO_LABEL: &str = "";

pub(super) fn configure(routes: &mut Routes<'_>) {
    routes.add(at("/models/{model}/datasets/{dataset}", Shape::Page).get(get));
}

/// The address of an image of a dataset; with a hash, of these very bytes, which a browser may keep.
pub(super) fn image_address(model: &str, dataset: &str, label: &str, name: &str, hash: &str) -> String {
    format!(
        "{}/images/content?{}",
        api_address(model, dataset),
        query([("label", label), ("name", name), ("hash", hash)])
    )
}

/// Where the API has a dataset; that of all images is the model itself.
pub(super) fn api_address(model: &str, dataset: &str) -> String {
    let dataset = if dataset.is_empty() { String::new() } else { format!("/datasets/{dataset}") };
    format!("/api/v1/models/{model}{dataset}")
}

/// A query of those that have a value.
fn query<const N: usize>(pairs: [(&str, &str); N]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(pairs.into_iter().filter(|(_, value)| !value.is_empty()));
    query.finish()
}

/// An image in a gallery.
pub(super) struct Thumb {
    /// Where the image is.
    pub href: String,
    /// Where its small picture is.
    pub src: String,
    /// Its file name.
    pub name: String,
    /// Its class, or nothing.
    pub label: String,
}

impl Thumb {
    /// An image of a dataset, as it is in a version, or in the newest.
    pub fn new(model: &str, dataset: &str, entry: &Entry, version: Option<u64>) -> Self {
        let label = entry.label.as_ref().map_or("", Label::as_str);
        let (name, hash) = (entry.name.as_str(), entry.hash.to_string());
        let version = version.map(|version| version.to_string()).unwrap_or_default();
        let query = query([("label", label), ("name", name), ("hash", &hash), ("version", &version)]);
        let base = format!("{}/images", api_address(model, dataset));
        Self {
            href: format!("{base}/content?{query}"),
            src: format!("{base}/thumbnail?{query}"),
            name: name.to_owned(),
            label: label.to_owned(),
        }
    }

    /// What it is called in forms: no label and no name holds a slash.
    pub fn id(&self) -> String {
        format!("{}/{}", self.label, self.name)
    }

    /// What it is called for people.
    pub fn words(&self) -> String {
        if self.label.is_empty() { self.name.clone() } else { format!("{}, {}", self.label, self.name) }
    }
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
    has_duplicates: bool,
    base: String,
    most_changes: usize,
    only: Option<String>,
    is_first: bool,
    next: Option<String>,
}

/// Model and dataset of a path; no dataset is that of all images.
pub(super) fn names(path: &(String, String)) -> Result<(Name, Option<Name>)> {
    let dataset = if path.1 == ALL { None } else { Some(Name::parse("dataset", &path.1)?) };
    Ok((Name::parse("model", &path.0)?, dataset))
}

pub(super) fn place(path: &(String, String)) -> String {
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
        let looking = tokio::task::spawn_blocking(move || {
            let images = asked.images(permit, &source, &wanted, after, PAGE)?;
            let (duplicates, more) = asked.duplicates(permit, &source, None, 1)?;
            Ok((images, !duplicates.is_empty() || more.is_some()))
        });
        let looked: Result<_> = looking.await.map_err(Error::internal)?;
        let ((images, next), has_duplicates) = looked?;
        let (of_model, id) = (Reference::Id(dataset.model), Reference::Id(dataset.id));
        let (balance, more_classes) = services.balance(permit, &of_model, &id, dataset.head.0, None, CLASSES).await?;
        let title = name.as_ref().map_or("all images", Name::as_str).to_owned();
        let frame = Frame::new(&services, &request, permit.actor(), "models", format!("{title} of {model}"))?;
        let text = dataset.name_text().to_owned();
        let thumb = |image: ImageView| Thumb::new(model.as_str(), &text, &image.placed.entry, None);
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
            has_duplicates,
            base: api_address(model.as_str(), &text),
            most_changes: MAX_CHANGES,
            name: text.clone(),
            is_first: after.is_none(),
            only,
            next,
        }))
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
