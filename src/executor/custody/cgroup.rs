//! Control groups, version 2: one for each child at work, below the group that this server was given.
//!
//! Below the server's own group lies one for all runs, with the server's mark in its name, and in that one for each child.
//! Where the server has its group to itself (`Delegate=yes` in the systemd unit), the kernel keeps the limits on memory and
//! processes; where others are in it, or those controllers are not to be had, a group still says exactly what belongs to a
//! child, and kills all of it at once. A group is used again once it is empty: the kernel keeps a removed one for as
//! long as a file in memory is charged to it. Knows nothing of runs.

use super::machine::{held_by, in_lines};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::AsFd;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What the group of all runs is called, before the server's mark.
const RUNS: &str = "trainyard-runs.";

/// What the group that the server itself moves into is called, before its mark: a group with limits for those below it may
/// hold no process itself.
const SERVER: &str = "trainyard-server.";

/// The controllers that are used where they can be had.
const CONTROLLERS: [&str; 2] = ["memory", "pids"];

/// How long to wait for a group to be empty once everything in it was killed.
const PATIENCE: Duration = Duration::from_secs(2);

/// A group that holds more that the kernel cannot drop, though nothing is left in it, is not used again: shared memory
/// that a child left behind would count against the next one.
const MOST_LEFT: u64 = 16 << 20;

/// All groups of one server.
#[derive(Debug)]
pub struct Groups {
    /// The group of all runs.
    runs: PathBuf,
    /// Whether the kernel limits memory.
    pub has_memory: bool,
    /// Whether the kernel limits processes.
    pub has_pids: bool,
    most_memory: u64,
    most_processes: u64,
    idle: Mutex<Vec<Group>>,
    made: AtomicU64,
}

/// The group of one child.
#[derive(Debug)]
pub struct Group {
    folder: PathBuf,
    procs: File,
    events: File,
    /// What the kernel had counted at the last look.
    counts: Counts,
}

/// What the kernel counts in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// How often the group's own limit on memory was reached.
    pub own_limit: u64,
    /// How many of its processes were killed for want of memory, whosever limit it was.
    pub kills: u64,
}

impl Groups {
    /// The groups of a server whose children carry `mark`.
    ///
    /// # Errors
    /// In words, where this server may have none.
    pub fn open(mark: &str, most_memory: u64, most_processes: u64) -> Result<Self, String> {
        let base = own_folder().ok_or("no control groups of version 2 are mounted")?;
        Self::below(&base, mark, most_memory, most_processes)
            .map_err(|error| format!("none can be made in {}: {error}", base.display()))
    }

    fn below(base: &Path, mark: &str, most_memory: u64, most_processes: u64) -> io::Result<Self> {
        let runs = base.join(format!("{RUNS}{mark}"));
        fs::create_dir(&runs)?;
        enable(base, mark);
        let wanted = words(&runs.join("cgroup.controllers"))?;
        for controller in CONTROLLERS.iter().filter(|name| wanted.iter().any(|other| other == **name)) {
            fs::write(runs.join("cgroup.subtree_control"), format!("+{controller}"))?;
        }
        let enabled = words(&runs.join("cgroup.subtree_control"))?;
        let has = |name: &str| enabled.iter().any(|other| other == name);
        Ok(Self {
            has_memory: has("memory"),
            has_pids: has("pids"),
            runs,
            most_memory,
            most_processes,
            idle: Mutex::default(),
            made: AtomicU64::new(0),
        })
    }

    /// Where they are.
    pub fn folder(&self) -> &Path {
        &self.runs
    }

    /// An empty group.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn take(&self) -> io::Result<Group> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.map_or_else(|| self.make(), Ok)
    }

    fn make(&self) -> io::Result<Group> {
        let folder = self.runs.join(self.made.fetch_add(1, Ordering::Relaxed).to_string());
        fs::create_dir(&folder)?;
        if self.has_memory {
            fs::write(folder.join("memory.max"), self.most_memory.to_string())?;
            // Half of a child is worth nothing, so all of it goes at once (Linux 4.19); and no child is to live on the
            // swap space that keeps the server alive.
            for (name, value) in [("memory.oom.group", "1"), ("memory.swap.max", "0")] {
                match fs::write(folder.join(name), value) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        if self.has_pids {
            fs::write(folder.join("pids.max"), self.most_processes.to_string())?;
        }
        Ok(Group {
            procs: OpenOptions::new().read(true).write(true).open(folder.join("cgroup.procs"))?,
            events: File::open(folder.join("cgroup.events"))?,
            folder,
            counts: Counts::default(),
        })
    }

    /// Takes a group back that nothing is left in.
    pub fn give_back(&self, group: Group, was_long: bool) {
        let left = if self.has_memory && was_long { held_by(&group.folder).unwrap_or(u64::MAX) } else { 0 };
        if left > MOST_LEFT || group.is_populated() {
            group.remove();
        } else {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(group);
        }
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        self.idle.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
        clear(&self.runs);
    }
}

impl Group {
    /// Puts a process into the group; what it starts from now on is in it as well.
    ///
    /// # Errors
    /// What the kernel says; a process that has ended is no error.
    pub fn put(&self, pid: Pid) -> io::Result<()> {
        match self.procs.write_at(pid.as_raw_nonzero().to_string().as_bytes(), 0) {
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => Ok(()),
            written => written.map(drop),
        }
    }

    /// The processes in it.
    pub fn members(&self) -> Vec<Pid> {
        let mut text = String::new();
        let mut buffer = [0; 4096];
        // Each read goes on where the last one ended, in whole lines.
        while let Ok(length @ 1..) = self.procs.read_at(&mut buffer, text.len() as u64) {
            text.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
        text.lines().filter_map(|line| Pid::from_raw(line.trim().parse().ok()?)).collect()
    }

    /// Whether anything is in it that has not ended.
    pub fn is_populated(&self) -> bool {
        let mut buffer = [0; 256];
        self.events.read_at(&mut buffer, 0).map_or(true, |length| {
            // A group that cannot be asked is taken for one that is not empty.
            std::str::from_utf8(&buffer[..length]).map_or(true, |text| in_lines(text, "populated") != Some(0))
        })
    }

    /// Kills everything in it and waits until it has ended.
    pub fn kill(&self) {
        if !self.is_populated() {
            return;
        }
        let until = Instant::now() + PATIENCE;
        loop {
            kill_all(&self.folder);
            if !self.is_populated() {
                return;
            }
            if Instant::now() >= until {
                tracing::warn!(group = %self.folder.display(), "a child's processes do not end though they were killed");
                return;
            }
            // The file is "exceptional" when it changes.
            let pause = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
            let _ = poll(&mut [PollFd::from_borrowed_fd(self.events.as_fd(), PollFlags::PRI)], Some(&pause));
        }
    }

    /// What it holds that the kernel cannot drop, in bytes.
    pub fn held(&self) -> Option<u64> {
        held_by(&self.folder)
    }

    /// What the kernel has counted since this was asked last.
    pub fn count(&mut self) -> Counts {
        let events = fs::read_to_string(self.folder.join("memory.events")).unwrap_or_default();
        let counted = |name: &str| in_lines(&events, name).unwrap_or(0);
        let now = Counts { own_limit: counted("oom"), kills: counted("oom_kill") };
        let before = std::mem::replace(&mut self.counts, now);
        Counts {
            own_limit: now.own_limit.saturating_sub(before.own_limit),
            kills: now.kills.saturating_sub(before.kills),
        }
    }

    fn remove(self) {
        if let Err(error) = fs::remove_dir(&self.folder) {
            tracing::warn!(group = %self.folder.display(), %error, "a control group could not be removed");
        }
    }
}

/// Makes the controllers available below `base`. Where the server is alone in it, it moves out of the way.
fn enable(base: &Path, mark: &str) {
    let Ok(available) = words(&base.join("cgroup.controllers")) else { return };
    let control = base.join("cgroup.subtree_control");
    let own = rustix::process::getpid();
    let try_all = || -> io::Result<()> {
        for controller in CONTROLLERS.iter().filter(|name| available.iter().any(|other| other == **name)) {
            fs::write(&control, format!("+{controller}"))?;
        }
        Ok(())
    };
    let Err(error) = try_all() else { return };
    let is_alone = error.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error())
        && words(&base.join("cgroup.procs")).is_ok_and(|all| all == [own.as_raw_nonzero().to_string()]);
    if !is_alone {
        return;
    }
    let server = base.join(format!("{SERVER}{mark}"));
    let moved = fs::create_dir(&server)
        .and_then(|()| fs::write(server.join("cgroup.procs"), own.as_raw_nonzero().to_string()))
        .and_then(|()| try_all());
    if let Err(error) = moved {
        tracing::warn!(%error, group = %base.display(), "control groups cannot limit memory here");
    }
}

/// The words of a file.
fn words(file: &Path) -> io::Result<Vec<String>> {
    Ok(fs::read_to_string(file)?.split_ascii_whitespace().map(str::to_owned).collect())
}

/// Kills everything in a group and those below it, once.
pub fn kill_all(folder: &Path) {
    match fs::write(folder.join("cgroup.kill"), "1") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        _ => return,
    }
    // Before Linux 5.14.
    for pid in words(&folder.join("cgroup.procs")).unwrap_or_default() {
        if let Some(pid) = pid.parse().ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    for below in folders_in(folder) {
        kill_all(&below);
    }
}

fn folders_in(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// Kills everything in a group and those below it, and removes them all.
pub fn remove_all(folder: &Path) {
    let until = Instant::now() + PATIENCE;
    while folder.exists() {
        kill_all(folder);
        remove_below(folder);
        if Instant::now() >= until {
            break;
        }
        // What was killed takes a moment to go.
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Removes the groups of a server and undoes what it did to the one around them, so that processes can be put there
/// again. This process may be in them.
pub fn clear(runs: &Path) {
    remove_all(runs);
    let mark = runs.file_name().and_then(|name| name.to_str()?.strip_prefix(RUNS));
    let (Some(base), Some(mark)) = (runs.parent(), mark) else { return };
    let server = base.join(format!("{SERVER}{mark}"));
    if !server.exists() {
        return;
    }
    let enabled = words(&base.join("cgroup.subtree_control")).unwrap_or_default();
    for controller in CONTROLLERS.iter().filter(|name| enabled.iter().any(|other| other == **name)) {
        let _ = fs::write(base.join("cgroup.subtree_control"), format!("-{controller}"));
    }
    let _ = fs::write(base.join("cgroup.procs"), "0");
    // Whoever leaves last, the server or its guard, removes it; who is about to end is waited for.
    let until = Instant::now() + PATIENCE;
    while fs::remove_dir(&server).is_err_and(|error| error.kind() == io::ErrorKind::ResourceBusy)
        && words(&server.join("cgroup.procs")).is_ok_and(|left| left.is_empty())
        && Instant::now() < until
    {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn remove_below(folder: &Path) {
    for below in folders_in(folder) {
        remove_below(&below);
    }
    // It is tried again where something is still in it.
    let _ = fs::remove_dir(folder);
}

/// Kills and removes what earlier servers of a data folder left in this server's group: their marks begin with the
/// folder's id.
pub fn remove_earlier(folder_id: &str, own_mark: &str) {
    let Some(base) = own_folder() else { return };
    // This server may have moved.
    for base in [base.parent(), Some(&base)].into_iter().flatten() {
        for folder in folders_in(base) {
            let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let of_folder = |kind: &str| {
                let mark = name.strip_prefix(kind)?;
                (mark != own_mark && mark.starts_with(&format!("{folder_id}."))).then_some(())
            };
            if of_folder(RUNS).is_some() {
                remove_all(&folder);
            } else if of_folder(SERVER).is_some() {
                // Nothing is killed here: a server that lives holds the lock of the folder, so this one is empty.
                let _ = fs::remove_dir(&folder);
            }
        }
    }
}

/// A place where control groups are mounted.
struct Mount {
    /// What part of the hierarchy.
    root: String,
    point: PathBuf,
    is_second: bool,
    has_memory: bool,
}

/// Reads the lines of `/proc/self/mountinfo` that matter.
fn mounts(text: &str) -> Vec<Mount> {
    let mount = |line: &str| {
        let (before, after) = line.split_once(" - ")?;
        let (before, after): (Vec<&str>, Vec<&str>) = (before.split(' ').collect(), after.split(' ').collect());
        let is_second = *after.first()? == "cgroup2";
        let is_first = *after.first()? == "cgroup";
        let has_memory = is_second || after.get(2)?.split(',').any(|option| option == "memory");
        let (root, point) = ((*before.get(3)?).to_owned(), PathBuf::from(before.get(4)?));
        (is_first || is_second).then_some(Mount { root, point, is_second, has_memory })
    };
    text.lines().filter_map(mount).collect()
}

/// The folder of a group, where the mount shows it.
fn folder_of(mount: &Mount, group: &str) -> Option<PathBuf> {
    if group.split('/').any(|part| part == "..") {
        return None;
    }
    let rest = Path::new(group).strip_prefix(&mount.root).ok()?;
    Some(mount.point.join(rest))
}

/// This process's group of version 2, and that of version 1 for memory, as `/proc/self/cgroup` has them.
fn own_groups(text: &str) -> (Option<&str>, Option<&str>) {
    let second = text.lines().find_map(|line| line.strip_prefix("0::"));
    let first = text.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let controls_memory = parts.next()?.split(',').any(|controller| controller == "memory");
        parts.next().filter(|_| controls_memory)
    });
    (second, first)
}

fn own_folder() -> Option<PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let group = own_groups(&groups).0?;
    mounts(&mountinfo).iter().filter(|mount| mount.is_second).find_map(|mount| folder_of(mount, group))
}

/// Every group around this process that may limit memory, as far as it can be seen: its folder, and whether it is of
/// version 2.
pub(super) fn memory_groups() -> Vec<(PathBuf, bool)> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let (second, first) = own_groups(&groups);
    let mut found = Vec::new();
    for mount in mounts(&mountinfo).iter().filter(|mount| mount.has_memory) {
        let own = if mount.is_second { second } else { first };
        let Some(folder) = own.and_then(|own| folder_of(mount, own)) else { continue };
        let around = folder.ancestors().take_while(|folder| folder.starts_with(&mount.point));
        found.extend(around.map(|folder| (folder.to_owned(), mount.is_second)));
    }
    found
}
