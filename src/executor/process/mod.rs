//! One child: started in a process group of its own, watched until it and everything it started is gone.
//!
//! A thread of the bounded pool waits in one `poll` for its output, its end, its limits and orders from above. No
//! `pre_exec`: the standard library then starts children without copying this process, and `custody` limits them from
//! outside. The only place where processes are started.

mod control;
mod watch;

pub use control::{Control, Meter, Order};
pub(super) use watch::{has_ended, wait};

use super::custody::{Breach, Custody, Kind, Limits, Verdict};
use rustix::fd::OwnedFd;
use rustix::process::Pid;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use watch::{Told, Watch};

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
    /// What it may take.
    pub limits: Limits,
}

/// Which of a child's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
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
    /// It went over one of its limits.
    OverLimit(Breach),
    /// The kernel killed it, since the machine had no memory left.
    OutOfMemory,
    /// It was never started.
    NotStarted(io::Error),
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

/// Starts a child; to take it into custody is the caller's part.
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
pub(super) fn spawn_helper<'a>(
    program: &Path,
    arguments: impl Iterator<Item = &'a OsStr>,
    output: File,
) -> io::Result<Child> {
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
pub fn run(
    spec: &ChildSpec,
    custody: &Arc<Custody>,
    control: &Control,
    sink: &mut dyn FnMut(Output, &[u8]),
) -> ChildEnd {
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
    control.meter.start();
    let mut ward = custody.take_in(pid, spec.limits, Kind::Script);
    let mut watch = Watch::new(child, pid, spec);
    let why = watch.follow(&mut ward, control, sink);
    ward.release();
    watch.drain(sink);
    match (why, watch.child.wait()) {
        (Some(Told::TimeLimit), _) => ChildEnd::TimedOut,
        (Some(Told::Order(order)), _) => ChildEnd::Ordered(order),
        (Some(Told::Breach(breach)), _) => ChildEnd::OverLimit(breach),
        (None, Ok(status)) => match ward.verdict(status, &control.meter) {
            Some(Verdict::Over(breach)) => ChildEnd::OverLimit(breach),
            Some(Verdict::OutOfMemory) => ChildEnd::OutOfMemory,
            None => ChildEnd::Ended(status),
        },
        (None, Err(error)) => ChildEnd::NotStarted(error),
    }
}

/// What became of a child that the kernel killed for want of memory, in words.
pub const OUT_OF_MEMORY: &str = "the machine ran out of memory, and the kernel stopped it";

/// An exit status in words for the run's owner.
pub fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("it ended with exit status {code}"),
        (None, Some(9)) => "it was killed from outside (signal 9)".to_owned(),
        (None, Some(signal)) => format!("it was ended by signal {signal}"),
        (None, None) => format!("it ended with {status}"),
    }
}
