//! What a run has kept: the regular files of its own folder, listed and read.
//!
//! A script may put anything there, links that lead out of it among them. Every step of a path is therefore opened by itself and
//! without following a link, so that nothing outside is reached whatever the script changes meanwhile.

use super::Services;
use crate::domain::account::{Permit, View};
use crate::domain::error::{Code, Error, Result};
use crate::domain::ids::RunId;
use crate::domain::stamp::Timestamp;
use rustix::fs::{FileType, Mode, OFlags, fstat, open, openat};
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::UNIX_EPOCH;

/// The most files that are listed.
const MOST: usize = 10_000;

/// How deep folders are looked into.
const DEPTH: usize = 16;

/// A file that a run has kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Artifact {
    /// Its path in the run's folder, with `/` between folders.
    pub name: String,
    /// In bytes.
    pub size: u64,
    /// When it was written.
    pub modified_at: Timestamp,
}

impl Services {
    /// The files that a run has kept, by name.
    ///
    /// # Errors
    /// `not_found` for the run.
    pub async fn artifacts(&self, permit: Permit<View>, id: RunId) -> Result<Vec<Artifact>> {
        self.reached(permit, id)?;
        let folder = self.parts.files.kept(id);
        let listed = tokio::task::spawn_blocking(move || {
            let mut found = Vec::new();
            list(&folder, "", DEPTH, &mut found)?;
            found.sort();
            io::Result::Ok(found)
        });
        listed.await.map_err(Error::internal)?.map_err(Error::internal)
    }

    /// One of them, and its size.
    ///
    /// # Errors
    /// `not_found` for the run and for what is no file of it.
    pub async fn artifact(&self, permit: Permit<View>, id: RunId, name: String) -> Result<(File, u64)> {
        self.reached(permit, id)?;
        let folder = self.parts.files.kept(id);
        let unknown = {
            let shown: String = name.chars().take(200).collect();
            move || Error::new(Code::NotFound, format!("run {id} has kept no file named {shown:?}"))
        };
        let opened = tokio::task::spawn_blocking(move || open_in(&folder, &name));
        match opened.await.map_err(Error::internal)? {
            Ok(Some(found)) => Ok(found),
            Ok(None) => Err(unknown()),
            Err(error) => Err(Error::internal(error)),
        }
    }
}

/// Adds the regular files below a folder.
fn list(folder: &Path, before: &str, depth: usize, found: &mut Vec<Artifact>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        // A run that has not begun has none, and a script may remove its own or close it.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        // What is no text has no name here.
        let Ok(own) = entry.file_name().into_string() else { continue };
        let (kind, name) = (entry.file_type()?, format!("{before}{own}"));
        if found.len() >= MOST {
            return Ok(());
        }
        if kind.is_dir() && depth > 0 {
            list(&entry.path(), &format!("{name}/"), depth - 1, found)?;
        } else if kind.is_file()
            && let Ok(file) = entry.metadata()
        {
            let modified = file.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
            let at = modified.and_then(|since| u64::try_from(since.as_millis()).ok()).unwrap_or(0);
            found.push(Artifact { name, size: file.len(), modified_at: Timestamp(at) });
        }
    }
    Ok(())
}

/// Opens a regular file below a folder, without following any link.
fn open_in(folder: &Path, name: &str) -> io::Result<Option<(File, u64)>> {
    let steps: Vec<&str> = name.split('/').collect();
    if steps.len() > DEPTH + 1 || steps.iter().any(|step| matches!(*step, "" | "." | "..") || step.contains('\0')) {
        return Ok(None);
    }
    let inner = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
    let mut at = match open(folder, inner | OFlags::DIRECTORY, Mode::empty()) {
        Ok(folder) => folder,
        Err(error) => return absent(error.into()),
    };
    for (number, step) in steps.iter().enumerate() {
        let is_last = number + 1 == steps.len();
        // A pipe would wait for somebody to write.
        let how = if is_last { inner | OFlags::NONBLOCK } else { inner | OFlags::DIRECTORY };
        at = match openat(&at, *step, how, Mode::empty()) {
            Ok(opened) => opened,
            Err(error) => return absent(error.into()),
        };
    }
    let status = fstat(&at)?;
    if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
        return Ok(None);
    }
    Ok(Some((File::from(at), u64::try_from(status.st_size).unwrap_or(0))))
}

/// Whether an error says that there is no such file, or none that may be read.
fn absent<T>(error: io::Error) -> io::Result<Option<T>> {
    use rustix::io::Errno;
    let none = [Errno::NOENT, Errno::NOTDIR, Errno::LOOP, Errno::ACCESS, Errno::NAMETOOLONG, Errno::NXIO];
    match error.raw_os_error() {
        Some(code) if none.iter().any(|errno| errno.raw_os_error() == code) => Ok(None),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::CWD;
    use std::os::unix::fs::symlink;

    #[test]
    fn nothing_outside_is_reached() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("run");
        fs::create_dir_all(folder.join("deep/er")).unwrap();
        fs::write(root.path().join("secret"), "x").unwrap();
        for name in ["model.h5", "deep/er/plot.png"] {
            fs::write(folder.join(name), "kept").unwrap();
        }
        symlink(root.path().join("secret"), folder.join("link")).unwrap();
        symlink(root.path(), folder.join("deep/out")).unwrap();
        rustix::fs::mknodat(CWD, folder.join("pipe"), FileType::Fifo, Mode::from(0o600), 0).unwrap();
        let mut found = Vec::new();
        list(&folder, "", DEPTH, &mut found).unwrap();
        found.sort();
        assert_eq!(found.iter().map(|file| file.name.as_str()).collect::<Vec<_>>(), ["deep/er/plot.png", "model.h5"]);
        for name in ["model.h5", "deep/er/plot.png"] {
            assert_eq!(open_in(&folder, name).unwrap().unwrap().1, 4);
        }
        for name in [
            "",
            ".",
            "..",
            "../secret",
            "deep/../../secret",
            "/etc/passwd",
            "link",
            "deep/out/secret",
            "deep",
            "pipe",
            "none",
            "model.h5/",
            "deep//er/plot.png",
            "a\0b",
        ] {
            assert!(open_in(&folder, name).unwrap().is_none(), "{name:?}");
        }
        assert!(open_in(&root.path().join("gone"), "x").unwrap().is_none());
    }
}
