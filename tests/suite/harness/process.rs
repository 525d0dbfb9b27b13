//! Processes: starting the binary, and whether a process lives.

use std::fs;
use std::process::{ExitStatus, Output};

/// The binary with an environment that holds nothing but `PATH`.
#[expect(clippy::disallowed_types, reason = "the tests drive the real binary; the ban is for the server's own code")]
pub fn trainyard() -> std::process::Command {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_trainyard"));
    command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin");
    command
}

/// What a command that has ended said.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stderr: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self { status: output.status, stderr: String::from_utf8_lossy(&output.stderr).into_owned() }
    }
}

/// Whether a process still does anything; one that ended and was not reaped does not.
pub fn lives(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        // The state stands behind the name, which is in brackets and may hold anything.
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
    })
}

/// The process ids in a file that a script wrote, one a line.
pub fn pids(file: &std::path::Path) -> Vec<u32> {
    fs::read_to_string(file).unwrap_or_default().lines().filter_map(|line| line.trim().parse().ok()).collect()
}

/// The processes that a process started and that live.
pub fn children_of(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let of_parent = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let after = stat.rsplit_once(") ").map(|(_, rest)| rest.to_owned()).unwrap_or_default();
        after.split(' ').nth(1) == Some(&parent.to_string())
    };
    pids.filter(of_parent).filter(|pid| lives(*pid)).collect()
}
