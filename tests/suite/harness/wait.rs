//! Waiting for what is to happen, with a deadline, and gates that hold scripts up for as long as a test needs.

use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Longer than anything takes on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Waits until `look` finds something.
pub fn wait_for<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    wait_within(DEADLINE, what, look)
}

/// Waits until `look` says so.
pub fn wait_until(what: &str, mut look: impl FnMut() -> bool) {
    wait_for(what, || look().then_some(()));
}

/// Waits for at most `limit`.
pub fn wait_within<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "waited {limit:?} in vain for {what}");
        std::thread::park_timeout(Duration::from_millis(3));
    }
}

/// A pipe that scripts wait at: `: < gate` goes on once the gate is open, and at once from then on.
#[derive(Debug)]
pub struct Gate {
    path: PathBuf,
    open: Option<File>,
}

impl Gate {
    /// A closed gate.
    pub fn new(path: PathBuf) -> Self {
        mknodat(CWD, &path, FileType::Fifo, Mode::from(0o600), 0).unwrap();
        Self { path, open: None }
    }

    /// Lets everybody through. They pass for as long as the gate lives.
    pub fn open(&mut self) {
        self.open = Some(OpenOptions::new().read(true).write(true).open(&self.path).unwrap());
    }
}

/// The lines of a file that scripts append to; none where it is not there yet.
pub fn lines(file: &Path) -> Vec<String> {
    fs::read_to_string(file).unwrap_or_default().lines().map(str::to_owned).collect()
}
