//! Children die with the server, on kill -9 too: a helper process holds a pipe from it and kills what is left when
//! the pipe closes.
//!
//! The helper is this same binary. It knows the groups it was told of, and finds everything else by a mark in the
//! environment that children inherit: what left its group, and what was started a moment before the end.

use super::process::spawn_helper;
use crate::trainer::command::MARK;
use rustix::process::{Pid, Signal};
use std::collections::HashSet;
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Mutex, PoisonError};

/// The subcommand that is the helper.
pub const SUBCOMMAND: &str = "guard";

/// How often the helper looks for the marked; each look finds what the last one's victims had just started.
const LOOKS: usize = 50;

/// The server's end of the pipe.
#[derive(Debug)]
pub struct Guard {
    own: PathBuf,
    mark: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    helper: Option<Child>,
    watched: HashSet<i32>,
}

impl Guard {
    /// Starts the helper.
    ///
    /// # Errors
    /// Where this binary cannot be started again.
    pub fn start(own: PathBuf, mark: String) -> io::Result<Self> {
        let guard = Self { own, mark, state: Mutex::default() };
        let helper = guard.spawn()?;
        guard.locked().helper = Some(helper);
        Ok(guard)
    }

    fn spawn(&self) -> io::Result<Child> {
        spawn_helper(&self.own, &[SUBCOMMAND, &self.mark])
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a group killed should the server go.
    pub fn watch(&self, group: Pid) {
        let group = group.as_raw_nonzero().get();
        let mut state = self.locked();
        state.watched.insert(group);
        self.tell(&mut state, &format!("+{group}\n"));
    }

    /// The group is gone.
    pub fn forget(&self, group: Pid) {
        let group = group.as_raw_nonzero().get();
        let mut state = self.locked();
        state.watched.remove(&group);
        self.tell(&mut state, &format!("-{group}\n"));
    }

    /// Writes a line; where the helper is gone, starts another and tells it everything.
    fn tell(&self, state: &mut State, line: &str) {
        let pipe = state.helper.as_mut().and_then(|helper| helper.stdin.as_mut());
        if pipe.is_some_and(|pipe| pipe.write_all(line.as_bytes()).is_ok()) {
            return;
        }
        if let Some(mut gone) = state.helper.take() {
            let _ = gone.kill();
            let _ = gone.wait();
        }
        match self.spawn() {
            Ok(mut helper) => {
                tracing::warn!("the guard process was gone; another one watches now");
                let all: String = state.watched.iter().map(|group| format!("+{group}\n")).collect();
                if let Some(Err(error)) = helper.stdin.as_mut().map(|pipe| pipe.write_all(all.as_bytes())) {
                    tracing::error!(%error, "the guard process cannot be told what to watch");
                }
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

/// The helper's main: reads until the pipe closes, then kills.
///
/// # Errors
/// Where standard input cannot be read.
pub fn run_helper(mark: &str) -> io::Result<()> {
    let mut groups = HashSet::new();
    for line in io::stdin().lock().lines() {
        let line = line?;
        let Ok(group) = line.get(1..).unwrap_or_default().parse::<i32>() else { continue };
        match line.as_bytes().first() {
            Some(b'+') => groups.insert(group),
            _ => groups.remove(&group),
        };
    }
    for group in groups.into_iter().filter_map(Pid::from_raw) {
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
    }
    for _ in 0..LOOKS {
        // This server's children alone: another one may be up on the same folder already.
        if kill_carriers(|found| found == mark) == 0 {
            break;
        }
    }
    Ok(())
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
