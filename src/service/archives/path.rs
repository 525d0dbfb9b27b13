//! How images are called in archives, both ways: a folder for each class, and names that every system can bear.
//!
//! Where such a path would come back as something else, the entry's remark says what was meant. So what is sent as an
//! archive and received again is what it was.

use crate::domain::blob::ContentHash;
use crate::domain::dataset::Entry;
use crate::domain::error::{Error, Result};
use crate::domain::name::{ImageName, Label};
use crate::ingest::zip::{Place, place};
use crate::service::images::Called;
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

/// What a remark begins with that says what an image is called.
const MARK: &str = "trainyard:";

/// Names that Windows keeps for its devices, whatever their ending.
const DEVICES: [&str; 4] = ["con", "prn", "aux", "nul"];
const PORTS: [&str; 2] = ["com", "lpt"];

/// How an entry's image is called; nothing for a folder, and for what nobody means.
///
/// # Errors
/// `invalid_parameter` where it cannot be called so.
pub fn called(path: &str, remark: &str) -> Result<Option<Called>> {
    let Place::File { folder, name } = place(path).map_err(Error::parameter)? else { return Ok(None) };
    if let Some((label, name)) = remark.strip_prefix(MARK).and_then(|meant| meant.split_once('/'))
        && let Some(name) = ImageName::given_out(name)
    {
        let label = if label.is_empty() { None } else { Some(Label::parse(label)?) };
        return Ok(Some(Called::Exactly(label, name)));
    }
    let label = folder.map(|folder| Label::parse(&folder)).transpose()?;
    Ok(Some(Called::File { name, label }))
}

/// The paths of an archive that is being written.
#[derive(Default)]
pub struct Paths {
    /// Hashes of what is taken, without regard to case.
    taken: HashSet<u64>,
    state: RandomState,
}

impl Paths {
    /// The path of an image, which no other has, and the remark that goes with it.
    pub fn path(&mut self, entry: &Entry) -> (String, String) {
        let folder = entry.label.as_ref().map_or(String::new(), |label| format!("{}/", safe(label.as_str())));
        let name = safe(entry.name.as_str());
        let mut path = format!("{folder}{name}");
        let mut number = 0_u64;
        while !self.taken.insert(self.state.hash_one(path.to_lowercase())) {
            path = format!("{folder}{}", marked(&name, entry.hash, number));
            number += 1;
        }
        let remark = if is_meant(&path, entry) {
            String::new()
        } else {
            format!("{MARK}{}/{}", entry.label.as_ref().map_or("", Label::as_str), entry.name.as_str())
        };
        (path, remark)
    }
}

/// Whether a path alone comes back as the image that it is of.
fn is_meant(path: &str, entry: &Entry) -> bool {
    let Ok(Some(Called::File { name, label })) = called(path, "") else { return false };
    let label = label.or_else(|| Label::from_file_name(&name));
    label == entry.label && ImageName::from_upload(&name, "x", "png") == entry.name
}

fn marked(name: &str, hash: ContentHash, number: u64) -> String {
    let hash = hash.to_string();
    let mark = hash.get(..8).unwrap_or_default();
    let mark = if number == 0 { mark.to_owned() } else { format!("{mark}-{number}") };
    match name.rsplit_once('.') {
        Some((stem, ending)) => format!("{stem}-{mark}.{ending}"),
        None => format!("{name}-{mark}"),
    }
}

/// A name that every file system takes, and that nobody passes over.
fn safe(text: &str) -> String {
    let is_odd = |letter: char| letter.is_control() || "<>:\"/\\|?*\u{fffd}".contains(letter);
    let mut name: String = text.chars().map(|letter| if is_odd(letter) { '_' } else { letter }).collect();
    if name.ends_with(['.', ' ']) {
        name.pop();
        name.push('_');
    }
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_lowercase();
    let is_port = PORTS
        .iter()
        .any(|port| stem.strip_prefix(port).is_some_and(|rest| rest.chars().count() == 1 && !rest.starts_with('0')));
    let is_passed_over = matches!(place(&name), Ok(Place::PassedOver)) || name.starts_with(' ');
    if DEVICES.contains(&&*stem) || is_port || is_passed_over || name.is_empty() {
        name.insert(0, '_');
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(label: Option<&str>, name: &str) -> Entry {
        Entry {
            label: label.map(|label| Label::parse(label).unwrap()),
            name: ImageName::from_store(name.to_owned()),
            hash: ContentHash([0xab; 32]),
        }
    }

    fn back(path: &str, remark: &str) -> (Option<Label>, ImageName) {
        match called(path, remark).unwrap().unwrap() {
            Called::Exactly(label, name) => (label, name),
            Called::File { name, label } => {
                (label.or_else(|| Label::from_file_name(&name)), ImageName::from_upload(&name, "x", "png"))
            }
        }
    }

    #[test]
    fn ordinary_names_are_paths_and_odd_ones_are_remarked() {
        let mut paths = Paths::default();
        let mut path = |label, name| paths.path(&entry(label, name));
        let plain = |path: &str| (path.to_owned(), String::new());
        assert_eq!(path(Some("cat"), "1.png"), plain("cat/1.png"));
        assert_eq!(path(Some("Größe 10"), "ü.png"), plain("Größe 10/ü.png"));
        assert_eq!(path(None, "2.png"), plain("2.png"));
        let odd = |path: &str, remark: &str| (path.to_owned(), format!("trainyard:{remark}"));
        assert_eq!(path(Some("Cat"), "1.PNG"), odd("Cat/1-abababab.PNG", "Cat/1.PNG"));
        assert_eq!(path(None, "cat_7.png"), odd("cat_7.png", "/cat_7.png"));
        assert_eq!(path(Some("a:b?"), "c*.png"), odd("a_b_/c_.png", "a:b?/c*.png"));
        assert_eq!(path(Some("nul"), "com1.png"), odd("_nul/_com1.png", "nul/com1.png"));
        assert_eq!(path(Some("end."), "3.png"), odd("end_/3.png", "end./3.png"));
        assert_eq!(path(Some("__MACOSX"), "3.png"), odd("___MACOSX/3.png", "__MACOSX/3.png"));
    }

    #[test]
    fn remarks_of_strangers_lead_nowhere() {
        for remark in
            ["trainyard:", "trainyard:cat", "trainyard:a/../x.png", "trainyard:/.png", "trainyard:x/y", "hello"]
        {
            assert_eq!(back("cat/1.png", remark), back("cat/1.png", ""), "{remark}");
        }
        assert!(called("cat/1.png", "trainyard:../1.png").is_err());
    }

    proptest! {
        #[test]
        fn what_goes_comes_back(
            all in prop::collection::vec((prop::option::of("[ -~äß:.]{1,12}"), "[ -~äß]{1,8}"), 1..20)
        ) {
            let mut paths = Paths::default();
            let mut seen = HashSet::new();
            for (label, name) in all {
                let label = label.and_then(|label| Label::parse(&label).ok());
                let name = ImageName::from_upload(&name, "x", "png");
                let entry = Entry { label, name, hash: ContentHash([1; 32]) };
                let (path, remark) = paths.path(&entry);
                prop_assert!(seen.insert(path.to_lowercase()), "{path} comes twice");
                prop_assert!(!path.contains(['<', '>', ':', '"', '\\', '|', '?', '*']), "{path}");
                prop_assert_eq!(back(&path, &remark), (entry.label, entry.name), "{} {}", path, remark);
            }
        }
    }
}
