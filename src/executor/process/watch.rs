//! Waiting for a child: its output, its end, its limits and orders, all in one `poll`.

use super::control::{Control, Order};
use super::{ChildSpec, Output};
use crate::executor::custody::{Breach, Ward};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};
use std::io::{self, Read};
use std::process::Child;
use std::time::{Duration, Instant};

/// How long to read on after the child and its group are gone, where somebody else holds its pipes.
const DRAIN: Duration = Duration::from_millis(500);

/// How long a child may run before its sink is told that it is no short one.
const SHORT: Duration = Duration::from_millis(200);

/// How often to ask about the child where the kernel has no pidfd (before Linux 5.3).
const OLD_KERNEL_POLL: Duration = Duration::from_millis(20);

/// Why a child was told to end.
#[derive(Debug, Clone, Copy)]
pub(super) enum Told {
    TimeLimit,
    Order(Order),
    /// It was not told but killed: it took too much.
    Breach(Breach),
}

/// A child and what is left to read of it.
pub(super) struct Watch {
    pub child: Child,
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
    pub fn new(child: Child, pid: Pid, spec: &ChildSpec) -> Self {
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
    pub fn follow(&mut self, ward: &mut Ward, control: &Control, sink: &mut dyn FnMut(Output, &[u8])) -> Option<Told> {
        let mut told = None;
        loop {
            let now = Instant::now();
            if told.is_none() {
                told = self.reason_to_end(now, ward, control);
            }
            if self.kill_at.is_some_and(|at| now >= at) {
                ward.kill();
                self.kill_at = None;
            }
            if self.short_until.is_some_and(|at| now >= at) {
                self.short_until = None;
                sink(Output::Stdout, &[]);
            }
            let (limit, look) = match told {
                None => (Some(self.time_limit), Some(ward.next_look())),
                Some(_) => (self.kill_at, None),
            };
            let deadline = [limit, look, self.short_until].into_iter().flatten().min();
            let bell = told.is_none().then_some(control);
            if self.poll_once(deadline, bell, sink) {
                return told;
            }
        }
    }

    /// Whether the child has to end; tells it so.
    fn reason_to_end(&mut self, now: Instant, ward: &mut Ward, control: &Control) -> Option<Told> {
        let ordered = control.ordered().map(Told::Order);
        let told = ordered.or_else(|| (now >= self.time_limit).then_some(Told::TimeLimit));
        if told.is_some() {
            let _ = rustix::process::kill_process_group(self.pid, Signal::TERM);
            self.kill_at = Some(now + self.grace);
            return told;
        }
        if now < ward.next_look() {
            return None;
        }
        let breach = ward.look(&control.meter)?;
        ward.kill();
        Some(Told::Breach(breach))
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
            rung = bell.map(Control::bell).and_then(&mut add).or(rung);
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
        ended.is_some() || (self.pidfd.is_none() && has_ended(self.pid))
    }

    /// Reads what is left in the pipes, for as long as somebody holds them, but not for ever.
    pub fn drain(&mut self, sink: &mut dyn FnMut(Output, &[u8])) {
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

/// Whether a child has ended, without asking how: its number stays its own.
pub(in crate::executor) fn has_ended(pid: Pid) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    !matches!(rustix::process::waitid(WaitId::Pid(pid), options), Ok(None))
}

/// Waits until one of them is ready or the deadline has come.
pub(in crate::executor) fn wait(fds: &mut [PollFd<'_>], deadline: Option<Instant>, old_kernel: bool) {
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
