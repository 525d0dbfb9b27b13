"""Stops a process right before or right after its n-th call that changes something on the disk or answers somebody.

ptrace through ctypes, for Linux on x86-64: the tracing thread sees every system call of every thread, counts those
that matter in the order in which they happen, and kills the process at the one that is asked for.
"""

import ctypes
import os
import platform
import re
import signal
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

#: Call numbers of x86-64, with the place of the argument that is a file descriptor or a path.
CALLS = {
    257: ("openat", "path", 1), 1: ("write", "fd", 0), 20: ("writev", "fd", 0), 18: ("pwrite64", "fd", 0),
    296: ("pwritev", "fd", 0), 328: ("pwritev2", "fd", 0), 44: ("sendto", "fd", 0), 46: ("sendmsg", "fd", 0),
    74: ("fsync", "fd", 0), 75: ("fdatasync", "fd", 0), 277: ("sync_file_range", "fd", 0), 306: ("syncfs", "fd", 0),
    77: ("ftruncate", "fd", 0), 285: ("fallocate", "fd", 0), 91: ("fchmod", "fd", 0), 90: ("chmod", "path", 0),
    82: ("rename", "path", 0), 264: ("renameat", "path", 1), 316: ("renameat2", "path", 1), 87: ("unlink", "path", 0),
    263: ("unlinkat", "path", 1), 83: ("mkdir", "path", 0), 258: ("mkdirat", "path", 1), 84: ("rmdir", "path", 0),
    88: ("symlink", "path", 0),
}  # fmt: skip

SEIZE, INTERRUPT, SYSCALL, GET_SYSCALL_INFO = 0x4206, 0x4207, 24, 0x420E
TRACESYSGOOD, TRACECLONE = 0x1, 0x8
WALL = 0x40000000
ENTRY, EXIT = 1, 2

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


def unavailable() -> str | None:
    """Why nothing can be traced here; None where it can."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return f"the tracer knows Linux on x86-64 only, this is {platform.system()} on {platform.machine()}"
    child = os.fork()
    if child == 0:
        signal.pause()
    try:
        return None if _ptrace(SEIZE, child, None, None) == 0 else f"ptrace is refused: {os.strerror(ctypes.get_errno())}"
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, WALL)


def _ptrace(request: int, thread: int, address: object, data: object) -> int:
    return _libc.ptrace(request, thread, address, data)


@dataclass
class Trace:
    """What was seen."""

    #: The calls in their order, for people: `fsync tmp/upload-0`.
    calls: list[str] = field(default_factory=list)
    #: The point at which the process was killed.
    killed_at: str | None = None


class Tracer:
    """Traces one process, given by its pid; all methods belong to one thread."""

    def __init__(self, pid: int, root: str) -> None:
        self.pid, self.root = pid, root.rstrip("/") + "/"
        self.trace = Trace()
        self.inside: dict[int, int | None] = {}
        self._info = ctypes.create_string_buffer(96)

    def attach(self) -> None:
        """Takes hold of every thread; new ones follow by themselves."""
        held: set[int] = set()
        while True:
            new = {int(name) for name in os.listdir(f"/proc/{self.pid}/task")} - held
            if not new:
                break
            for thread in new:
                held.add(thread)
                if _ptrace(SEIZE, thread, None, TRACESYSGOOD | TRACECLONE) == 0:
                    _ptrace(INTERRUPT, thread, None, None)

    def follow(self, at: int, after: bool, until: Callable[[], bool]) -> Trace:
        """Lets the process run and kills it at its call number `at` (0: never), before it or after it.

        Ends when the process is gone; where `until` says so the process is killed, wherever it is.
        """
        while True:
            try:
                thread, status = os.waitpid(-1, WALL)
            except ChildProcessError:
                return self.trace
            if os.WIFEXITED(status) or os.WIFSIGNALED(status):
                self.inside.pop(thread, None)
                if thread == self.pid:
                    return self.trace
                continue
            stop, event = os.WSTOPSIG(status), status >> 16
            deliver = 0
            if stop == signal.SIGTRAP | 0x80:
                self._syscall(thread, at, after)
            elif event == 0:
                deliver = stop
            if until() and self.trace.killed_at is None:
                self.trace.killed_at = "nowhere: it was over"
                os.kill(self.pid, signal.SIGKILL)
            _ptrace(SYSCALL, thread, None, deliver)

    def _syscall(self, thread: int, at: int, after: bool) -> None:
        size = _ptrace(GET_SYSCALL_INFO, thread, len(self._info), ctypes.addressof(self._info))
        if size <= 0:
            return
        kind = self._info.raw[0]
        if kind == ENTRY:
            number, *arguments = struct.unpack_from("<7Q", self._info.raw, 24)
            label = self._label(thread, number, arguments)
            self.inside[thread] = None
            if label is None:
                return
            self.trace.calls.append(label)
            self.inside[thread] = len(self.trace.calls)
            if len(self.trace.calls) == at and not after:
                self._kill(f"before {label}")
        elif kind == EXIT:
            index = self.inside.pop(thread, None)
            if index is not None and index == at and after:
                self._kill(f"after {self.trace.calls[index - 1]}")

    def _kill(self, where: str) -> None:
        if self.trace.killed_at is None:
            self.trace.killed_at = where
            os.kill(self.pid, signal.SIGKILL)

    def _label(self, thread: int, number: int, arguments: list[int]) -> str | None:
        call = CALLS.get(number)
        if call is None:
            return None
        name, kind, place = call
        target = self._path(thread, arguments[place]) if kind == "path" else self._open_file(arguments[place])
        if target.startswith("socket:"):
            return f"{name} socket"
        if not target.startswith(self.root):
            # Wake-ups of threads, the log, /proc: no step of anything.
            return None
        return f"{name} {target[len(self.root):]}"

    def _open_file(self, descriptor: int) -> str:
        try:
            return os.readlink(f"/proc/{self.pid}/fd/{ctypes.c_int(descriptor).value}")
        except OSError:
            return "?"

    def _path(self, thread: int, address: int) -> str:
        try:
            with open(f"/proc/{thread}/mem", "rb", buffering=0) as memory:
                memory.seek(address)
                # A path may end right before a page that is not there.
                return memory.read(min(512, 4096 - address % 4096)).split(b"\0", 1)[0].decode(errors="replace")
        except (OSError, ValueError, OverflowError):
            return "?"


def kind_of(label: str) -> str:
    """A label without what differs between two times: numbers and hashes."""
    return re.sub(r"[0-9a-fA-F]{16,}|\b[0-9a-f]{2}\b|\d+", "*", label)


class Helper(threading.Thread):
    """Does something while the main thread traces."""

    def __init__(self, job: Callable[[], object], nudge: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self.job, self.nudge = job, nudge
        self.outcome: object = None
        self.error: Exception | None = None
        self.over = False

    def run(self) -> None:
        """The job, and then a call that makes the traced process move, so that the tracer wakes up."""
        try:
            self.outcome = self.job()
        except Exception as error:  # noqa: BLE001 (whatever it is, the main thread looks at it)
            self.error = error
        self.over = True
        try:
            self.nudge()
        except Exception:  # noqa: BLE001 (the process may be gone already, which is as good)
            return
