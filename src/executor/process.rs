//! One child: started in a process group of its own, watched until it and everything it started is gone.
//!
//! A thread of the bounded pool waits in one `poll` for its output, its end, its time limit and orders from above. No
//! `pre_exec`: the standard library then starts children without copying this process. The only place where
//! processes are started.

use super::guard::Guard;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

/// How long to read on after the child and its group are gone, where somebody else holds its pipes.
const DRAIN: Duration = Duration::from_millis(500);

/// How long a child may run before its sink is told that it is no short one.
const SHORT: Duration = Duration::from_millis(200);

/// How often to ask about the child where the kernel has no pidfd (before Linux 5.3).
const OLD_KERNEL_POLL: Duration = Duration::from_millis(20);

/// Links this function into a static file: the standard library looks it up weakly, and without it would copy this
/// process for every child that has a working directory of its own.
#[cfg(all(target_os = "linux", target_env = "gnu", target_feature = "crt-static"))]
#[used]
static LINKED: unsafe extern "C" fn(*mut libc::posix_spawn_file_actions_t, *const libc::c_char) -> libc::c_int =
    libc::posix_spawn_file_actions_addchdir_np;

/// What to start.
#[derive(Debug, Clone)]
pub struct ChildSpec {
    /// An absolute path.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// All of its environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Its working directory.
    pub folder: PathBuf,
    /// How long it may take.
    pub timeout: Duration,
    /// How long it may take to end once told.
    pub grace: Duration,
}

/// Which of a child's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Why a child was told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Somebody cancelled it.
    Cancel,
    /// The server stops.
    Stop,
}

/// How a child ended.
#[derive(Debug)]
pub enum ChildEnd {
    /// By itself.
    Ended(ExitStatus),
    /// It ran into its time limit.
    TimedOut,
    /// It was told to.
    Ordered(Order),
    /// It was never started.
    NotStarted(io::Error),
}

const NO_ORDER: u8 = 0;
const CANCEL: u8 = 1;
const STOP: u8 = 2;

/// Reaches a child from other threads.
#[derive(Debug)]
pub struct Control {
    bell: OwnedFd,
    order: AtomicU8,
}

impl Control {
    /// A control for one child.
    ///
    /// # Errors
    /// Where the system has no descriptors left.
    pub fn new() -> io::Result<Self> {
        let flags = rustix::event::EventfdFlags::CLOEXEC | rustix::event::EventfdFlags::NONBLOCK;
        Ok(Self { bell: rustix::event::eventfd(0, flags)?, order: AtomicU8::new(NO_ORDER) })
    }

    /// Tells the child to end. The first order stands.
    pub fn order(&self, order: Order) {
        let code = match order {
            Order::Cancel => CANCEL,
            Order::Stop => STOP,
        };
        let _ = self.order.compare_exchange(NO_ORDER, code, Ordering::AcqRel, Ordering::Acquire);
        self.nudge();
    }

    /// Wakes the thread that watches the child: its sink gets an empty piece, unless the child is to end.
    pub fn nudge(&self) {
        if let Err(error) = rustix::io::write(&self.bell, &1_u64.to_ne_bytes()) {
            tracing::error!(%error, "a child's thread could not be woken");
        }
    }

    /// Makes the bell silent again.
    fn hush(&self) {
        if let Err(error) = rustix::io::read(&self.bell, &mut [0; 8]) {
            tracing::error!(%error, "a child's thread cannot tell what it was woken for");
        }
    }

    /// Readable from the first order on.
    pub(super) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// What was ordered.
    pub fn ordered(&self) -> Option<Order> {
        match self.order.load(Ordering::Acquire) {
            CANCEL => Some(Order::Cancel),
            STOP => Some(Order::Stop),
            _ => None,
        }
    }
}

/// An end of file for all children to read, since a minimal root has no `/dev/null`.
static CLOSED_INPUT: OnceLock<OwnedFd> = OnceLock::new();

fn closed_input() -> io::Result<Stdio> {
    let input = match CLOSED_INPUT.get() {
        Some(input) => input,
        None => {
            let (read, _write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
            CLOSED_INPUT.get_or_init(|| read)
        }
    };
    Ok(Stdio::from(input.try_clone()?))
}

/// Which pipes a child has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pipes {
    /// For what it prints; there is nothing to read for it.
    Output,
    /// For what it is asked as well.
    Both,
}

/// Starts a child; the guard is the caller's to tell.
#[expect(clippy::disallowed_types, reason = "this is the one place where processes are started")]
pub(super) fn spawn(spec: &ChildSpec, pipes: Pipes) -> io::Result<Child> {
    let input = match pipes {
        Pipes::Output => closed_input()?,
        Pipes::Both => Stdio::piped(),
    };
    std::process::Command::new(&spec.program)
        .args(&spec.arguments)
        .env_clear()
        .envs(spec.environment.iter().map(|(name, value)| (name, value)))
        .current_dir(&spec.folder)
        .process_group(0)
        .stdin(input)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

/// Starts a helper of the server's own with a pipe to it and a file as its output; it lives in a group of its own, so
/// that a terminal's interrupt does not reach it.
pub(super) fn spawn_helper(program: &std::path::Path, arguments: &[&str], output: File) -> io::Result<Child> {
    #[expect(clippy::disallowed_types, reason = "this is the one place where processes are started")]
    std::process::Command::new(program)
        .args(arguments)
        .env_clear()
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(output)
        .stderr(Stdio::inherit())
        .spawn()
}

/// Runs a child to its end; `sink` gets its output as it comes, and an empty piece when the child turns out to be no
/// short one, and for each nudge.
pub fn run(spec: &ChildSpec, guard: &Guard, control: &Control, sink: &mut dyn FnMut(Output, &[u8])) -> ChildEnd {
    if let Some(order) = control.ordered() {
        return ChildEnd::Ordered(order);
    }
    let child = match spawn(spec, Pipes::Output) {
        Ok(child) => child,
        Err(error) => return ChildEnd::NotStarted(error),
    };
    let Some(pid) = Pid::from_raw(child.id().cast_signed()) else {
        return ChildEnd::NotStarted(io::Error::other("the child has no process id"));
    };
    guard.watch(pid);
    let mut watch = Watch::new(child, pid, spec);
    let why = watch.follow(control, sink);
    // The leader is not reaped yet, so its group's number cannot have gone to anybody else.
    let _ = rustix::process::kill_process_group(pid, Signal::KILL);
    watch.drain(sink);
    guard.forget(pid);
    match (why, watch.child.wait()) {
        (Some(Told::TimeLimit), _) => ChildEnd::TimedOut,
        (Some(Told::Order(order)), _) => ChildEnd::Ordered(order),
        (None, Ok(status)) => ChildEnd::Ended(status),
        (None, Err(error)) => ChildEnd::NotStarted(error),
    }
}

/// Why a child was told to end.
#[derive(Debug, Clone, Copy)]
enum Told {
    TimeLimit,
    Order(Order),
}

/// A child and what is left to read of it.
struct Watch {
    child: Child,
    pid: Pid,
    pidfd: Option<OwnedFd>,
    time_limit: Instant,
    grace: Duration,
    kill_at: Option<Instant>,
    /// Until the sink is told that this takes longer.
    short_until: Option<Instant>,
    buffer: Vec<u8>,
}

impl Watch {
    fn new(child: Child, pid: Pid, spec: &ChildSpec) -> Self {
        // An old kernel has no pidfd; `follow` asks now and then instead.
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok();
        let now = Instant::now();
        Self {
            child,
            pid,
            pidfd,
            time_limit: now + spec.timeout,
            grace: spec.grace,
            kill_at: None,
            short_until: Some(now + SHORT),
            buffer: vec![0; 32 << 10],
        }
    }

    /// Reads and waits until the leader has ended; says whether it was told to.
    fn follow(&mut self, control: &Control, sink: &mut dyn FnMut(Output, &[u8])) -> Option<Told> {
        let mut told = None;
        loop {
            let now = Instant::now();
            if told.is_none() {
                told = match control.ordered() {
                    Some(order) => Some(Told::Order(order)),
                    None => (now >= self.time_limit).then_some(Told::TimeLimit),
                };
                if told.is_some() {
                    let _ = rustix::process::kill_process_group(self.pid, Signal::TERM);
                    self.kill_at = Some(now + self.grace);
                }
            }
            if self.kill_at.is_some_and(|at| now >= at) {
                let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
                self.kill_at = None;
            }
            if self.short_until.is_some_and(|at| now >= at) {
                self.short_until = None;
                sink(Output::Stdout, &[]);
            }
            let limit = if told.is_none() { Some(self.time_limit) } else { self.kill_at };
            let deadline = [limit, self.short_until].into_iter().flatten().min();
            let bell = told.is_none().then_some(control);
            if self.poll_once(deadline, bell, sink) {
                return told;
            }
        }
    }

    /// Waits for something to happen, reads what is there and passes a nudge on. True once the leader has ended.
    fn poll_once(
        &mut self,
        deadline: Option<Instant>,
        bell: Option<&Control>,
        sink: &mut dyn FnMut(Output, &[u8]),
    ) -> bool {
        let (mut out, mut err, mut ended, mut rung) = (None, None, None, None);
        {
            let mut fds: Vec<PollFd<'_>> = Vec::with_capacity(4);
            let mut add = |fd| {
                fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
                Some(fds.len() - 1)
            };
            out = self.child.stdout.as_ref().map(|pipe| pipe.as_fd()).and_then(&mut add).or(out);
            err = self.child.stderr.as_ref().map(|pipe| pipe.as_fd()).and_then(&mut add).or(err);
            ended = self.pidfd.as_ref().map(|fd| fd.as_fd()).and_then(&mut add).or(ended);
            rung = bell.map(|control| control.bell.as_fd()).and_then(&mut add).or(rung);
            wait(&mut fds, deadline, self.pidfd.is_none());
            let ready = |at: Option<usize>| at.filter(|at| fds.get(*at).is_some_and(|fd| !fd.revents().is_empty()));
            (out, err, ended, rung) = (ready(out), ready(err), ready(ended), ready(rung));
        }
        if let Some(control) = bell.filter(|_| rung.is_some()) {
            control.hush();
            if control.ordered().is_none() {
                sink(Output::Stdout, &[]);
            }
        }
        if out.is_some() {
            read_into(&mut self.child.stdout, Output::Stdout, &mut self.buffer, sink);
        }
        // Standard error comes after what was printed before it, so a failure's last words stand last in the log.
        if out.is_none() && err.is_some() {
            read_into(&mut self.child.stderr, Output::Stderr, &mut self.buffer, sink);
        }
        ended.is_some() || (self.pidfd.is_none() && self.has_ended())
    }

    /// Asks without reaping.
    fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        !matches!(rustix::process::waitid(WaitId::Pid(self.pid), options), Ok(None))
    }

    /// Reads what is left in the pipes, for as long as somebody holds them, but not for ever.
    fn drain(&mut self, sink: &mut dyn FnMut(Output, &[u8])) {
        let until = Instant::now() + DRAIN;
        while (self.child.stdout.is_some() || self.child.stderr.is_some()) && Instant::now() < until {
            let pipes = [
                self.child.stdout.as_ref().map(|pipe| pipe.as_fd()),
                self.child.stderr.as_ref().map(|pipe| pipe.as_fd()),
            ];
            let mut fds: Vec<PollFd<'_>> =
                pipes.iter().flatten().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
            wait(&mut fds, Some(until), false);
            let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            let has_out = self.child.stdout.is_some();
            let is_ready = |at: usize| ready.get(at).copied().unwrap_or(false);
            if has_out && is_ready(0) {
                read_into(&mut self.child.stdout, Output::Stdout, &mut self.buffer, sink);
            } else if self.child.stderr.is_some() && is_ready(usize::from(has_out)) {
                read_into(&mut self.child.stderr, Output::Stderr, &mut self.buffer, sink);
            }
        }
    }
}

/// Waits until one of them is ready or the deadline has come.
pub(super) fn wait(fds: &mut [PollFd<'_>], deadline: Option<Instant>, old_kernel: bool) {
    let mut left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
    if old_kernel {
        left = Some(left.map_or(OLD_KERNEL_POLL, |left| left.min(OLD_KERNEL_POLL)));
    }
    let timeout = left.map(|left| Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(left.subsec_nanos()),
    });
    match poll(fds, timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => tracing::error!(%error, "a child cannot be watched"),
    }
}

/// Reads once from a pipe that has something; at its end the pipe is closed.
fn read_into<R: Read>(pipe: &mut Option<R>, which: Output, buffer: &mut [u8], sink: &mut dyn FnMut(Output, &[u8])) {
    let Some(open) = pipe else { return };
    match open.read(buffer) {
        Ok(0) => *pipe = None,
        Ok(length) => sink(which, &buffer[..length]),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
        Err(error) => {
            tracing::warn!(%error, "a child's output cannot be read");
            *pipe = None;
        }
    }
}

/// An exit status in words for the run's owner.
pub fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("it ended with exit status {code}"),
        (None, Some(9)) => "it was killed (signal 9); the machine may have run out of memory".to_owned(),
        (None, Some(signal)) => format!("it was ended by signal {signal}"),
        (None, None) => format!("it ended with {status}"),
    }
}
