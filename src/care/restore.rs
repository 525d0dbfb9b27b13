//! `restore`: a backup becomes a data folder.
//!
//! A mark stands in the folder from before the first byte until everything is durable and was looked at once more; while
//! it is there no server opens the folder, and a restore into it begins anew. Everything in the backup is distrusted:
//! paths lead nowhere but into runs and logs, files are made and never written over, links come last and lead no
//! further than their run's folder.

use super::backup::{BackupError, Counts, Entry, Kind, Reader};
use super::verify::Verify;
use super::{BLOBS, LOGS, RUNS, Say, Summary, TMP, Weight, Word};
use crate::blob::LocalBlobs;
use crate::domain::blob::ContentHash;
use crate::domain::error::Error;
use crate::domain::stamp::Timestamp;
use crate::store::{FORMAT, OpenError, Options, Purpose, RESTORING, Store};
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use tokio::sync::RwLock;

/// Why a backup was not restored. The folder holds nothing that a server would open then.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The backup cannot be read.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// Something is there already.
    #[error("{0} is not empty; a backup is restored into a new folder, or an empty one")]
    NotEmpty(PathBuf),
    /// Another process is at work there.
    #[error("{0} is in use; a restore or a server is at work in it")]
    InUse(PathBuf),
    /// The folder cannot be written.
    #[error("{folder} cannot be written: {source}")]
    Folder {
        /// Which folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The store cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store cannot be written, or nobody waits any more.
    #[error(transparent)]
    Store(#[from] Error),
}

/// What was restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// What the backup held.
    pub counts: Counts,
    /// What a look at all of it said afterwards.
    pub summary: Summary,
}

/// Makes `folder` what the backup was taken of. Its file system has to be one that outlives the machine.
///
/// # Errors
/// [`RestoreError`].
pub fn restore(input: impl Read, folder: &Path, now: Timestamp, say: Say<'_>) -> Result<Restored, RestoreError> {
    let failed = |source| RestoreError::Folder { folder: folder.to_owned(), source };
    // Nothing is touched for the sake of what is no backup.
    let mut reader = Reader::new(input)?;
    prepare(folder)?;
    let options = Options { min_free_bytes: 0, purpose: Purpose::Restore, ..Options::default() };
    let store = Store::open(folder, options)?;
    let blobs = LocalBlobs::open(folder.join(BLOBS), folder.join(TMP)).map_err(failed)?;
    let mut work = Work { folder, store: &store, blobs, links: Vec::new(), say };
    while let Some(entry) = reader.next_entry()? {
        work.take(&entry, &mut reader)?;
        let Counts { records, images, others, .. } = reader.counts();
        let (stage, done) = match entry.kind {
            Kind::Records => ("records", records),
            Kind::Image => ("images", images),
            _ => ("run files", others),
        };
        if done % 64 == 0 || entry.kind == Kind::Records {
            (work.say)(Word::Progress { stage: stage.to_owned(), done })?;
        }
    }
    let links = std::mem::take(&mut work.links);
    links.into_iter().try_for_each(|(link, target)| work.link(&link, &target))?;
    for place in [RUNS, LOGS] {
        fs::create_dir_all(folder.join(place)).map_err(failed)?;
    }
    let counts = reader.counts();
    let Work { say, .. } = work;
    store.close();
    // An older store is brought to this release's format when it is opened.
    let format = reader.header().store_format;
    if format < FORMAT {
        fs::write(folder.join("format"), format!("{format}\n")).map_err(failed)?;
    }
    File::open(folder).and_then(|open| Ok(rustix::fs::syncfs(open)?)).map_err(failed)?;
    let store = Store::open(folder, options)?;
    let uploads = Arc::new(RwLock::new(()));
    let summary = Verify { store: &store, folder, uploads, now, repair: false }.run(say)?;
    store.close();
    fs::remove_file(folder.join(RESTORING)).map_err(failed)?;
    File::open(folder).and_then(|open| Ok(rustix::fs::syncfs(open)?)).map_err(failed)?;
    Ok(Restored { counts, summary })
}

/// Makes the folder, or clears what an earlier restore left in it, and sets the mark.
fn prepare(folder: &Path) -> Result<(), RestoreError> {
    let failed = |source| RestoreError::Folder { folder: folder.to_owned(), source };
    fs::create_dir_all(folder).map_err(failed)?;
    let mark = folder.join(RESTORING);
    let names = fs::read_dir(folder).and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect());
    let names: Vec<_> = names.map_err(failed)?;
    let is_foreign = |name: &&std::ffi::OsString| **name != *"lost+found";
    if !mark.exists() && names.iter().any(|name| is_foreign(&name)) {
        return Err(RestoreError::NotEmpty(folder.to_owned()));
    }
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(folder.join("lock")).map_err(failed)?;
    lock.try_lock().map_err(|_| RestoreError::InUse(folder.to_owned()))?;
    File::create(&mark).and_then(|mark| mark.sync_all()).map_err(failed)?;
    File::open(folder).and_then(|open| open.sync_all()).map_err(failed)?;
    for name in names.iter().filter(is_foreign).filter(|name| **name != *RESTORING && **name != *"lock") {
        let path = folder.join(name);
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.map_err(failed)?;
    }
    Ok(())
}

struct Work<'a, 'b> {
    folder: &'a Path,
    store: &'a Store,
    blobs: LocalBlobs,
    /// Links, which are made when nothing is written any more.
    links: Vec<(PathBuf, PathBuf)>,
    say: Say<'b>,
}

impl Work<'_, '_> {
    fn failed(&self) -> impl Fn(io::Error) -> RestoreError + use<> {
        let folder = self.folder.to_owned();
        move |source| RestoreError::Folder { folder: folder.clone(), source }
    }

    fn left_out(&mut self, what: String) -> Result<(), RestoreError> {
        Ok((self.say)(Word::Finding { weight: Weight::Problem, what, can_be_repaired: false })?)
    }

    fn take<R: Read>(&mut self, entry: &Entry, reader: &mut Reader<R>) -> Result<(), RestoreError> {
        match entry.kind {
            Kind::Records => Ok(self.store.load(reader.records()?)?),
            Kind::Image => self.image(entry, reader),
            Kind::File => self.file(entry, reader),
            Kind::Folder => {
                let path = self.folder.join(place(&entry.name)?);
                fs::create_dir_all(path).map_err(self.failed())
            }
            Kind::Link => {
                let path = place(&entry.name)?;
                let target = PathBuf::from(OsStr::from_bytes(&reader.content()?));
                match stays_within(&path, &target) {
                    true => self.links.push((path, target)),
                    false => {
                        let what = format!("the link {} leads out of its run's folder and is left out", path.display());
                        self.left_out(what)?;
                    }
                }
                Ok(())
            }
            Kind::End => Ok(()),
        }
    }

    /// An image is stored under the hash of what really came. Syncing each would take long; all of it is synced at the
    /// end.
    fn image<R: Read>(&mut self, entry: &Entry, reader: &mut Reader<R>) -> Result<(), RestoreError> {
        let failed = self.failed();
        let mut named = ContentHash([0; 32]);
        named.0.copy_from_slice(&entry.name);
        let draft = self.folder.join(TMP).join("image");
        let mut file = File::create(&draft).map_err(&failed)?;
        let mut hasher = blake3::Hasher::new();
        let mut piece = Vec::new();
        while reader.piece(&mut piece)? {
            hasher.update(&piece);
            file.write_all(&piece).map_err(&failed)?;
        }
        if hasher.finalize() != named.0 {
            fs::remove_file(&draft).map_err(&failed)?;
            let what = format!("the image {named} was damaged when the backup was made, and is left out");
            return self.left_out(what);
        }
        file.set_permissions(Permissions::from_mode(0o444)).map_err(&failed)?;
        fs::rename(&draft, self.blobs.place(named)).map_err(&failed)
    }

    fn file<R: Read>(&mut self, entry: &Entry, reader: &mut Reader<R>) -> Result<(), RestoreError> {
        let failed = self.failed();
        let path = self.folder.join(place(&entry.name)?);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(&failed)?;
        }
        let mut file = OpenOptions::new().write(true).create_new(true).open(path).map_err(&failed)?;
        let mut piece = Vec::new();
        while reader.piece(&mut piece)? {
            file.write_all(&piece).map_err(&failed)?;
        }
        // Its owner has to be able to remove it again.
        let mode = Permissions::from_mode(entry.mode & 0o777 | 0o600);
        file.set_permissions(mode).map_err(&failed)
    }

    fn link(&self, path: &Path, target: &Path) -> Result<(), RestoreError> {
        let path = self.folder.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(self.failed())?;
        }
        symlink(target, path).map_err(self.failed())
    }
}

/// The path that a name means: plain names below runs or logs.
fn place(name: &[u8]) -> Result<PathBuf, BackupError> {
    let path = Path::new(OsStr::from_bytes(name));
    let mut parts = path.components();
    let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    let is_ours = parts.next().is_some_and(|first| [RUNS, LOGS].iter().any(|place| first.as_os_str() == *place));
    let is_exact = path.components().map(|part| part.as_os_str().as_bytes()).collect::<Vec<_>>().join(&b'/') == name;
    if is_ours && is_exact && !name.contains(&0) && path.components().count() > 1 && parts.all(is_plain) {
        return Ok(path.to_owned());
    }
    Err(BackupError::Damaged(format!("a file of it is named {:?}", path.display().to_string())))
}

/// True for a link in a run's folder that leads to something in that folder, as far as names tell.
fn stays_within(link: &Path, target: &Path) -> bool {
    // How deep below the run's folder the link's own folder lies.
    let Some(mut depth) = link.components().count().checked_sub(3) else { return false };
    for part in target.components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir => match depth.checked_sub(1) {
                Some(up) => depth = up,
                None => return false,
            },
            Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    link.starts_with(RUNS) && !target.as_os_str().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_lead_into_runs_and_logs_and_nowhere_else() {
        for good in ["runs/run_1", "runs/run_1/model.onnx", "logs/run_1.log", "runs/run_1/a b/ä/...", "runs/x/.hidden"]
        {
            assert_eq!(place(good.as_bytes()).unwrap(), PathBuf::from(good));
        }
        let bad = [
            "",
            "runs",
            "runs/",
            "/runs/x",
            "runs/../format",
            "runs/x/../../format",
            "store/db",
            "runs//x",
            "runs/./x",
            "runs/x/",
            "logs/\0",
            "blobs/aa/x",
            "format",
            "../runs/x",
            "Runs/x",
        ];
        for bad in bad {
            assert!(place(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn links_stay_in_their_run() {
        let within = |link: &str, target: &str| stays_within(Path::new(link), Path::new(target));
        assert!(within("runs/r/last", "step-3"));
        assert!(within("runs/r/a/last", "../b/./c"));
        for (link, target) in [
            ("runs/r/x", "/etc/passwd"),
            ("runs/r/x", "../other/model"),
            ("runs/r/a/x", "../../other"),
            ("runs/r/x", "a/../../y"),
            ("runs/x", "y"),
            ("logs/r/a/x", "y"),
            ("runs/r/x", ""),
        ] {
            assert!(!within(link, target), "{link} -> {target}");
        }
    }

    proptest! {
        #[test]
        fn any_name_leads_below_or_is_refused(name in proptest::collection::vec(prop_oneof![Just(b'/'), Just(b'.'), any::<u8>()], 0..24), ours: bool) {
            let name = if ours { [b"runs/", &name[..]].concat() } else { name };
            if let Ok(path) = place(&name) {
                prop_assert!(path.components().all(|part| matches!(part, Component::Normal(_))));
                prop_assert!(path.starts_with("runs") || path.starts_with("logs"));
            }
        }
    }
}
