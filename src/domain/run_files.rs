//! Where a run's files lie, as a trait: the executor writes them, the services read them.

use super::ids::RunId;
use std::io;
use std::path::PathBuf;

/// The files of runs.
pub trait RunFiles: Send + Sync {
    /// Standard output and error of the last attempt; it may not be there yet.
    fn log(&self, run: RunId) -> PathBuf;

    /// The points of its metrics, a JSON object a line.
    fn points(&self, run: RunId) -> PathBuf;

    /// The folder of what the script keeps; it may not be there.
    fn kept(&self, run: RunId) -> PathBuf;

    /// How much all of a run's files hold, in bytes.
    ///
    /// # Errors
    /// What the file system says.
    fn size(&self, run: RunId) -> io::Result<u64>;

    /// Removes all of a run's files. Doing so twice does no harm.
    ///
    /// # Errors
    /// What the file system says.
    fn remove(&self, run: RunId) -> io::Result<()>;
}
