//! A child that is asked again and again through its standard input, and answers on its standard output.
//!
//! It is a child like any other: a group of its own, known to the guard. It must not know what is asked.

use super::custody::{Custody, Kind, Limits, Verdict, Ward};
use super::process::{ChildSpec, Control, Meter, OUT_OF_MEMORY, Pipes, describe, has_ended, spawn, wait};
use rustix::event::{PollFd, PollFlags};
use rustix::io::{Errno, ioctl_fionbio};
use rustix::process::Pid;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::process::Child;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How much of what it printed to standard error is kept.
const SHOWN: usize = 600;

/// The child.
pub struct Companion {
    child: Child,
    pid: Pid,
    ward: Ward,
    limits: Limits,
    meter: Meter,
    shown: Vec<u8>,
    buffer: Vec<u8>,
}

/// How long an answer may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// The time.
    pub limit: Duration,
    /// Whether it begins anew with everything that the child says.
    pub renews: bool,
}

/// Why there was no whole answer.
#[derive(Debug)]
pub enum Silence {
    /// The child is gone; in words, what it ended with.
    Died(String),
    /// It took too long.
    TimedOut,
    /// It was told to end, because the server stops.
    Ordered,
    /// It said what nobody understands.
    Garbled(io::Error),
}

impl Companion {
    /// Starts the child.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn start(spec: &ChildSpec, custody: &Arc<Custody>) -> io::Result<Self> {
        let child = spawn(spec, Pipes::Both)?;
        let pid = Pid::from_raw(child.id().cast_signed()).ok_or_else(|| io::Error::other("it has no process id"))?;
        let companion = Self {
            child,
            pid,
            ward: custody.take_in(pid, spec.limits, Kind::Helper),
            limits: spec.limits,
            meter: Meter::default(),
            shown: Vec::new(),
            buffer: vec![0; 16 << 10],
        };
        let Child { stdin, stdout, stderr, .. } = &companion.child;
        stdin.as_ref().map_or(Ok(()), |pipe| ioctl_fionbio(pipe, true))?;
        stdout.as_ref().map_or(Ok(()), |pipe| ioctl_fionbio(pipe, true))?;
        stderr.as_ref().map_or(Ok(()), |pipe| ioctl_fionbio(pipe, true))?;
        Ok(companion)
    }

    /// Whether it is gone though nobody asked it anything.
    pub fn is_gone(&self) -> bool {
        has_ended(self.pid)
    }

    /// Sends a question; `answer` gets what comes and says whether that was all.
    ///
    /// # Errors
    /// [`Silence`]; the child is of no further use then.
    pub fn ask(
        &mut self,
        question: &[u8],
        patience: Patience,
        control: &Control,
        answer: &mut dyn FnMut(&[u8]) -> io::Result<bool>,
    ) -> Result<(), Silence> {
        let mut unsent = question;
        let mut deadline = Instant::now() + patience.limit;
        loop {
            if control.ordered().is_some() {
                return Err(Silence::Ordered);
            }
            if Instant::now() >= deadline {
                return Err(Silence::TimedOut);
            }
            if Instant::now() >= self.ward.next_look()
                && let Some(breach) = self.ward.look(&self.meter)
            {
                return Err(Silence::Died(self.limits.words(breach)));
            }
            let ready = self.poll(!unsent.is_empty(), control, deadline.min(self.ward.next_look()));
            if ready.stdin {
                unsent = self.send(unsent)?;
            }
            if ready.stderr {
                self.listen_to_errors();
            }
            if ready.stdout {
                match self.read()? {
                    0 => return Err(self.died()),
                    length => {
                        if answer(&self.buffer[..length]).map_err(Silence::Garbled)? {
                            return Ok(());
                        }
                        if patience.renews {
                            deadline = Instant::now() + patience.limit;
                        }
                    }
                }
            }
        }
    }

    fn poll(&self, sends: bool, control: &Control, deadline: Instant) -> Ready {
        let mut fds = Vec::with_capacity(4);
        let mut add = |fd, flags| {
            fds.push(PollFd::from_borrowed_fd(fd, flags));
            fds.len() - 1
        };
        let Child { stdin, stdout, stderr, .. } = &self.child;
        add(control.bell(), PollFlags::IN);
        let stdin = stdin.as_ref().filter(|_| sends).map(|pipe| add(pipe.as_fd(), PollFlags::OUT));
        let stdout = stdout.as_ref().map(|pipe| add(pipe.as_fd(), PollFlags::IN));
        let stderr = stderr.as_ref().map(|pipe| add(pipe.as_fd(), PollFlags::IN));
        wait(&mut fds, Some(deadline), false);
        let is_ready = |at: Option<usize>| at.is_some_and(|at| !fds[at].revents().is_empty());
        Ready { stdin: is_ready(stdin), stdout: is_ready(stdout), stderr: is_ready(stderr) }
    }

    fn send<'a>(&mut self, unsent: &'a [u8]) -> Result<&'a [u8], Silence> {
        let Some(pipe) = &mut self.child.stdin else { return Err(self.died()) };
        match pipe.write(unsent) {
            Ok(length) => Ok(&unsent[length..]),
            Err(error) if is_passing(&error) => Ok(unsent),
            // It reads no more, so it is gone or as good as gone.
            Err(_) => Err(self.died()),
        }
    }

    fn read(&mut self) -> Result<usize, Silence> {
        let Some(pipe) = &mut self.child.stdout else { return Ok(0) };
        loop {
            match pipe.read(&mut self.buffer) {
                Ok(length) => return Ok(length),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Silence::Garbled(error)),
            }
        }
    }

    fn listen_to_errors(&mut self) {
        let Some(pipe) = &mut self.child.stderr else { return };
        match pipe.read(&mut self.buffer) {
            Err(error) if is_passing(&error) => {}
            Ok(0) | Err(_) => self.child.stderr = None,
            Ok(length) => {
                self.shown.extend_from_slice(&self.buffer[..length]);
                let over = self.shown.len().saturating_sub(SHOWN);
                self.shown.drain(..over);
            }
        }
    }

    fn died(&mut self) -> Silence {
        self.listen_to_errors();
        let why = match self.end() {
            Ok(status) => match self.ward.verdict(status, &self.meter) {
                Some(Verdict::Over(breach)) => self.limits.words(breach),
                Some(Verdict::OutOfMemory) => OUT_OF_MEMORY.to_owned(),
                None => describe(status),
            },
            Err(error) => format!("it is gone: {error}"),
        };
        let tail = String::from_utf8_lossy(&self.shown);
        Silence::Died(if tail.trim().is_empty() { why } else { format!("{why}; it printed {:?}", tail.trim()) })
    }

    /// Kills what is left of it.
    fn end(&mut self) -> io::Result<std::process::ExitStatus> {
        self.ward.release();
        self.child.wait()
    }
}

/// Which pipes can be gone on with.
struct Ready {
    stdin: bool,
    stdout: bool,
    stderr: bool,
}

fn is_passing(error: &io::Error) -> bool {
    let passing = [Errno::AGAIN, Errno::INTR].map(Errno::raw_os_error);
    error.raw_os_error().is_some_and(|code| passing.contains(&code))
}

impl Drop for Companion {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::warn!(%error, "a child could not be waited for");
        }
    }
}
