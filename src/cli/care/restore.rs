//! `trainyard restore`: a data folder from a backup.

use super::super::Outcome;
use super::{Display, described, now, show};
use crate::care::backup::{BackupError, Counts, Reader};
use crate::care::restore::{self, RestoreError};
use crate::telemetry;
use clap::Args;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::PathBuf;

/// The flags.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// The backup, - for standard input
    file: PathBuf,
    /// The data folder to make: a new one, or an empty one
    #[arg(long, value_name = "DIR", required_unless_present = "check")]
    data_dir: Option<PathBuf>,
    /// Check the backup, and restore nothing
    #[arg(long)]
    check: bool,
}

/// Runs the command.
pub fn run(arguments: RestoreArgs) -> Outcome {
    telemetry::start("warn");
    let RestoreArgs { file, data_dir, check } = arguments;
    let mut display = Display::new();
    let is_stdin = file.as_os_str() == "-";
    let open = || -> io::Result<Box<dyn Read>> {
        Ok(if is_stdin {
            Box::new(io::stdin().lock())
        } else {
            Box::new(BufReader::with_capacity(1 << 20, File::open(&file)?))
        })
    };
    let named = |error: io::Error| format!("{}: {error}", file.display());
    // What comes through a pipe is checked on its way; the folder is of no use to a server before all of it was.
    if check || !is_stdin {
        let counts = checked(open().map_err(named)?, &mut display)?;
        if check {
            let Counts { records, images, others, left_out } = counts;
            display.line(&format!(
                "{}: whole: {records} records, {images} images, {others} run files, {left_out} left out",
                file.display()
            ));
        }
    }
    let Some(folder) = data_dir.filter(|_| !check) else { return Ok(()) };
    let folder = std::path::absolute(&folder)?;
    let restored: Result<_, RestoreError> = restore::restore(open().map_err(named)?, &folder, now(), &mut |word| {
        show(&mut display, &word);
        Ok(())
    });
    let summary = restored?.summary;
    display.line(&format!("{}: {}", folder.display(), described(&summary)));
    match summary.problems {
        0 => Ok(()),
        problems => Err(format!(
            "{problems} problems came with the backup; the folder can be served, and trainyard verify tells of them"
        )
        .into()),
    }
}

fn checked(input: impl Read, display: &mut Display) -> Result<Counts, BackupError> {
    Reader::new(input)?.check(&mut |counts| {
        display.progress("images checked", counts.images);
        Ok(())
    })
}
