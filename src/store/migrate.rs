//! Formats of a data folder: which one it has, and how an older one becomes this release's.
//!
//! A record that gets more fields needs nothing here: each carries its version and is converted when it is read
//! (`codec`). What cannot be done record by record, such as other keys, is a step: it goes into [`STEPS`], [`FORMAT`] is
//! raised, and a folder of the format before goes into tests/data. Steps change the tree in place and may be cut short
//! anywhere: the format file is written when all of it is durable, and until then they are run again from the first.

use super::open::OpenError;
use std::fs::{self, File};
use std::io;
use std::path::Path;

/// The format that this release writes.
pub const FORMAT: u32 = 1;

/// What makes the next format of a tree. Doing so twice, or half and then again, does no harm.
type Step = fn(&sled::Tree) -> Result<(), String>;

/// The step from format n to the next at place n - 1.
const STEPS: [Step; FORMAT as usize - 1] = [];

/// The format of the store in `folder`; `None` where there is none: the file that says so is written last.
///
/// # Errors
/// [`OpenError::Newer`] for one that this release does not read.
pub(super) fn format_of(folder: &Path) -> Result<Option<u32>, OpenError> {
    match fs::read_to_string(folder.join("format")) {
        Ok(text) => match text.trim().parse() {
            Ok(format) if (1..=FORMAT).contains(&format) => Ok(Some(format)),
            _ => {
                let found: String = text.trim().chars().take(40).collect();
                Err(OpenError::Newer { folder: folder.to_owned(), found })
            }
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(OpenError::Folder { folder: folder.to_owned(), what: "read", source }),
    }
}

/// Says that the store in `folder` has this release's format, durably.
///
/// # Errors
/// What the file system says.
pub(super) fn write_format(folder: &Path) -> io::Result<()> {
    let draft = folder.join("format.draft");
    fs::write(&draft, format!("{FORMAT}\n"))?;
    File::open(&draft)?.sync_all()?;
    fs::rename(&draft, folder.join("format"))?;
    File::open(folder)?.sync_all()
}

/// Brings a tree of format `found` to this release's. Returns whether there was anything to do.
///
/// # Errors
/// What a step says.
pub(super) fn migrate(tree: &sled::Tree, found: u32) -> Result<bool, String> {
    run(tree, found, &STEPS)
}

fn run(tree: &sled::Tree, found: u32, steps: &[Step]) -> Result<bool, String> {
    let left = usize::try_from(found).ok().and_then(|found| steps.get(found.saturating_sub(1)..)).unwrap_or_default();
    for (step, format) in left.iter().zip(found..) {
        tracing::warn!(from = format, to = format + 1, "bringing the store to a newer format");
        step(tree)?;
    }
    Ok(!left.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rename(tree: &sled::Tree) -> Result<(), String> {
        for pair in tree.scan_prefix(b"old") {
            let (key, value) = pair.map_err(|error| error.to_string())?;
            tree.insert([b"new", &key[3..]].concat(), value).map_err(|error| error.to_string())?;
            tree.remove(key).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn count(tree: &sled::Tree) -> Result<(), String> {
        let keys = tree.scan_prefix(b"new").count().to_string();
        tree.insert(b"count", keys.as_bytes()).map(drop).map_err(|error| error.to_string())
    }

    #[test]
    fn steps_are_taken_from_the_format_that_is_found() {
        let db = sled::Config::new().temporary(true).open().unwrap();
        for number in 0..5 {
            db.insert(format!("old{number}"), "x").unwrap();
        }
        let steps: [Step; 2] = [rename, count];
        assert!(!run(&db, 3, &steps).unwrap(), "nothing is to be done for the newest");
        assert_eq!(db.len(), 5);
        assert!(run(&db, 2, &steps).unwrap());
        assert_eq!(db.get("count").unwrap().unwrap(), "0", "the first step belongs to an older format");
        // A step that was cut short is taken again from its beginning.
        db.insert("new0", "x").unwrap();
        db.remove("old0").unwrap();
        for _ in 0..2 {
            assert!(run(&db, 1, &steps).unwrap());
            assert_eq!(db.get("count").unwrap().unwrap(), "5");
        }
        assert!(run(&db, 9, &steps).is_ok_and(|done| !done));
    }
}
