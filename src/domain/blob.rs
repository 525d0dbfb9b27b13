//! Stored bytes: their name is the hash of what they hold.
//!
//! Knows nothing of folders; `blob/` keeps the bytes, `store/` the records.

use std::fmt;
use std::str::FromStr;

/// The BLAKE3 hash of some bytes; also the name they are stored under.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentHash(pub [u8; 32]);

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ContentHash {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut hash = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return Err("a content hash has 64 hex digits");
        }
        for (byte, at) in hash.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| "a content hash has 64 hex digits")?;
        }
        Ok(Self(hash))
    }
}

/// What is known of a stored image without decoding its pixels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// The name.
    pub hash: ContentHash,
    /// Bytes.
    pub size: u64,
    /// The container: `png`, `jpeg`, ...
    pub format: String,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// How many dataset entries refer to it; nought means it may be collected.
    pub references: u64,
}
