//! Pictures: decoding files and bringing them to a size. Shared by the checks of uploads and by the trainers.
//!
//! It must not know data sets, training or where files come from, and uses nothing else of this crate.

mod decode;
#[cfg(test)]
mod format_tests;
mod resize;
mod thumbnail;

pub use decode::{DecodeError, Decoded, decode, dimensions};
pub use resize::resize;
pub use thumbnail::thumbnail;

/// Colour planes of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Channels {
    /// One plane of luminance.
    Grey,
    /// Red, green, blue.
    Rgb,
}

impl Channels {
    /// 1 or 3.
    pub fn count(self) -> usize {
        match self {
            Channels::Grey => 1,
            Channels::Rgb => 3,
        }
    }

    /// The planes of that number.
    pub fn from_count(count: usize) -> Option<Channels> {
        match count {
            1 => Some(Channels::Grey),
            3 => Some(Channels::Rgb),
            _ => None,
        }
    }
}
