//! From a request to leave to do something: which credential it carries, whose that is, what that one may.
//!
//! Handlers get a [`Granted`]; nothing else in this room makes a permit. Knows headers and cookies; what a secret is worth
//! is the accounts' matter.

use super::browser::{Control, Page, page_of};
use super::error::{Refused, Shape};
use super::limits::ClientAddress;
use crate::domain::account::{Access, Actor, Permit, TokenKind};
use crate::domain::error::{Code, Error, Result};
use crate::domain::ids::TokenId;
use crate::service::Services;
use crate::service::accounts::{Known, Place};
use actix_web::cookie::{Cookie, SameSite, time};
use actix_web::dev::Payload;
use actix_web::http::header::AUTHORIZATION;
use actix_web::web::Data;
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::FutureExt;
use futures::future::{Either, LocalBoxFuture, Ready, ready};

/// The session's cookie; the second name is taken over TLS, where browsers keep it to this very host.
const COOKIE: &str = "trainyard_session";
const SECURE_COOKIE: &str = "__Host-trainyard_session";

/// Leave to do things of kind `A`, as a handler's argument.
pub struct Granted<A>(pub Permit<A>);

/// The session or token that a request came with.
#[derive(Debug, Clone, Copy)]
pub struct Came(pub TokenId);

enum Credential {
    /// Through the control socket.
    Machine,
    Token(String),
    Password(String, String),
    Session(String),
    None,
}

impl Credential {
    /// Whether the page that a change comes from will do: a browser adds some credentials to whatever any page asks.
    fn trusts(&self, page: Page) -> bool {
        match self {
            Self::Machine | Self::Token(_) => true,
            Self::Password(..) => matches!(page, Page::None | Page::Ours),
            Self::Session(_) => page == Page::Ours,
            Self::None => page != Page::Foreign,
        }
    }
}

fn credential(request: &HttpRequest) -> Result<Credential> {
    if request.conn_data::<Control>().is_some() {
        return Ok(Credential::Machine);
    }
    if let Some(header) = request.headers().get(AUTHORIZATION) {
        let malformed = || Error::unauthenticated("the Authorization header is neither `Bearer TOKEN` nor HTTP Basic");
        let (scheme, rest) = header.to_str().ok().and_then(|text| text.trim().split_once(' ')).ok_or_else(malformed)?;
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            return Ok(Credential::Token(rest.to_owned()));
        }
        let decoded = STANDARD.decode(rest).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let (name, password) = match decoded.as_deref().and_then(|text| text.split_once(':')) {
            Some(pair) if scheme.eq_ignore_ascii_case("basic") => pair,
            _ => return Err(malformed()),
        };
        return Ok(Credential::Password(name.to_owned(), password.to_owned()));
    }
    let cookie = request.cookie(SECURE_COOKIE).or_else(|| request.cookie(COOKIE));
    Ok(cookie.map_or(Credential::None, |cookie| Credential::Session(cookie.value().to_owned())))
}

/// Where a request comes from, for slowing guesses down.
pub fn place(request: &HttpRequest) -> Place {
    Place::of(ClientAddress::of(request).address)
}

fn services(request: &HttpRequest) -> Result<&Data<Services>> {
    request.app_data::<Data<Services>>().ok_or_else(|| Error::internal("the application has no services"))
}

/// Who asks, as far as that takes no waiting; else the name and password to check.
fn known(request: &HttpRequest, changes: bool) -> Result<std::result::Result<Known, (String, String)>> {
    let accounts = services(request)?.accounts();
    let credential = credential(request)?;
    let local = || Known { actor: Actor::LOCAL, token: None };
    let is_open = accounts.is_open();
    let credential = if is_open && !matches!(credential, Credential::Machine) { Credential::None } else { credential };
    if changes && !credential.trusts(page_of(request)) {
        return Err(Error::new(
            Code::Forbidden,
            "a page of another site asks for this, or a link from elsewhere; use the server's own pages, or a token",
        ));
    }
    match credential {
        Credential::Machine => Ok(Ok(local())),
        Credential::None if is_open => Ok(Ok(local())),
        Credential::None => Err(Error::unauthenticated(
            "this server has accounts: sign in, or send `Authorization: Bearer TOKEN`; `trainyard token create` makes one",
        )),
        Credential::Token(text) => accounts.by_secret(&text, TokenKind::Token).map(Ok),
        Credential::Session(text) => accounts.by_secret(&text, TokenKind::Session).map(Ok),
        Credential::Password(name, password) => Ok(Err((name, password))),
    }
}

fn grant<A: Access>(request: &HttpRequest, known: Known) -> Result<Granted<A>> {
    if let Some(token) = known.token {
        request.extensions_mut().insert(Came(token));
    }
    known.actor.permit().map(Granted)
}

impl<A: Access> FromRequest for Granted<A> {
    type Error = Refused;
    type Future = Either<Ready<Result<Self, Refused>>, LocalBoxFuture<'static, Result<Self, Refused>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let shape = Shape::of(request.path());
        let refused = move |error| Refused { shape, error };
        match known(request, A::CHANGES) {
            Ok(Ok(known)) => Either::Left(ready(grant(request, known).map_err(refused))),
            Ok(Err((name, password))) => {
                let request = request.clone();
                let asked = async move {
                    let accounts = services(&request)?.accounts();
                    grant(&request, accounts.by_password(&name, &password, place(&request)).await?)
                };
                Either::Right(asked.map(move |granted| granted.map_err(refused)).boxed_local())
            }
            Err(error) => Either::Left(ready(Err(refused(error)))),
        }
    }
}

/// Refuses a sign-in that another site's page asks for: it would put its own account into this browser.
///
/// # Errors
/// `forbidden`.
pub fn check_page(request: &HttpRequest) -> Result<()> {
    match page_of(request) {
        Page::None | Page::Ours => Ok(()),
        Page::Typed | Page::Foreign => Err(Error::new(Code::Forbidden, "a page of another site asks for this")),
    }
}

/// The cookie of a new session; an empty secret ends one.
pub fn session_cookie(request: &HttpRequest, secret: &str, lasts: time::Duration) -> Cookie<'static> {
    let is_secure = ClientAddress::of(request).secure;
    let mut cookie = Cookie::new(if is_secure { SECURE_COOKIE } else { COOKIE }, secret.to_owned());
    cookie.set_http_only(true);
    cookie.set_same_site(SameSite::Strict);
    cookie.set_secure(is_secure);
    cookie.set_path("/");
    cookie.set_max_age(lasts);
    cookie
}
