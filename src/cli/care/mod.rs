//! Commands that care for a data folder: directly where no server has it open, else through the server that has.

pub mod backup;
pub mod restore;
mod running;
pub mod verify;

use crate::app::SystemClock;
use crate::care::{Summary, Weight, Word};
use crate::config::{Flags, RawConfig};
use crate::domain::stamp::{Clock, Timestamp};
use crate::store::{OpenError, Options, Purpose, Store};
use clap::Args;
use running::Running;
use std::error::Error;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Which data folder.
#[derive(Debug, Args)]
pub struct FolderArgs {
    /// The settings file, whose data_dir is meant
    #[arg(long, env = "TRAINYARD_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The data folder [default: data]
    #[arg(long, env = "TRAINYARD_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// A data folder that somebody can look into.
enum Opened {
    /// Nobody else has it.
    Here(Store),
    /// A server has it.
    There(Running),
}

struct Folder {
    path: PathBuf,
    cache_bytes: u64,
}

impl FolderArgs {
    fn find(self) -> Result<Folder, Box<dyn Error>> {
        let flags = Flags { config: self.config, data_dir: self.data_dir, ..Flags::default() };
        let server = RawConfig::load(&flags, |name| std::env::var(name).ok())?.server;
        Ok(Folder { path: std::path::absolute(&server.data_dir)?, cache_bytes: server.cache_bytes })
    }
}

impl Folder {
    /// Opens the store, or finds the server that has it.
    fn open(&self) -> Result<Opened, Box<dyn Error>> {
        let options = Options {
            cache_bytes: self.cache_bytes,
            min_free_bytes: 0,
            purpose: Purpose::Examine,
            ..Options::default()
        };
        match Store::open(&self.path, options) {
            Ok(store) => Ok(Opened::Here(store)),
            Err(OpenError::Locked(folder)) => match Running::find(&self.path) {
                Some(running) => Ok(Opened::There(running)),
                None => Err(OpenError::Locked(folder).into()),
            },
            Err(error) => Err(error.into()),
        }
    }
}

fn now() -> Timestamp {
    SystemClock.now()
}

/// How often progress is shown, in seconds: on a terminal, and where it goes into a file.
const SHOWN: (u64, u64) = (0, 10);

/// Shows how far it is on standard error.
struct Display {
    shown_at: Option<Instant>,
    is_terminal: bool,
    is_shown: bool,
}

impl Display {
    fn new() -> Self {
        Self { shown_at: None, is_terminal: std::io::stderr().is_terminal(), is_shown: false }
    }

    /// Progress; on a terminal it stands on one line.
    fn progress(&mut self, stage: &str, done: u64) {
        let every = Duration::from_secs(if self.is_terminal { SHOWN.0 } else { SHOWN.1 });
        let pause = every.max(Duration::from_millis(200));
        let begun = *self.shown_at.get_or_insert_with(Instant::now);
        if begun.elapsed() < pause {
            return;
        }
        self.shown_at = Some(Instant::now());
        self.is_shown = self.is_terminal;
        let end = if self.is_terminal { "\x1b[K\r" } else { "\n" };
        // Nobody may be looking, which is no reason to fail.
        let _ = write!(std::io::stderr(), "{done} {stage}{end}");
    }

    /// A line of its own, on standard error.
    fn line(&mut self, text: &str) {
        self.clear();
        super::note(text);
    }

    /// Removes progress from a terminal.
    fn clear(&mut self) {
        if std::mem::take(&mut self.is_shown) {
            let _ = write!(std::io::stderr(), "\x1b[K");
        }
    }
}

fn words_of(weight: Weight) -> &'static str {
    match weight {
        Weight::Problem => "problem",
        Weight::Note => "note",
    }
}

fn described(summary: &Summary) -> String {
    let Summary { records, images, image_bytes, runs, .. } = summary;
    format!("{records} records, {images} images ({image_bytes} bytes), {runs} runs")
}

/// Passes words on to a display; findings are lines.
fn show(display: &mut Display, word: &Word) {
    match word {
        Word::Progress { stage, done } => display.progress(stage, *done),
        Word::Finding { weight, what, .. } => display.line(&format!("{}: {what}", words_of(*weight))),
        Word::Repaired { what } => display.line(&format!("repaired: {what}")),
        Word::Failed { why } => display.line(&format!("error: {why}")),
        Word::Done(_) => display.clear(),
    }
}
