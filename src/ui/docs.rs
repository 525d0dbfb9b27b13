//! `/docs`: the API to read and to try, drawn by `assets/docs.js` from the document that the server serves.

use super::page::{Frame, address, answer, show};
use crate::domain::account::View;
use crate::http::auth::Granted;
use crate::http::error::Shape;
use crate::http::routes::{Routes, at};
use crate::service::Services;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

pub(super) fn configure(routes: &mut Routes<'_>) {
    routes.add(at("/docs", Shape::Page).get(get));
}

#[derive(Template)]
#[template(path = "docs.html")]
struct DocsPage {
    frame: Frame,
    address: String,
}

async fn get(Granted(permit): Granted<View>, services: Data<Services>, request: HttpRequest) -> HttpResponse {
    let frame = Frame::new(&services, &request, permit.actor(), "docs", "API");
    answer(frame.map(|frame| show(&DocsPage { frame, address: address(&request) })))
}
