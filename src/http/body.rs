//! JSON bodies and the forms of pages, bounded, refused in their path's own shape.

use super::error::{Refused, Shape};
use super::limits::body::{is_too_slow, slow_body};
use super::parameters::Parameters;
use crate::domain::error::{Code, Error};
use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::{FromRequest, HttpRequest, web};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};

/// The largest JSON body, in bytes.
pub const MAX_JSON: usize = 64 << 10;

/// A body, read as `T`.
pub struct Json<T>(pub T);

impl<T: DeserializeOwned + 'static> FromRequest for Json<T> {
    type Error = Refused;
    type Future = LocalBoxFuture<'static, Result<Self, Refused>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let shape = Shape::of(request.path());
        let bytes = Bytes::from_request(request, payload);
        async move {
            let refused = |error| Refused { shape, error };
            let bytes = read_bytes(bytes.await).map_err(refused)?;
            Self::parse(&bytes).map_err(refused)
        }
        .boxed_local()
    }
}

impl<T: DeserializeOwned> Json<T> {
    /// Reads a body that has come.
    ///
    /// # Errors
    /// `invalid_body` naming what is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        read(bytes).map(Self)
    }
}

/// A body that may be left out, read as `T`.
pub struct OptionalJson<T>(pub T);

impl<T: DeserializeOwned + Default + 'static> FromRequest for OptionalJson<T> {
    type Error = Refused;
    type Future = LocalBoxFuture<'static, Result<Self, Refused>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let shape = Shape::of(request.path());
        let bytes = Bytes::from_request(request, payload);
        async move {
            let refused = |error| Refused { shape, error };
            let bytes = read_bytes(bytes.await).map_err(refused)?;
            if bytes.is_empty() { Ok(Self(T::default())) } else { read(&bytes).map(Self).map_err(refused) }
        }
        .boxed_local()
    }
}

/// The fields of a form that a page sends.
pub struct Fields(pub Parameters);

impl FromRequest for Fields {
    type Error = Refused;
    type Future = LocalBoxFuture<'static, Result<Self, Refused>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let shape = Shape::of(request.path());
        let bytes = Bytes::from_request(request, payload);
        async move {
            let bytes = bytes.await.map_err(|error| Refused { shape, error: unread(&error) })?;
            Ok(Self(Parameters::from_bytes(&bytes)))
        }
        .boxed_local()
    }
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|error| Error::new(Code::InvalidBody, format!("the JSON body: {error}")))
}

/// Reads a whole number; `38.0` is one too, as JSON has it.
///
/// # Errors
/// What the deserializer says of anything else.
pub fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let number = serde_json::Number::deserialize(deserializer)?;
    let fraction = number.as_f64().filter(|value| value.fract() == 0.0 && (0.0..9e15).contains(value));
    let value = number.as_u64().or_else(|| fraction.map(|value| value as u64));
    value.ok_or_else(|| D::Error::custom(format!("{number} is no whole number from 0")))
}

/// The bytes of a body, or why they did not come.
///
/// # Errors
/// `too_large`, `request_timeout`, `invalid_body`.
pub fn read_bytes(bytes: Result<Bytes, actix_web::Error>) -> Result<Bytes, Error> {
    bytes.map_err(|error| unread(&error))
}

fn unread(error: &actix_web::Error) -> Error {
    match error.as_error::<PayloadError>() {
        Some(PayloadError::Overflow) => Error::new(
            Code::TooLarge,
            "the JSON body is larger than this call takes, which is 64 KiB for most; send less at once",
        ),
        Some(error) if is_too_slow(error) => slow_body(),
        _ => Error::new(Code::InvalidBody, "the body did not come to its end; send it again"),
    }
}

/// The bound, for the application.
pub fn limit() -> web::PayloadConfig {
    web::PayloadConfig::new(MAX_JSON)
}
