//! `/api/v1/openapi.json`: what the API is, as OpenAPI 3.1, put together from what stands at its handlers.
//!
//! A handler says what is its own: its parameters, its body, its answers. What the layers before it answer (a credential
//! that is missing, a rate, a slow body) is added here for all of them by what a route takes. Knows routes and the shapes
//! of errors; not what a handler does.

mod finish;
pub mod parts;
pub mod words;

use super::error::{Problem, Refusal, Shape, TestRefusal, response};
use super::routes::{Listed, Routes, at};
use crate::domain::error::{Error, Result};
use actix_web::http::Method;
use actix_web::http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use std::sync::OnceLock;
use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::Components;
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{Content, OpenApi, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{OpenApi as _, PartialSchema, ToSchema};

const CONTENT_TYPE: &str = "application/json";

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Trainyard",
        description = "Images in, a sweep of experiments run, the best one answers. Errors under `/api/v1` are problem \
                       details (RFC 9457) with a stable `code`; lists are pages with a cursor; unknown parameters are ignored.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    paths(get),
    tags(
        (name = "experiments API", description = "The ten calls of the first API, word for word as its scripts know them"),
        (name = "health", description = "For whoever watches over the server"),
        (name = "accounts", description = "Who may ask, and with what"),
        (name = "models", description = "A question, with its images, experiments and results"),
        (name = "experiments", description = "Points in the space of hyper-parameters"),
        (name = "datasets", description = "Datasets and their versions"),
        (name = "images", description = "Images of models and datasets"),
        (name = "runs", description = "Single trainings"),
        (name = "sweeps", description = "Runs that were submitted together"),
        (name = "queue", description = "What waits and what runs"),
        (name = "trash", description = "What was deleted and can be had back"),
        (name = "webhooks", description = "Being told when runs and sweeps end"),
        (name = "server", description = "Care of the server and its data"),
    )
)]
struct Head;

/// The document as it is sent.
struct Written {
    json: Bytes,
    etag: String,
}

/// The document, which is put together when somebody asks for it first: what that takes, most servers never need.
pub struct Document {
    describe: fn() -> OpenApi,
    written: OnceLock<Written>,
}

impl Document {
    /// The document that `describe` makes.
    pub fn new(describe: fn() -> OpenApi) -> Self {
        Self { describe, written: OnceLock::new() }
    }

    /// Takes milliseconds the first time.
    fn written(&self) -> Result<&Written> {
        if let Some(written) = self.written.get() {
            return Ok(written);
        }
        let mut document = serde_json::to_value((self.describe)()).map_err(Error::internal)?;
        finish::values(&mut document);
        let json = serde_json::to_vec(&document).map_err(Error::internal)?;
        let etag = format!("\"{}\"", &blake3::hash(&json).to_hex()[..32]);
        Ok(self.written.get_or_init(|| Written { json: Bytes::from(json), etag }))
    }
}

/// Adds `/api/v1/openapi.json`.
pub fn configure(routes: &mut Routes<'_>) {
    routes.add(at("/api/v1/openapi.json", Shape::Problem).open(Method::GET, get));
}

/// This document
#[utoipa::path(get, path = "/api/v1/openapi.json", operation_id = "get_openapi", tag = "server",
    params(("If-None-Match" = Option<String>, Header, description = "The ETag of the document that one has")),
    responses((status = 200, description = "An OpenAPI document", body = Object), (status = 304, description = "It is still the same")))]
async fn get(document: Data<Document>, request: HttpRequest) -> HttpResponse {
    let asked = document.clone();
    let ready = tokio::task::spawn_blocking(move || asked.written().map(drop)).await;
    let written = ready.map_err(Error::internal).and_then(|ready| ready).and_then(|()| document.written());
    let Written { json, etag } = match written {
        Ok(written) => written,
        Err(error) => return response(Shape::Problem, &error),
    };
    let is_same = request.headers().get(IF_NONE_MATCH).is_some_and(|given| given.as_bytes() == etag.as_bytes());
    let mut answer = if is_same { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    answer.insert_header((ETAG, etag.clone())).insert_header((CACHE_CONTROL, "no-cache"));
    if is_same { answer.finish() } else { answer.content_type(CONTENT_TYPE).body(json.clone()) }
}

/// The document: `described` as the handlers say it, completed by what holds for all `routes`.
pub fn document(described: Vec<OpenApi>, routes: &[Listed]) -> OpenApi {
    let mut document = described.into_iter().fold(Head::openapi(), OpenApi::merge_from);
    document.info.version = env!("CARGO_PKG_VERSION").to_owned();
    document.security = Some(credentials());
    for (path, item) in &mut document.paths.paths {
        let operations = [
            (Method::GET, &mut item.get),
            (Method::HEAD, &mut item.head),
            (Method::POST, &mut item.post),
            (Method::PUT, &mut item.put),
            (Method::PATCH, &mut item.patch),
            (Method::DELETE, &mut item.delete),
        ];
        for (method, operation) in operations {
            let route = routes.iter().find(|route| route.path == path && route.method == method.as_str());
            if let (Some(operation), Some(route)) = (operation, route) {
                if method == Method::HEAD {
                    headers_only(operation);
                }
                complete(operation, route);
            }
        }
    }
    let components = document.components.get_or_insert_default();
    name_errors(components);
    for (name, scheme) in schemes() {
        components.add_security_scheme(name, scheme);
    }
    finish::components(components);
    for item in document.paths.paths.values_mut() {
        for operation in [&mut item.get, &mut item.delete].into_iter().flatten() {
            finish::parameters(operation, components);
        }
    }
    document
}

/// What is said of GET, for HEAD.
fn headers_only(operation: &mut Operation) {
    operation.operation_id = operation.operation_id.take().map(|id| id.replacen("get", "head", 1));
    for response in operation.responses.responses.values_mut() {
        if let RefOr::T(response) = response {
            response.content.clear();
        }
    }
}

/// Adds what is answered before a handler is reached, and gives all errors their shape.
fn complete(operation: &mut Operation, route: &Listed) {
    let mut also = vec![421, 429, 500, 503];
    if route.access == "open" {
        operation.security = Some(Vec::new());
    } else {
        also.push(401);
    }
    if !matches!(route.access, "open" | "view") {
        also.push(403);
    }
    if matches!(route.access, "change" | "administer") {
        also.push(507);
    }
    if operation.request_body.is_some() {
        also.extend([400, 408, 413]);
    }
    if operation.parameters.iter().flatten().next().is_some() {
        also.push(400);
    }
    // A head that is too long is refused before anybody knows its path, and in this shape alone.
    if Shape::of(route.path) == Shape::Problem {
        also.push(431);
    }
    let responses = &mut operation.responses.responses;
    for status in also {
        responses.entry(status.to_string()).or_insert_with(|| RefOr::T(Response::default()));
    }
    let shape = shape_name(Shape::of(route.path));
    for (status, response) in responses {
        if let RefOr::T(response) = &mut *response
            && response.description.is_empty()
        {
            response.description = well(status).to_owned();
        }
        if status.starts_with(['4', '5']) {
            *response = RefOr::Ref(Ref::new(format!("#/components/responses/{shape}{status}")));
        }
    }
}

/// What goes well, where a handler has no words for it.
fn well(status: &str) -> &'static str {
    match status {
        "201" => "It was made",
        "202" => "It will be done",
        "204" => "It is done, and there is nothing to say",
        _ => "It is answered",
    }
}

fn shape_name(shape: Shape) -> &'static str {
    match shape {
        Shape::Problem => "Problem",
        // Programs are answered so on paths of pages.
        Shape::Experiments | Shape::Page => "Refusal",
        Shape::Test => "TestRefusal",
    }
}

/// Every way in which something goes wrong, in each of the shapes.
const ERRORS: [(u16, &str); 19] = [
    (400, "A parameter or the body is not what the call takes"),
    (401, "No credential, or a wrong one"),
    (403, "The one who asks may not"),
    (404, "Something that was named does not exist"),
    (408, "The body came too slowly"),
    (409, "It stands in a state that does not allow this, or the name is taken"),
    (412, "It has changed since the revision in If-Match"),
    (413, "The body is larger than a limit"),
    (415, "The bytes are no image that this server takes"),
    (416, "There is nothing in that range"),
    (421, "The server is not known by the name in the Host header"),
    (422, "The Idempotency-Key came with another request before"),
    (429, "Too many requests; Retry-After says when to try again"),
    (431, "The head is longer than 32 KiB"),
    (500, "A fault of the server's own, which its log tells about"),
    (502, "A url could not be fetched, or the test command failed"),
    (503, "The server is stopping or cannot write"),
    (504, "It took too long"),
    (507, "The disk has no room for more"),
];

fn name_errors(components: &mut Components) {
    let shapes = [
        (Shape::Problem, Problem::name(), Problem::schema(), "application/problem+json"),
        (Shape::Experiments, Refusal::name(), Refusal::schema(), CONTENT_TYPE),
        (Shape::Test, TestRefusal::name(), TestRefusal::schema(), CONTENT_TYPE),
    ];
    for (shape, name, schema, content_type) in shapes {
        components.schemas.insert(name.to_string(), schema);
        for (status, words) in ERRORS {
            let content = Content::new(Some(Ref::from_schema_name(name.as_ref())));
            let response = ResponseBuilder::new().description(words).content(content_type, content).build();
            components.responses.insert(format!("{}{status}", shape_name(shape)), RefOr::T(response));
        }
    }
}

fn schemes() -> [(&'static str, SecurityScheme); 3] {
    let http =
        |scheme, words: &str| SecurityScheme::Http(HttpBuilder::new().scheme(scheme).description(Some(words)).build());
    let cookie =
        ApiKeyValue::with_description("trainyard_session", "What POST /api/v1/session sets; for pages of this server");
    [
        ("bearer", http(HttpAuthScheme::Bearer, "A token, such as `trainyard token create` makes")),
        ("basic", http(HttpAuthScheme::Basic, "An account's name and password")),
        ("session", SecurityScheme::ApiKey(ApiKey::Cookie(cookie))),
    ]
}

/// Any of the credentials; none on a server without accounts.
fn credentials() -> Vec<SecurityRequirement> {
    let mut any: Vec<_> = schemes().into_iter().map(|(name, _)| SecurityRequirement::new(name, [""; 0])).collect();
    any.push(SecurityRequirement::default());
    any
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_words() {
        for code in crate::domain::error::Code::ALL {
            let status = super::super::error::status(code).as_u16();
            assert!(ERRORS.iter().any(|(known, _)| *known == status), "{status}");
        }
    }
}
