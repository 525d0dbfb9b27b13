//! The only place that knows status codes, and the shapes in which an API says that something went wrong.

use super::request_id;
use crate::domain::error::{Code, Error};
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;
use utoipa::ToSchema;

/// The shape of an API's errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// The experiments API: `{"status":"ERROR","message":...}`.
    Experiments,
    /// Its `/test`, which spells the key with a capital.
    Test,
    /// `/api/v1`: problem details (RFC 9457).
    Problem,
    /// A page for people; programs that ask for one are answered as by the experiments API.
    Page,
}

/// What an answer that failed carries beside its body, for whoever shows it to people.
#[derive(Debug, Clone)]
pub struct Failed {
    /// The stable name of what went wrong.
    pub code: String,
    /// What went wrong and what to do.
    pub message: String,
}

impl Shape {
    /// The shape of the errors of a path, also of one that does not exist.
    pub fn of(path: &str) -> Self {
        match path {
            "/test" => Self::Test,
            "/healthz" | "/readyz" | "/metrics" => Self::Problem,
            _ if path.starts_with("/api/") => Self::Problem,
            _ if super::pages::is_page(path) => Self::Page,
            _ => Self::Experiments,
        }
    }
}

/// What went wrong (RFC 9457)
#[derive(Serialize, ToSchema)]
pub struct Problem<'a> {
    r#type: &'static str,
    /// The status in words
    title: &'static str,
    status: u16,
    /// What is wrong and what to do
    detail: &'a str,
    /// Stable, for programs
    code: &'a str,
    /// Also in the header X-Request-Id and in the server's log
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
}

/// What went wrong, as the experiments API says it
#[derive(Serialize, ToSchema)]
pub struct Refusal<'a> {
    /// `ERROR`
    status: &'static str,
    /// What is wrong and what to do
    message: &'a str,
    /// Stable, for programs
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
}

/// What went wrong, as `/test` says it
#[derive(Serialize, ToSchema)]
pub struct TestRefusal<'a> {
    /// `ERROR`
    #[serde(rename = "Status")]
    status: &'static str,
    /// What is wrong and what to do
    message: &'a str,
    /// Stable, for programs
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
}

/// A failure before the handler was reached.
#[derive(Debug)]
pub struct Refused {
    /// How to say so.
    pub shape: Shape,
    /// What went wrong.
    pub error: Error,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.fmt(f)
    }
}

impl ResponseError for Refused {
    fn status_code(&self) -> StatusCode {
        status(self.error.code)
    }

    fn error_response(&self) -> HttpResponse {
        response(self.shape, &self.error)
    }
}

/// The status of each code.
pub fn status(code: Code) -> StatusCode {
    match code {
        Code::InvalidParameter | Code::InvalidBody => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::Forbidden => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::NoResults | Code::NoImages | Code::Conflict => StatusCode::CONFLICT,
        Code::Stale => StatusCode::PRECONDITION_FAILED,
        Code::KeyReused => StatusCode::UNPROCESSABLE_ENTITY,
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
    let mut answer = refusal(shape, status, error.code.as_str(), &error.message);
    if error.code == Code::Unauthenticated {
        answer.headers_mut().append(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"trainyard\""));
        answer.headers_mut().append(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"trainyard\""));
    }
    if let Some(seconds) = error.retry_after {
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    answer
}

/// Writes that something went wrong, in an API's own shape, with the id of the request.
pub fn refusal(shape: Shape, status: StatusCode, code: &str, message: &str) -> HttpResponse {
    let request_id = request_id::current().map(|id| id.as_str().to_owned());
    let mut answer = HttpResponse::build(status);
    match shape {
        Shape::Experiments => answer.json(Refusal { status: "ERROR", message, code, request_id }),
        Shape::Page => {
            let mut answer = answer.json(Refusal { status: "ERROR", message, code, request_id });
            answer.extensions_mut().insert(Failed { code: code.to_owned(), message: message.to_owned() });
            answer
        }
        Shape::Test => answer.json(TestRefusal { status: "ERROR", message, code, request_id }),
        Shape::Problem => answer.content_type("application/problem+json").json(Problem {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: message,
            code,
            request_id,
        }),
    }
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
        assert_eq!(Shape::of("/test"), Shape::Test);
        assert_eq!(Shape::of("/api/v1/runs/1"), Shape::Problem);
        assert_eq!(Shape::of("/bestAccuracy"), Shape::Experiments);
        assert_eq!(Shape::of(""), Shape::Experiments);
        assert_eq!(Shape::of("/models/m"), Shape::Page);
        assert_eq!(Shape::of("/modelsandmore"), Shape::Experiments);
    }
}
