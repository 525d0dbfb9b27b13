//! Writes a backup. Knows where a data folder keeps what; not where the bytes go.

use super::{Counts, Kind, MAGIC, MAX_NAME, VERSION};
use crate::blob::LocalBlobs;
use crate::care::{BLOBS, LOGS, RUNS, Say, TMP, Weight, Word};
use crate::domain::error::{Error, Result};
use crate::domain::ids::RunId;
use crate::store::{FORMAT, Snapshot, Store, blobs, runs};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// How many bytes of records make an entry, about.
const BATCH: usize = 128 << 10;

/// What is read of a file at once.
const PIECE: usize = 256 << 10;

/// Folders in folders of a run; a deeper one is left out.
const DEEPEST: usize = 64;

/// What a backup is taken of.
pub struct Source<'a> {
    /// Its records.
    pub store: &'a Store,
    /// Where it is.
    pub folder: &'a Path,
    /// When, in milliseconds since 1970.
    pub made_at: u64,
}

/// Writes a backup to `out` and says how far it is. Returns what is in it.
///
/// # Errors
/// Where the store cannot be read or `out` not be written, and what `say` answers: then `out` is no backup.
pub fn write(source: &Source<'_>, out: &mut dyn Write, say: Say<'_>) -> Result<Counts> {
    let blobs = LocalBlobs::at(source.folder.join(BLOBS), source.folder.join(TMP));
    let mut work = Work { source, blobs, out: Output::new(out), counts: Counts::default(), say };
    let snapshot = source.store.snapshot();
    work.out.header(source.made_at).map_err(unwritten)?;
    work.records(&snapshot)?;
    work.images(&snapshot)?;
    work.runs(&snapshot)?;
    let counts = work.counts;
    work.out.end(&counts.to_bytes()).map_err(unwritten)?;
    Ok(counts)
}

fn unwritten(error: io::Error) -> Error {
    Error::internal(format!("the backup cannot be written: {error}"))
}

struct Work<'a, 'b> {
    source: &'a Source<'a>,
    blobs: LocalBlobs,
    out: Output<'b>,
    counts: Counts,
    say: Say<'b>,
}

impl Work<'_, '_> {
    fn progress(&mut self, stage: &str, done: u64) -> Result<()> {
        (self.say)(Word::Progress { stage: stage.to_owned(), done })
    }

    fn left_out(&mut self, path: &Path, why: impl std::fmt::Display) -> Result<()> {
        self.counts.left_out += 1;
        let what = format!("{} is not in the backup: {why}", path.display());
        (self.say)(Word::Finding { weight: Weight::Problem, what, can_be_repaired: false })
    }

    fn records(&mut self, snapshot: &Snapshot) -> Result<()> {
        let mut batch = Vec::with_capacity(BATCH + 4096);
        for pair in snapshot.pairs() {
            let (key, value) = pair?;
            let (key_length, length) = (u16::try_from(key.len()), u32::try_from(value.len()));
            batch.extend_from_slice(&key_length.map_err(Error::internal)?.to_le_bytes());
            batch.extend_from_slice(&key);
            batch.extend_from_slice(&length.map_err(Error::internal)?.to_le_bytes());
            batch.extend_from_slice(&value);
            self.counts.records += 1;
            if batch.len() >= BATCH {
                self.out.whole(Kind::Records, &[], 0, &batch).map_err(unwritten)?;
                batch.clear();
                self.progress("records", self.counts.records)?;
            }
        }
        if !batch.is_empty() {
            self.out.whole(Kind::Records, &[], 0, &batch).map_err(unwritten)?;
        }
        self.progress("records", self.counts.records)
    }

    fn images(&mut self, snapshot: &Snapshot) -> Result<()> {
        for blob in blobs::all(snapshot) {
            let blob = blob?;
            let path = self.blobs.place(blob.hash);
            match File::open(&path) {
                Ok(file) => {
                    self.out.file(Kind::Image, &blob.hash.0, 0, file, &path)?;
                    self.counts.images += 1;
                }
                Err(error) => self.left_out(&path, error)?,
            }
            if self.counts.images.is_multiple_of(64) {
                self.progress("images", self.counts.images)?;
            }
        }
        self.progress("images", self.counts.images)
    }

    fn runs(&mut self, snapshot: &Snapshot) -> Result<()> {
        let mut done = 0;
        for run in runs::finished(snapshot) {
            self.run(run?)?;
            done += 1;
            if done % 64 == 0 {
                self.progress("runs", done)?;
            }
        }
        self.progress("runs", done)
    }

    fn run(&mut self, run: RunId) -> Result<()> {
        let own = PathBuf::from(RUNS).join(run.to_string());
        for ending in ["log", "points"] {
            self.entry(&PathBuf::from(LOGS).join(format!("{run}.{ending}")))?;
        }
        let mut open = vec![own];
        while let Some(folder) = open.pop() {
            let entries = match fs::read_dir(self.source.folder.join(&folder)) {
                Ok(entries) => entries,
                // A script may remove its own folder.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    self.left_out(&folder, error)?;
                    continue;
                }
            };
            self.out.whole(Kind::Folder, folder.as_os_str().as_bytes(), 0, &[]).map_err(unwritten)?;
            self.counts.others += 1;
            for entry in entries {
                let path = match entry {
                    Ok(entry) => folder.join(entry.file_name()),
                    Err(error) => {
                        self.left_out(&folder, error)?;
                        continue;
                    }
                };
                let is_folder = self.source.folder.join(&path).symlink_metadata().is_ok_and(|entry| entry.is_dir());
                match is_folder {
                    false => self.entry(&path)?,
                    true if path.components().count() > DEEPEST => self.left_out(&path, "it lies too deep")?,
                    true => open.push(path),
                }
            }
        }
        Ok(())
    }

    /// A file or link that may not be there.
    fn entry(&mut self, path: &Path) -> Result<()> {
        let place = self.source.folder.join(path);
        let name = path.as_os_str().as_bytes();
        let found = match place.symlink_metadata() {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return self.left_out(path, error),
        };
        if name.len() > MAX_NAME {
            return self.left_out(path, "its name is too long");
        }
        if found.is_symlink() {
            let target = match fs::read_link(&place) {
                Ok(target) => target,
                Err(error) => return self.left_out(path, error),
            };
            self.out.whole(Kind::Link, name, 0, target.as_os_str().as_bytes()).map_err(unwritten)?;
        } else if found.is_file() {
            match File::open(&place) {
                Ok(file) => self.out.file(Kind::File, name, found.permissions().mode() & 0o777, file, &place)?,
                Err(error) => return self.left_out(path, error),
            }
        } else {
            return self.left_out(path, "it is neither a file nor a folder");
        }
        self.counts.others += 1;
        Ok(())
    }
}

/// Entries on their way out, with their checksums.
pub(super) struct Output<'a> {
    out: &'a mut dyn Write,
    all: blake3::Hasher,
    entry: blake3::Hasher,
    piece: Vec<u8>,
}

impl<'a> Output<'a> {
    pub fn new(out: &'a mut dyn Write) -> Self {
        Self { out, all: blake3::Hasher::new(), entry: blake3::Hasher::new(), piece: vec![0; PIECE] }
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.all.update(bytes);
        self.entry.update(bytes);
        self.out.write_all(bytes)
    }

    pub fn header(&mut self, made_at: u64) -> io::Result<()> {
        self.put(&MAGIC)?;
        self.put(&VERSION.to_le_bytes())?;
        self.put(&FORMAT.to_le_bytes())?;
        self.put(&made_at.to_le_bytes())
    }

    fn begin(&mut self, kind: Kind, name: &[u8], mode: u32) -> io::Result<()> {
        self.entry.reset();
        let length = u16::try_from(name.len()).map_err(io::Error::other)?;
        self.put(&[kind as u8])?;
        self.put(&length.to_le_bytes())?;
        self.put(name)?;
        self.put(&mode.to_le_bytes())
    }

    fn piece(&mut self, bytes: &[u8]) -> io::Result<()> {
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        self.put(&length.to_le_bytes())?;
        self.put(bytes)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.put(&0_u32.to_le_bytes())?;
        let checksum = self.entry.finalize();
        self.put(checksum.as_bytes())
    }

    pub fn whole(&mut self, kind: Kind, name: &[u8], mode: u32, content: &[u8]) -> io::Result<()> {
        self.begin(kind, name, mode)?;
        if !content.is_empty() {
            self.piece(content)?;
        }
        self.finish()
    }

    /// A file, which may grow or shrink meanwhile.
    fn file(&mut self, kind: Kind, name: &[u8], mode: u32, mut file: File, path: &Path) -> Result<()> {
        self.begin(kind, name, mode).map_err(unwritten)?;
        let mut piece = std::mem::take(&mut self.piece);
        loop {
            let length = file.read(&mut piece);
            match length.map_err(|error| Error::internal(format!("{} cannot be read: {error}", path.display())))? {
                0 => break,
                length => self.piece(&piece[..length]).map_err(unwritten)?,
            }
        }
        self.piece = piece;
        self.finish().map_err(unwritten)
    }

    pub fn end(&mut self, counts: &[u8]) -> io::Result<()> {
        self.whole(Kind::End, &[], 0, counts)?;
        let checksum = self.all.finalize();
        self.out.write_all(checksum.as_bytes())?;
        self.out.flush()
    }
}
