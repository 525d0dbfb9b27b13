//! What strangers can take of the server: connections, requests, bytes, time, memory. Each has a bound.
//!
//! - `connections` admits connections, closes idle ones for newcomers, and ends what takes too long;
//! - `stream` is the socket as actix gets it: it reads no further ahead than it must;
//! - `body` gives the bodies of requests a pace and a place;
//! - `rate` bounds the requests of a credential and of an address;
//! - `client` says who is behind a proxy.
//!
//! Knows sockets, headers and clocks; not what a request is about.

mod address;
pub mod body;
pub mod client;
pub mod connection;
pub mod connections;
pub mod rate;
pub mod stream;

pub use client::{ClientAddress, Proxies};
pub use connections::Connections;

use ipnet::IpNet;

/// The bounds that can be set.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Connections at once.
    pub connections: usize,
    /// Connections of one address at once.
    pub connections_per_address: usize,
    /// Requests a second of one credential or address; 0 is any number.
    pub requests_per_second: u32,
    /// Requests that may come at once before that counts.
    pub burst: u32,
    /// Whether connections from this very machine are exempt from the bounds of an address.
    pub exempt_loopback: bool,
    /// Whose word on a client's address is taken.
    pub trusted_proxies: Vec<IpNet>,
    /// Which header carries it.
    pub forwarded_header: client::ForwardedHeader,
}
