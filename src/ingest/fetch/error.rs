//! Why a url could not be fetched, in words for the user who named it.
//!
//! Urls appear without credentials, query and fragment: signed links carry their secret
//! there. The transport's own words stay in the error's source, for the log. Nothing here
//! tells which address a name resolved to, as that would map the network behind us.

use std::error::Error;

use thiserror::Error as ThisError;

use super::names::NameError;

/// Whose fault a failed fetch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchFault {
    /// The url itself: another one has to be given.
    Request,
    /// What it leads to is larger than allowed.
    TooLarge,
    /// The other server, or the way to it.
    Remote,
    /// This server cannot fetch at all.
    Local,
}

/// Why nothing, or not everything, was fetched.
#[derive(Debug, ThisError)]
pub enum FetchError {
    #[error("{url} is not a url that can be fetched ({reason}); give one that begins with http:// or https://")]
    BadUrl { url: String, reason: String },
    #[error("{url} has the scheme {scheme}; only http and https urls are fetched")]
    ForbiddenScheme { url: String, scheme: String },
    #[error("{url} holds a user name or password; give a url without them")]
    Credentials { url: String },
    #[error(
        "{url} leads to a private or reserved address; give a public url, or upload the image \
         (the operator can set [fetch] allow_private_addresses)"
    )]
    ForbiddenAddress { url: String },
    #[error("the host name of {url} could not be resolved; check its spelling")]
    Unresolvable { url: String },
    #[error("{url} could not be reached; check that it works in a browser, or upload the image")]
    Unreachable {
        url: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("{url} took too long: {what}; try again later, or upload the image")]
    TimedOut { url: String, what: &'static str },
    #[error("{url} answered with status {status}; check that the image is there for everybody")]
    BadStatus { url: String, status: u16 },
    #[error("{url} redirects to something that is no url; give the url of the image itself")]
    BadRedirect { url: String },
    #[error("{url} was reached after more than {limit} redirects; give the url of the image itself")]
    TooManyRedirects { url: String, limit: usize },
    #[error("{url} is larger than the {limit} bytes allowed; give a smaller image")]
    TooLarge { url: String, limit: u64 },
    #[error("{url} was sent in a compressed form that was not asked for; upload the image instead")]
    Encoded { url: String },
    #[error("{url} broke off before its end; try again, or upload the image")]
    BrokenOff {
        url: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("urls cannot be fetched by this server now; upload the image instead")]
    ClientUnavailable {
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

impl FetchError {
    pub fn fault(&self) -> FetchFault {
        match self {
            Self::BadUrl { .. }
            | Self::ForbiddenScheme { .. }
            | Self::Credentials { .. }
            | Self::ForbiddenAddress { .. } => FetchFault::Request,
            Self::TooLarge { .. } => FetchFault::TooLarge,
            Self::Unresolvable { .. }
            | Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::BadStatus { .. }
            | Self::BadRedirect { .. }
            | Self::TooManyRedirects { .. }
            | Self::Encoded { .. }
            | Self::BrokenOff { .. } => FetchFault::Remote,
            Self::ClientUnavailable { .. } => FetchFault::Local,
        }
    }

    /// Whether the request has to change: a bad url, scheme or address. Too large is apart.
    pub fn is_client_fault(&self) -> bool {
        self.fault() == FetchFault::Request
    }

    /// Sorts a failure on the way to an answer's head.
    pub(super) fn from_request(url: String, error: reqwest::Error) -> Self {
        if let Some(name) = name_error(&error) {
            return match name {
                NameError::Forbidden => Self::ForbiddenAddress { url },
                NameError::Unresolvable => Self::Unresolvable { url },
            };
        }
        if error.is_timeout() {
            let what = "it could not be connected to";
            return Self::TimedOut { url, what };
        }
        Self::Unreachable { url, source: error.without_url() }
    }

    /// Sorts a failure within the body.
    pub(super) fn from_body(url: String, error: reqwest::Error) -> Self {
        Self::BrokenOff { url, source: error.without_url() }
    }
}

/// Our own resolver's refusal, under the layers that the client puts around it.
fn name_error(error: &reqwest::Error) -> Option<NameError> {
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    while let Some(inner) = cause {
        if let Some(name) = inner.downcast_ref::<NameError>() {
            return Some(*name);
        }
        cause = inner.source();
    }
    None
}
