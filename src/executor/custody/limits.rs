//! What a child may take, and in words what it took too much of.
//!
//! There is no limit on address space: PyTorch and its like reserve many times what they use. The limit on processes is
//! none of `setrlimit`'s either: that one counts everything that the server's user runs, and root not at all.

use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use std::sync::OnceLock;

/// How long a child may go on after it was told that its processor time is over, in seconds.
const CPU_GRACE: u64 = 10;

/// What a child may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Memory of it and everything it starts, in bytes.
    pub memory: Ceiling,
    /// Processor time of each process, in seconds.
    pub cpu_seconds: Option<u64>,
    /// The largest file that it may write, in bytes.
    pub file_bytes: Option<u64>,
    /// Files that a process may have open at once.
    pub open_files: Option<u64>,
    /// Processes and threads at once, its own included.
    pub processes: u64,
}

/// A limit on memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ceiling {
    /// In bytes.
    pub bytes: u64,
    /// True where somebody set it; else it is what the machine has.
    pub is_set: bool,
}

/// What a child took too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breach {
    /// Memory.
    Memory,
    /// Processes and threads.
    Processes,
    /// Processor time.
    ProcessorTime,
    /// A file.
    FileSize,
}

/// The most that this process may have; it does not change while it runs.
fn own_maximum(resource: Resource) -> Option<u64> {
    static OWN: OnceLock<[Option<u64>; 3]> = OnceLock::new();
    let all = [Resource::Cpu, Resource::Fsize, Resource::Nofile];
    let own = OWN.get_or_init(|| all.map(|resource| getrlimit(resource).maximum));
    all.iter().position(|one| *one == resource).and_then(|at| own[at])
}

impl Limits {
    /// The same for a child that serves many: its processor time adds up.
    #[must_use]
    pub fn for_helper(self) -> Self {
        Self { cpu_seconds: None, ..self }
    }

    /// Sets what the kernel keeps for each process, on a child that was just started. What it had started by then, in
    /// the first microseconds, has the server's own limits.
    pub(super) fn apply(&self, pid: Pid) {
        let cpu = self.cpu_seconds.map(|most| (most, most.saturating_add(CPU_GRACE)));
        let equal = |most: Option<u64>| most.map(|most| (most, most));
        let wanted = [
            (Resource::Cpu, cpu),
            (Resource::Fsize, equal(self.file_bytes)),
            (Resource::Nofile, equal(self.open_files)),
        ];
        for (resource, most) in wanted {
            let Some((soft, hard)) = most else { continue };
            // Nobody but root may have more than the server has.
            let own = own_maximum(resource);
            let within = |value: u64| Some(own.map_or(value, |own| own.min(value)));
            match prlimit(Some(pid), resource, Rlimit { current: within(soft), maximum: within(hard) }) {
                Ok(_) | Err(Errno::SRCH) => {}
                Err(error) => tracing::warn!(%error, ?resource, "a child could not be limited"),
            }
        }
    }

    /// What went over and what to do, for the run's owner.
    pub fn words(&self, breach: Breach) -> String {
        match breach {
            Breach::Memory if self.memory.is_set => format!(
                "it wanted more than {} of memory (limit jobs.memory_bytes) and was stopped; give it smaller batches or \
                 images, or raise the limit",
                size(self.memory.bytes)
            ),
            Breach::Memory => format!(
                "it wanted more than {} of memory, about all that this machine has, and was stopped; give it smaller \
                 batches or images, or a machine with more memory",
                size(self.memory.bytes)
            ),
            Breach::Processes => format!(
                "it had more than {} processes and threads at once (limit jobs.max_processes) and was stopped; start \
                 fewer workers, or raise the limit",
                self.processes
            ),
            Breach::ProcessorTime => format!(
                "it used more than {} s of processor time (limit jobs.cpu_seconds) and was stopped; give it fewer steps, \
                 or raise the limit",
                self.cpu_seconds.unwrap_or_default()
            ),
            Breach::FileSize => format!(
                "it wanted to write a file of more than {} (limit jobs.max_file_bytes) and was stopped; let it keep \
                 less, or raise the limit",
                size(self.file_bytes.unwrap_or_default())
            ),
        }
    }

    /// Which limit a script's own last words speak of: many see an error where others are killed.
    pub fn hint(&self, last_words: &str) -> Option<String> {
        let speaks_of = |signs: &[&str]| signs.iter().any(|sign| last_words.contains(sign));
        if let Some(most) = self.file_bytes.filter(|_| speaks_of(&["File too large", "Errno 27", "os error 27"])) {
            return Some(format!("a file may have at most {} (limit jobs.max_file_bytes)", size(most)));
        }
        if let Some(most) = self.open_files.filter(|_| speaks_of(&["Too many open files", "Errno 24", "os error 24"])) {
            return Some(format!("at most {most} files may be open at once (limit jobs.max_open_files)"));
        }
        let no_more = ["can't start new thread", "annot fork", "Resource temporarily unavailable", "pthread_create"];
        if speaks_of(&no_more) {
            let most = self.processes;
            return Some(format!(
                "there may be at most {most} processes and threads at once (limit jobs.max_processes)"
            ));
        }
        let no_memory = ["MemoryError", "annot allocate memory", "bad_alloc", "not enough memory"];
        speaks_of(&no_memory).then(|| {
            let of = if self.memory.is_set { "limit jobs.memory_bytes" } else { "all that this machine has" };
            format!("it may hold at most {} of memory ({of})", size(self.memory.bytes))
        })
    }
}

/// Bytes for people: `512 MiB`, `1.5 GiB`.
pub fn size(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let Some((shift, unit)) = units.into_iter().find(|(shift, _)| bytes >> shift > 0) else {
        return format!("{bytes} bytes");
    };
    let tenths = bytes / ((1 << shift) / 10);
    match (tenths / 10, tenths % 10) {
        (whole, _) if bytes == whole << shift || whole >= 100 => format!("{whole} {unit}"),
        (whole, tenth) => format!("{whole}.{tenth} {unit}"),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const AMPLE: Limits = Limits {
        memory: Ceiling { bytes: 1 << 40, is_set: false },
        cpu_seconds: None,
        file_bytes: None,
        open_files: None,
        processes: 4096,
    };

    #[test]
    fn sizes_read_well() {
        let cases = [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1024, "1 KiB"),
            (512 << 20, "512 MiB"),
            (3 << 29, "1.5 GiB"),
            (960 << 20, "960 MiB"),
            (64 << 30, "64 GiB"),
            ((10 << 20) + 1, "10.0 MiB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn reasons_name_the_limit_and_a_way_out() {
        let limits = Limits {
            memory: Ceiling { bytes: 512 << 20, is_set: true },
            cpu_seconds: Some(60),
            file_bytes: Some(10 << 20),
            open_files: Some(64),
            processes: 50,
        };
        let cases = [
            (Breach::Memory, "512 MiB", "jobs.memory_bytes"),
            (Breach::Processes, "50 processes", "jobs.max_processes"),
            (Breach::ProcessorTime, "60 s", "jobs.cpu_seconds"),
            (Breach::FileSize, "10 MiB", "jobs.max_file_bytes"),
        ];
        for (breach, amount, setting) in cases {
            let words = limits.words(breach);
            assert!(words.contains(amount) && words.contains(setting) && words.contains("or raise"), "{words}");
        }
        assert!(AMPLE.words(Breach::Memory).contains("more memory"));
        let hints = [
            ("OSError: [Errno 27] File too large", "jobs.max_file_bytes"),
            ("OSError: [Errno 24] Too many open files: 'x'", "jobs.max_open_files"),
            ("RuntimeError: can't start new thread", "jobs.max_processes"),
            ("sh: 3: Cannot fork", "jobs.max_processes"),
            ("MemoryError", "jobs.memory_bytes"),
        ];
        for (last_words, setting) in hints {
            assert!(limits.hint(last_words).unwrap().contains(setting), "{last_words}");
        }
        assert_eq!(limits.hint("ValueError: no such layer"), None);
        assert_eq!(AMPLE.hint("File too large"), None, "a limit that is not set is not to blame");
    }
}
