//! What went wrong, as a value: a closed code, a message for the person who asked, a cause for the log.
//!
//! Knows nothing of HTTP: `http/error.rs` alone turns a code into a status.

use std::fmt;

/// Every way in which a use case can fail. The texts are stable: clients match on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// A parameter is missing or is not what the call takes.
    InvalidParameter,
    /// The body is no well-formed request.
    InvalidBody,
    /// Nobody is known to ask: a credential is missing or wrong.
    Unauthenticated,
    /// The one who asks may not.
    Forbidden,
    /// Something that was named does not exist.
    NotFound,
    /// The name is taken.
    AlreadyExists,
    /// There are no results yet to answer from.
    NoResults,
    /// There are no images to train on.
    NoImages,
    /// The thing is in a state that does not allow the call.
    Conflict,
    /// The thing has changed since the client saw it.
    Stale,
    /// The key of an earlier request came with another one.
    KeyReused,
    /// The upload is larger than a limit.
    TooLarge,
    /// The bytes are no image that this server takes.
    NotAnImage,
    /// A url could not be fetched.
    FetchFailed,
    /// The client was too slow in sending its body.
    RequestTimeout,
    /// Too much at once.
    TooMany,
    /// The configured test command failed to answer.
    PredictionFailed,
    /// The server is stopping or cannot write.
    Unavailable,
    /// The disk has no room for more.
    DiskFull,
    /// A fault of the server's own.
    Internal,
}

impl Code {
    /// All codes, for documentation and tests.
    pub const ALL: [Self; 20] = [
        Self::InvalidParameter,
        Self::InvalidBody,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::AlreadyExists,
        Self::NoResults,
        Self::NoImages,
        Self::Conflict,
        Self::Stale,
        Self::KeyReused,
        Self::TooLarge,
        Self::NotAnImage,
        Self::FetchFailed,
        Self::RequestTimeout,
        Self::TooMany,
        Self::PredictionFailed,
        Self::Unavailable,
        Self::DiskFull,
        Self::Internal,
    ];

    /// The stable name of the code, as the API prints it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidParameter => "invalid_parameter",
            Self::InvalidBody => "invalid_body",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::AlreadyExists => "already_exists",
            Self::NoResults => "no_results",
            Self::NoImages => "no_images",
            Self::Conflict => "conflict",
            Self::Stale => "stale",
            Self::KeyReused => "key_reused",
            Self::TooLarge => "too_large",
            Self::NotAnImage => "not_an_image",
            Self::FetchFailed => "fetch_failed",
            Self::RequestTimeout => "request_timeout",
            Self::TooMany => "too_many",
            Self::PredictionFailed => "prediction_failed",
            Self::Unavailable => "unavailable",
            Self::DiskFull => "disk_full",
            Self::Internal => "internal",
        }
    }
}

/// A failure with what to tell the client and what to tell the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// What kind of failure.
    pub code: Code,
    /// What is wrong and what to do, for the client.
    pub message: String,
    /// The root cause, for the log only.
    pub cause: Option<String>,
    /// After how many seconds it makes sense to try again, where that is known.
    pub retry_after: Option<u64>,
}

/// The result of a use case.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A failure whose message says it all.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), cause: None, retry_after: None }
    }

    /// A failure of the server's own: the client learns that it happened, the log learns why.
    pub fn internal(cause: impl fmt::Display) -> Self {
        Self {
            code: Code::Internal,
            message: "the server failed to do this; its log says why".to_owned(),
            cause: Some(cause.to_string()),
            retry_after: None,
        }
    }

    /// A file that the disk did not take, because it is full or because it failed.
    pub fn disk(what: impl fmt::Display, cause: &std::io::Error) -> Self {
        let (code, advice) = match cause.kind() {
            std::io::ErrorKind::StorageFull => (Code::DiskFull, "the disk is full; make room on it"),
            _ => (Code::Unavailable, "the disk failed; try again, and see the server's log for the cause"),
        };
        Self::new(code, format!("{what}: {advice}")).because(cause)
    }

    /// Nobody is known to ask.
    pub fn unauthenticated(message: impl Into<String>) -> Self {
        Self::new(Code::Unauthenticated, message)
    }

    /// The same failure with its root cause.
    #[must_use]
    pub fn because(mut self, cause: impl fmt::Display) -> Self {
        self.cause = Some(cause.to_string());
        self
    }

    /// A parameter that is missing or malformed.
    pub fn parameter(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidParameter, message)
    }

    /// Something named that is not there; the message begins with the source document's words.
    pub fn not_found(what: impl fmt::Display) -> Self {
        Self::new(Code::NotFound, format!("no model or experiment or dataset exists: {what}"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(cause) = &self.cause {
            write!(f, " ({cause})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_full_disk_is_told_from_one_that_failed() {
        let of = |kind: std::io::ErrorKind| Error::disk("the image could not be written", &kind.into());
        assert_eq!(of(std::io::ErrorKind::StorageFull).code, Code::DiskFull);
        let failed = of(std::io::ErrorKind::Other);
        assert_eq!(failed.code, Code::Unavailable);
        assert!(failed.cause.is_some() && failed.message.starts_with("the image could not be written: "));
    }

    #[test]
    fn every_code_has_a_name_of_its_own() {
        let names: HashSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(names.len(), Code::ALL.len());
    }
}
