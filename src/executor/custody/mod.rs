//! Children in custody: from their start on they have limits, are the kernel's first choice when memory runs out, and
//! nothing that they started outlives them.
//!
//! What the kernel keeps for each process is set right after the start, and again a few milliseconds later for whatever the
//! child had started before: on one core it may well run first. Memory and processes are limited for a child and all it
//! started: by a control group where the server may make some, else by looking now and then. A group costs a few
//! milliseconds of waiting in the kernel, so a child gets one once it is clear that it will not end in a moment; whoever
//! left it by then, and lost its parents, comes to the server, which adopts orphans, and ends with the child.
//!
//! Knows processes; not runs.

pub mod cgroup;
pub(super) mod kin;
pub mod limits;
pub mod machine;
mod ward;

pub use limits::{Breach, Ceiling, Limits};
pub use ward::{Verdict, Ward};

use super::guard::Guard;
use super::process::Meter;
use cgroup::Groups;
use kin::Stat;
use rustix::process::{DumpableBehavior, Pid, Resource, Rlimit, Signal, WaitOptions, kill_process, waitpid};
use std::fs;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What the kernel adds to a child's claim to be killed when memory runs out, of 1000.
const OOM_SCORE: i32 = 800;

/// How long to wait for orphans that were killed.
const ORPHANS_END: Duration = Duration::from_millis(100);

/// The wards of one server.
#[derive(Debug)]
pub struct Custody {
    guard: Arc<Guard>,
    groups: Option<Groups>,
    /// What is written for each child; nothing where the server's own claim is as high already.
    oom_score: Option<String>,
    /// Whether orphans come to this process.
    adopts: bool,
    /// Whether the kernel tells whom a process started.
    tells_children: bool,
    /// The children that may have started others.
    leaders: Mutex<Vec<Pid>>,
    /// How many processes the kernel had killed for want of memory when somebody last looked.
    kernel_kills: AtomicU64,
}

/// What everything that this process started holds, in bytes, shared pages counted for each; `None` where the kernel does
/// not tell whom a process started.
pub fn children_resident() -> Option<u64> {
    let own = rustix::process::getpid();
    let all = kin::tells_children().then(|| kin::family([own]))?;
    Some(all.iter().filter(|stat| stat.member.pid != own).map(|stat| stat.resident).sum())
}

impl Custody {
    /// Takes children in for a server, with groups where it may make some.
    pub fn new(guard: Arc<Guard>, groups: Option<Groups>) -> Self {
        let own_score = fs::read_to_string("/proc/self/oom_score_adj").ok().and_then(|text| text.trim().parse().ok());
        Self {
            guard,
            groups,
            oom_score: own_score.filter(|own: &i32| *own < OOM_SCORE).map(|_| OOM_SCORE.to_string()),
            adopts: false,
            tells_children: kin::tells_children(),
            leaders: Mutex::default(),
            kernel_kills: AtomicU64::new(machine::kernel_kills().unwrap_or(0)),
        }
    }

    /// Has orphans come to this process from now on, so that none gets out of sight; and looks after them.
    ///
    /// # Errors
    /// What the system says.
    pub fn adopt_orphans(&mut self) -> io::Result<()> {
        if self.tells_children {
            rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
            self.adopts = true;
        }
        Ok(())
    }

    /// Takes in a child that was just started.
    pub fn take_in(self: &Arc<Self>, pid: Pid, limits: Limits, kind: Kind) -> Ward {
        limits.apply(pid);
        self.guard.watch(pid);
        match kind {
            Kind::Script => self.leaders().push(pid),
            // It may not be looked at for long.
            Kind::Helper => self.expose(pid),
        }
        Ward::new(Arc::clone(self), pid, limits)
    }

    /// Has the kernel take this process before the server when memory runs out.
    fn expose(&self, pid: Pid) {
        if let Some(score) = &self.oom_score {
            let file = format!("/proc/{}/oom_score_adj", pid.as_raw_nonzero());
            match fs::write(file, score) {
                // It may have ended, before or after the file was opened.
                Err(error) if ![libc::ENOENT, libc::ESRCH].contains(&error.raw_os_error().unwrap_or(0)) => {
                    tracing::debug!(%error, "a child is no first choice when memory runs out");
                }
                _ => {}
            }
        }
    }

    fn leaders(&self) -> MutexGuard<'_, Vec<Pid>> {
        self.leaders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The child is gone, and so is what it started.
    fn forget(&self, pid: Pid) {
        self.leaders().retain(|leader| *leader != pid);
        self.guard.forget(pid);
    }

    /// The processes that came to this one because their parents ended. They come to its first thread; what this
    /// process started itself belongs to the threads that did.
    fn orphans(&self) -> Vec<Stat> {
        let own = rustix::process::getpid().as_raw_nonzero().get();
        let children = kin::children(own, own).unwrap_or_default();
        children.into_iter().filter(|pid| !self.guard.knows(*pid)).filter_map(kin::stat).collect()
    }

    /// The orphans that have not ended, and of those the ones of one child.
    fn orphans_of(&self, leader: Pid) -> (Vec<Pid>, Vec<Pid>) {
        if !self.adopts {
            return Default::default();
        }
        let living = self.orphans().into_iter().filter(|orphan| !orphan.has_ended);
        let (own, others): (Vec<Stat>, Vec<Stat>) = living.partition(|orphan| self.is_of(orphan, leader));
        let pids = |orphans: &[Stat]| orphans.iter().map(|orphan| orphan.member.pid).collect::<Vec<_>>();
        let own = pids(&own);
        ([&own[..], &pids(&others)].concat(), own)
    }

    /// Whether an orphan is a child's: of its group, or started when that child was there and no other was.
    fn is_of(&self, orphan: &Stat, leader: Pid) -> bool {
        if orphan.group == leader.as_raw_nonzero().get() {
            return true;
        }
        let was_there = |leader: Pid| kin::stat(leader).is_some_and(|stat| stat.member.start <= orphan.member.start);
        let others: Vec<Pid> = self.leaders().iter().copied().filter(|other| *other != leader).collect();
        was_there(leader) && !others.into_iter().any(was_there)
    }

    /// Kills the orphans that a child leaves, and theirs; asks those that have ended how, so that they are gone. An orphan
    /// that may be of another child as well ends with the last of those.
    fn end_orphans(&self, leader: Pid) {
        if !self.adopts {
            return;
        }
        let until = Instant::now() + ORPHANS_END;
        loop {
            let mut left = 0;
            for orphan in self.orphans() {
                if orphan.has_ended {
                    let _ = waitpid(Some(orphan.member.pid), WaitOptions::NOHANG);
                } else if self.is_of(&orphan, leader) {
                    let _ = kill_process(orphan.member.pid, Signal::KILL);
                    left += 1;
                }
            }
            if left == 0 || Instant::now() >= until {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Whether the kernel has killed anything for want of memory since there were `before` of those.
    fn has_starved(&self, before: u64) -> bool {
        let now = machine::kernel_kills().unwrap_or(0);
        self.kernel_kills.store(now, Ordering::Relaxed);
        now > before
    }
}

/// What kind of child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A command that somebody configured: it may start others.
    Script,
    /// A helper of our own, which starts nothing.
    Helper,
}

/// Hides this process from its children, who run as the same user: they can read neither its environment nor its memory.
/// Core files are off, for it and for them.
pub fn seclude() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let secluded = rustix::process::setrlimit(Resource::Core, none)
        .and_then(|()| rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable));
    if let Err(error) = secluded {
        tracing::warn!(%error, "scripts may be able to read this server's environment");
    }
}
