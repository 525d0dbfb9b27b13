//! Children die with the server, on kill -9 too: a helper process holds a pipe from it and kills what is left when
//! the pipe closes.
//!
//! The helper is this same binary. It sleeps until the end, and then finds the groups that run in a table that the
//! server keeps in a file in memory, its standard output, and everything else by a mark in the environment that children
//! inherit: what left its group, and what was started a moment before the end.

use super::process::spawn_helper;
use crate::trainer::command::MARK;
use rustix::process::{Pid, Signal};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Mutex, PoisonError};

/// The subcommand that is the helper.
pub const SUBCOMMAND: &str = "guard";

/// How often the helper looks for the marked; each look finds what the last one's victims had just started.
const LOOKS: usize = 50;

/// The server's end of the pipe, and the table.
#[derive(Debug)]
pub struct Guard {
    own: PathBuf,
    mark: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    helper: Option<Child>,
    /// The groups that run; nought marks a free place.
    groups: Vec<i32>,
    /// The same, four bytes each, for the helper.
    table: File,
}

impl State {
    fn set(&mut self, place: usize, group: i32) {
        self.groups[place] = group;
        if let Err(error) = self.table.write_all_at(&group.to_ne_bytes(), 4 * place as u64) {
            tracing::error!(%error, "the guard process cannot be told what runs");
        }
    }
}

impl Guard {
    /// Starts the helper.
    ///
    /// # Errors
    /// Where this binary cannot be started again.
    pub fn start(own: PathBuf, mark: String) -> io::Result<Self> {
        let table = File::from(rustix::fs::memfd_create("groups", rustix::fs::MemfdFlags::CLOEXEC)?);
        let helper = spawn_helper(&own, &[SUBCOMMAND, &mark], table.try_clone()?)?;
        Ok(Self { own, mark, state: Mutex::new(State { helper: Some(helper), groups: Vec::new(), table }) })
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a group killed should the server go.
    pub fn watch(&self, group: Pid) {
        let mut state = self.locked();
        let place = state.groups.iter().position(|group| *group == 0).unwrap_or_else(|| {
            state.groups.push(0);
            state.groups.len() - 1
        });
        state.set(place, group.as_raw_nonzero().get());
        self.keep_helper(&mut state);
    }

    /// The group is gone.
    pub fn forget(&self, group: Pid) {
        let mut state = self.locked();
        if let Some(place) = state.groups.iter().position(|known| *known == group.as_raw_nonzero().get()) {
            state.set(place, 0);
        }
    }

    /// Starts another helper where the last one is gone.
    fn keep_helper(&self, state: &mut State) {
        if let Some(Ok(None)) = state.helper.as_mut().map(Child::try_wait) {
            return;
        }
        state.helper = None;
        let table = state.table.try_clone();
        match table.and_then(|table| spawn_helper(&self.own, &[SUBCOMMAND, &self.mark], table)) {
            Ok(helper) => {
                tracing::warn!("the guard process was gone; another one watches now");
                state.helper = Some(helper);
            }
            Err(error) => tracing::error!(%error, "no guard process: children may outlive a server that is killed"),
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut helper) = state.helper.take() {
            drop(helper.stdin.take());
            let _ = helper.wait();
        }
    }
}

/// The helper's main: waits until the pipe closes, then kills.
///
/// # Errors
/// Where standard input cannot be read.
pub fn run_helper(mark: &str) -> io::Result<()> {
    io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    match groups() {
        Ok(groups) => groups.into_iter().filter_map(Pid::from_raw).for_each(|group| {
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }),
        // The marks are left.
        Err(error) => tracing::error!(%error, "the groups that ran cannot be read"),
    }
    for _ in 0..LOOKS {
        // This server's children alone: another one may be up on the same folder already.
        if kill_carriers(|found| found == mark) == 0 {
            break;
        }
    }
    Ok(())
}

/// Reads the table.
fn groups() -> io::Result<Vec<i32>> {
    let table = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let mut bytes = Vec::new();
    // The server never moved the position that it shares with us.
    (&table).read_to_end(&mut bytes)?;
    Ok(bytes.as_chunks().0.iter().map(|bytes| i32::from_ne_bytes(*bytes)).filter(|group| *group > 0).collect())
}

/// Kills what earlier servers of this data folder left behind: marks begin with the folder's id. Returns how many there
/// were that had not ended yet.
pub fn kill_earlier(folder_id: &str) -> usize {
    let prefix = format!("{folder_id}.");
    kill_carriers(|found| found.starts_with(&prefix))
}

/// Kills every process whose mark is one of those.
fn kill_carriers(is_one: impl Fn(&str) -> bool) -> usize {
    let Ok(processes) = std::fs::read_dir("/proc") else { return 0 };
    let own = rustix::process::getpid();
    processes
        .flatten()
        .filter(|entry| mark_of(&entry.path()).is_some_and(|mark| is_one(&mark)))
        .filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
        .filter(|pid| *pid != own)
        .filter(|pid| rustix::process::kill_process(*pid, Signal::KILL).is_ok())
        .count()
}

/// The mark that a process carries. One that ended but was not reaped has an empty environment, so it has none.
fn mark_of(process: &Path) -> Option<String> {
    let environment = std::fs::read(process.join("environ")).ok()?;
    let wanted = format!("{MARK}=");
    let variable = environment.split(|byte| *byte == 0).find(|variable| variable.starts_with(wanted.as_bytes()))?;
    String::from_utf8(variable[wanted.len()..].to_vec()).ok()
}
