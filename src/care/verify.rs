//! `verify`: every record, every reference, every stored image, every run's files.
//!
//! Records are judged as they stood at the beginning, images as their records had them then, so others may write on.
//! Repairs are made where nothing can be lost by them: indexes and counters that follow from records, files that nobody
//! refers to and that are older than a day. An image whose bytes changed is moved aside, so that it can be uploaded
//! again.

use super::{BLOBS, CACHE, LOGS, RUNS, SWEPT, Say, Summary, THUMBS, TMP, VIEWS, Weight, Word};
use crate::blob::{Inventory, LocalBlobs, Thumbs};
use crate::domain::blob::{Blob, ContentHash};
use crate::domain::error::{Error, Result};
use crate::domain::ids::RunId;
use crate::domain::stamp::Timestamp;
use crate::store::check::{self, Fix, Seen, Severity};
use crate::store::{Snapshot, Store, blobs, results, runs};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::RwLock;

/// How old a file has to be that nobody refers to, before it is taken for left over: one that is new may be about to be
/// referred to.
const OLD: Duration = Duration::from_secs(24 * 60 * 60);

/// What is read at once.
const PIECE: usize = 256 << 10;

/// How often a repair is followed by another look: what one mends may bring another to light.
const LOOKS: usize = 4;

/// The most repairs between two looks; each is a key.
const MOST_FIXES: usize = 100_000;

/// Files and folders that a data folder has beside those with constants.
const KNOWN: [&str; 12] = [
    "ballast",
    "control.new",
    "control.sock",
    "format",
    "format.draft",
    "id",
    "left",
    "lock",
    "lost+found",
    "mark",
    "restoring",
    "store",
];

/// A data folder that is looked at.
pub struct Verify<'a> {
    /// Its records.
    pub store: &'a Store,
    /// Where it is.
    pub folder: &'a Path,
    /// Held for reading by whoever stores bytes before it refers to them.
    pub uploads: Arc<RwLock<()>>,
    /// What time it is.
    pub now: Timestamp,
    /// Whether to repair.
    pub repair: bool,
}

struct Work<'a, 'b> {
    verify: &'a Verify<'a>,
    blobs: LocalBlobs,
    summary: Summary,
    say: Say<'b>,
}

impl Verify<'_> {
    /// Looks at everything, and says what it finds.
    ///
    /// # Errors
    /// Where the folder cannot be read, and what `say` answers.
    pub fn run(&self, say: Say<'_>) -> Result<Summary> {
        let blobs = LocalBlobs::at(self.folder.join(BLOBS), self.folder.join(TMP));
        let mut work = Work { verify: self, blobs, summary: Summary::default(), say };
        let snapshot = work.records()?;
        work.images(&snapshot)?;
        work.thumbs()?;
        work.best_runs(&snapshot)?;
        drop(snapshot);
        work.run_files()?;
        work.leftovers()?;
        let summary = work.summary;
        (work.say)(Word::Done(summary))?;
        Ok(summary)
    }
}

impl Work<'_, '_> {
    fn finding(&mut self, weight: Weight, what: String, can_be_repaired: bool) -> Result<()> {
        match weight {
            Weight::Problem => self.summary.problems += 1,
            Weight::Note => self.summary.notes += 1,
        }
        (self.say)(Word::Finding { weight, what, can_be_repaired })
    }

    fn repaired(&mut self, count: u64, what: String) -> Result<()> {
        self.summary.repaired += count;
        (self.say)(Word::Repaired { what })
    }

    /// Judges records; where there is something to mend, mends it and judges again. Returns the state that was judged.
    fn records(&mut self) -> Result<Snapshot> {
        let Verify { store, now, repair, .. } = *self.verify;
        let mut looks = if repair { LOOKS } else { 1 };
        loop {
            looks -= 1;
            let before = self.summary;
            let snapshot = store.snapshot();
            let mut fixes = Vec::new();
            let tally = check::records(&snapshot, now, &mut |seen| match seen {
                Seen::Records(done) => (self.say)(Word::Progress { stage: "records".to_owned(), done }),
                Seen::Finding(finding) => {
                    let weight = match finding.severity {
                        Severity::Problem => Weight::Problem,
                        Severity::Leftover => Weight::Note,
                    };
                    let can_be_repaired = finding.fix.is_some() && fixes.len() < MOST_FIXES;
                    fixes.extend(finding.fix.filter(|_| can_be_repaired));
                    self.finding(weight, finding.what, can_be_repaired)
                }
            })?;
            self.summary.records = tally.records;
            self.summary.runs = tally.runs;
            if fixes.is_empty() || looks == 0 {
                return Ok(snapshot);
            }
            drop(snapshot);
            let written = self.mend(fixes)?;
            // What is left is found again.
            (self.summary.problems, self.summary.notes) = (before.problems, before.notes);
            self.repaired(written, format!("{written} keys were written; looking again"))?;
        }
    }

    fn mend(&self, fixes: Vec<Fix>) -> Result<u64> {
        self.verify.store.repair(fixes, self.verify.now).map(|written| written as u64)
    }

    /// Compares stored files with their records, both in the order of their hashes.
    fn images(&mut self, snapshot: &Snapshot) -> Result<()> {
        for first in 0..=u8::MAX {
            let Inventory { stored, others } =
                self.blobs.inventory(first).map_err(|error| unreadable(BLOBS, &error))?;
            let mut files = stored.into_iter().peekable();
            for blob in blobs::starting_with(snapshot, first) {
                // What does not decode was found among the records.
                let Ok(blob) = blob else { continue };
                while let Some(hash) = files.next_if(|hash| *hash < blob.hash) {
                    self.unreferenced(hash)?;
                }
                match files.next_if_eq(&blob.hash) {
                    Some(_) => self.compare(&blob)?,
                    None => {
                        let what = format!("the file of the image {} ({} bytes) is gone", blob.hash, blob.size);
                        self.finding(Weight::Problem, what, false)?;
                    }
                }
            }
            for hash in files {
                self.unreferenced(hash)?;
            }
            for other in others {
                let what = format!("{} is no image of trainyard's; it is left alone", other.display());
                self.finding(Weight::Note, what, false)?;
            }
            (self.say)(Word::Progress { stage: "images".to_owned(), done: self.summary.images })?;
        }
        Ok(())
    }

    fn compare(&mut self, blob: &Blob) -> Result<()> {
        self.summary.images += 1;
        let path = self.blobs.place(blob.hash);
        let what = match content_of(&path) {
            Ok((hash, size)) => {
                self.summary.image_bytes += size;
                match () {
                    () if size != blob.size => format!("has {size} bytes, and its record says {}", blob.size),
                    () if hash != blob.hash => "holds other bytes than were stored".to_owned(),
                    () => return Ok(()),
                }
            }
            Err(error) => {
                return self.finding(
                    Weight::Problem,
                    format!("the image {} cannot be read: {error}", blob.hash),
                    false,
                );
            }
        };
        self.finding(Weight::Problem, format!("the file of the image {} {what}", blob.hash), true)?;
        if !self.verify.repair {
            return Ok(());
        }
        let aside = path.with_extension("damaged");
        fs::rename(&path, &aside).map_err(Error::internal)?;
        self.repaired(1, format!("{} was moved to {}; upload the image again", path.display(), aside.display()))
    }

    /// A file that no record of the beginning refers to: new, or left by a crash between file and record.
    fn unreferenced(&mut self, hash: ContentHash) -> Result<()> {
        let path = self.blobs.place(hash);
        if !is_old(&path) || blobs::get(self.verify.store, hash)?.is_some() {
            return Ok(());
        }
        let what = format!("{} is older than a day, and nothing refers to it", path.display());
        self.finding(Weight::Note, what, true)?;
        if !self.verify.repair {
            return Ok(());
        }
        // Whoever stores these bytes just now has referred to them afterwards.
        let nobody_stores = self.verify.uploads.blocking_write();
        let is_needed = blobs::get(self.verify.store, hash)?.is_some() || !is_old(&path);
        if !is_needed {
            fs::remove_file(&path).map_err(Error::internal)?;
        }
        drop(nobody_stores);
        if is_needed { Ok(()) } else { self.repaired(1, format!("{} was removed", path.display())) }
    }

    /// Small pictures belong to images, and are whole.
    fn thumbs(&mut self) -> Result<()> {
        let thumbs = Thumbs::at(self.verify.folder.join(THUMBS), self.verify.folder.join(TMP));
        for first in 0..=u8::MAX {
            let Inventory { stored, others } = thumbs.inventory(first).map_err(|error| unreadable(THUMBS, &error))?;
            for hash in stored {
                let path = thumbs.place(hash);
                if blobs::get(self.verify.store, hash)?.is_none() {
                    // One whose image goes just now goes with it.
                    if is_old(&path) {
                        self.unneeded(&path, "is the small picture of an image that is not stored")?;
                    }
                } else if thumbs.read(hash).map_err(|error| unreadable(THUMBS, &error))?.is_none() && path.exists() {
                    self.unneeded(&path, "is a damaged small picture; it is made again when it is asked for")?;
                }
            }
            for other in others {
                let what = format!("{} is no small picture of trainyard's; it is left alone", other.display());
                self.finding(Weight::Note, what, false)?;
            }
        }
        Ok(())
    }

    /// Predictions need the folders of the best runs.
    fn best_runs(&mut self, snapshot: &Snapshot) -> Result<()> {
        for best in results::bests(snapshot) {
            let Ok(best) = best else { continue };
            let folder = self.verify.folder.join(RUNS).join(best.run.to_string());
            if !folder.is_dir() {
                let what = format!("the folder of {}, a model's best, is gone: predictions need it", best.run);
                self.finding(Weight::Problem, what, false)?;
            }
        }
        Ok(())
    }

    /// Files of runs belong to runs.
    fn run_files(&mut self) -> Result<()> {
        let mut done = 0;
        for place in [RUNS, LOGS] {
            for entry in entries(&self.verify.folder.join(place))? {
                let path = entry.map_err(|error| unreadable(place, &error))?.path();
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let id = if place == LOGS { name.rsplit_once('.').map_or("", |(stem, _)| stem) } else { &name };
                let is_stored = match id.parse::<RunId>() {
                    Ok(id) => runs::get(self.verify.store, id).map_or(true, |run| run.is_some()),
                    Err(_) => false,
                };
                if !is_stored {
                    let what = format!("{} belongs to no run; it is left alone", path.display());
                    self.finding(Weight::Note, what, false)?;
                }
                done += 1;
                if done % 1024 == 0 {
                    (self.say)(Word::Progress { stage: "run files".to_owned(), done })?;
                }
            }
        }
        Ok(())
    }

    /// What earlier processes left behind.
    fn leftovers(&mut self) -> Result<()> {
        for entry in entries(&self.verify.folder.join(TMP))? {
            let path = entry.map_err(|error| unreadable(TMP, &error))?.path();
            if is_old(&path) {
                self.unneeded(&path, "was never finished")?;
            }
        }
        for entry in entries(self.verify.folder)? {
            let path = entry.map_err(|error| unreadable("the data folder", &error))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if [BLOBS, RUNS, LOGS, THUMBS, TMP, VIEWS, CACHE, SWEPT].contains(&&*name) || KNOWN.contains(&&*name) {
                continue;
            }
            if name == "store.before" {
                self.unneeded(&path, "is a copy from a start that was cut short")?;
                continue;
            }
            let what = match name.starts_with("store.damaged-") {
                true => "is the store as it was before a rescue; remove it when all is well",
                false => "is nothing of trainyard's; it is left alone",
            };
            self.finding(Weight::Note, format!("{} {what}", path.display()), false)?;
        }
        Ok(())
    }

    /// A file or folder that nothing needs.
    fn unneeded(&mut self, path: &Path, why: &str) -> Result<()> {
        self.finding(Weight::Note, format!("{} {why}", path.display()), true)?;
        if !self.verify.repair {
            return Ok(());
        }
        let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::internal(error)),
            _ => self.repaired(1, format!("{} was removed", path.display())),
        }
    }
}

fn unreadable(what: &str, error: &io::Error) -> Error {
    Error::internal(format!("{what} cannot be read: {error}"))
}

/// The entries of a folder, which need not be there.
fn entries(folder: &Path) -> Result<impl Iterator<Item = io::Result<fs::DirEntry>>> {
    match fs::read_dir(folder) {
        Ok(entries) => Ok(Some(entries).into_iter().flatten()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None.into_iter().flatten()),
        Err(error) => Err(unreadable(&folder.display().to_string(), &error)),
    }
}

/// True for a file that was last written more than a day ago.
fn is_old(path: &Path) -> bool {
    let written = fs::symlink_metadata(path).and_then(|file| file.modified());
    written.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age > OLD))
}

/// The hash and the size of what a file holds.
fn content_of(path: &PathBuf) -> io::Result<(ContentHash, u64)> {
    let mut file = File::open(path)?;
    let mut hasher = blake3::Hasher::new();
    let mut piece = vec![0; PIECE];
    let mut size = 0;
    loop {
        let length = file.read(&mut piece)?;
        if length == 0 {
            return Ok((ContentHash(*hasher.finalize().as_bytes()), size));
        }
        hasher.update(&piece[..length]);
        size += length as u64;
    }
}
