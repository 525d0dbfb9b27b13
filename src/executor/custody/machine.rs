//! How much memory the machine has, all of it and now: of the whole and of every control group around this server, in
//! both versions of those.
//!
//! Files that the kernel keeps in memory and can drop count as free, but for those that programs run from.

use std::fs;
use std::path::{Path, PathBuf};

/// Groups with a larger limit have none.
const NO_LIMIT: u64 = 1 << 60;

/// The memory that there is for this server and its children.
#[derive(Debug, Clone)]
pub struct Machine {
    meminfo: PathBuf,
    groups: Vec<Group>,
}

/// A control group that may limit memory.
#[derive(Debug, Clone)]
struct Group {
    folder: PathBuf,
    files: Files,
}

/// The names of a version's files.
#[derive(Debug, Clone, Copy)]
struct Files {
    limits: &'static [&'static str],
    used: &'static str,
    /// In `memory.stat`: files in memory, and of those what is mapped, and kernel memory that can be dropped.
    files: &'static [&'static str],
    mapped: &'static str,
    kernel: &'static str,
}

const VERSION_1: Files = Files {
    limits: &["memory.limit_in_bytes"],
    used: "memory.usage_in_bytes",
    files: &["total_active_file", "total_inactive_file"],
    mapped: "total_mapped_file",
    kernel: "",
};

const VERSION_2: Files = Files {
    limits: &["memory.max", "memory.high"],
    used: "memory.current",
    files: &["active_file", "inactive_file"],
    mapped: "file_mapped",
    kernel: "slab_reclaimable",
};

impl Machine {
    /// The machine that this process runs on.
    pub fn here() -> Self {
        let groups = super::cgroup::memory_groups()
            .into_iter()
            .map(|(folder, is_second)| Group { folder, files: if is_second { VERSION_2 } else { VERSION_1 } })
            .collect();
        Self { meminfo: PathBuf::from("/proc/meminfo"), groups }
    }

    /// All of it, in bytes.
    pub fn total(&self) -> Option<u64> {
        let all = field(&self.meminfo, "MemTotal:")?.saturating_mul(1024);
        Some(self.groups.iter().filter_map(Group::limit).fold(all, u64::min))
    }

    /// What could be had now, in bytes.
    pub fn available(&self) -> Option<u64> {
        let all = field(&self.meminfo, "MemAvailable:")?.saturating_mul(1024);
        Some(self.groups.iter().filter_map(Group::available).fold(all, u64::min))
    }
}

impl Group {
    fn limit(&self) -> Option<u64> {
        // "max" is no number.
        let limits = self.files.limits.iter().filter_map(|name| number(&self.folder.join(name)));
        limits.filter(|limit| *limit < NO_LIMIT).min()
    }

    fn available(&self) -> Option<u64> {
        let limit = self.limit()?;
        let used = number(&self.folder.join(self.files.used))?;
        let stat = fs::read_to_string(self.folder.join("memory.stat")).unwrap_or_default();
        let files = self.files.files.iter().filter_map(|name| in_lines(&stat, name)).sum::<u64>();
        let mapped = in_lines(&stat, self.files.mapped).unwrap_or(0);
        let kernel = in_lines(&stat, self.files.kernel).unwrap_or(0);
        Some(limit.saturating_sub(used.saturating_sub(files.saturating_sub(mapped) + kernel)))
    }
}

/// What a group holds that the kernel cannot drop, in bytes, for a group of version 2.
pub(super) fn held_by(folder: &Path) -> Option<u64> {
    let used = number(&folder.join(VERSION_2.used))?;
    let stat = fs::read_to_string(folder.join("memory.stat")).ok()?;
    let dropped = VERSION_2.files.iter().chain([&VERSION_2.kernel]).filter_map(|name| in_lines(&stat, name));
    Some(used.saturating_sub(dropped.sum()))
}

/// How many processes the kernel has killed for want of memory since it was started.
pub fn kernel_kills() -> Option<u64> {
    field(Path::new("/proc/vmstat"), "oom_kill")
}

/// A file that holds a number.
fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// The number behind a name at the beginning of a line.
fn field(file: &Path, name: &str) -> Option<u64> {
    in_lines(&fs::read_to_string(file).ok()?, name)
}

/// The same in a text. A name is a whole word.
pub(super) fn in_lines(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next() == Some(name)).then(|| words.next()?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(folder: &Path, name: &str, files: Files, content: &[(&str, &str)]) -> Group {
        let folder = folder.join(name);
        fs::create_dir(&folder).unwrap();
        content.iter().for_each(|(name, text)| fs::write(folder.join(name), text).unwrap());
        Group { folder, files }
    }

    #[test]
    fn the_tightest_group_counts_and_files_in_memory_are_free() {
        let folder = tempfile::tempdir().unwrap();
        let meminfo = folder.path().join("meminfo");
        fs::write(&meminfo, "MemTotal:       1000 kB\nMemFree:  1 kB\nMemAvailable:    800 kB\n").unwrap();
        let mut machine = Machine { meminfo, groups: Vec::new() };
        assert_eq!((machine.total(), machine.available()), (Some(1_024_000), Some(819_200)));
        let second = [
            ("memory.max", "600000\n"),
            ("memory.high", "max\n"),
            ("memory.current", "300000\n"),
            (
                "memory.stat",
                "anon 1\nfile 9\nactive_file 50000\ninactive_file 60000\nfile_mapped 20000\nslab_reclaimable 5\n",
            ),
        ];
        machine.groups.push(group(folder.path(), "second", VERSION_2, &second));
        assert_eq!((machine.total(), machine.available()), (Some(600_000), Some(600_000 - 300_000 + 90_005)));
        let first = [
            ("memory.limit_in_bytes", "500000"),
            ("memory.usage_in_bytes", "450000"),
            (
                "memory.stat",
                "inactive_file 7\ntotal_active_file 1000\ntotal_inactive_file 2000\ntotal_mapped_file 5000\n",
            ),
        ];
        machine.groups.push(group(folder.path(), "first", VERSION_1, &first));
        assert_eq!((machine.total(), machine.available()), (Some(500_000), Some(50_000)));
        let none = [("memory.limit_in_bytes", "9223372036854771712"), ("memory.usage_in_bytes", "1")];
        machine.groups.push(group(folder.path(), "none", VERSION_1, &none));
        machine.groups.push(group(folder.path(), "empty", VERSION_2, &[("memory.max", "max")]));
        assert_eq!((machine.total(), machine.available()), (Some(500_000), Some(50_000)));
    }

    #[test]
    fn this_machine_has_memory() {
        let machine = Machine::here();
        let (total, available) = (machine.total().unwrap(), machine.available().unwrap());
        assert!(total > 64 << 20 && available > 1 << 20 && available <= total);
    }
}
