//! What browsers do on behalf of pages that are not ours, and how it is kept from doing harm.
//!
//! A cookie, HTTP Basic, and a server without accounts are authority that a browser lends to any page: a change then
//! takes a proof that the page is ours. A server without accounts answers to this machine's own names alone, so that no
//! page can reach it under a name of its own (DNS rebinding). Knows requests; not accounts.

use super::error::{Shape, refusal};
use super::limits::ClientAddress;
use crate::service::Services;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN, REFERER, REFERRER_POLICY,
    STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Either, Error, HttpRequest};
use std::net::IpAddr;

/// Names and pages that are known to be good.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Names that this server is reached by, besides this machine's own; empty for any, once there are accounts.
    pub hosts: Vec<String>,
    /// Origins whose pages may ask, such as `https://tools.example.org`.
    pub origins: Vec<String>,
}

/// The control socket's connections carry this: whoever may open it owns the data folder.
#[derive(Debug, Clone, Copy)]
pub struct Control;

/// What a request tells of the page that it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// None: a program asks.
    None,
    /// One of ours, or one that is listed.
    Ours,
    /// None: a person typed the address, or opened a link outside of pages.
    Typed,
    /// Another.
    Foreign,
}

/// The page that a request comes from.
pub fn page_of(request: &HttpRequest) -> Page {
    let headers = request.headers();
    let known = request.app_data::<Data<Known>>();
    let text = |name: &HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let origin = text(&ORIGIN);
    if origin.is_some_and(|origin| known.is_some_and(|known| known.origins.iter().any(|listed| listed == origin))) {
        return Page::Ours;
    }
    match text(&HeaderName::from_static("sec-fetch-site")) {
        Some("same-origin") => return Page::Ours,
        Some("none") => return Page::Typed,
        Some(_) => return Page::Foreign,
        None => {}
    }
    // Browsers say no more than this to servers without TLS.
    match origin.or_else(|| text(&REFERER)) {
        None => Page::None,
        Some(from) if authority(from).is_some() && authority(from) == text(&HOST) => Page::Ours,
        Some(_) => Page::Foreign,
    }
}

/// `example.org:8080` of `http://example.org:8080/page`.
fn authority(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"))?;
    rest.split(['/', '?', '#']).next().filter(|authority| !authority.is_empty())
}

/// The host of a `Host` header, without its port.
fn host_name(header: &str) -> &str {
    match header.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => header.split(':').next().unwrap_or(header),
    }
}

fn is_this_machine(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    name.eq_ignore_ascii_case("localhost")
        || name.to_ascii_lowercase().ends_with(".localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

fn is_known_host(headers: &HeaderMap, known: &Known, is_open: bool) -> bool {
    // Every browser says which host it wants.
    let Some(host) = headers.get(HOST) else { return true };
    let Ok(host) = host.to_str() else { return false };
    let name = host_name(host);
    (known.hosts.is_empty() && !is_open)
        || is_this_machine(name)
        || known.hosts.iter().any(|listed| listed.eq_ignore_ascii_case(name))
}

/// Refuses requests for other hosts, and puts the headers on that keep browsers from doing too much with an answer.
///
/// # Errors
/// What the handler behind it says.
pub async fn guard(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let is_open = request.app_data::<Data<Services>>().is_some_and(|services| services.accounts().is_open());
    let is_known = match request.app_data::<Data<Known>>() {
        Some(known) => {
            request.conn_data::<Control>().is_some()
                // They tell nothing, and whoever watches over a server may know it by any name.
                || matches!(request.path(), "/healthz" | "/readyz")
                || is_known_host(request.headers(), known, is_open)
        }
        None => false,
    };
    let is_secure = ClientAddress::of(request.request()).secure;
    let mut answer = if is_known {
        match super::pages::dress(next.call(request).await?) {
            Either::Left(answer) => answer.map_into_left_body(),
            Either::Right(page) => page.map_into_right_body(),
        }
    } else {
        let shape = Shape::of(request.path());
        request.into_response(other_host(shape)).map_into_right_body()
    };
    put_headers(answer.headers_mut(), is_secure);
    Ok(answer)
}

fn other_host(shape: Shape) -> actix_web::HttpResponse {
    let message = "this server is not known by the name in the Host header; name it in the setting server.hosts";
    refusal(shape, StatusCode::MISDIRECTED_REQUEST, "misdirected", message)
}

const HEADERS: [(HeaderName, &str); 6] = [
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    // Without it a page of ours could not prove over plain HTTP that it is ours.
    (REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (CACHE_CONTROL, "no-store"),
];

fn put_headers(headers: &mut HeaderMap, is_secure: bool) {
    for (name, value) in &HEADERS {
        if !headers.contains_key(name) {
            headers.insert(name.clone(), HeaderValue::from_static(value));
        }
    }
    if is_secure {
        headers.insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn page(headers: &[(&str, &str)]) -> Page {
        let known = Known { hosts: vec![], origins: vec!["https://tools.example.org".to_owned()] };
        let mut request =
            TestRequest::default().app_data(Data::new(known)).insert_header(("host", "yard.example:8080"));
        for header in headers {
            request = request.insert_header(*header);
        }
        page_of(&request.to_http_request())
    }

    #[test]
    fn a_request_tells_its_page() {
        assert_eq!(page(&[]), Page::None);
        assert_eq!(page(&[("sec-fetch-site", "same-origin")]), Page::Ours);
        assert_eq!(page(&[("sec-fetch-site", "none")]), Page::Typed);
        for site in ["cross-site", "same-site", "", "nonsense"] {
            assert_eq!(page(&[("sec-fetch-site", site)]), Page::Foreign, "{site}");
        }
        assert_eq!(page(&[("sec-fetch-site", "cross-site"), ("origin", "https://tools.example.org")]), Page::Ours);
        assert_eq!(page(&[("origin", "http://yard.example:8080")]), Page::Ours);
        assert_eq!(page(&[("referer", "http://yard.example:8080/models?x=1")]), Page::Ours);
        for from in
            ["null", "http://yard.example", "http://evil.example", "http://yard.example:8080.evil.example/", "?", ""]
        {
            assert_eq!(page(&[("origin", from)]), Page::Foreign, "{from}");
            assert_eq!(page(&[("referer", from)]), Page::Foreign, "{from}");
        }
        assert_eq!(page(&[("origin", "null"), ("referer", "http://yard.example:8080/")]), Page::Foreign);
    }

    #[test]
    fn an_open_server_answers_to_this_machine_alone() {
        let known = Known { hosts: vec!["yard.example".to_owned()], origins: vec![] };
        let allows = |host: &str, known: &Known, is_open| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_str(host).unwrap());
            is_known_host(&headers, known, is_open)
        };
        for host in
            ["localhost", "LOCALHOST:1", "127.0.0.1:8080", "127.1.2.3", "[::1]:80", "a.localhost", "localhost.:1"]
        {
            assert!(allows(host, &Known::default(), true), "{host}");
            assert!(allows(host, &known, false), "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example", "10.0.0.1", "[::2]", "localhost.evil.example", ""] {
            assert!(!allows(host, &Known::default(), true), "{host}");
            assert!(!allows(host, &known, false), "{host}");
            assert!(allows(host, &Known::default(), false), "{host}");
        }
        assert!(allows("Yard.example:443", &known, true));
    }
}
