//! What all pages share: the frame around them, how they are sent, ways back after a change, and failures.

use super::format::{self, Moment};
use crate::domain::account::{Actor, Role};
use crate::domain::error::{Error, Result};
use crate::domain::stamp::Timestamp;
use crate::http::error::{Failed, Shape, response};
use crate::http::limits::ClientAddress;
use crate::service::Services;
use actix_web::http::header::{CONTENT_SECURITY_POLICY, HOST, LOCATION};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

/// Nothing from elsewhere, nothing inline; previews of what is about to be uploaded are blobs.
const POLICY: &str = "default-src 'self'; img-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'self'; \
                      frame-ancestors 'none'";

/// The frame of a page.
pub struct Frame {
    /// What the window is called.
    pub title: String,
    /// Which part of the navigation it belongs to.
    pub part: &'static str,
    /// The address of this very page, to look again.
    pub here: String,
    /// Who is signed in; nothing where nobody has to be.
    pub account: Option<String>,
    /// Whether the actor may change anything.
    pub may_change: bool,
    /// Whether the actor may do everything.
    pub is_admin: bool,
    now: Timestamp,
}

impl Frame {
    /// The frame of a page for an actor.
    ///
    /// # Errors
    /// `internal` where the store cannot be read.
    pub fn new(
        services: &Services,
        request: &HttpRequest,
        actor: Actor,
        part: &'static str,
        title: impl Into<String>,
    ) -> Result<Self> {
        let account = services.accounts().who(actor.account)?;
        Ok(Self {
            title: title.into(),
            part,
            here: request.uri().path_and_query().map_or("/", |here| here.as_str()).to_owned(),
            account: account.map(|account| account.name.as_str().to_owned()),
            may_change: actor.role >= Role::Member,
            is_admin: actor.role >= Role::Admin,
            now: services.now(),
        })
    }

    /// A frame for somebody who is not known.
    pub fn bare(title: &str) -> Self {
        Self {
            title: title.to_owned(),
            part: "",
            here: String::new(),
            account: None,
            may_change: false,
            is_admin: false,
            now: Timestamp(0),
        }
    }

    /// A moment as it is seen now.
    pub fn moment(&self, at: Timestamp) -> Moment {
        format::moment(at, self.now)
    }

    /// The address of an asset.
    pub fn asset(&self, name: &str) -> &'static str {
        super::assets::url(name)
    }

    /// What marks the current part of the navigation.
    pub fn current(&self, part: &str) -> &'static str {
        if self.part == part { "page" } else { "false" }
    }
}

/// The server's address as whoever asks knows it.
pub fn address(request: &HttpRequest) -> String {
    let scheme = if ClientAddress::of(request).secure { "https" } else { "http" };
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost:8080");
    format!("{scheme}://{host}")
}

/// Sends a page.
pub fn show(page: &impl Template) -> HttpResponse {
    show_as(StatusCode::OK, page)
}

/// Sends a page with another status.
pub fn show_as(status: StatusCode, page: &impl Template) -> HttpResponse {
    match page.render() {
        Ok(text) => HttpResponse::build(status)
            .content_type("text/html; charset=utf-8")
            .insert_header((CONTENT_SECURITY_POLICY, POLICY))
            .body(text),
        Err(error) => response(Shape::Page, &Error::internal(error)),
    }
}

/// Sends what a handler made, or its failure.
pub fn answer(outcome: Result<HttpResponse>) -> HttpResponse {
    outcome.unwrap_or_else(|error| response(Shape::Page, &error))
}

/// Leads elsewhere after a change, so that looking again changes nothing again.
pub fn see(place: &str) -> HttpResponse {
    HttpResponse::SeeOther().insert_header((LOCATION, place)).finish()
}

/// A place on this server that a form names, to go back to.
pub fn own_place(place: Option<&str>) -> Option<&str> {
    place.filter(|place| {
        let mut letters = place.chars();
        letters.next() == Some('/')
            && !matches!(letters.next(), Some('/' | '\\'))
            && !place.contains(|letter: char| letter.is_control() || !letter.is_ascii())
    })
}

#[derive(Template)]
#[template(path = "failed.html")]
struct FailedPage<'a> {
    frame: Frame,
    status: u16,
    code: &'a str,
    message: &'a str,
    hint: &'static str,
}

/// Shows a failure, or leads to where one signs in.
pub fn failed(request: &HttpRequest, status: StatusCode, failed: &Failed) -> HttpResponse {
    if status == StatusCode::UNAUTHORIZED && request.method() == Method::GET {
        let here = request.uri().path_and_query().map_or("/", |here| here.as_str());
        let next: String = form_urlencoded::Serializer::new(String::new()).append_pair("next", here).finish();
        return see(&format!("/sign-in?{next}"));
    }
    let hint = match status {
        StatusCode::NOT_FOUND => {
            "It may have been deleted, or belong to somebody who has not shared it with this account."
        }
        StatusCode::UNAUTHORIZED => "Sign in, then do it again.",
        StatusCode::FORBIDDEN => "Whoever owns it, or an admin, can change that.",
        StatusCode::CONFLICT => "Nothing was changed.",
        _ if status.is_server_error() => "The server's log has the cause, by the id in the X-Request-Id header.",
        _ => "Go back, change what was entered, and send it again.",
    };
    let title = match status {
        StatusCode::NOT_FOUND => "Not found",
        StatusCode::UNAUTHORIZED => "Sign in first",
        StatusCode::FORBIDDEN => "Not allowed",
        _ if status.is_server_error() => "That did not work",
        _ => "That cannot be done",
    };
    let page = FailedPage {
        frame: Frame::bare(title),
        status: status.as_u16(),
        code: &failed.code,
        message: &failed.message,
        hint,
    };
    show_as(status, &page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_back_never_leads_to_another_server() {
        for place in ["/", "/models/m?sort=steps"] {
            assert_eq!(own_place(Some(place)), Some(place));
        }
        for place in ["", "//evil.example", "/\\evil.example", "https://evil.example", "models", "/a\r\nSet-Cookie: x"]
        {
            assert_eq!(own_place(Some(place)), None, "{place:?}");
        }
    }
}
