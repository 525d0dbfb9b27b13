//! One child in custody: looked at now and then, killed with all that it started, judged by how it ended.

use super::cgroup::Group;
use super::kin::{self, Member, Stat};
use super::{Breach, Custody, Limits, Meter, machine};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// A child that lives so long gets a group of its own, and what it has started by then its limits. Putting a process into a
/// group makes the kernel wait for all processors, some milliseconds; in this time nobody can take much memory.
const SETTLE_AFTER: Duration = Duration::from_millis(25);

/// When it is looked at first.
const FIRST_LOOK: Duration = Duration::from_millis(50);

/// The shortest and the longest time between two looks.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// A look may take so much of the time between two, one part in this many.
const LOOK_SHARE: u32 = 50;

/// How fast a child may be expected to take memory, in bytes a second.
const GREED: u64 = 2 << 30;

/// By how much the cheap figure may grow until the exact one is read again: so many bytes and a quarter.
const UNNOTICED: u64 = 32 << 20;

/// With more processes than this the exact figure is not read: that would take too long.
const EXACT_FOR: usize = 64;

/// Signals by which the kernel says that a limit was reached.
const SIGKILL: i32 = 9;
const SIGXCPU: i32 = 24;
const SIGXFSZ: i32 = 25;

/// How a shell passes on that a command of its was killed by a signal.
const SHELL_SIGNAL: i32 = 128;

/// What a child's end says about what it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It went over a limit.
    Over(Breach),
    /// The machine had no memory left, and the kernel chose this child.
    OutOfMemory,
}

/// A child in custody. Whatever it started is killed when this goes.
#[derive(Debug)]
pub struct Ward {
    custody: Arc<Custody>,
    pid: Pid,
    limits: Limits,
    group: Option<Group>,
    started: Instant,
    next_look: Instant,
    is_settled: bool,
    looks: u32,
    /// Those that it started, as far as they were seen, where no group keeps account.
    members: Vec<Member>,
    tally: Tally,
    /// Processor time that the leader had used when it ended, where it was no short one.
    cpu_seconds: u64,
    /// How many processes the kernel had killed for want of memory before this one could be.
    kernel_kills: u64,
    is_over: bool,
}

impl Ward {
    pub(super) fn new(custody: Arc<Custody>, pid: Pid, limits: Limits) -> Self {
        let started = Instant::now();
        let kernel_kills = custody.kernel_kills.load(Ordering::Relaxed);
        Self {
            custody,
            pid,
            limits,
            group: None,
            started,
            next_look: started + SETTLE_AFTER,
            is_settled: false,
            looks: 0,
            members: Vec::new(),
            tally: Tally::default(),
            cpu_seconds: 0,
            kernel_kills,
            is_over: false,
        }
    }

    /// When to look again.
    pub fn next_look(&self) -> Instant {
        self.next_look
    }

    /// Looks whether it keeps its limits, and writes down what it holds. Says what it took too much of.
    pub fn look(&mut self, meter: &Meter) -> Option<Breach> {
        let began = Instant::now();
        if !self.is_settled {
            self.is_settled = true;
            self.custody.expose(self.pid);
            self.enclose();
            self.gather();
            self.next_look = self.started + FIRST_LOOK;
            return None;
        }
        if self.looks == 0 {
            self.kernel_kills = machine::kernel_kills().unwrap_or(0);
            self.gather();
        }
        self.looks += 1;
        let (held, processes) = self.measure();
        meter.see(held);
        self.next_look = began + self.pause(held, processes, began.elapsed());
        let (kept_memory, kept_processes) = self.kept_by_kernel();
        if held > self.limits.memory.bytes && !kept_memory {
            return Some(Breach::Memory);
        }
        (processes > self.limits.processes && !kept_processes).then_some(Breach::Processes)
    }

    /// Whether the kernel keeps the limits on memory and on processes.
    fn kept_by_kernel(&self) -> (bool, bool) {
        let groups = self.custody.groups.as_ref().filter(|_| self.group.is_some());
        groups.map_or((false, false), |groups| (groups.has_memory, groups.has_pids))
    }

    fn enclose(&mut self) {
        let Some(groups) = &self.custody.groups else { return };
        let enclosed = groups.take().and_then(|group| {
            let put = group.put(self.pid);
            self.group = Some(group);
            put
        });
        if let Err(error) = enclosed {
            tracing::warn!(%error, "a child has no control group of its own; it is watched");
        }
    }

    /// The child and what it started, as far as nothing but their descent says so.
    fn family(&self) -> Vec<Stat> {
        if !self.custody.tells_children {
            return kin::family_by_search(self.pid);
        }
        let known = self.members.iter().filter(|member| kin::lives(**member)).map(|member| member.pid);
        let (_, orphans) = self.custody.orphans_of(self.pid);
        kin::family(std::iter::once(self.pid).chain(known).chain(orphans))
    }

    /// Has the guard kill whatever nothing else would lead to, should the server go: what left the child's process group,
    /// and orphans whose parents are not known.
    fn report_strays(&self, all: &[Stat]) {
        let (orphans, _) = self.custody.orphans_of(self.pid);
        let leader = self.pid.as_raw_nonzero().get();
        let strays = kin::family(orphans).into_iter().chain(all.iter().copied()).filter(|stat| stat.group != leader);
        self.custody.guard.set_strays(self.pid, &strays.map(|stat| stat.member).collect::<Vec<_>>());
    }

    /// Limits what it had started before it was limited itself, and puts that into its group.
    fn gather(&mut self) {
        let all = self.family();
        self.report_strays(&all);
        let inside = self.group.as_ref().map(Group::members).unwrap_or_default();
        for pid in all.iter().filter(|stat| !stat.has_ended).map(|stat| stat.member.pid).filter(|pid| *pid != self.pid)
        {
            self.limits.apply(pid);
            self.custody.expose(pid);
            let Some(group) = self.group.as_ref().filter(|_| !inside.contains(&pid)) else { continue };
            if let Err(error) = group.put(pid) {
                tracing::warn!(%error, "a process could not be put into its control group");
            }
        }
    }

    /// What it holds, and how many processes and threads it has.
    fn measure(&mut self) -> (u64, u64) {
        let all = match &self.group {
            Some(group) if self.kept_by_kernel() == (true, true) => {
                self.report_strays(&[]);
                return (group.held().unwrap_or(0), 0);
            }
            Some(group) => group.members().into_iter().filter_map(kin::stat).collect(),
            None => {
                let all = self.family();
                self.members = all.iter().map(|stat| stat.member).filter(|member| member.pid != self.pid).collect();
                all
            }
        };
        self.report_strays(&all);
        (self.tally.of(&all, self.limits.memory.bytes), threads(&all))
    }

    /// How long it can go unwatched: not longer than it takes to fill what is left, and than it has lived, so that the last
    /// look at a short one tells what it held.
    fn pause(&self, held: u64, processes: u64, look: Duration) -> Duration {
        let (shortest, longest) = PAUSES;
        let left = self.limits.memory.bytes.saturating_sub(held);
        let wanted = match self.kept_by_kernel() {
            (true, true) => longest,
            _ if processes > self.limits.processes / 4 => shortest,
            _ => Duration::from_millis(left / (GREED / 1000)),
        };
        wanted.min(self.started.elapsed()).clamp(shortest, longest).max(look * LOOK_SHARE)
    }

    /// Kills the child and all that it started. The caller has not asked yet how the child ended, so its number and that of
    /// its group cannot have gone to anybody else.
    pub fn kill(&mut self) {
        let _ = kill_process_group(self.pid, Signal::KILL);
        if let Some(group) = &self.group {
            group.kill();
        }
        for member in self.members.drain(..) {
            if kin::lives(member) {
                let _ = kill_process(member.pid, Signal::KILL);
            }
        }
        self.custody.end_orphans(self.pid);
    }

    /// Ends the custody, with the child's end known but not asked for yet.
    pub fn release(&mut self) {
        if self.is_over {
            return;
        }
        self.is_over = true;
        if self.looks > 0 && self.limits.cpu_seconds.is_some() {
            self.cpu_seconds = kin::stat(self.pid).map_or(0, |stat| stat.cpu_seconds);
        }
        self.kill();
        self.custody.forget(self.pid);
    }

    /// What the end of a child that was not told to end says.
    pub fn verdict(&mut self, status: ExitStatus, meter: &Meter) -> Option<Verdict> {
        if status.success() {
            return None;
        }
        let verdict = self.judge(status);
        if verdict == Some(Verdict::OutOfMemory) {
            meter.starve();
        }
        verdict
    }

    fn judge(&mut self, status: ExitStatus) -> Option<Verdict> {
        let signal = status.signal().or_else(|| status.code().and_then(|code| code.checked_sub(SHELL_SIGNAL)));
        match signal {
            Some(SIGXCPU) if self.limits.cpu_seconds.is_some() => return Some(Verdict::Over(Breach::ProcessorTime)),
            Some(SIGXFSZ) if self.limits.file_bytes.is_some() => return Some(Verdict::Over(Breach::FileSize)),
            _ => {}
        }
        let (kept_memory, _) = self.kept_by_kernel();
        if let Some(group) = self.group.as_mut().filter(|_| kept_memory) {
            let counts = group.count();
            if counts.kills > 0 {
                let is_own = counts.own_limit > 0;
                return Some(if is_own { Verdict::Over(Breach::Memory) } else { Verdict::OutOfMemory });
            }
        } else if signal == Some(SIGKILL) && self.custody.has_starved(self.kernel_kills) {
            return Some(Verdict::OutOfMemory);
        }
        let cpu_over = self.limits.cpu_seconds.is_some_and(|most| self.cpu_seconds >= most);
        (signal == Some(SIGKILL) && cpu_over).then_some(Verdict::Over(Breach::ProcessorTime))
    }
}

impl Drop for Ward {
    fn drop(&mut self) {
        self.release();
        if let (Some(group), Some(groups)) = (self.group.take(), &self.custody.groups) {
            groups.give_back(group, self.looks > 1);
        }
    }
}

fn threads(all: &[Stat]) -> u64 {
    all.iter().filter(|stat| !stat.has_ended).map(|stat| stat.threads).sum()
}

/// What a child's processes hold: the cheap figure, which counts pages twice that several of them share, is followed; the
/// exact one is read where that has grown, and before anybody is told that it is too much.
#[derive(Debug, Default)]
struct Tally {
    resident: u64,
    exact: u64,
}

impl Tally {
    fn of(&mut self, all: &[Stat], limit: u64) -> u64 {
        let resident: u64 = all.iter().map(|stat| stat.resident).sum();
        // It grew, if it did, by what the cheap figure did.
        let guess = (self.exact + resident.saturating_sub(self.resident)).min(resident);
        let has_grown = resident > self.resident + self.resident / 4 + UNNOTICED && all.len() <= EXACT_FOR;
        if !has_grown && guess <= limit {
            return guess;
        }
        self.exact = all.iter().map(|stat| kin::proportional(stat.member.pid).unwrap_or(stat.resident)).sum();
        self.resident = resident;
        self.exact
    }
}
