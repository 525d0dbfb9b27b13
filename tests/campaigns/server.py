"""A server under test: started, killed, started again on the same folder; and every process that came from it."""

import ctypes
import json
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent

#: How long after a kill -9 its children may live.
ORPHAN_LIMIT = 2.0

#: How long a start may take on a busy machine before it counts as failed.
START_LIMIT = 30.0


def become_subreaper() -> None:
    """Makes this process inherit orphans, so that nothing that a server started can leave its sight."""
    if ctypes.CDLL(None, use_errno=True).prctl(36, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    threading.Thread(target=_reap_on, daemon=True).start()


def _reap_on() -> None:
    # A chain that goes on forking leaves hundreds a second, which would fill the table of processes.
    while True:
        reap()
        time.sleep(0.05)


class _Stat(NamedTuple):
    state: str
    parent: int
    session: int
    #: In ticks since the machine's start.
    born: int


def _stat(pid: str) -> _Stat | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()
    return _Stat(fields[0], int(fields[1]), int(fields[3]), int(fields[19]))


def descendants(root: int | None = None) -> dict[int, int]:
    """Living processes below `root` (this process): pid and start time."""
    root = root or os.getpid()
    stats = {int(entry): found for entry in os.listdir("/proc") if entry.isdigit() and (found := _stat(entry)) is not None}
    below = {root}
    grew = True
    while grew:
        more = {pid for pid, found in stats.items() if found.parent in below and pid not in below}
        below |= more
        grew = bool(more)
    below.discard(root)
    return {pid: stats[pid].born for pid in below if stats[pid].state not in "ZX"}


def describe(pid: int) -> str:
    """A process in words."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        words = "gone meanwhile"
    return f"{pid} ({words})"


class StartFailed(Exception):
    """The server did not come up."""


class Server:
    """One data folder and the process that serves it."""

    def __init__(self, binary: Path, work: Path, data: Path, concurrency: int = 2) -> None:
        self.binary, self.work, self.data, self.concurrency = binary, work, data, concurrency
        self.log = work / "server.log"
        self.starts = work / "starts"
        self.starts.touch()
        self.process: subprocess.Popen[bytes] | None = None
        self.port = 0
        self.slowest_start = 0.0
        self.slowest_end = 0.0
        self.configure()
        SERVERS.append(self)

    def configure(self, more: str = "") -> None:
        """Writes the settings file; `more` are further sections."""
        command = json.dumps([os.path.realpath(sys.executable), "-I", "-S", str(HERE / "train.py"), str(self.starts)])
        self.config = self.work / "config.toml"
        self.config.write_text(
            f"[jobs]\nconcurrency = {self.concurrency}\nstop_grace_seconds = 2\n"
            f"[trainer]\ntrain = {command}\ntest = {command}\n{more}",
            encoding="utf-8",
        )

    def command(self) -> list[str]:
        """The command line of the server."""
        flags = ["--config", str(self.config), "--listen", "127.0.0.1:0", "--data-dir", str(self.data)]
        return [str(self.binary), "serve", *flags]

    def start(self, prefix: list[str] | None = None) -> None:
        """Starts the server and waits until it says where it listens."""
        begin = time.monotonic()
        self.begin(prefix)
        self.await_address()
        self.slowest_start = max(self.slowest_start, time.monotonic() - begin)

    def begin(self, prefix: list[str] | None = None) -> None:
        """Starts the server and does not wait. `prefix` is a command that runs it."""
        with self.log.open("a", encoding="utf-8") as log:
            log.write(f"--- start at {time.time():.3f}\n")
            log.flush()
            self.process = subprocess.Popen(
                [*(prefix or []), *self.command()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )

    def await_address(self) -> None:
        """Reads the address that the server prints."""
        assert self.process is not None and self.process.stdout is not None
        deadline = time.monotonic() + START_LIMIT
        out, said = self.process.stdout.fileno(), b""
        while time.monotonic() < deadline:
            ready, _, _ = select.select([out], [], [], max(0.0, deadline - time.monotonic()))
            piece = os.read(out, 4096) if ready else b""
            if not piece:
                break
            said += piece
            found = re.search(rb"^listening on http://[^\n]*:(\d+)\n", said, re.MULTILINE)
            if found:
                self.port = int(found[1])
                return
        if time.monotonic() < deadline:
            raise StartFailed(f"the server ended with {self.process.wait()} before it listened; {self.tail()}")
        raise StartFailed(f"the server did not listen within {START_LIMIT:.0f} s; {self.tail()}")

    def tail(self) -> str:
        """The end of the server's log."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "its log ends: " + " / ".join(lines[-4:])

    def ended(self) -> bool:
        """True for a server that is not there any more."""
        return self.process is None or self.process.poll() is not None

    def signal(self, number: int) -> None:
        """Sends a signal to the server alone."""
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> set[int]:
        """kill -9. Returns the pids that came from the server and were alive a moment before."""
        assert self.process is not None
        family = set(descendants()) - {self.process.pid}
        self.signal(signal.SIGKILL)
        self.process.wait()
        self._close()
        return family

    def stop(self) -> int:
        """SIGTERM. Returns the exit status."""
        assert self.process is not None
        self.signal(signal.SIGTERM)
        status = self.process.wait(timeout=30)
        self._close()
        return status

    def _close(self) -> None:
        assert self.process is not None
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()

    def orphans(self, since: float, older_than: int | None = None) -> list[str]:
        """Waits until nothing is left of a server that ended at `since`; returns what outlived the limit.

        `older_than` is a start time in ticks: processes from then on belong to the next server.
        """
        left: dict[int, int] = {}
        while True:
            left = {pid: born for pid, born in descendants().items() if older_than is None or born < older_than}
            if self.process is not None and self.process.poll() is None:
                left.pop(self.process.pid, None)
            took = time.monotonic() - since
            if not left:
                self.slowest_end = max(self.slowest_end, took)
                return []
            if took > ORPHAN_LIMIT:
                break
            time.sleep(0.01)
        words = [describe(pid) for pid in left]
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        return words


def reap() -> None:
    """Collects orphans that ended. Servers, and what runs in this session (cp, mount), are left to who waits for them."""
    session = os.getsid(0)
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) in _own():
            continue
        found = _stat(entry)
        if found is None or found.state != "Z" or found.parent != os.getpid() or found.session == session:
            continue
        try:
            os.waitpid(int(entry), os.WNOHANG)
        except ChildProcessError:
            continue


def _own() -> set[int]:
    return {server.process.pid for server in SERVERS if server.process is not None}


#: Every server of this process, so that reaping leaves them alone.
SERVERS: list[Server] = []


def now_ticks() -> int:
    """The present as start times have it."""
    with open("/proc/uptime", encoding="ascii") as uptime:
        return int(float(uptime.read().split()[0]) * os.sysconf("SC_CLK_TCK"))
