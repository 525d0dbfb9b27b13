//! The data folder before anything is read from it: what the last process left is cleared, and it has an id.
//!
//! Knows names of folders; not what lies in them.

use super::SystemClock;
use crate::care;
use crate::domain::stamp::Clock;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::{fs, io};

/// Clears what the last process left unfinished: uploads, and dataset folders, which are made anew when needed. The
/// folders are moved aside at once and deleted at leisure; on a full disk, which has no room for another folder, they are
/// emptied where they are.
pub(super) fn sweep(data: &Path) -> io::Result<()> {
    let swept = data.join(care::SWEPT);
    for (number, name) in [care::TMP, care::VIEWS].iter().enumerate() {
        let folder = data.join(name);
        if fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_none()) {
            continue;
        }
        let stamp = SystemClock.now().0;
        let moved = fs::create_dir_all(&swept)
            .and_then(|()| fs::rename(&folder, swept.join(format!("{stamp}-{number}"))))
            .and_then(|()| fs::create_dir(&folder));
        match moved {
            Err(error) if error.kind() == io::ErrorKind::NotFound => fs::create_dir_all(&folder)?,
            Err(error) if error.kind() == io::ErrorKind::StorageFull => clear(&folder)?,
            moved => moved?,
        }
    }
    fs::create_dir_all(data.join(care::RUNS))?;
    fs::create_dir_all(data.join(care::LOGS))?;
    std::thread::Builder::new().name("sweeper".to_owned()).spawn(move || {
        if let Err(error) = fs::remove_dir_all(&swept)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "what an earlier server left unfinished could not all be removed");
        }
    })?;
    Ok(())
}

/// Empties a folder, which may have to be made.
fn clear(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => fs::remove_dir_all(entry.path())?,
            false => fs::remove_file(entry.path())?,
        }
    }
    Ok(())
}

/// What the marks of this data folder's children begin with, kept so that a later server knows an earlier one's. A copy
/// of the folder lies elsewhere, so its server leaves the children of the original alone.
pub(super) fn id(data: &Path) -> io::Result<String> {
    let file = data.join("id");
    let place = fs::metadata(data)?;
    let at = |id: &str| format!("{id}-{:x}-{:x}", place.dev(), place.ino());
    match fs::read_to_string(&file) {
        Ok(id) if !id.trim().is_empty() => return Ok(at(id.trim())),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let seed = format!("{} {} {}", data.display(), SystemClock.now().0, std::process::id());
    let id = blake3::hash(seed.as_bytes()).to_hex()[..16].to_owned();
    fs::write(&file, format!("{id}\n"))?;
    Ok(at(&id))
}
