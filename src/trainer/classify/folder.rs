//! The folder of a data set: which files it holds and which labels they carry.
//!
//! A labelled image stands at `<label>/<name>`, an unlabelled one at the root; entries are usually links to stored images.
//! It must not look into the files.

use super::ClassifyError;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
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

impl Listing {
    /// The path of an image in the folder `root`, for messages and as a name.
    pub fn name(root: &Path, file: &Path) -> String {
        file.strip_prefix(root).unwrap_or(file).to_string_lossy().into_owned()
    }

    /// Takes up which images these are, without reading them: another image, or one more or less, gives another hash.
    ///
    /// A link to `<first two digits>/<BLAKE3>`, as in the folders that the server makes, stands for what it names. Any
    /// other file is told by its place on the disk, its length and the times of its last changes.
    ///
    /// # Errors
    /// If a file is gone.
    pub fn hash_identity(&self, root: &Path, hasher: &mut blake3::Hasher) -> Result<(), ClassifyError> {
        for (_, file) in &self.files {
            let name = file.strip_prefix(root).unwrap_or(file).as_os_str().as_bytes();
            hasher.update(&(name.len() as u64).to_le_bytes());
            hasher.update(name);
            hash_file(file, hasher).map_err(ClassifyError::io("read", file))?;
        }
        Ok(())
    }
}

fn hash_file(file: &Path, hasher: &mut blake3::Hasher) -> io::Result<()> {
    if let Some(hash) = fs::read_link(file).ok().as_deref().and_then(content_name) {
        hasher.update(b"content").update(hash.as_bytes());
        return Ok(());
    }
    let about = fs::metadata(file)?;
    hasher.update(b"file");
    for number in [about.dev(), about.ino(), about.len()] {
        hasher.update(&number.to_le_bytes());
    }
    for time in [about.mtime(), about.mtime_nsec(), about.ctime(), about.ctime_nsec()] {
        hasher.update(&time.to_le_bytes());
    }
    Ok(())
}

/// The hash that a stored image is named by, if `target` is one.
fn content_name(target: &Path) -> Option<&str> {
    let name = target.file_name()?.to_str()?;
    let is_hash = name.len() == 64 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let folder = target.parent()?.file_name()?.to_str()?;
    (is_hash && name.starts_with(folder) && folder.len() == 2).then_some(name)
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

    fn identity(root: &Path) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        list(root).unwrap().hash_identity(root, &mut hasher).unwrap();
        hasher.finalize()
    }

    #[test]
    fn links_to_stored_images_stand_for_their_content() {
        let place = tempfile::tempdir().unwrap();
        let (hash, other) = ("ab".repeat(32), "ac".repeat(32));
        let stored = place.path().join("blobs").join("ab").join(&hash);
        fs::create_dir_all(stored.parent().unwrap()).unwrap();
        let link = |root: &str, name: &str, target: &Path| {
            let folder = place.path().join(root).join("a");
            fs::create_dir_all(&folder).unwrap();
            std::os::unix::fs::symlink(target, folder.join(name)).unwrap();
            place.path().join(root)
        };
        fs::write(&stored, b"x").unwrap();
        let (one, two) = (link("one", "1", &stored), link("two", "1", &stored));
        assert_eq!(identity(&one), identity(&two));
        // Not looked at: the name says it all.
        let before = identity(&one);
        fs::write(&stored, b"more").unwrap();
        assert_eq!(identity(&one), before);
        assert_ne!(identity(&link("three", "2", &stored)), before);
        let second = stored.with_file_name(&other);
        fs::write(&second, b"x").unwrap();
        assert_eq!(content_name(&second), None);
        assert_ne!(identity(&link("one", "2", &second)), before);
    }

    #[test]
    fn a_file_that_changed_is_another_one() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("a")).unwrap();
        let file = root.path().join("a/1");
        fs::write(&file, b"x").unwrap();
        let before = identity(root.path());
        assert_eq!(identity(root.path()), before);
        let time = fs::metadata(&file).unwrap().modified().unwrap();
        // Other bytes of the same length under the same name, and an older time.
        fs::write(root.path().join("new"), b"y").unwrap();
        fs::rename(root.path().join("new"), &file).unwrap();
        fs::File::open(&file).unwrap().set_modified(time).unwrap();
        assert_ne!(identity(root.path()), before);
    }

    #[test]
    fn a_missing_folder_is_named() {
        let error = list(Path::new("/nonexistent/place")).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/place"), "{error}");
    }
}
