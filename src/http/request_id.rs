//! The id of the request in hand: in its answer, in its errors and in every line that it logs.
//!
//! It is a task-local, set while a request's own future is polled, so whoever logs or answers need not be handed it, and a
//! request that logs nothing pays nothing.

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use std::cell::Cell;
use std::fmt;
use std::hash::{BuildHasher, RandomState};

/// The header that carries it, both ways.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id that is taken from a client.
const LONGEST: usize = 64;

tokio::task_local! {
    /// The id of the request whose future is polled.
    pub static CURRENT: RequestId;
}

/// The id of a request: a client's own, or one that was made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RequestId {
    bytes: [u8; LONGEST],
    length: u8,
}

impl RequestId {
    /// The one that a client gave, where it is harmless in a log.
    fn given(headers: &HeaderMap) -> Option<Self> {
        let given = headers.get(X_REQUEST_ID)?.as_bytes();
        let harmless = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:=+/".contains(byte);
        if given.is_empty() || given.len() > LONGEST || !given.iter().all(harmless) {
            return None;
        }
        Some(Self::of(given))
    }

    /// The first bytes of a text, which is ASCII.
    fn of(text: &[u8]) -> Self {
        let mut bytes = [0; LONGEST];
        let length = text.len().min(LONGEST);
        bytes[..length].copy_from_slice(&text[..length]);
        Self { bytes, length: u8::try_from(length).unwrap_or(0) }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.length)]).unwrap_or_default()
    }

    /// The id as a header's value.
    pub fn header(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(self.as_str()).ok()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// The id of the request in hand, where there is one.
pub fn current() -> Option<RequestId> {
    CURRENT.try_with(|id| *id).ok()
}

/// Makes ids: 16 hexadecimal digits that look drawn by lot, and never the same twice from one of these.
#[derive(Debug)]
pub struct Ids {
    next: Cell<u64>,
}

impl Default for Ids {
    fn default() -> Self {
        Self { next: Cell::new(RandomState::new().hash_one("request ids")) }
    }
}

impl Ids {
    /// The id of a request.
    pub fn of(&self, headers: &HeaderMap) -> RequestId {
        RequestId::given(headers).unwrap_or_else(|| self.make())
    }

    fn make(&self) -> RequestId {
        let number = self.next.get();
        self.next.set(number.wrapping_add(1));
        let mut digits = [0; 16];
        for (place, digit) in digits.iter_mut().enumerate() {
            *digit = b"0123456789abcdef"[(mixed(number) >> (60 - 4 * place)) as usize & 15];
        }
        RequestId::of(&digits)
    }
}

/// A number in which every bit hangs on every bit of `number`; different ones for different numbers (splitmix64).
fn mixed(number: u64) -> u64 {
    let mut x = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn id(given: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(X_REQUEST_ID, HeaderValue::from_bytes(given.as_bytes()).unwrap());
        Ids::default().of(&headers).to_string()
    }

    #[test]
    fn harmless_ids_are_kept_and_others_replaced() {
        for given in ["a", "0af7651916cd43dd8448eb211c80319c", "req-1.2:3_4", &"x".repeat(64)] {
            assert_eq!(id(given), given);
        }
        for given in ["", "a b", "a\"b", "a\tb", "{}", "\u{e9}", &"x".repeat(65)] {
            let made = id(given);
            assert!(made.len() == 16 && made.bytes().all(|byte| byte.is_ascii_hexdigit()), "{made}");
        }
    }

    #[test]
    fn no_id_is_made_twice() {
        let ids = Ids::default();
        let made: HashSet<String> = (0..10_000).map(|_| ids.make().to_string()).collect();
        assert_eq!(made.len(), 10_000);
    }

    #[tokio::test]
    async fn the_current_id_is_the_tasks() {
        assert_eq!(current(), None);
        let id = Ids::default().make();
        CURRENT.scope(id, async { assert_eq!(current(), Some(id)) }).await;
        assert_eq!(current(), None);
    }
}
