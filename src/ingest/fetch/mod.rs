//! Images fetched from urls that users name, without becoming a door into our own network.
//!
//! Every url, the first as well as each redirect's, is checked before anything is sent: http or
//! https, no credentials, and a public address. Names are resolved by a resolver that drops
//! forbidden addresses and hands the rest to the very connection that is made, so a name
//! cannot resolve to one address for the check and to another for the connection.
//!
//! The body streams: it is never held whole, is counted against a limit, and each wait for it ends.
//! The HTTP client costs some MiB and is made at the first fetch. This module must not know what is
//! fetched (see `ingest::container`) or who asked for it.

mod address;
mod body;
mod client;
mod error;
mod names;
mod target;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Response, header};
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use url::Url;

use address::AddressRule;
pub use address::is_public;
pub use body::Fetched;
pub use client::tls;
pub use error::{FetchError, FetchFault};
pub use names::{NameLookup, SystemNames};

/// What may be fetched, and how much and how long.
#[derive(Debug, Clone)]
pub struct FetchPolicy {
    /// Whether urls may lead to private, loopback and other reserved addresses.
    pub allow_private_addresses: bool,
    pub max_bytes: u64,
    /// For the name, the connection and the TLS handshake of one hop.
    pub connect_timeout: Duration,
    /// For each wait: for the answer's head, and for each piece of its body.
    pub idle_timeout: Duration,
    /// For everything, redirects and body included.
    pub total_timeout: Duration,
    pub max_redirects: usize,
    /// Urls that are fetched at once; others wait for their turn within their own time.
    pub at_once: usize,
}

impl Default for FetchPolicy {
    fn default() -> Self {
        Self {
            allow_private_addresses: false,
            max_bytes: 32 << 20,
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(15),
            total_timeout: Duration::from_secs(60),
            max_redirects: 5,
            at_once: 16,
        }
    }
}

/// Fetches urls under one policy. Make one and share it.
pub struct Fetcher {
    policy: FetchPolicy,
    rule: AddressRule,
    names: Arc<dyn NameLookup>,
    client: OnceCell<Client>,
    turns: Arc<Semaphore>,
}

impl Fetcher {
    pub fn new(policy: FetchPolicy) -> Self {
        let rule = if policy.allow_private_addresses { AddressRule::any() } else { AddressRule::public_only() };
        Self::with_parts(policy, rule, Arc::new(SystemNames::default()))
    }

    /// With another rule or other names, for tests of what must be refused.
    fn with_parts(policy: FetchPolicy, rule: AddressRule, names: Arc<dyn NameLookup>) -> Self {
        let turns = Arc::new(Semaphore::new(policy.at_once));
        Self { policy, rule, names, client: OnceCell::new(), turns }
    }

    /// Asks for `url` and follows its redirects up to the head of the answer.
    pub async fn fetch(&self, url: &str) -> Result<Fetched, FetchError> {
        let deadline = Instant::now() + self.policy.total_timeout;
        let mut url = target::parse(url)?;
        let file_name = target::file_name(&url);
        // What is refused anyway need not wait.
        target::check(&url, &self.rule)?;
        let turn = self.turn(&url, deadline).await?;
        for _ in 0..=self.policy.max_redirects {
            target::check(&url, &self.rule)?;
            let response = self.request(&url, deadline).await?;
            match redirect(&url, &response)? {
                Some(next) => url = next,
                None => return Fetched::begin(response, &url, file_name, &self.policy, deadline, turn),
            }
        }
        Err(FetchError::TooManyRedirects { url: target::shown(&url), limit: self.policy.max_redirects })
    }

    async fn turn(&self, url: &Url, deadline: Instant) -> Result<OwnedSemaphorePermit, FetchError> {
        let turn = timeout_at(deadline, Arc::clone(&self.turns).acquire_owned()).await;
        let what = "too many others are fetched at the moment";
        // The semaphore is never closed.
        turn.ok().and_then(Result::ok).ok_or_else(|| FetchError::TimedOut { url: target::shown(url), what })
    }

    /// Posts a JSON `body` under the same rules, with these headers. Redirects are not followed, and of the answer nothing
    /// but its status is read, which has to be a success.
    ///
    /// # Errors
    /// As [`fetch`](Self::fetch).
    pub async fn post(&self, url: &str, headers: &[(&'static str, String)], body: String) -> Result<(), FetchError> {
        let url = target::parse(url)?;
        target::check(&url, &self.rule)?;
        let mut request = self.client().await?.post(url.clone()).header(header::ACCEPT, "*/*");
        request = request.header(header::CONTENT_TYPE, "application/json").body(body);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let patience = self.policy.connect_timeout + self.policy.idle_timeout;
        match timeout_at(Instant::now() + patience, request.send()).await {
            Ok(Ok(answer)) if answer.status().is_success() => Ok(()),
            Ok(Ok(answer)) => Err(FetchError::BadStatus { url: target::shown(&url), status: answer.status().as_u16() }),
            Ok(Err(error)) => Err(FetchError::from_request(target::shown(&url), error)),
            Err(_) => Err(FetchError::TimedOut { url: target::shown(&url), what: "it did not answer" }),
        }
    }

    /// Checks a url that is to be used later; where its name leads is checked then.
    ///
    /// # Errors
    /// [`FetchError`] saying what is wrong with it.
    pub fn check(&self, url: &str) -> Result<(), FetchError> {
        target::check(&target::parse(url)?, &self.rule)
    }

    async fn client(&self) -> Result<&Client, FetchError> {
        self.client
            .get_or_try_init(|| async { client::build(&self.policy, self.names.clone(), self.rule.clone()) })
            .await
    }

    async fn request(&self, url: &Url, deadline: Instant) -> Result<Response, FetchError> {
        let shown = target::shown(url);
        let client = self.client().await?;
        // The connection has its own limit; this one is for a server that accepts and then
        // says nothing.
        let patience = self.policy.connect_timeout + self.policy.idle_timeout;
        let until = deadline.min(Instant::now() + patience);
        match timeout_at(until, client.get(url.clone()).send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(FetchError::from_request(shown, error)),
            Err(_) => Err(FetchError::TimedOut { url: shown, what: "it did not answer" }),
        }
    }
}

/// Where the answer sends us, if it does.
fn redirect(url: &Url, response: &Response) -> Result<Option<Url>, FetchError> {
    let location = response.headers().get(header::LOCATION);
    let (301 | 302 | 303 | 307 | 308, Some(location)) = (response.status().as_u16(), location) else {
        return Ok(None);
    };
    let next = location.to_str().ok().and_then(|next| url.join(next).ok());
    match next {
        Some(next) if next.as_str().len() <= target::MAX_URL => Ok(Some(next)),
        _ => Err(FetchError::BadRedirect { url: target::shown(url) }),
    }
}
