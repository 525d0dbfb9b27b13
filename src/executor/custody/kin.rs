//! Processes as `/proc` shows them: what they hold, and who started whom.
//!
//! Knows nothing of runs. Everything here may be gone by the time it is read, which is no error.

use rustix::process::Pid;
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Read;

/// How many processes and threads one look takes in at the most; a child that has more is over every limit.
const MOST: usize = 1 << 13;

/// How many threads of a child's processes are asked at a look whom they started.
const MOST_THREADS: usize = 256;

/// A process, for good: a number alone may go to another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Member {
    /// Its number.
    pub pid: Pid,
    /// When it was started, in clock ticks since the machine was.
    pub start: u64,
}

/// A process at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Which.
    pub member: Member,
    /// True once it has ended and waits for somebody to ask how.
    pub has_ended: bool,
    /// Who started it, or looks after it now.
    pub parent: i32,
    /// Its process group.
    pub group: i32,
    /// How many threads it has.
    pub threads: u64,
    /// What it holds, in bytes, pages that it shares with others included.
    pub resident: u64,
    /// Processor time that it used, in seconds.
    pub cpu_seconds: u64,
}

/// Reads a small file below `/proc` in one piece.
fn read(path: &str, buffer: &mut [u8]) -> Option<usize> {
    let mut file = File::open(path).ok()?;
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
    Some(length)
}

/// A process as it is now; `None` where it is gone.
pub fn stat(pid: Pid) -> Option<Stat> {
    let mut buffer = [0; 1024];
    let length = read(&format!("/proc/{}/stat", pid.as_raw_nonzero()), &mut buffer)?;
    parse(pid, &buffer[..length])
}

fn parse(pid: Pid, text: &[u8]) -> Option<Stat> {
    // The name, in brackets, may hold anything.
    let behind = text.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(text.get(behind + 2..)?).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Stat {
        member: Member { pid, start: number(19)? },
        has_ended: matches!(fields.first(), Some(&("Z" | "X"))),
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        threads: number(17)?,
        resident: number(21)?.saturating_mul(rustix::param::page_size() as u64),
        cpu_seconds: (number(11)? + number(12)?) / rustix::param::clock_ticks_per_second().max(1),
    })
}

/// Whether it is still the process that it was, and has not ended.
pub fn lives(member: Member) -> bool {
    stat(member.pid).is_some_and(|now| now.member == member && !now.has_ended)
}

/// What a thread started and is still there; `None` where the kernel does not tell, or the thread is gone.
pub fn children(pid: i32, thread: i32) -> Option<Vec<Pid>> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{thread}/children")).ok()?;
    Some(text.split_ascii_whitespace().filter_map(|word| Pid::from_raw(word.parse().ok()?)).collect())
}

/// Whether the kernel tells whom a process started.
pub fn tells_children() -> bool {
    let own = rustix::process::getpid().as_raw_nonzero();
    fs::exists(format!("/proc/{own}/task/{own}/children")).unwrap_or(false)
}

/// Everything that has its beginning in `roots`, those included, as far as it has not lost its parents.
pub fn family(roots: impl IntoIterator<Item = Pid>) -> Vec<Stat> {
    let mut found: Vec<Stat> = Vec::new();
    let mut seen = HashSet::new();
    let mut waiting: Vec<Pid> = roots.into_iter().collect();
    let mut threads_left = MOST_THREADS;
    while let Some(pid) = waiting.pop() {
        if found.len() >= MOST {
            break;
        }
        let Some(stat) = stat(pid).filter(|_| seen.insert(pid)) else { continue };
        found.push(stat);
        let number = pid.as_raw_nonzero().get();
        waiting.extend(children(number, number).unwrap_or_default());
        if stat.threads > 1 && threads_left > 0 {
            for thread in other_threads(number, threads_left) {
                threads_left -= 1;
                waiting.extend(children(number, thread).unwrap_or_default());
            }
        }
    }
    found
}

fn other_threads(pid: i32, most: usize) -> Vec<i32> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let threads = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    threads.filter(|thread| *thread != pid).take(most).collect()
}

/// The same for a kernel that does not tell whom a process started: all processes are looked at.
pub fn family_by_search(leader: Pid) -> Vec<Stat> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
    let all: Vec<Stat> = pids.filter_map(stat).collect();
    let leader = leader.as_raw_nonzero().get();
    let mut numbers = vec![leader];
    let mut found: Vec<Stat> = all.iter().filter(|stat| stat.group == leader).copied().collect();
    numbers.extend(found.iter().map(|stat| stat.member.pid.as_raw_nonzero().get()));
    let mut at = 0;
    while let Some(number) = numbers.get(at).copied() {
        for stat in all.iter().filter(|stat| stat.parent == number) {
            if !found.contains(stat) {
                found.push(*stat);
                numbers.push(stat.member.pid.as_raw_nonzero().get());
            }
        }
        at += 1;
    }
    found
}

/// What a process holds of its own, in bytes: its part of what is shared, and no files, which the kernel can drop. It
/// takes the kernel long, so it is asked where the cheap figure is not enough.
pub fn proportional(pid: Pid) -> Option<u64> {
    let mut buffer = [0; 2048];
    let length = read(&format!("/proc/{}/smaps_rollup", pid.as_raw_nonzero()), &mut buffer)?;
    let text = std::str::from_utf8(&buffer[..length]).ok()?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()?.saturating_mul(1024))
    };
    match (field("Pss_Anon"), field("Pss_Shmem")) {
        (Some(anonymous), shared) => Some(anonymous + shared.unwrap_or(0)),
        // Before Linux 5.4.
        (None, _) => field("Pss"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn this_process_is_seen_as_it_is() {
        let own = rustix::process::getpid();
        let seen = stat(own).unwrap();
        assert!(seen.resident > 1 << 20 && seen.threads >= 1 && !seen.has_ended);
        assert!(lives(seen.member));
        assert!(!lives(Member { start: seen.member.start + 1, ..seen.member }));
        assert!(proportional(own).unwrap() <= seen.resident);
        assert!(family([own]).iter().any(|stat| stat.member == seen.member));
    }

    #[test]
    fn a_name_may_hold_anything() {
        let text =
            b"7 (a) R (b)) S 1 2 3 0 -1 4194560 1 2 3 4 500 100 7 8 20 0 9 0 4242 1000 25 18446744073709551615 1";
        let seen = parse(Pid::from_raw(7).unwrap(), text).unwrap();
        assert_eq!((seen.parent, seen.group, seen.threads, seen.member.start), (1, 2, 9, 4242));
        assert_eq!(seen.resident, 25 * rustix::param::page_size() as u64);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(text: Vec<u8>) {
            let _ = parse(Pid::from_raw(7).unwrap(), &text);
        }
    }
}
