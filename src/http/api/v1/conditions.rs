//! Revisions on the wire: an answer carries one as its ETag, and a change may name it in If-Match.

use crate::domain::error::{Error, Result};
use crate::domain::stamp::Seen;
use crate::http::error::{Shape, response};
use actix_web::http::StatusCode;
use actix_web::http::header::{ETAG, IF_MATCH, LOCATION};
use actix_web::{HttpRequest, HttpResponse};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Serialize;

/// What a path or a query cannot bear as it is.
const ESCAPED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'&')
    .add(b'+')
    .add(b'/')
    .add(b'<')
    .add(b'=')
    .add(b'>')
    .add(b'?')
    .add(b'\\')
    .add(b'`')
    .add(b'{')
    .add(b'}');

/// A text as a part of a url.
pub(super) fn escaped(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

/// Reads `If-Match`.
///
/// # Errors
/// `invalid_parameter` where it holds no ETag of this API.
pub(super) fn if_match(request: &HttpRequest) -> Result<Seen> {
    let Some(given) = request.headers().get(IF_MATCH) else { return Ok(Seen(None)) };
    let refuse = || Error::parameter("If-Match must be the ETag or the revision of an earlier answer, or *");
    let text = given.to_str().map_err(|_| refuse())?.trim();
    if text == "*" {
        return Ok(Seen(None));
    }
    // The number that stands in a body as `revision` will do as well.
    let revision = |tag: &str| {
        let tag = tag.trim();
        tag.strip_prefix('"').map_or(Some(tag), |tag| tag.strip_suffix('"'))?.parse().ok()
    };
    let revisions: Option<Vec<u64>> = text.split(',').map(revision).collect();
    revisions.map(|revisions| Seen(Some(revisions))).ok_or_else(refuse)
}

/// An answer that shows a thing of some revision.
pub(super) fn answer<T: Serialize>(outcome: Result<(u64, T)>) -> HttpResponse {
    match outcome {
        Ok((revision, body)) => HttpResponse::Ok().insert_header(tag(revision)).json(body),
        Err(error) => response(Shape::Problem, &error),
    }
}

/// The revision as a header.
pub(super) fn tag(revision: u64) -> (actix_web::http::header::HeaderName, String) {
    (ETAG, format!("\"{revision}\""))
}

/// The answer to having made a thing that is found at `location` from now on.
pub(super) fn made<T: Serialize>(revision: u64, location: &str, body: T) -> HttpResponse {
    HttpResponse::build(StatusCode::CREATED)
        .insert_header(tag(revision))
        .insert_header((LOCATION, location.to_owned()))
        .json(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    #[test]
    fn if_match_is_a_list_of_revisions() {
        let read = |text: &str| if_match(&TestRequest::default().insert_header(("if-match", text)).to_http_request());
        assert_eq!(read("\"3\""), Ok(Seen(Some(vec![3]))));
        assert_eq!(read("\"3\", \"5\""), Ok(Seen(Some(vec![3, 5]))));
        assert_eq!(read("3"), Ok(Seen(Some(vec![3]))));
        assert_eq!(read("*"), Ok(Seen(None)));
        for bad in ["W/\"3\"", "\"x\"", "", "\"3\","] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
