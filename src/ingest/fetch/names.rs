//! Host names to addresses, less those that must not be connected to.
//!
//! The HTTP client connects to what [`CheckedNames`] gives it and to nothing else, so the addresses
//! checked are the addresses used. The system's `getaddrinfo` is not asked: a static executable
//! has none that works without files beside it.

use std::fmt;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{CLOUDFLARE, GOOGLE, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::OnceCell;

use super::address::AddressRule;
use super::target::is_localhost;

/// Most addresses of one name that are tried.
const MAX_ADDRESSES: usize = 16;

/// Wait for one answer of a name server.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// Responses kept; names rarely repeat.
const CACHE_SIZE: u64 = 64;

/// Why a name gives no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameError {
    Unresolvable,
    /// It has addresses, but none that may be connected to.
    Forbidden,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unresolvable => "the name could not be resolved",
            Self::Forbidden => "the name resolves to forbidden addresses only",
        })
    }
}

impl std::error::Error for NameError {}

pub type Lookup<'a> = Pin<Box<dyn Future<Output = Result<Vec<IpAddr>, NameError>> + Send + 'a>>;

/// All addresses of a name.
pub trait NameLookup: Send + Sync {
    fn lookup(&self, name: String) -> Lookup<'_>;
}

/// Asks the name servers of `/etc/resolv.conf`, or public ones where there is no such file.
#[derive(Default)]
pub struct SystemNames {
    resolver: OnceCell<TokioResolver>,
}

impl NameLookup for SystemNames {
    fn lookup(&self, name: String) -> Lookup<'_> {
        Box::pin(async move {
            // By RFC 6761 no name server is asked for it.
            if is_localhost(&name) {
                return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
            }
            let resolver = self.resolver.get_or_try_init(|| async { system_resolver() });
            let resolver = resolver.await?;
            let found = resolver.lookup_ip(name).await;
            let found = found.map_err(|_| NameError::Unresolvable)?;
            Ok(found.iter().take(MAX_ADDRESSES).collect())
        })
    }
}

fn system_resolver() -> Result<TokioResolver, NameError> {
    let mut builder = TokioResolver::builder_tokio().unwrap_or_else(|_| {
        let mut config = ResolverConfig::udp_and_tcp(&CLOUDFLARE);
        for server in GOOGLE.udp_and_tcp() {
            config.add_name_server(server);
        }
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    });
    let options = builder.options_mut();
    options.timeout = ANSWER_TIMEOUT;
    options.cache_size = CACHE_SIZE;
    builder.build().map_err(|_| NameError::Unresolvable)
}

/// The resolver that the HTTP client is given.
pub struct CheckedNames {
    pub names: Arc<dyn NameLookup>,
    pub rule: AddressRule,
}

impl Resolve for CheckedNames {
    fn resolve(&self, name: Name) -> Resolving {
        let names = self.names.clone();
        let rule = self.rule.clone();
        let name = name.as_str().to_owned();
        Box::pin(async move {
            let all = names.lookup(name).await?;
            let permitted: Vec<SocketAddr> = all
                .iter()
                .filter(|address| rule.permits(**address))
                // The client puts the url's port in place of 0.
                .map(|address| SocketAddr::new(*address, 0))
                .collect();
            if permitted.is_empty() {
                let error = if all.is_empty() { NameError::Unresolvable } else { NameError::Forbidden };
                return Err(error.into());
            }
            Ok(Box::new(permitted.into_iter()) as Addrs)
        })
    }
}
