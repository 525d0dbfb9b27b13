//! `trainyard backup`: all of a data folder in one file.

use super::super::Outcome;
use super::{Display, FolderArgs, Opened, now, show};
use crate::care::Word;
use crate::care::backup::{self, BackupError, Counts, Reader, Source};
use crate::telemetry;
use clap::Args;
use reqwest::Method;
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

/// The flags.
#[derive(Debug, Args)]
pub struct BackupArgs {
    #[command(flatten)]
    folder: FolderArgs,
    /// The file to write, - for standard output; an earlier one of this name is replaced once the new one is whole
    file: PathBuf,
}

/// Runs the command.
pub fn run(arguments: BackupArgs) -> Outcome {
    telemetry::start("warn");
    let BackupArgs { folder, file } = arguments;
    let mut display = Display::new();
    if file.as_os_str() == "-" {
        let mut out = BufWriter::new(io::stdout().lock());
        let left_out = take(folder, &mut out, &mut display)?;
        out.flush()?;
        return whole(left_out);
    }
    let mut name = file.file_name().ok_or("the backup needs a file name")?.to_owned();
    name.push(".part");
    let draft = file.with_file_name(name);
    let taken = take_into(folder, &draft, &mut display);
    let counts = match taken {
        Ok(counts) => counts,
        Err(error) => {
            remove(&draft);
            return Err(error);
        }
    };
    fs::rename(&draft, &file)?;
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()?;
    let Counts { records, images, others, left_out } = counts;
    let size = file.metadata()?.len();
    display.line(&format!("{}: {records} records, {images} images, {others} run files; {size} bytes", file.display()));
    whole(left_out)
}

/// Writes the file, syncs it and reads it once more from beginning to end.
fn take_into(folder: FolderArgs, draft: &Path, display: &mut Display) -> Result<Counts, Box<dyn Error>> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(draft)?);
    take(folder, &mut out, display)?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    let reader = Reader::new(BufReader::with_capacity(1 << 20, File::open(draft)?))?;
    let counts: Result<Counts, BackupError> = reader.check(&mut |counts| {
        display.progress("records checked", counts.records);
        Ok(())
    });
    Ok(counts?)
}

/// Takes the backup. Returns how many files could not be read, as far as that is known here.
fn take(folder: FolderArgs, out: &mut dyn Write, display: &mut Display) -> Result<u64, Box<dyn Error>> {
    let folder = folder.find()?;
    match folder.open()? {
        Opened::Here(store) => {
            let source = Source { store: &store, folder: &folder.path, made_at: now().0 };
            let counts = backup::write(&source, out, &mut |word: Word| {
                show(display, &word);
                Ok(())
            })?;
            store.close();
            Ok(counts.left_out)
        }
        Opened::There(running) => {
            let mut bytes = 0;
            running.call(Method::GET, "/api/v1/backup", &mut |piece| {
                bytes += piece.len() as u64;
                display.progress("bytes", bytes);
                out.write_all(piece)
            })?;
            Ok(0)
        }
    }
}

fn whole(left_out: u64) -> Outcome {
    match left_out {
        0 => Ok(()),
        count => Err(format!("{count} files could not be read and are not in the backup; run trainyard verify").into()),
    }
}

fn remove(draft: &Path) {
    if let Err(error) = fs::remove_file(draft)
        && error.kind() != io::ErrorKind::NotFound
    {
        super::super::note(&format!("{} is left behind: {error}", draft.display()));
    }
}
