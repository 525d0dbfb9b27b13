"""What Linux says about processes, files and disks."""

import os
import statistics
import threading
from pathlib import Path

MIB = 1 << 20
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def _field(path, name):
    """The bytes of a `Name:   123 kB` line of a file below /proc."""
    for line in Path(path).read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(f"{path} has no {name}")


def resident(pid):
    """Bytes resident now (VmRSS)."""
    return _field(f"/proc/{pid}/status", "VmRSS")


def peak(pid):
    """The most resident memory so far in bytes."""
    return _field(f"/proc/{pid}/status", "VmHWM")


def proportional(pid):
    """Bytes resident, pages shared with others counted in part (PSS)."""
    return _field(f"/proc/{pid}/smaps_rollup", "Pss")


def children(pid):
    """The processes that `pid` started and that are still there."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return found


def ticks(pid):
    """Processor time used so far, in clock ticks: user and system."""
    # The name, the second field, may hold blanks; what follows its bracket does not.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def wake_ups(pid):
    """How often threads of `pid` gave up a core and came back, so far."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        for line in (task / "status").read_text().splitlines():
            if "ctxt_switches" in line:
                total += int(line.split()[1])
    return total


class PeakMemory:
    """The most that a process had resident while this context was open.

    Read every few milliseconds, and from the kernel's own high-water mark where that can be reset.
    """

    EVERY_SECONDS = 0.02

    def __init__(self, pid):
        self.pid = pid
        self.bytes = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self):
        while True:
            self.bytes = max(self.bytes, resident(self.pid))
            if self._over.wait(self.EVERY_SECONDS):
                return

    def __enter__(self):
        try:
            Path(f"/proc/{self.pid}/clear_refs").write_text("5")
            self._has_mark = True
        except OSError:
            self._has_mark = False
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()
        if self._has_mark:
            self.bytes = max(self.bytes, _field(f"/proc/{self.pid}/status", "VmHWM"))


def is_memory(folder):
    """True where what is written below `folder` stays in memory."""
    folder = os.path.realpath(folder)
    kind, longest = "", -1
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        mount = before.split()[4]
        inside = folder == mount or folder.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= longest:
            kind, longest = after.split()[0], len(mount)
    return kind in ("tmpfs", "ramfs", "devtmpfs")


def disk_folder(candidates):
    """The first of `candidates` that can be written to and lies on a real disk."""
    for folder in candidates:
        if folder and os.access(folder, os.W_OK | os.X_OK) and not is_memory(folder):
            return folder
    raise SystemExit("bench: no writable folder on a real disk; name one with --dir")


def tree_use(folder):
    """(files, bytes that they take on the disk) below a folder."""
    files, taken = 0, 0
    for parent, _, names in os.walk(folder):
        for name in names:
            files += 1
            taken += os.lstat(os.path.join(parent, name)).st_blocks * 512
    return files, taken


def median(values):
    """The middle of the values."""
    return statistics.median(values)
