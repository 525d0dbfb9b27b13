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
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The largest JSON body, in bytes.
pub const MAX_JSON: usize = 64 << 10;

/// A body, read as `T`.
pub struct Json<T>(pub T);

impl<T: DeserializeOwned + 'static> FromRequest for Json<T> {
    type Error = Refused;
    type Future = LocalBoxFuture<'static, Result<Self, Refused>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        take(request, payload, Self::parse)
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
        take(request, payload, |bytes| if bytes.is_empty() { Ok(Self(T::default())) } else { read(bytes).map(Self) })
    }
}

/// The fields of a form that a page sends.
pub struct Fields(pub Parameters);

impl FromRequest for Fields {
    type Error = Refused;
    type Future = LocalBoxFuture<'static, Result<Self, Refused>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        take(request, payload, |bytes| Ok(Self(Parameters::from_bytes(bytes))))
    }
}

/// Waits for a body and reads it; what is wrong with either is told in the shape of the request's path.
fn take<T: 'static>(
    request: &HttpRequest,
    payload: &mut Payload,
    read: impl FnOnce(&[u8]) -> Result<T, Error> + 'static,
) -> LocalBoxFuture<'static, Result<T, Refused>> {
    let shape = Shape::of(request.path());
    let bytes = Bytes::from_request(request, payload);
    async move { read_bytes(bytes.await).and_then(|bytes| read(&bytes)).map_err(|error| Refused { shape, error }) }
        .boxed_local()
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let refused = |error| Error::new(Code::InvalidBody, format!("the JSON body: {error}"));
    // serde would read the fields of an object from a list, in the order in which they happen to be declared.
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
        return Err(Error::new(Code::InvalidBody, "the JSON body is a list; this call takes an object"));
    }
    serde_json::from_slice(bytes).or_else(|error| {
        // In JSON, 8.0 is a whole number too; serde reads none from it.
        let mut value: Value = serde_json::from_slice(bytes).map_err(refused)?;
        if !make_whole(&mut value) {
            return Err(refused(error));
        }
        serde_json::from_value(value).map_err(|_| refused(error))
    })
}

/// Turns numbers such as `8.0` into `8`; true where there are any.
fn make_whole(value: &mut Value) -> bool {
    match value {
        Value::Number(number) => {
            let whole = number.as_f64().filter(|value| value.fract() == 0.0 && (0.0..9e15).contains(value));
            let Some(whole) = whole.filter(|_| number.is_f64()) else { return false };
            *number = (whole as u64).into();
            true
        }
        // All of them, also behind the first that was changed.
        Value::Array(values) => values.iter_mut().map(make_whole).filter(|changed| *changed).count() > 0,
        Value::Object(object) => object.values_mut().map(make_whole).filter(|changed| *changed).count() > 0,
        _ => false,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Point {
        steps: u8,
        rates: Vec<f64>,
    }

    #[test]
    fn whole_numbers_may_have_a_point() {
        let read = |text: &str| Json::<Point>::parse(text.as_bytes()).map(|Json(point)| point);
        assert_eq!(read(r#"{"steps": 8.0, "rates": [1.0, 0.5]}"#).unwrap(), Point { steps: 8, rates: vec![1.0, 0.5] });
        for wrong in [
            r#"{"steps": 8.5, "rates": []}"#,
            r#"{"steps": 300.0, "rates": []}"#,
            r#"{"steps": -1.0, "rates": []}"#,
            " [8, []]",
            "{",
        ] {
            assert_eq!(read(wrong).unwrap_err().code, Code::InvalidBody, "{wrong}");
        }
    }
}
