//! What this process takes, as the kernel counts it.

use rustix::time::{ClockId, clock_gettime};
use std::fs;
use std::time::Duration;

/// The figures of one moment; those that the kernel does not tell are 0.
#[derive(Debug, Clone, Copy, Default)]
pub struct Process {
    /// Resident memory, in bytes.
    pub resident: u64,
    /// Processor time of all threads.
    pub cpu: Duration,
    /// Open files and sockets.
    pub descriptors: u64,
}

impl Process {
    /// This one.
    pub fn here() -> Self {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let seconds = Duration::from_secs(cpu.tv_sec.try_into().unwrap_or(0));
        Self {
            resident: resident().unwrap_or(0),
            cpu: seconds + Duration::from_nanos(cpu.tv_nsec.try_into().unwrap_or(0)),
            descriptors: fs::read_dir("/proc/self/fd").map_or(0, |files| files.count() as u64),
        }
    }
}

fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_takes_something() {
        let here = Process::here();
        assert!(here.resident > 1 << 20 && here.descriptors > 2 && !here.cpu.is_zero(), "{here:?}");
    }
}
