//! The files of a run: a folder of the script's own, and our log and points elsewhere.

use crate::domain::ids::RunId;
use crate::domain::run_files::RunFiles;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// More files than this are synced with their whole file system.
const MAX_SYNCED: usize = 64;

/// Where runs keep their files.
#[derive(Debug, Clone)]
pub struct RunFolders {
    root: PathBuf,
    logs: PathBuf,
}

impl RunFolders {
    /// The scripts' folders under `root`, logs and points under `logs`; both are absolute paths.
    pub fn new(root: PathBuf, logs: PathBuf) -> Self {
        Self { root, logs }
    }

    /// The script's own folder: its working directory and `TRAINYARD_MODEL_DIR`.
    pub fn model(&self, run: RunId) -> PathBuf {
        self.root.join(run.to_string())
    }

    /// Makes an empty folder for an attempt; what an earlier attempt left is removed.
    ///
    /// # Errors
    /// What the file system says.
    pub fn prepare(&self, run: RunId) -> io::Result<PathBuf> {
        let folder = self.model(run);
        match fs::create_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_dir_all(&folder)?;
                for file in [self.log(run), self.points(run)] {
                    if let Err(error) = fs::remove_file(file)
                        && error.kind() != io::ErrorKind::NotFound
                    {
                        return Err(error);
                    }
                }
                fs::create_dir(&folder)?;
            }
            made => made?,
        }
        Ok(folder)
    }

    /// Makes what the script kept durable, before its result is.
    ///
    /// # Errors
    /// What the file system says.
    pub fn sync(&self, run: RunId) -> io::Result<()> {
        let model = self.model(run);
        let mut files = Vec::new();
        collect(&model, &mut files)?;
        if files.is_empty() {
            return Ok(());
        }
        if files.len() > MAX_SYNCED {
            return Ok(rustix::fs::syncfs(File::open(&model)?)?);
        }
        files.push(model);
        files.push(self.root.clone());
        files.iter().try_for_each(|path| sync(path))
    }

    /// Makes a run's log and points durable, where there are any.
    ///
    /// # Errors
    /// What the file system says.
    pub fn sync_records(&self, run: RunId) -> io::Result<()> {
        [self.log(run), self.points(run), self.logs.clone()].iter().try_for_each(|path| sync(path))
    }
}

/// Syncs a file that may have been removed meanwhile.
fn sync(path: &Path) -> io::Result<()> {
    match File::open(path) {
        Ok(file) => file.sync_all(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // A file that its owner made unreadable is the script's own affair.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        Err(error) => Err(error),
    }
}

/// Lists regular files and folders below `folder`, one more than can be synced singly at the most.
fn collect(folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        // A script may remove its own folder.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        if found.len() > MAX_SYNCED {
            return Ok(());
        }
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            found.push(entry.path());
            collect(&entry.path(), found)?;
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    Ok(())
}

impl RunFiles for RunFolders {
    fn log(&self, run: RunId) -> PathBuf {
        self.logs.join(format!("{run}.log"))
    }

    fn points(&self, run: RunId) -> PathBuf {
        self.logs.join(format!("{run}.points"))
    }

    fn kept(&self, run: RunId) -> PathBuf {
        self.model(run)
    }

    fn size(&self, run: RunId) -> io::Result<u64> {
        [self.model(run), self.log(run), self.points(run)].iter().try_fold(0, |sum, path| Ok(sum + size(path)?))
    }

    fn remove(&self, run: RunId) -> io::Result<()> {
        let gone = |removed: io::Result<()>| match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        gone(fs::remove_dir_all(self.model(run)))?;
        gone(fs::remove_file(self.log(run)))?;
        gone(fs::remove_file(self.points(run)))
    }
}

/// What is on the disk at `path` and below it, in bytes; links are not followed.
fn size(path: &Path) -> io::Result<u64> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    if !found.is_dir() {
        return Ok(found.len());
    }
    fs::read_dir(path)?.try_fold(0, |sum, entry| Ok(sum + size(&entry?.path())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_attempt_starts_from_nothing() {
        let root = tempfile::tempdir().unwrap();
        let folders = RunFolders::new(root.path().to_owned(), root.path().to_owned());
        let model = folders.prepare(RunId(1)).unwrap();
        fs::write(model.join("model.h5"), "x").unwrap();
        fs::create_dir(model.join("deep")).unwrap();
        fs::write(model.join("deep/plot.png"), "x").unwrap();
        folders.sync(RunId(1)).unwrap();
        assert_eq!(fs::read_dir(folders.prepare(RunId(1)).unwrap()).unwrap().count(), 0);
        folders.sync(RunId(1)).unwrap();
    }
}
