//! What a run leaves behind: the files in its own folder, the curves of its metrics.
//!
//! The folder is the script's own: what lies there is not followed where it leads elsewhere, and is read up to a bound.

use super::Services;
use crate::domain::account::{Permit, View};
use crate::domain::error::{Code, Error, Result};
use crate::domain::ids::RunId;
use crate::domain::text::printable;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Files that are listed.
const FILES: usize = 200;

/// How much of a file of points is read, in bytes.
const POINT_BYTES: u64 = 16 << 20;

/// Curves of one run.
const CURVES: usize = 12;

/// Points of one curve that are told.
const POINTS: usize = 400;

/// A file that a run kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its name in the run's folder.
    pub name: String,
    /// Bytes.
    pub size: u64,
}

/// (step, value), the earlier steps first.
pub type Curve = Vec<(f64, f64)>;

impl Services {
    /// The files that a run kept, without those in folders of its folder.
    ///
    /// # Errors
    /// `not_found` for the run.
    pub async fn kept(&self, permit: Permit<View>, id: RunId) -> Result<Vec<Kept>> {
        self.run(permit, id)?;
        let folder = self.parts.files.folder(id);
        tokio::task::spawn_blocking(move || list(&folder)).await.map_err(Error::internal)?.map_err(Error::internal)
    }

    /// A file that a run kept, opened, with its size.
    ///
    /// # Errors
    /// `not_found` for the run, for a file that is not there, and for what is no file.
    pub async fn kept_file(&self, permit: Permit<View>, id: RunId, name: &str) -> Result<(File, u64)> {
        self.run(permit, id)?;
        let gone = || Error::new(Code::NotFound, format!("run {id} has kept no file {:?}", printable(name)));
        if name.is_empty() || name.contains(['/', '\0']) || name == ".." || name == "." {
            return Err(gone());
        }
        let path = self.parts.files.folder(id).join(name);
        let opened = tokio::task::spawn_blocking(move || open(path)).await.map_err(Error::internal)?;
        opened.map_err(Error::internal)?.ok_or_else(gone)
    }

    /// The curves of a run's metrics, thinned out.
    ///
    /// # Errors
    /// `not_found` for the run.
    pub async fn curves(&self, permit: Permit<View>, id: RunId) -> Result<BTreeMap<String, Curve>> {
        let path = self.run_points(permit, id)?;
        let read = tokio::task::spawn_blocking(move || curves(path));
        read.await.map_err(Error::internal)?.map_err(Error::internal)
    }
}

fn list(folder: &Path) -> io::Result<Vec<Kept>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries.take(FILES * 4) {
        let entry = entry?;
        let Ok(about) = entry.metadata() else { continue };
        if let Some(name) = entry.file_name().to_str().filter(|_| about.is_file() && found.len() < FILES) {
            found.push(Kept { name: name.to_owned(), size: about.len() });
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// `None` where there is no such file, or what is there is none.
fn open(path: PathBuf) -> io::Result<Option<(File, u64)>> {
    // A link leads out of the folder, and a pipe would be waited for.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => {
            let about = file.metadata()?;
            Ok(about.is_file().then(|| (file, about.len())))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ELOOP) => Ok(None),
        Err(error) => Err(error),
    }
}

fn curves(path: PathBuf) -> io::Result<BTreeMap<String, Curve>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error),
    };
    let mut curves: BTreeMap<String, Curve> = BTreeMap::new();
    for line in BufReader::new(file.take(POINT_BYTES)).lines() {
        // The last line may be on its way.
        let Ok(serde_json::Value::Object(point)) = serde_json::from_str(&line?) else { continue };
        let Some(step) = point.get("step").and_then(serde_json::Value::as_f64) else { continue };
        let Some(metrics) = point.get("metrics").and_then(serde_json::Value::as_object) else { continue };
        for (name, value) in metrics {
            let Some(value) = value.as_f64() else { continue };
            if curves.len() < CURVES || curves.contains_key(name) {
                curves.entry(name.clone()).or_default().push((step, value));
            }
        }
    }
    curves.values_mut().for_each(thin);
    Ok(curves)
}

/// Leaves at most [`POINTS`] points, the last among them.
fn thin(curve: &mut Curve) {
    if curve.len() <= POINTS {
        return;
    }
    let every = curve.len().div_ceil(POINTS - 1);
    let last = curve.len() - 1;
    let mut at = 0;
    curve.retain(|_| {
        at += 1;
        (at - 1) % every == 0 || at - 1 == last
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinned_curves_keep_both_ends() {
        for length in [1, 399, 400, 401, 12_345] {
            let mut curve: Curve = (0..length).map(|at| (f64::from(at), 0.0)).collect();
            thin(&mut curve);
            assert!(curve.len() <= POINTS, "{length}");
            assert_eq!((curve[0].0, curve.last().unwrap().0), (0.0, f64::from(length - 1)));
        }
    }

    #[test]
    fn only_files_of_the_folder_itself_are_opened() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("kept.txt"), "kept").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link")).unwrap();
        fs::create_dir(folder.path().join("folder")).unwrap();
        assert_eq!(list(folder.path()).unwrap(), [Kept { name: "kept.txt".to_owned(), size: 4 }]);
        assert!(open(folder.path().join("kept.txt")).unwrap().is_some());
        for other in ["link", "folder", "nothing"] {
            assert!(open(folder.path().join(other)).unwrap().is_none(), "{other}");
        }
    }
}
