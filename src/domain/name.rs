//! Names that people give: of models, datasets and experiments; labels; image file names.
//!
//! A value of one of these types has passed its rules, so nothing further in has to check again.
//! Knows nothing of who uses a name for what.

use super::error::{Error, Result};
use super::ids::looks_like_id;
use std::fmt;

/// The longest name, in characters (all of them ASCII).
pub const MAX_NAME: usize = 128;

/// The longest label, in bytes; a folder name holds 255.
pub const MAX_LABEL: usize = 128;

/// The longest image name, in bytes; it leaves room for a `-<8 hex>` suffix in a folder entry.
pub const MAX_IMAGE_NAME: usize = 200;

/// The extensions that common image-folder readers recognise.
pub const IMAGE_EXTENSIONS: &[&str] = &["png", "jpg", "jpeg", "gif", "bmp", "webp", "tif", "tiff"];

/// The name of a model, dataset or experiment: 1 to 128 of `A-Z a-z 0-9 . _ -`, first a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// Checks `text`, which was given as `parameter`.
    ///
    /// # Errors
    /// `invalid_parameter` naming the parameter and the rule that was broken.
    pub fn parse(parameter: &str, text: &str) -> Result<Self> {
        let refuse = |why: &str| {
            Err(Error::parameter(format!(
                "{parameter} {why}; a name has 1 to {MAX_NAME} letters, digits, '.', '_' or '-' \
                 and starts with a letter or digit"
            )))
        };
        if text.is_empty() {
            return refuse("is empty");
        }
        if text.len() > MAX_NAME {
            return refuse(&format!("is too long ({} bytes)", text.len()));
        }
        if let Some(odd) = text.chars().find(|c| !(c.is_ascii_alphanumeric() || "._-".contains(*c))) {
            return refuse(&format!("holds {odd:?}"));
        }
        if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            return refuse(&format!("starts with {:?}", &text[..1]));
        }
        if looks_like_id(text) {
            return refuse(&format!("`{text}` is shaped like an id"));
        }
        Ok(Self(text.to_owned()))
    }

    /// A name that this server stored before.
    pub fn from_store(text: String) -> Self {
        Self(text)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The class of an image: also the name of its folder, so it is whatever a folder name can be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(String);

impl Label {
    /// Checks a label that a client gave.
    ///
    /// # Errors
    /// `invalid_parameter` where a folder could not bear the label.
    pub fn parse(text: &str) -> Result<Self> {
        let trimmed = text.trim();
        let refuse = |why: String| Err(Error::parameter(format!("label {why}")));
        if trimmed.is_empty() {
            return refuse("is empty; leave the field out for an image without a label".to_owned());
        }
        if trimmed.len() > MAX_LABEL {
            return refuse(format!("is longer than {MAX_LABEL} bytes"));
        }
        if trimmed.starts_with('.') {
            return refuse("starts with '.', which folder readers skip".to_owned());
        }
        if let Some(odd) = trimmed.chars().find(|c| c.is_control() || matches!(c, '/' | '\\')) {
            return refuse(format!("holds {odd:?}, which a folder name cannot"));
        }
        if extension(trimmed).is_some() {
            return refuse(format!("`{trimmed}` looks like an image file, not like a class"));
        }
        Ok(Self(trimmed.to_owned()))
    }

    /// The label that an uploaded file's name implies: its folder (`cat/12.jpg`), else its leading word before
    /// digits (`cat.12.jpg`, `cat_012.jpg`, `cat012.jpg`); the words cameras use are none.
    pub fn from_file_name(file_name: &str) -> Option<Self> {
        let mut parts = file_name.rsplit(['/', '\\']).filter(|part| !part.is_empty());
        let base = parts.next()?;
        if let Some(folder) = parts.next() {
            return Self::parse(folder).ok();
        }
        let stem = base.rsplit_once('.').map_or(base, |(stem, _)| stem);
        let word = stem.trim_end_matches(|c: char| c.is_ascii_digit() || " ._-()".contains(c));
        let digits = &stem[word.len()..];
        let is_word = !word.is_empty()
            && word.chars().all(|c| c.is_alphabetic() || " _-".contains(c))
            && digits.contains(|c: char| c.is_ascii_digit());
        if !is_word || is_camera_word(word) {
            return None;
        }
        Self::parse(word).ok()
    }

    /// A label that this server stored before.
    pub fn from_store(text: String) -> Self {
        Self(text)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Words that cameras, phones and browsers put before a number.
fn is_camera_word(word: &str) -> bool {
    const WORDS: &[&str] = &[
        "img",
        "dsc",
        "dscn",
        "dscf",
        "image",
        "images",
        "photo",
        "photos",
        "picture",
        "pic",
        "pict",
        "file",
        "frame",
        "p",
        "mvi",
        "vid",
        "screenshot",
        "scan",
        "untitled",
        "download",
        "upload",
        "wp",
        "pxl",
        "gopr",
        "sam",
        "imag",
        "cimg",
        "sdc",
        "whatsapp image",
    ];
    let lower = word.to_lowercase();
    let plain = lower.trim_matches(|c: char| " _-".contains(c));
    // `IMG-WA` and `_DSC` are camera words as well.
    WORDS.contains(&plain)
        || plain
            .split([' ', '_', '-'])
            .next()
            .is_some_and(|first| matches!(first, "img" | "dsc" | "image" | "photo" | "screenshot" | "whatsapp" | "pxl"))
}

/// The file name of an image within its label's folder; it always ends in an image extension.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageName(String);

impl ImageName {
    /// Makes a name out of what a client called its file. What a folder entry cannot bear is replaced by `_`,
    /// never refused: the client did not choose these names for us. An empty name becomes `fallback`;
    /// `extension` is added where the name has none.
    pub fn from_upload(file_name: &str, fallback: &str, wanted_extension: &str) -> Self {
        let base = file_name.rsplit(['/', '\\']).next().unwrap_or_default().trim();
        let base = base.trim_start_matches('.');
        let mut name: String =
            base.chars().map(|c| if c.is_control() || c == char::REPLACEMENT_CHARACTER { '_' } else { c }).collect();
        if name.is_empty() {
            name = fallback.to_owned();
        }
        let ending = match extension(&name) {
            Some(ending) => {
                name.truncate(name.len() - ending.len() - 1);
                ending
            }
            None => wanted_extension.to_owned(),
        };
        let room = MAX_IMAGE_NAME - ending.len() - 1;
        let mut cut = name.len().min(room);
        while !name.is_char_boundary(cut) {
            cut -= 1;
        }
        name.truncate(cut);
        Self(format!("{name}.{ending}"))
    }

    /// A name that was given out before and comes back; nothing where it is none that this server gives out.
    pub fn given_out(text: &str) -> Option<Self> {
        // A mark makes a name longer than it was when it came.
        let is_short = text.len() <= MAX_IMAGE_NAME + 2 * 64;
        let is_plain = !text.starts_with('.') && !text.contains(|c: char| c.is_control() || matches!(c, '/' | '\\'));
        (is_short && is_plain && extension(text).is_some()).then(|| Self(text.to_owned()))
    }

    /// The same name marked with the first 8 hex digits of the content, for other bytes under a taken name.
    #[must_use]
    pub fn marked(&self, hash_hex: &str) -> Self {
        let mark = hash_hex.get(..8).unwrap_or(hash_hex);
        match self.0.rsplit_once('.') {
            Some((stem, ending)) => Self(format!("{stem}-{mark}.{ending}")),
            None => Self(format!("{}-{mark}", self.0)),
        }
    }

    /// A name that this server stored before.
    pub fn from_store(text: String) -> Self {
        Self(text)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The image extension that `name` ends in, as written.
fn extension(name: &str) -> Option<String> {
    let (stem, ending) = name.rsplit_once('.')?;
    let known = IMAGE_EXTENSIONS.iter().any(|known| known.eq_ignore_ascii_case(ending));
    (known && !stem.is_empty()).then(|| ending.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_follow_the_contract() {
        for good in ["a", "0", "model_1", "Model.2-x", &"x".repeat(128)] {
            assert!(Name::parse("model_name", good).is_ok(), "{good}");
        }
        for bad in ["", "../x", "_a", ".a", "-a", "a b", "é", "a/b", "a\0", &"x".repeat(129), "run_0000000000016"] {
            let error = Name::parse("model_name", bad).unwrap_err();
            assert!(error.message.starts_with("model_name "), "{}", error.message);
        }
    }

    #[test]
    fn labels_come_from_folders_and_leading_words() {
        let label = |name: &str| Label::from_file_name(name).map(|label| label.as_str().to_owned());
        assert_eq!(label("cat/12.jpg").as_deref(), Some("cat"));
        assert_eq!(label("set/sea lion/12.jpg").as_deref(), Some("sea lion"));
        assert_eq!(label("C:\\pics\\dog\\1.png").as_deref(), Some("dog"));
        assert_eq!(label("cat.12.jpg").as_deref(), Some("cat"));
        assert_eq!(label("cat_012.jpg").as_deref(), Some("cat"));
        assert_eq!(label("Katze 3.jpg").as_deref(), Some("Katze"));
        assert_eq!(label("cat (3).jpg").as_deref(), Some("cat"));
        for none in
            ["12.jpg", "cat.jpg", "IMG_0001.jpg", "DSC01234.jpg", "image1.png", "photo-12.jpg", "IMG-WA0001.jpg", ""]
        {
            assert_eq!(label(none), None, "{none}");
        }
    }

    #[test]
    fn labels_are_folder_names() {
        for good in ["cat", "Größe 10", "猫", "a.b"] {
            assert!(Label::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "  ", ".", "..", "a/b", "a\\b", "a\nb", "x.png", &"x".repeat(129)] {
            assert!(Label::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn image_names_keep_what_the_client_called_them() {
        let name = |given: &str| ImageName::from_upload(given, "abcd", "png").as_str().to_owned();
        assert_eq!(name("cat/12.JPG"), "12.JPG");
        assert_eq!(name("blob"), "blob.png");
        assert_eq!(name(""), "abcd.png");
        assert_eq!(name(".."), "abcd.png");
        assert_eq!(name("a\nb.gif"), "a_b.gif");
        assert_eq!(ImageName::from_upload("7.png", "x", "png").marked("0123456789").as_str(), "7-01234567.png");
    }

    proptest! {
        #[test]
        fn any_upload_name_becomes_one_folder_entry(given in "\\PC{0,300}|[a-z./\\\\\\x00-\\x1f]{0,40}") {
            let name = ImageName::from_upload(&given, "fallback", "jpeg");
            let text = name.as_str();
            prop_assert!(!text.is_empty() && text.len() <= MAX_IMAGE_NAME);
            prop_assert!(!text.contains('/') && !text.contains('\0') && !text.starts_with('.'));
            prop_assert!(extension(text).is_some());
            prop_assert!(name.marked("0011223344").as_str().len() < 255);
        }

        #[test]
        fn an_implied_label_is_a_label(given in "\\PC{0,60}") {
            if let Some(label) = Label::from_file_name(&given) {
                prop_assert_eq!(Label::parse(label.as_str()).ok(), Some(label));
            }
        }
    }
}
