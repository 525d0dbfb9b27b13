//! The only place that knows status codes, and the three shapes in which an API says that something went wrong.

use super::request_id;
use crate::domain::error::{Code, Error};
use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use serde_json::{Value, json};

/// The shape of an API's errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// The experiments API: `{"status":"ERROR","message":...}`.
    Experiments,
    /// Its `/test`, which spells the key with a capital.
    Test,
    /// `/api/v1`: problem details (RFC 9457).
    Problem,
}

impl Shape {
    /// The shape of a path's API, where no handler says it.
    pub fn of_path(path: &str) -> Self {
        match path {
            "/test" => Self::Test,
            path if path.starts_with("/api/") => Self::Problem,
            _ => Self::Experiments,
        }
    }
}

/// The status of each code.
pub fn status(code: Code) -> StatusCode {
    match code {
        Code::InvalidParameter | Code::InvalidBody => StatusCode::BAD_REQUEST,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::NoResults | Code::NoImages | Code::Conflict => StatusCode::CONFLICT,
        Code::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::NotAnImage => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Code::FetchFailed | Code::PredictionFailed => StatusCode::BAD_GATEWAY,
        Code::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
        Code::TooMany => StatusCode::TOO_MANY_REQUESTS,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DiskFull => StatusCode::INSUFFICIENT_STORAGE,
        Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Writes a failure; the log gets the causes that a client does not.
pub fn response(shape: Shape, error: &Error) -> HttpResponse {
    let status = status(error.code);
    if status.is_server_error() {
        tracing::warn!(code = error.code.as_str(), %error, "a request failed");
    }
    refusal(shape, status, error.code.as_str(), &error.message)
}

/// Writes that something went wrong, in an API's own shape, with the id of the request.
pub fn refusal(shape: Shape, status: StatusCode, code: &str, message: &str) -> HttpResponse {
    let mut body = match shape {
        Shape::Experiments => json!({ "status": "ERROR", "message": message, "code": code }),
        Shape::Test => json!({ "Status": "ERROR", "message": message, "code": code }),
        Shape::Problem => json!({
            "type": "about:blank",
            "title": status.canonical_reason().unwrap_or("Error"),
            "status": status.as_u16(),
            "detail": message,
            "code": code,
        }),
    };
    if let (Some(id), Value::Object(body)) = (request_id::current(), &mut body) {
        body.insert("request_id".to_owned(), id.as_str().into());
    }
    let content_type = if shape == Shape::Problem { "application/problem+json" } else { "application/json" };
    HttpResponse::build(status).content_type(content_type).body(body.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_an_error_status() {
        for code in Code::ALL {
            assert!(status(code).is_client_error() || status(code).is_server_error(), "{code:?}");
        }
    }

    #[test]
    fn every_path_has_a_shape() {
        assert_eq!(Shape::of_path("/test"), Shape::Test);
        assert_eq!(Shape::of_path("/api/v1/runs/1"), Shape::Problem);
        assert_eq!(Shape::of_path("/bestAccuracy"), Shape::Experiments);
        assert_eq!(Shape::of_path(""), Shape::Experiments);
    }
}
