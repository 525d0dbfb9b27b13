//! Children die with the server, on kill -9 too: a helper process holds a pipe from it and kills what is left when
//! the pipe closes.
//!
//! The helper is this same binary. It sleeps until the end. Then it kills the control groups of the server, if it has
//! any; the process groups that run, and what left those before the server's eyes, both in a table that the server keeps in a file
//! in memory, the helper's standard output; and everything else by a mark in the environment that children inherit: what
//! left its group, and what was started a moment before the end.

use super::custody::cgroup;
use super::custody::kin::{self, Member};
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
    /// The control group of all runs.
    runs: Option<PathBuf>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    helper: Option<Child>,
    places: Vec<Place>,
    /// The same for the helper.
    table: File,
}

/// A line of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Free,
    /// A process group.
    Group(Pid),
    /// A process by itself, that came of a group.
    Stray {
        member: Member,
        of: Pid,
    },
}

/// How many bytes a line has: a process id, and when that process was started where it stands for itself alone.
const LINE: usize = 16;

impl Place {
    fn to_line(self) -> [u8; LINE] {
        let (pid, start) = match self {
            Self::Free => (0, 0),
            Self::Group(pid) => (pid.as_raw_nonzero().get(), 0),
            Self::Stray { member: Member { pid, start }, .. } => (pid.as_raw_nonzero().get(), start),
        };
        let mut line = [0; LINE];
        line[..8].copy_from_slice(&i64::from(pid).to_ne_bytes());
        line[8..].copy_from_slice(&start.to_ne_bytes());
        line
    }

    fn from_line(line: &[u8; LINE]) -> Self {
        let (pid, start) = line.split_at(8);
        let number = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_ne_bytes);
        match (i32::try_from(number(pid)).ok().and_then(Pid::from_raw), number(start)) {
            (None, _) => Self::Free,
            (Some(pid), 0) => Self::Group(pid),
            (Some(pid), start) => Self::Stray { member: Member { pid, start }, of: pid },
        }
    }

    fn kill(self) {
        let _ = match self {
            Self::Free => Ok(()),
            Self::Group(pid) => rustix::process::kill_process_group(pid, Signal::KILL),
            Self::Stray { member, .. } if kin::lives(member) => rustix::process::kill_process(member.pid, Signal::KILL),
            Self::Stray { .. } => Ok(()),
        };
    }
}

impl State {
    fn set(&mut self, at: usize, place: Place) {
        self.places[at] = place;
        if let Err(error) = self.table.write_all_at(&place.to_line(), (LINE * at) as u64) {
            tracing::error!(%error, "the guard process cannot be told what runs");
        }
    }

    fn add(&mut self, place: Place) {
        let at = self.places.iter().position(|place| *place == Place::Free).unwrap_or_else(|| {
            self.places.push(Place::Free);
            self.places.len() - 1
        });
        self.set(at, place);
    }
}

impl Guard {
    /// Starts the helper; `runs` is the control group of all runs, where there is one.
    ///
    /// # Errors
    /// Where this binary cannot be started again.
    pub fn start(own: PathBuf, mark: String, runs: Option<PathBuf>) -> io::Result<Self> {
        let table = File::from(rustix::fs::memfd_create("groups", rustix::fs::MemfdFlags::CLOEXEC)?);
        let state = State { helper: None, places: Vec::new(), table };
        let guard = Self { own, mark, runs, state: Mutex::new(state) };
        let helper = guard.start_helper(&guard.locked().table)?;
        guard.locked().helper = Some(helper);
        Ok(guard)
    }

    fn start_helper(&self, table: &File) -> io::Result<Child> {
        let runs = self.runs.as_ref().map(|folder| folder.as_os_str());
        let arguments = [SUBCOMMAND.as_ref(), self.mark.as_ref()].into_iter().chain(runs);
        spawn_helper(&self.own, arguments, table.try_clone()?)
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a group killed should the server go.
    pub fn watch(&self, group: Pid) {
        let mut state = self.locked();
        state.add(Place::Group(group));
        self.keep_helper(&mut state);
    }

    /// The group is gone, and with it what came of it.
    pub fn forget(&self, group: Pid) {
        let mut state = self.locked();
        for at in 0..state.places.len() {
            if matches!(state.places[at], Place::Group(of) | Place::Stray { of, .. } if of == group) {
                state.set(at, Place::Free);
            }
        }
    }

    /// Has these processes killed as well, of those that came of a group, should the server go.
    pub fn set_strays(&self, of: Pid, strays: &[Member]) {
        let mut state = self.locked();
        for at in 0..state.places.len() {
            if matches!(state.places[at], Place::Stray { member, of: known } if known == of && !strays.contains(&member))
            {
                state.set(at, Place::Free);
            }
        }
        for member in strays {
            let place = Place::Stray { member: *member, of };
            if !state.places.contains(&place) {
                state.add(place);
            }
        }
    }

    /// Whether a process is the helper, or the leader of a group that is watched.
    pub fn knows(&self, pid: Pid) -> bool {
        let state = self.locked();
        let helper = state.helper.as_ref().and_then(|helper| Pid::from_raw(helper.id().cast_signed()));
        helper == Some(pid) || state.places.contains(&Place::Group(pid))
    }

    /// Starts another helper where the last one is gone.
    fn keep_helper(&self, state: &mut State) {
        if let Some(Ok(None)) = state.helper.as_mut().map(Child::try_wait) {
            return;
        }
        state.helper = None;
        match self.start_helper(&state.table) {
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
pub fn run_helper(mark: &str, runs: Option<&Path>) -> io::Result<()> {
    io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    if let Some(runs) = runs {
        cgroup::kill_all(runs);
    }
    match table() {
        Ok(places) => places.into_iter().for_each(Place::kill),
        // The marks are left.
        Err(error) => tracing::error!(%error, "the groups that ran cannot be read"),
    }
    for _ in 0..LOOKS {
        // This server's children alone: another one may be up on the same folder already.
        if kill_carriers(|found| found == mark) == 0 {
            break;
        }
    }
    if let Some(runs) = runs {
        cgroup::clear(runs);
    }
    Ok(())
}

/// Reads the table.
fn table() -> io::Result<Vec<Place>> {
    let table = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let mut bytes = Vec::new();
    // The server never moved the position that it shares with us.
    (&table).read_to_end(&mut bytes)?;
    Ok(bytes.as_chunks().0.iter().map(Place::from_line).collect())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_writes_the_helper_reads() {
        let pid = rustix::process::getpid();
        for place in [Place::Free, Place::Group(pid), Place::Stray { member: Member { pid, start: 1 << 40 }, of: pid }]
        {
            assert_eq!(Place::from_line(&place.to_line()), place);
        }
    }
}
