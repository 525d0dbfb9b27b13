"""A small machine: a control group with little memory, and one core. Either version of control groups will do."""

import errno
import os
import sys
import time
from pathlib import Path

#: What a process does on its way in: it enters the group, keeps to one core, and becomes what it is to be.
ENTER = (
    "import os, sys\n"
    "with open(sys.argv[1], 'w') as procs: procs.write('0')\n"
    "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    "os.execv(sys.argv[2], sys.argv[2:])\n"
)


#: How long the kernel may take to empty a group, in seconds.
PATIENCE = 60


def _groups() -> dict[str, str]:
    """The groups of this process: its path by controller, the one of version 2 under no name."""
    lines = Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines()
    split = (line.split(":", 2) for line in lines)
    return {controller: path for _, controllers, path in split for controller in controllers.split(",")}


def _mounts(kind: str) -> list[tuple[Path, str, list[str]]]:
    """Where control groups of a kind are mounted: folder, root, options."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        before, after = (part.split() for part in line.split(" - "))
        if after[0] == kind:
            found.append((Path(before[4]), before[3], after[2].split(",")))
    return found


class NoCage(Exception):
    """There is none to be had here; why, in words."""


class Cage:
    """The group; as a context it goes at the end."""

    def __init__(self, size: int) -> None:
        self.folder, self.version = self._make()
        limits = {1: {"memory.limit_in_bytes": size}, 2: {"memory.max": size, "memory.swap.max": 0}}[self.version]
        for name, value in limits.items():
            if (self.folder / name).exists():
                (self.folder / name).write_text(str(value), encoding="ascii")

    @staticmethod
    def _make() -> tuple[Path, int]:
        name = f"trainyard-cage-{os.getpid()}"
        groups, why = _groups(), "no control groups for memory are mounted"
        for kind, version in (("cgroup2", 2), ("cgroup", 1)):
            for mount, root, options in _mounts(kind):
                if version == 1 and "memory" not in options:
                    continue
                own = groups.get("memory" if version == 1 else "")
                if own is None:
                    continue
                base = mount / os.path.relpath(own, root)
                folder = base / name
                try:
                    if version == 2:
                        (base / "cgroup.subtree_control").write_text("+memory +pids", encoding="ascii")
                    folder.mkdir()
                except OSError as error:
                    why = f"none can be made in {base}: {error}"
                    continue
                return folder, version
        raise NoCage(why)

    def prefix(self) -> list[str]:
        """A command that runs another one in the cage."""
        return [sys.executable, "-I", "-S", "-c", ENTER, str(self.folder / "cgroup.procs")]

    def kills(self) -> int:
        """How many processes in it the kernel has killed for want of memory."""
        name = {1: "memory.oom_control", 2: "memory.events"}[self.version]
        lines = (self.folder / name).read_text(encoding="ascii").splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)

    def peak(self) -> int:
        """The most that was in use, in bytes, files in memory included; 0 where the kernel does not say."""
        file = self.folder / {1: "memory.max_usage_in_bytes", 2: "memory.peak"}[self.version]
        return int(file.read_text(encoding="ascii")) if file.exists() else 0

    def __enter__(self) -> "Cage":
        return self

    def __exit__(self, *_) -> None:
        for folder, _, _ in os.walk(self.folder, topdown=False):
            self._remove(Path(folder))

    @staticmethod
    def _remove(folder: Path) -> None:
        """Removes a group. What has ended in it counts as there until the kernel has let go of its memory, a moment later,
        and until its parent, which orphans of a campaign have in it, has asked how it ended."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return folder.rmdir()
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise
                left = (folder / "cgroup.procs").read_text(encoding="ascii").split()
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{folder} cannot be removed; in it: {[_command(pid) for pid in left]}") from error
            _reap(left)
            time.sleep(0.05)


def _reap(pids: list[str]) -> None:
    """Asks how orphans ended that this process has inherited."""
    for pid in pids:
        try:
            os.waitpid(int(pid), os.WNOHANG)
        except ChildProcessError:
            pass


def _command(pid: str) -> str:
    """What a process is, for people."""
    try:
        return f"{pid} {Path(f'/proc/{pid}/stat').read_text(encoding='utf-8').split(') ')[0]})"
    except OSError:
        return f"{pid} (gone)"
