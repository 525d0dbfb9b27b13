//! An answer's body, piece by piece, counted and timed.

use std::time::Duration;

use bytes::Bytes;
use reqwest::{Response, header};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::{FetchError, FetchPolicy, target};

/// An answer whose head was good. Dropping it ends the connection.
#[derive(Debug)]
pub struct Fetched {
    /// From the url that was asked for, not from where its redirects led; may be empty.
    pub file_name: String,
    response: Response,
    url: String,
    received: u64,
    limit: u64,
    deadline: Instant,
    idle_timeout: Duration,
    _turn: OwnedSemaphorePermit,
}

impl Fetched {
    pub(super) fn begin(
        response: Response,
        url: &Url,
        file_name: String,
        policy: &FetchPolicy,
        deadline: Instant,
        turn: OwnedSemaphorePermit,
    ) -> Result<Self, FetchError> {
        let url = target::shown(url);
        let limit = policy.max_bytes;
        let status = response.status();
        if !status.is_success() {
            let status = status.as_u16();
            return Err(FetchError::BadStatus { url, status });
        }
        if response.content_length().is_some_and(|length| length > limit) {
            return Err(FetchError::TooLarge { url, limit });
        }
        let encoding = response.headers().get(header::CONTENT_ENCODING);
        if encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
            return Err(FetchError::Encoded { url });
        }
        let idle_timeout = policy.idle_timeout;
        Ok(Self { file_name, response, url, received: 0, limit, deadline, idle_timeout, _turn: turn })
    }

    /// The size that was announced, if one was. The body is held to it.
    pub fn declared_size(&self) -> Option<u64> {
        self.response.content_length()
    }

    /// The next piece; `None` at the end. After an error nothing more can be read.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, FetchError> {
        let until = self.deadline.min(Instant::now() + self.idle_timeout);
        let url = || self.url.clone();
        let chunk = match timeout_at(until, self.response.chunk()).await {
            Err(_) => {
                let what = "its content did not arrive in time";
                return Err(FetchError::TimedOut { url: url(), what });
            }
            Ok(Err(error)) => return Err(FetchError::from_body(url(), error)),
            Ok(Ok(None)) => return Ok(None),
            Ok(Ok(Some(chunk))) => chunk,
        };
        self.received = self.received.saturating_add(chunk.len() as u64);
        if self.received > self.limit {
            let limit = self.limit;
            return Err(FetchError::TooLarge { url: url(), limit });
        }
        Ok(Some(chunk))
    }
}
