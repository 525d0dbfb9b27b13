"""Stops a process right before or right after its n-th call that changes something on the disk or answers somebody, or
makes such a call fail.

ptrace through ctypes, for Linux on x86-64: the tracing thread sees every system call of every thread, counts those
that matter in the order in which they happen, and kills the process at the one that is asked for, or lets the kernel
skip it and answer with an error. Processes that the traced one starts are not traced.
"""

import ctypes
import errno
import os
import platform
import re
import signal
import struct
import threading
from collections import Counter
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
    88: ("symlink", "path", 0), 266: ("symlinkat", "path", 2), 86: ("link", "path", 1), 265: ("linkat", "path", 3),
    326: ("copy_file_range", "fd", 2), 40: ("sendfile", "fd", 0), 76: ("truncate", "path", 0),
}  # fmt: skip

#: Where a path is relative to a folder: the place of that folder's descriptor.
FOLDERS = {257: 0, 264: 0, 316: 0, 263: 0, 258: 0, 266: 1, 265: 2}

#: openat makes or empties a file with one of these flags; without them it changes nothing.
OPENAT, MAKES = 257, os.O_CREAT | os.O_TRUNC

#: Calls that may write less than they were asked to, with the place of the count.
COUNTS = {1: 2, 18: 2, 40: 3, 326: 4}

#: How a call can go wrong. `short`: half of the bytes are written, which is no error. `torn`: half of them, and the next
#: write to that file finds the disk full. `crash`: it is done, and the process is killed before it learns of that.
WAYS = ("EIO", "ENOSPC", "short", "torn", "crash")

SEIZE, INTERRUPT, SYSCALL, GET_SYSCALL_INFO = 0x4206, 0x4207, 24, 0x420E
TRACESYSGOOD, TRACECLONE = 0x1, 0x8
WALL = 0x40000000
ENTRY, EXIT = 1, 2

GETREGS, SETREGS = 12, 13
#: Places in user_regs_struct, which has 27 registers of 8 bytes.
RAX, ORIG_RAX = 10, 15
ARGUMENTS = (14, 13, 12, 7, 9, 8)

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


@dataclass(frozen=True)
class Fault:
    """What is to happen to one call: the `nth` of those that look alike, see `kind_of`."""

    kind: str
    nth: int
    way: str

    def __str__(self) -> str:
        return f"{self.way} at {self.kind} no. {self.nth}"


@dataclass
class Trace:
    """What was seen."""

    #: The calls in their order, for people: `fsync tmp/upload-0`.
    calls: list[str] = field(default_factory=list)
    #: The point at which the process was killed.
    killed_at: str | None = None
    #: The call that the fault met.
    struck: str | None = None
    #: How the process ended: its exit status, or a signal as a negative number.
    status: int | None = None


class Tracer:
    """Traces one process, given by its pid; all methods belong to one thread."""

    def __init__(self, pid: int, root: str, fault: Fault | None = None) -> None:
        self.pid, self.root, self.fault = pid, root.rstrip("/") + "/", fault
        self.trace = Trace()
        #: How often each kind of call was seen, for the fault.
        self.seen: Counter[str] = Counter()
        #: The file to which the next write finds no room.
        self.torn: str | None = None
        #: What threads will be told in place of their calls' outcomes.
        self.lies: dict[int, int] = {}
        #: The thread whose call is the last one.
        self.dies: int | None = None
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
                    self.trace.status = os.waitstatus_to_exitcode(status)
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
            if self.fault is not None:
                self._strike(thread, number, arguments, label)
            if len(self.trace.calls) == at and not after:
                self._kill(f"before {label}")
        elif kind == EXIT:
            index = self.inside.pop(thread, None)
            if thread in self.lies:
                self._change(thread, {RAX: -self.lies.pop(thread)})
            if thread == self.dies and index is not None:
                self._kill(f"after {self.trace.calls[index - 1]}")
            if index is not None and index == at and after:
                self._kill(f"after {self.trace.calls[index - 1]}")

    def _strike(self, thread: int, number: int, arguments: list[int], label: str) -> None:
        """Carries the fault out if this is its call."""
        assert self.fault is not None
        if self.torn is not None and number in COUNTS and label.split(" ", 1)[1] == self.torn:
            self.torn = None
            self._refuse(thread, errno.ENOSPC)
        kind = kind_of(label)
        self.seen[kind] += 1
        if self.trace.struck is not None or kind != self.fault.kind or self.seen[kind] != self.fault.nth:
            return
        self.trace.struck = label
        match self.fault.way:
            case "crash":
                self.dies = thread
            case "short" | "torn":
                count = COUNTS[number]
                self._change(thread, {ARGUMENTS[count]: max(1, arguments[count] // 2)})
                if self.fault.way == "torn":
                    self.torn = label.split(" ", 1)[1]
            case name:
                self._refuse(thread, getattr(errno, name))

    def _refuse(self, thread: int, error: int) -> None:
        """The kernel does nothing, and the thread is told of an error."""
        self._change(thread, {ORIG_RAX: -1})
        self.lies[thread] = error

    def _change(self, thread: int, registers: dict[int, int]) -> None:
        held = (ctypes.c_longlong * 27)()
        if _ptrace(GETREGS, thread, None, ctypes.addressof(held)) == 0:
            for place, value in registers.items():
                held[place] = value
            _ptrace(SETREGS, thread, None, ctypes.addressof(held))

    def _kill(self, where: str) -> None:
        if self.trace.killed_at is None:
            self.trace.killed_at = where
            os.kill(self.pid, signal.SIGKILL)

    def _label(self, thread: int, number: int, arguments: list[int]) -> str | None:
        call = CALLS.get(number)
        if call is None:
            return None
        name, kind, place = call
        if number == OPENAT and arguments[2] & MAKES:
            name = "create"
        target = self._path(thread, arguments[place]) if kind == "path" else self._open_file(arguments[place])
        if kind == "path" and not target.startswith("/") and number in FOLDERS:
            target = f"{self._open_file(arguments[FOLDERS[number]])}/{target}"
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


def ways_of(kind: str) -> tuple[str, ...]:
    """How a call of this kind can go wrong; none for one that changes nothing on the disk."""
    name, _, target = kind.partition(" ")
    if target == "socket" or name == "openat":
        return ()
    if name in {"write", "pwrite*", "copy_file_range", "sendfile"}:
        return WAYS
    if name in {"unlink", "unlinkat", "rmdir", "chmod", "fchmod"}:
        return ("EIO", "crash")
    return ("EIO", "ENOSPC", "crash")


def kind_of(label: str) -> str:
    """A label without what differs between two times: numbers, hashes and ids."""
    return re.sub(r"(?<=_)[0-9a-f]{13}|[0-9a-fA-F]{16,}|\b[0-9a-f]{2}\b|\d+", "*", label)


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
