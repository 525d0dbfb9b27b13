//! Commands of the binary beside a server.

use super::process::trainyard;
use std::io::Write;
use std::process::Stdio;
use std::thread;

/// What a command said.
#[derive(Debug)]
pub struct Said {
    pub status: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Said {
    /// What went to standard output, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.status, Some(0), "{}{}", self.text(), self.stderr);
        self
    }
}

/// Runs a command to its end.
pub fn command(arguments: &[&str]) -> Said {
    command_with(arguments, &[])
}

/// Runs a command with this on standard input.
pub fn command_with(arguments: &[&str], input: &[u8]) -> Said {
    let mut command = trainyard();
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = thread::scope(|scope| {
        scope.spawn(move || {
            // It may not read all of it.
            let _ = stdin.write_all(input);
        });
        child.wait_with_output().unwrap()
    });
    Said {
        status: output.status.code(),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
