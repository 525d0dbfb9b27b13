//! The image formats taken in: their first bytes, names and media types.

/// Bytes needed to tell a format.
pub const SNIFF: usize = 64;

/// A format that is taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ImageFormat {
    Png,
    Jpeg,
    Gif,
    Bmp,
    WebP,
    Tiff,
}

impl ImageFormat {
    pub const ALL: [Self; 6] = [Self::Png, Self::Jpeg, Self::Gif, Self::Bmp, Self::WebP, Self::Tiff];

    /// The usual file name extension, without a dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpg",
            Self::Gif => "gif",
            Self::Bmp => "bmp",
            Self::WebP => "webp",
            Self::Tiff => "tif",
        }
    }

    pub fn mime(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::Gif => "image/gif",
            Self::Bmp => "image/bmp",
            Self::WebP => "image/webp",
            Self::Tiff => "image/tiff",
        }
    }

    /// The format that an extension stands for, in any case, without a dot.
    pub fn from_extension(extension: &str) -> Option<Self> {
        match extension.to_ascii_lowercase().as_str() {
            "png" => Some(Self::Png),
            "jpg" | "jpeg" | "jpe" | "jfif" => Some(Self::Jpeg),
            "gif" => Some(Self::Gif),
            "bmp" | "dib" => Some(Self::Bmp),
            "webp" => Some(Self::WebP),
            "tif" | "tiff" => Some(Self::Tiff),
            _ => None,
        }
    }

    /// The format that a file name ends with.
    pub fn from_file_name(name: &str) -> Option<Self> {
        let (_, extension) = name.rsplit_once('.')?;
        Self::from_extension(extension)
    }

    /// The format by a file's first 64 bytes, or fewer.
    pub fn sniff(start: &[u8]) -> Option<Self> {
        match start {
            [0x89, b'P', b'N', b'G', ..] => Some(Self::Png),
            [0xff, 0xd8, 0xff, ..] => Some(Self::Jpeg),
            [b'G', b'I', b'F', b'8', ..] => Some(Self::Gif),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(Self::WebP),
            [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => Some(Self::Tiff),
            // Two letters alone begin many texts; a small size of the second header does not.
            [b'B', b'M', rest @ ..] => match rest.get(12..16) {
                Some([size, 0, 0, 0]) if (12..=124).contains(size) => Some(Self::Bmp),
                _ => None,
            },
            _ => None,
        }
    }
}

/// What a file that is no image seems to be, for the message.
pub fn guess(start: &[u8]) -> &'static str {
    match start {
        [b'P', b'K', 3 | 5 | 7, ..] => return "a zip archive",
        [b'%', b'P', b'D', b'F', ..] => return "a PDF document",
        [0x1f, 0x8b, ..] => return "compressed data (gzip)",
        [_, _, _, _, b'f', b't', b'y', b'p', b'h' | b'a' | b'm', ..] => {
            return "a video, HEIC or AVIF file";
        }
        [0, 0, 1, 0, ..] => return "an icon",
        [b'R', b'I', b'F', b'F', ..] => return "a sound or video file",
        _ => {}
    }
    let text: String = String::from_utf8_lossy(start).to_lowercase();
    let text = text.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']);
    if text.starts_with("<svg") {
        return "an SVG drawing";
    }
    if text.starts_with("<!doctype html") || text.starts_with("<html") {
        return "a web page";
    }
    if text.starts_with("<?xml") {
        return "an XML or SVG document";
    }
    let is_text = |byte: &u8| !byte.is_ascii_control() || byte.is_ascii_whitespace();
    if start.iter().all(is_text) && std::str::from_utf8(start).is_ok() {
        return "text";
    }
    "something of an unknown kind"
}
