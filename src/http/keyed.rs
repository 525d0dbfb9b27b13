//! `Idempotency-Key`: a request that makes something and comes again is answered as before, and nothing is made twice.
//!
//! Knows the header and how an answer is taken apart; what is kept is the service's matter.

use super::body::{Json, read_bytes};
use super::error::{Refused, Shape, response};
use crate::domain::account::{Change, Permit};
use crate::domain::answer::KeptAnswer;
use crate::domain::error::{Code, Error, Result};
use crate::service::Services;
use crate::service::answers::{Said, Turn};
use actix_web::body::MessageBody;
use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::{ETAG, HeaderName, LOCATION};
use actix_web::{FromRequest, HttpRequest, HttpResponse};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use serde::de::DeserializeOwned;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Says that an answer was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// The longest key, in characters.
const MAX_KEY: usize = 200;

/// A JSON body, and the key of its request where it has one.
pub struct Keyed<T> {
    body: T,
    key: Option<RequestKey>,
}

/// What the client calls its request, and what tells that from others.
struct RequestKey {
    text: String,
    request: Vec<u8>,
}

fn key_of(request: &HttpRequest, body: &[u8]) -> Result<Option<RequestKey>> {
    let Some(given) = request.headers().get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let is_key = |text: &&str| (1..=MAX_KEY).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    let text = given.to_str().ok().map(str::trim).filter(is_key);
    let text = text.ok_or_else(|| {
        Error::parameter(format!("Idempotency-Key is 1 to {MAX_KEY} visible characters of ASCII, and no space"))
    })?;
    let target = format!("{} {}\n", request.method(), request.uri());
    Ok(Some(RequestKey { text: text.to_owned(), request: [target.as_bytes(), body].concat() }))
}

impl<T: DeserializeOwned + 'static> FromRequest for Keyed<T> {
    type Error = Refused;
    type Future = LocalBoxFuture<'static, Result<Self, Refused>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let shape = Shape::of(request.path());
        let bytes = Bytes::from_request(request, payload);
        let request = request.clone();
        async move {
            let refused = |error| Refused { shape, error };
            let bytes = read_bytes(bytes.await).map_err(refused)?;
            let key = key_of(&request, &bytes).map_err(refused)?;
            let Json(body) = Json::parse(&bytes).map_err(refused)?;
            Ok(Self { body, key })
        }
        .boxed_local()
    }
}

impl<T> Keyed<T> {
    /// Does what is asked, once: `make` is called with the body unless this was answered before.
    pub async fn once<F>(self, services: &Services, permit: Permit<Change>, make: impl FnOnce(T) -> F) -> HttpResponse
    where
        F: Future<Output = HttpResponse>,
    {
        let Self { body, key } = self;
        let Some(key) = key else { return make(body).await };
        let doing = match services.begin_keyed(permit, &key.text, &key.request) {
            Ok(Turn::First(doing)) => doing,
            Ok(Turn::Again(answer)) => return again(answer),
            Err(error) => return response(Shape::Problem, &error),
        };
        let answer = make(body).await;
        // What failed has made nothing, so it may be tried again under the same key.
        if !answer.status().is_success() {
            return answer;
        }
        let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (status, location, etag) = (answer.status().as_u16(), header(LOCATION), header(ETAG));
        let (head, body) = answer.into_parts();
        match body.try_into_bytes() {
            Ok(bytes) => {
                let said = Said { status, location, etag, body: bytes.to_vec() };
                match services.keep_answer(&doing, said).await {
                    Ok(()) => head.set_body(bytes).map_into_boxed_body(),
                    Err(error) => response(Shape::Problem, &error),
                }
            }
            // A stream is nothing to keep.
            Err(body) => head.set_body(body),
        }
    }
}

/// The answer that was given before.
fn again(answer: KeptAnswer) -> HttpResponse {
    let Some(body) = answer.body else {
        let message = "this was done before, and its answer was too large to keep; look for what it made";
        return response(Shape::Problem, &Error::new(Code::Conflict, message));
    };
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let mut again = HttpResponse::build(status);
    again.content_type("application/json").insert_header((REPLAYED, "true"));
    if let Some(location) = answer.location {
        again.insert_header((LOCATION, location));
    }
    if let Some(etag) = answer.etag {
        again.insert_header((ETAG, etag));
    }
    again.body(body)
}
