//! Blobs as files: `blobs/ab/<hash>`, written to `tmp/` first, synced, renamed, the folder synced.

use super::{BlobStore, BlobWriter, StagedBlob};
use crate::domain::blob::ContentHash;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Blobs in a folder.
#[derive(Debug, Clone)]
pub struct LocalBlobs {
    places: Arc<Places>,
}

#[derive(Debug)]
struct Places {
    blobs: PathBuf,
    tmp: PathBuf,
    next: AtomicU64,
}

impl LocalBlobs {
    /// Blobs under `blobs`, with unfinished ones under `tmp` on the same file system. What an earlier process left
    /// in `tmp` is the caller's to sweep.
    ///
    /// # Errors
    /// Where the folders cannot be made.
    pub fn open(blobs: PathBuf, tmp: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&tmp)?;
        if !blobs.join("ff").is_dir() {
            for first in 0..=u8::MAX {
                fs::create_dir_all(blobs.join(format!("{first:02x}")))?;
            }
            File::open(&blobs)?.sync_all()?;
            blobs.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())?;
        }
        Ok(Self { places: Arc::new(Places { blobs, tmp, next: AtomicU64::new(0) }) })
    }
}

/// What lies in one of the folders of blobs.
#[derive(Debug, Default)]
pub struct Inventory {
    /// Blobs by name, in order.
    pub stored: Vec<ContentHash>,
    /// What has no name of a blob's.
    pub others: Vec<PathBuf>,
}

impl LocalBlobs {
    /// Blobs that are there already; nothing is made.
    pub fn at(blobs: PathBuf, tmp: PathBuf) -> Self {
        Self { places: Arc::new(Places { blobs, tmp, next: AtomicU64::new(0) }) }
    }

    /// Where the bytes with this name lie.
    pub fn place(&self, hash: ContentHash) -> PathBuf {
        self.places.path(hash)
    }

    /// The files of the blobs whose names begin with this byte.
    ///
    /// # Errors
    /// Where the folder cannot be read; one that is not there holds nothing.
    pub fn inventory(&self, first: u8) -> io::Result<Inventory> {
        inventory_of(&self.places.blobs, first)
    }
}

/// The files in one of the 256 folders of `root`; where there is none, it holds nothing.
pub(super) fn inventory_of(root: &Path, first: u8) -> io::Result<Inventory> {
    let mut found = Inventory::default();
    let folder = root.join(format!("{first:02x}"));
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let path = entry?.path();
        let name: Option<ContentHash> = path.file_name().and_then(|name| name.to_str()?.parse().ok());
        match name.filter(|name| name.0[0] == first && folder.join(name.to_string()) == path) {
            Some(name) => found.stored.push(name),
            None => found.others.push(path),
        }
    }
    found.stored.sort_unstable();
    Ok(found)
}

impl Places {
    fn path(&self, hash: ContentHash) -> PathBuf {
        let name = hash.to_string();
        self.blobs.join(&name[..2]).join(name)
    }
}

impl BlobStore for LocalBlobs {
    fn begin(&self) -> io::Result<Box<dyn BlobWriter>> {
        let number = self.places.next.fetch_add(1, Ordering::Relaxed);
        let path = self.places.tmp.join(format!("upload-{number}"));
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
        let staged =
            Staged { places: Arc::clone(&self.places), file, path: Unnamed(path), hash: ContentHash([0; 32]), size: 0 };
        Ok(Box::new(Writer { staged, hasher: blake3::Hasher::new() }))
    }

    fn path(&self, hash: ContentHash) -> PathBuf {
        self.places.path(hash)
    }

    fn remove(&self, hash: ContentHash) -> io::Result<()> {
        match fs::remove_file(self.places.path(hash)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// A temporary file that goes when this does.
#[derive(Debug)]
struct Unnamed(PathBuf);

impl Drop for Unnamed {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, path = %self.0.display(), "a temporary file is left behind");
        }
    }
}

struct Writer {
    staged: Staged,
    hasher: blake3::Hasher,
}

impl BlobWriter for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.staged.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.staged.size += bytes.len() as u64;
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> io::Result<Box<dyn StagedBlob>> {
        self.staged.hash = ContentHash(*self.hasher.finalize().as_bytes());
        Ok(Box::new(self.staged))
    }
}

struct Staged {
    places: Arc<Places>,
    file: File,
    path: Unnamed,
    hash: ContentHash,
    size: u64,
}

impl StagedBlob for Staged {
    fn hash(&self) -> ContentHash {
        self.hash
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn open(&self) -> io::Result<File> {
        File::open(&self.path.0)
    }

    fn path(&self) -> PathBuf {
        self.path.0.clone()
    }

    fn keep(self: Box<Self>) -> io::Result<()> {
        let target = self.places.path(self.hash);
        // A blob never changes, so nobody is to write to it through a link.
        let mut permissions = self.file.metadata()?.permissions();
        permissions.set_readonly(true);
        self.file.set_permissions(permissions)?;
        self.file.sync_all()?;
        fs::rename(&self.path.0, &target)?;
        sync_folder(&target)
    }
}

fn sync_folder(file: &Path) -> io::Result<()> {
    file.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(root: &Path) -> LocalBlobs {
        LocalBlobs::open(root.join("blobs"), root.join("tmp")).unwrap()
    }

    fn staged(blobs: &LocalBlobs, chunks: &[&[u8]]) -> Box<dyn StagedBlob> {
        let mut writer = blobs.begin().unwrap();
        chunks.iter().for_each(|chunk| writer.write(chunk).unwrap());
        writer.finish().unwrap()
    }

    #[test]
    fn bytes_are_named_by_what_they_are() {
        let root = tempfile::tempdir().unwrap();
        let blobs = store(root.path());
        let (one, two) = (staged(&blobs, &[b"ab", b"c"]), staged(&blobs, &[b"abc"]));
        assert_eq!((one.hash(), one.size()), (two.hash(), two.size()));
        let path = blobs.path(one.hash());
        one.keep().unwrap();
        two.keep().unwrap();
        assert_eq!(fs::read(path).unwrap(), b"abc");
        assert_eq!(fs::read_dir(root.path().join("tmp")).unwrap().count(), 0);
    }

    #[test]
    fn what_is_dropped_is_gone() {
        let root = tempfile::tempdir().unwrap();
        let blobs = store(root.path());
        let mut writer = blobs.begin().unwrap();
        writer.write(b"half").unwrap();
        drop(writer);
        drop(staged(&blobs, &[b"whole"]));
        assert_eq!(fs::read_dir(root.path().join("tmp")).unwrap().count(), 0);
    }
}
