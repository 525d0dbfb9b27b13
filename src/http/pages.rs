//! The seam to the pages: where they lie, and who shows a failure to people. The pages themselves are another room's.

use super::error::Failed;
use super::routes::Routes;
use actix_web::dev::ServiceResponse;
use actix_web::http::header::{ACCEPT, HeaderMap, VARY};
use actix_web::http::{StatusCode, header::HeaderValue};
use actix_web::web::Data;
use actix_web::{Either, HttpRequest, HttpResponse};

/// What the pages bring along.
#[derive(Clone, Copy)]
pub struct Pages {
    /// Adds their routes.
    pub configure: fn(&mut Routes<'_>),
    /// Shows a failure as a page, or leads to where one signs in.
    pub failed: fn(&HttpRequest, StatusCode, &Failed) -> HttpResponse,
}

/// The first parts of the paths that pages have.
const ROOTS: [&str; 10] =
    ["models", "samples", "runs", "sweeps", "compare", "queue", "settings", "docs", "sign-in", "sign-out"];

/// True for a path of a page, also of one that does not exist.
pub fn is_page(path: &str) -> bool {
    let Some(rest) = path.strip_prefix('/') else { return false };
    let first = rest.split('/').next().unwrap_or_default();
    rest.is_empty() || first == "assets" || ROOTS.contains(&first)
}

/// True where a person looks at the answer: browsers ask for `text/html` by name, programs do not.
pub fn wants_page(headers: &HeaderMap) -> bool {
    headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).is_some_and(|accept| accept.contains("text/html"))
}

/// Puts a page in the place of a failure that a person would see.
pub fn dress<B>(mut answer: ServiceResponse<B>) -> Either<ServiceResponse<B>, ServiceResponse> {
    let failed = answer.response_mut().extensions_mut().remove::<Failed>();
    let Some(failed) = failed.filter(|_| wants_page(answer.request().headers())) else { return Either::Left(answer) };
    let Some(pages) = answer.request().app_data::<Data<Pages>>().cloned() else { return Either::Left(answer) };
    let (request, plain) = answer.into_parts();
    let mut page = (pages.failed)(&request, plain.status(), &failed);
    page.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    Either::Right(ServiceResponse::new(request, page))
}
