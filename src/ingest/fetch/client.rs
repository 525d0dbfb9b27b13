//! The HTTP client, stripped of everything that acts on its own: redirects, proxies from
//! the environment, cookies, decompression, retries, kept connections, the system's certificates.

use std::sync::Arc;

use reqwest::header::{ACCEPT, ACCEPT_ENCODING, HeaderMap, HeaderValue};
use reqwest::{Client, redirect, retry};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};

use super::address::AddressRule;
use super::names::{CheckedNames, NameLookup};
use super::{FetchError, FetchPolicy};

const USER_AGENT: &str = concat!("trainyard/", env!("CARGO_PKG_VERSION"));

pub fn build(policy: &FetchPolicy, names: Arc<dyn NameLookup>, rule: AddressRule) -> Result<Client, FetchError> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("image/*, */*;q=0.5"));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let client = Client::builder()
        .tls_backend_preconfigured(tls()?)
        .dns_resolver(Arc::new(CheckedNames { names, rule }))
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .no_proxy()
        .referer(false)
        .user_agent(USER_AGENT)
        .default_headers(headers)
        .connect_timeout(policy.connect_timeout)
        .pool_max_idle_per_host(0)
        .build();
    client.map_err(unavailable)
}

/// TLS that trusts Mozilla's roots, which are embedded: an empty chroot has no certificates.
///
/// # Errors
/// None in practice: the embedded provider has safe protocol versions.
pub fn tls() -> Result<ClientConfig, FetchError> {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unavailable)?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> FetchError {
    FetchError::ClientUnavailable { source: Box::new(error) }
}
