//! `/`: all models, what each is for, what it reached, what is running.

use super::format;
use super::page::{Frame, address, answer, see, show};
use crate::domain::account::{Change, View};
use crate::domain::error::Error;
use crate::domain::model::Description;
use crate::http::auth::Granted;
use crate::http::body::Fields;
use crate::http::error::Shape;
use crate::http::parameters::Parameters;
use crate::http::routes::{Routes, at};
use crate::service::Services;
use crate::service::overview::ModelCard;
use crate::service::runs::Terms;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

/// Models on a page.
const PAGE: usize = 24;

pub(super) fn configure(routes: &mut Routes<'_>) {
    routes.add(at("/", Shape::Page).get(list));
    routes.add(at("/models", Shape::Page).post(create));
    routes.add(at("/samples", Shape::Page).post(samples));
}

struct Card {
    name: String,
    description: String,
    images: String,
    experiments: u32,
    best: Option<(String, String)>,
    history: usize,
    sparkline: String,
    running: usize,
    queued: usize,
}

impl From<ModelCard> for Card {
    fn from(card: ModelCard) -> Self {
        let best = card.best.map(|best| (format::percent(best.accuracy.value()), best.experiment_name));
        Self {
            name: card.model.name.as_str().to_owned(),
            description: card.model.description.as_str().to_owned(),
            images: format::counted(card.images, "image"),
            experiments: card.model.experiments,
            best,
            history: card.history.len(),
            sparkline: format::sparkline(&card.history),
            running: card.running,
            queued: card.queued,
        }
    }
}

#[derive(Template)]
#[template(path = "models.html")]
struct Models {
    frame: Frame,
    cards: Vec<Card>,
    is_first: bool,
    next: Option<String>,
    address: String,
}

async fn list(Granted(permit): Granted<View>, services: Data<Services>, request: HttpRequest) -> HttpResponse {
    let outcome = async {
        let given = Parameters::from_query(request.query_string());
        let after = given.optional_name("after")?;
        let is_first = after.is_none();
        let asked = services.clone();
        let found = tokio::task::spawn_blocking(move || asked.model_cards(permit, after.as_ref(), PAGE));
        let (cards, next) = found.await.map_err(Error::internal)??;
        Ok(show(&Models {
            frame: Frame::new(&services, &request, permit.actor(), "models", "Models")?,
            cards: cards.into_iter().map(Card::from).collect(),
            is_first,
            next: next.map(|name| name.as_str().to_owned()),
            address: address(&request),
        }))
    };
    answer(outcome.await)
}

async fn create(Granted(permit): Granted<Change>, services: Data<Services>, Fields(given): Fields) -> HttpResponse {
    let outcome = async {
        let name = given.name("name")?;
        let description = given.optional("description").map(Description::parse).transpose()?;
        services.create_model(permit, name.clone(), description.unwrap_or_default()).await?;
        Ok(see(&format!("/models/{name}")))
    };
    answer(outcome.await)
}

/// A model of the images that come with the program, with its sweep under way.
async fn samples(Granted(permit): Granted<Change>, services: Data<Services>) -> HttpResponse {
    let outcome = async {
        let (model, dataset) = services.add_samples(permit).await?;
        services.run_default_experiments(permit, model.clone(), Some(dataset), Terms::default()).await?;
        Ok(see(&format!("/models/{model}")))
    };
    answer(outcome.await)
}
