//! What an entry's path means: a file in the folder of its class, something to pass over, or nothing that is taken.
//!
//! Nothing is ever written under such a path; it becomes a label and a name. One that was made to lead elsewhere is refused
//! all the same: whoever made it meant something else than a picture.

/// The longest path, in bytes.
const LONGEST: usize = 1024;

/// What systems leave beside pictures.
const LEFT_BY_SYSTEMS: [&str; 3] = ["__MACOSX", "Thumbs.db", "desktop.ini"];

/// What stands under a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A folder, which says nothing by itself.
    Folder,
    /// Something hidden, or left by a system: nobody means it.
    PassedOver,
    /// A file.
    File {
        /// The folder that it lies in, where it lies in one.
        folder: Option<String>,
        /// Its name.
        name: String,
    },
}

/// Reads a path.
///
/// # Errors
/// Why it is not taken, in words.
pub fn place(path: &str) -> Result<Place, &'static str> {
    if path.is_empty() || path.len() > LONGEST {
        return Err("its path is empty, or longer than 1024 bytes");
    }
    if path.contains(char::is_control) || path.contains(char::REPLACEMENT_CHARACTER) {
        return Err("its path has control characters, or is no text");
    }
    if path.contains('\\') {
        return Err("its path has backslashes; folders are divided by /");
    }
    let has_drive = path.as_bytes().get(1) == Some(&b':') && path.as_bytes()[0].is_ascii_alphabetic();
    if path.starts_with('/') || has_drive {
        return Err("its path is absolute; folders begin within the archive");
    }
    let is_folder = path.ends_with('/');
    let parts: Vec<&str> = path.trim_end_matches('/').split('/').collect();
    if parts.iter().any(|part| matches!(*part, "" | "." | "..")) {
        return Err("its path has empty parts, or leads out of its folder");
    }
    if parts.iter().any(|part| part.starts_with('.') || LEFT_BY_SYSTEMS.contains(part)) {
        return Ok(Place::PassedOver);
    }
    let Some((name, folders)) = parts.split_last().filter(|_| !is_folder) else { return Ok(Place::Folder) };
    Ok(Place::File { folder: folders.last().map(|folder| (*folder).to_owned()), name: (*name).to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_are_classes_and_names_or_nothing() {
        let file = |folder: Option<&str>, name: &str| {
            Ok(Place::File { folder: folder.map(str::to_owned), name: name.to_owned() })
        };
        assert_eq!(place("cat/1.png"), file(Some("cat"), "1.png"));
        assert_eq!(place("pets/big cat/1.png"), file(Some("big cat"), "1.png"));
        assert_eq!(place("cat_1.png"), file(None, "cat_1.png"));
        assert_eq!(place("cat/"), Ok(Place::Folder));
        for hidden in [".DS_Store", "cat/._1.png", "__MACOSX/cat/._1.png", "__MACOSX/", ".git/x", "cat/Thumbs.db"] {
            assert_eq!(place(hidden), Ok(Place::PassedOver), "{hidden}");
        }
        for bad in [
            "",
            "/",
            "/etc/passwd",
            "../x.png",
            "cat/../../x.png",
            "cat//x.png",
            "./x.png",
            "cat\\x.png",
            "C:/x.png",
            "c:x.png",
            "cat/\u{1}x.png",
            "cat/x\0.png",
            "cat/\n",
            "\u{fffd}.png",
            &"x".repeat(1025),
        ] {
            assert!(place(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_taken_leads_nowhere_else(path in "[a-z./\\\\: \\PC\u{0}-\u{20}]{0,24}") {
            if let Ok(Place::File { folder, name }) = place(&path) {
                for part in folder.iter().chain([&name]) {
                    prop_assert!(!part.is_empty() && !part.starts_with('.') && !part.contains(['/', '\\', '\0']));
                }
                let expected = folder.map_or(name.clone(), |folder| format!("{folder}/{name}"));
                prop_assert!(path == expected || path.ends_with(&format!("/{expected}")), "{path}");
            }
        }
    }
}
