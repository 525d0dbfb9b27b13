//! Who a request comes from, also where proxies that are trusted stand in between.
//!
//! A proxy appends the address that it sees to a list. Read from its end, everything that trusted proxies wrote is true;
//! the first address that is no trusted proxy is the client, and what stands before it is the client's own invention.
//! Only the one header that the settings name is read: a proxy passes on whatever a client writes into the other.

use super::connection::Connection;
use actix_web::dev::Payload;
use actix_web::http::header::{FORWARDED, HeaderMap, HeaderName};
use actix_web::web::Data;
use actix_web::{FromRequest, HttpRequest};
use ipnet::IpNet;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// The most entries of a list that are looked at.
const MOST_HOPS: usize = 32;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The header in which the trusted proxies say whom they speak for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`, with `X-Forwarded-Proto`.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress {
    /// The client's, or that of the last proxy that can be believed.
    pub address: IpAddr,
    /// Whether the client's own connection is TLS.
    pub secure: bool,
}

impl ClientAddress {
    /// Whom `request` comes from.
    pub fn of(request: &HttpRequest) -> Self {
        let connection = request.conn_data::<Arc<Connection>>();
        let peer = match connection {
            Some(connection) => Self { address: connection.peer(), secure: connection.is_secure() },
            // Only requests that were made up have no connection.
            None => {
                let address = request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
                Self { address: address.to_canonical(), secure: false }
            }
        };
        match request.app_data::<Data<Proxies>>() {
            Some(proxies) => proxies.client(peer, request.headers()),
            None => peer,
        }
    }
}

impl FromRequest for ClientAddress {
    type Error = Infallible;
    type Future = Ready<Result<Self, Infallible>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self::of(request)))
    }
}

/// Whether a proxy passed the request on, known here or not: it comes from further away than its connection does.
pub fn is_forwarded(headers: &HeaderMap) -> bool {
    headers.contains_key(X_FORWARDED_FOR) || headers.contains_key(FORWARDED)
}

/// The proxies whose word is taken.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    networks: Vec<IpNet>,
    header: ForwardedHeader,
}

/// What one proxy says of the connection that it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Hop {
    /// Whose it was; `None` where that is hidden or unreadable.
    address: Option<IpAddr>,
    /// Whether it was TLS, where that is said.
    secure: Option<bool>,
}

impl Proxies {
    /// Trusts these.
    pub fn new(networks: Vec<IpNet>, header: ForwardedHeader) -> Self {
        Self { networks, header }
    }

    /// Whether this is one of them.
    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// Whom the other end of a connection speaks for.
    pub fn client(&self, peer: ClientAddress, headers: &HeaderMap) -> ClientAddress {
        let mut client = peer;
        if self.networks.is_empty() || !self.trusts(peer.address) {
            return client;
        }
        let hops = match self.header {
            ForwardedHeader::XForwardedFor => x_forwarded(headers),
            ForwardedHeader::Forwarded => forwarded(headers),
        };
        for hop in hops.into_iter().rev() {
            if let Some(secure) = hop.secure {
                client.secure = secure;
            }
            let Some(address) = hop.address else { break };
            client.address = address.to_canonical();
            if !self.trusts(address) {
                break;
            }
        }
        client
    }
}

/// The elements of a list header, in order, the last ones where there are too many.
fn elements<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Vec<&'a str> {
    let all = headers.get_all(name).filter_map(|value| value.to_str().ok());
    // Quotes are not looked at: one that a client opens would swallow what a proxy appends, and no address holds a comma.
    let mut elements: Vec<&str> = all.flat_map(|value| value.split(',')).map(str::trim).collect();
    elements.drain(..elements.len().saturating_sub(MOST_HOPS));
    elements
}

fn x_forwarded(headers: &HeaderMap) -> Vec<Hop> {
    let addresses = elements(headers, &X_FORWARDED_FOR);
    let schemes = elements(headers, &X_FORWARDED_PROTO);
    let from_end = addresses.len();
    let hops = addresses.iter().enumerate().map(|(index, address)| {
        // Proxies that replace the scheme leave one for the whole way; those that append, one a hop.
        let back = (from_end - 1 - index).min(schemes.len().saturating_sub(1));
        let scheme = schemes.len().checked_sub(1 + back).and_then(|at| schemes.get(at));
        Hop { address: node(address), secure: scheme.map(|scheme| scheme.eq_ignore_ascii_case("https")) }
    });
    hops.collect()
}

fn forwarded(headers: &HeaderMap) -> Vec<Hop> {
    let hops = elements(headers, &FORWARDED).into_iter().map(|element| {
        let mut hop = Hop { address: None, secure: None };
        for pair in element.split(';') {
            let Some((key, value)) = pair.split_once('=') else { continue };
            let value = value.trim().trim_matches('"');
            match key.trim().to_ascii_lowercase().as_str() {
                "for" => hop.address = node(value),
                "proto" => hop.secure = Some(value.eq_ignore_ascii_case("https")),
                _ => {}
            }
        }
        hop
    });
    hops.collect()
}

/// An address, with or without its port.
fn node(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('"');
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
        return address.parse().ok().filter(|_| is_port);
    }
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let (address, port) = text.split_once(':')?;
    port.parse::<u16>().ok()?;
    address.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderValue;
    use proptest::prelude::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn client(header: ForwardedHeader, peer: &str, pairs: &[(&'static str, &str)]) -> (String, bool) {
        let trusted = ["10.0.0.0/8", "127.0.0.1/32", "fd00::/8"];
        let proxies = Proxies::new(trusted.map(|network| network.parse().unwrap()).to_vec(), header);
        let peer = ClientAddress { address: ip(peer), secure: false };
        let client = proxies.client(peer, &headers(pairs));
        (client.address.to_string(), client.secure)
    }

    fn x(peer: &str, pairs: &[(&'static str, &str)]) -> (String, bool) {
        client(ForwardedHeader::XForwardedFor, peer, pairs)
    }

    fn rfc(peer: &str, value: &str) -> (String, bool) {
        client(ForwardedHeader::Forwarded, peer, &[("forwarded", value)])
    }

    fn is(address: &str, secure: bool) -> (String, bool) {
        (address.to_owned(), secure)
    }

    #[test]
    fn strangers_are_not_believed() {
        let pairs = [("x-forwarded-for", "1.2.3.4"), ("x-forwarded-proto", "https"), ("forwarded", "for=1.2.3.4")];
        assert_eq!(x("8.8.8.8", &pairs), is("8.8.8.8", false));
        assert_eq!(client(ForwardedHeader::Forwarded, "8.8.8.8", &pairs), is("8.8.8.8", false));
        let nobody = Proxies::default();
        let peer = ClientAddress { address: ip("127.0.0.1"), secure: true };
        assert_eq!(nobody.client(peer, &headers(&pairs)), peer);
    }

    #[test]
    fn the_last_address_that_is_no_proxy_is_the_client() {
        let list = |value| x("10.0.0.1", &[("x-forwarded-for", value)]);
        assert_eq!(list("1.2.3.4"), is("1.2.3.4", false));
        // What stands before it is the client's invention.
        assert_eq!(list("127.0.0.1, 9.9.9.9, 1.2.3.4"), is("1.2.3.4", false));
        assert_eq!(list("1.2.3.4, 10.1.1.1"), is("1.2.3.4", false));
        assert_eq!(list("1.2.3.4:5678"), is("1.2.3.4", false));
        assert_eq!(list("[2001:db8::1]:5678, ::ffff:10.0.0.9"), is("2001:db8::1", false));
        assert_eq!(list("2001:db8::1"), is("2001:db8::1", false));
        // A client inside the trusted networks is as far as it goes.
        assert_eq!(list("10.2.2.2, 10.1.1.1"), is("10.2.2.2", false));
        assert_eq!(x("10.0.0.1", &[]), is("10.0.0.1", false));
        // Header lines are one list.
        let lines = [("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "1.2.3.4, 10.1.1.1")];
        assert_eq!(x("10.0.0.1", &lines), is("1.2.3.4", false));
    }

    #[test]
    fn what_cannot_be_read_ends_the_search() {
        for value in ["unknown", "", ",", "_hidden", "1.2.3", "1.2.3.4:x", "[::1", "[::1]x", "1.2.3.4, nonsense"] {
            assert_eq!(x("10.0.0.1", &[("x-forwarded-for", value)]), is("10.0.0.1", false), "{value:?}");
        }
        assert_eq!(x("10.0.0.1", &[("x-forwarded-for", "1.2.3.4, nonsense, 10.1.1.1")]), is("10.1.1.1", false));
        assert_eq!(rfc("10.0.0.1", "for=unknown;proto=https"), is("10.0.0.1", true));
    }

    #[test]
    fn the_scheme_is_that_of_the_clients_own_connection() {
        let with = |list, scheme| x("10.0.0.1", &[("x-forwarded-for", list), ("x-forwarded-proto", scheme)]).1;
        assert!(with("1.2.3.4", "https"));
        assert!(!with("1.2.3.4", "http"));
        // Replaced on the way.
        assert!(with("1.2.3.4, 10.1.1.1", "https"));
        // Appended on the way; the first is the client's invention.
        assert!(with("1.2.3.4, 10.1.1.1", "https, http"));
        assert!(!with("1.2.3.4", "https, http"));
        assert!(!with("6.6.6.6, 1.2.3.4, 10.1.1.1", "https, http, https"));
    }

    #[test]
    fn the_standard_header_is_read_where_it_is_named() {
        assert_eq!(rfc("10.0.0.1", "for=1.2.3.4;proto=https;by=10.0.0.1"), is("1.2.3.4", true));
        assert_eq!(rfc("10.0.0.1", "For=\"[2001:db8::1]:99\" ; Proto=HTTPS"), is("2001:db8::1", true));
        assert_eq!(
            rfc("10.0.0.1", "for=9.9.9.9, for=1.2.3.4;proto=http, for=10.1.1.1;proto=https"),
            is("1.2.3.4", false)
        );
        // A quote that the client leaves open does not swallow what the proxy appends.
        assert_eq!(rfc("10.0.0.1", "for=9.9.9.9;x=\", for=\"[2001:db8::1]:47\""), is("2001:db8::1", false));
        // The other one is what a client may have written.
        assert_eq!(
            client(
                ForwardedHeader::Forwarded,
                "10.0.0.1",
                &[("x-forwarded-for", "6.6.6.6"), ("forwarded", "for=1.2.3.4")]
            ),
            is("1.2.3.4", false)
        );
        assert_eq!(x("10.0.0.1", &[("forwarded", "for=6.6.6.6")]), is("10.0.0.1", false));
    }

    proptest! {
        #[test]
        fn any_header_has_an_answer(list in "[ -~]{0,200}", scheme in "[ -~]{0,40}") {
            for header in [ForwardedHeader::XForwardedFor, ForwardedHeader::Forwarded] {
                client(header, "10.0.0.1", &[("x-forwarded-for", &list), ("x-forwarded-proto", &scheme), ("forwarded", &list)]);
            }
        }

        #[test]
        fn what_a_client_writes_before_its_own_address_changes_nothing(invention in "[ -~]{0,100}") {
            let list = format!("{invention}, 1.2.3.4");
            prop_assert_eq!(x("10.0.0.1", &[("x-forwarded-for", &list)]).0, "1.2.3.4");
            prop_assert_eq!(rfc("10.0.0.1", &format!("{invention}, for=1.2.3.4")).0, "1.2.3.4");
        }
    }
}
