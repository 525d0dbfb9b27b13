//! The folder of a data set: which files it holds and which labels they carry.
//!
//! A labelled image stands at `<label>/<name>`, an unlabelled one at the root; entries are usually links to stored images.
//! It must not look into the files.

use super::ClassifyError;
use std::fs;
use std::path::{Path, PathBuf};

/// What a folder holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The labels in byte order.
    pub labels: Vec<String>,
    /// Each image: its label's place in `labels`, and its path. Ordered by both.
    pub files: Vec<(usize, PathBuf)>,
    /// Images at the root, which carry no label.
    pub unlabelled: usize,
}

/// Lists `root`. Hidden files, hidden folders and folders within a label's folder are left out.
///
/// # Errors
/// If a folder cannot be read or an entry is a broken link.
pub fn list(root: &Path) -> Result<Listing, ClassifyError> {
    let mut listing = Listing::default();
    for (name, path) in entries(root)? {
        if !is_folder(&path)? {
            listing.unlabelled += 1;
            continue;
        }
        let mut files = Vec::new();
        for (_, file) in entries(&path)? {
            if !is_folder(&file)? {
                files.push((listing.labels.len(), file));
            }
        }
        if !files.is_empty() {
            listing.labels.push(name);
            listing.files.append(&mut files);
        }
    }
    Ok(listing)
}

/// Visible entries of a folder in byte order of their names.
fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>, ClassifyError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(ClassifyError::io("read the folder", folder))? {
        let entry = entry.map_err(ClassifyError::io("read the folder", folder))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            found.push((name, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// Whether `path` is a folder, links followed.
fn is_folder(path: &Path) -> Result<bool, ClassifyError> {
    let metadata = fs::metadata(path).map_err(ClassifyError::io("read", path))?;
    Ok(metadata.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_sorted_folders_with_files() {
        let root = tempfile::tempdir().unwrap();
        for folder in ["b", "a", "empty", ".hidden", "a/deeper"] {
            fs::create_dir(root.path().join(folder)).unwrap();
        }
        for file in ["b/2", "b/1", "a/9", "a/.DS_Store", "a/deeper/3", ".hidden/4", "loose"] {
            fs::write(root.path().join(file), b"x").unwrap();
        }
        let listing = list(root.path()).unwrap();
        assert_eq!(listing.labels, ["a", "b"]);
        assert_eq!(listing.unlabelled, 1);
        let files: Vec<_> = listing.files.iter().map(|(l, p)| (*l, p.strip_prefix(&root).unwrap())).collect();
        assert_eq!(files, [(0, Path::new("a/9")), (1, Path::new("b/1")), (1, Path::new("b/2"))]);
    }

    #[test]
    fn a_missing_folder_is_named() {
        let error = list(Path::new("/nonexistent/place")).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/place"), "{error}");
    }
}
