"""What the campaigns have in common: options, the folder they work in, the report."""

import argparse
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

from checks import Checks
from client import Client, Gone
from ledger import Ledger, Violations
from load import Load
from server import Server, become_subreaper

#: After as many a campaign ends early.
MOST_VIOLATIONS = 10

TOP = Path(__file__).resolve().parents[2]


def parser(name: str, about: str, rounds: int) -> argparse.ArgumentParser:
    """The options that all campaigns take."""
    options = argparse.ArgumentParser(prog=name, description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--bin", type=Path, default=TOP / "target/release/trainyard", help="the executable")
    options.add_argument("--rounds", type=int, default=rounds, help="how many rounds")
    options.add_argument("--seed", type=int, default=None, help="repeats a campaign's random choices")
    options.add_argument("--concurrency", type=int, default=2, help="runs at once")
    options.add_argument("--writers", type=int, default=3, help="uploads at once, beside submissions and looks")
    options.add_argument("--keep", action="store_true", help="keep the folder though all is well")
    return options


class Campaign:
    """A server, a ledger, a load and the checks; as a context it cleans up, or keeps what a violation left."""

    def __init__(self, name: str, options: argparse.Namespace) -> None:
        if options.seed is None:
            options.seed = time.time_ns() % 1_000_000
        if not options.bin.is_file():
            sys.exit(f"{name}: there is no {options.bin}; build it with: cargo build --release, or say --bin PATH")
        self.name, self.options = name, options
        self.work = Path(tempfile.mkdtemp(prefix=f"trainyard-{name}-"))
        self.server = Server(options.bin.resolve(), self.work, self.work / "data", options.concurrency)
        self.client = Client(self.server)
        self.ledger, self.violations = Ledger(), Violations()
        self.load = Load(self.client, self.ledger, self.violations, options.seed, options.writers)
        self.checks = Checks(self.client, self.ledger, self.violations)
        self.stats: dict[str, int | float | str] = {}
        #: How many starts of a slot one end of the server may undo.
        self.undone = 1
        self.round = 0
        self.violations.where = lambda: f"round {self.round}"
        self.began = time.monotonic()
        print(f"{name}: seed {options.seed}, {options.rounds} rounds, folder {self.work}", flush=True)

    def __enter__(self) -> "Campaign":
        become_subreaper()
        return self

    def __exit__(self, kind, error, trace) -> bool:
        self.load.stop()
        state = "it was running" if not self.server.ended() else f"it had ended: {self.server.process and self.server.process.returncode}"
        if not self.server.ended():
            self.server.kill()
        self.server.orphans(time.monotonic())
        if isinstance(error, Exception):
            traceback.print_exception(kind, error, trace)
            cause = "the server stopped answering" if isinstance(error, Gone) else "the campaign itself failed"
            self.violations.add(f"{cause}: {error!r}; {state}; {self.server.tail()}")
            return True
        return False

    def rounds(self) -> Iterator[int]:
        """Counts the rounds, and stops where so much is wrong that more of it tells nothing."""
        for self.round in range(1, self.options.rounds + 1):
            yield self.round
            if len(self.violations.found) >= MOST_VIOLATIONS:
                return

    def prepare(self) -> None:
        """What the load starts from: two models, a sweep on each."""
        for model in ("alpha", "beta"):
            self.load.make_model(model)
            self.load.sweep(model, "first")

    def finish(self) -> None:
        """The end of a campaign under load: the queue empties, all is compared, SIGTERM leaves nothing."""
        if len(self.violations.found) >= MOST_VIOLATIONS:
            return
        self.checks.at_the_end(self.load)
        self.stats["stored files"] = self.checks.blobs(self.server.data)
        undone = self.undone * self.server.concurrency
        runs, extra = self.checks.starts(self.server.starts, undone)
        self.stats["runs"], self.stats["extra starts"] = runs, extra
        most = self.round * undone
        if extra > most:
            self.violations.add(f"{extra} extra starts, more than {most}")
        tried = self._most_attempts()
        self.stats["most attempts of a run"] = tried
        status = self.server.stop()
        if status != 0:
            self.violations.add(f"SIGTERM ended the server with status {status}")
        ended = time.monotonic()
        for process in self.server.orphans(ended):
            self.violations.add(f"{process} outlived a clean stop")
        self.checks.verify_stopped(self.server.binary, self.server.data)

    def _most_attempts(self) -> int:
        return max((run["attempts"] for model in self.ledger.models for run in self.client.runs(model)[1]), default=0)

    def report(self) -> int:
        """The last line, and the exit status."""
        self.stats |= {
            "acknowledged": self.ledger.acknowledged,
            "unanswered": self.ledger.unanswered,
            "slowest start": f"{self.server.slowest_start * 1000:.0f} ms",
            "last process gone after": f"{self.server.slowest_end * 1000:.0f} ms",
            "seconds": f"{time.monotonic() - self.began:.0f}",
        }
        facts = ", ".join(f"{key} {value}" for key, value in self.stats.items())
        if self.violations.found:
            print(f"{self.name}: the folder and the server's log are kept in {self.work}")
            print(f"{self.name}: {self.round} rounds, {facts}, seed {self.options.seed}: {len(self.violations.found)} VIOLATIONS")
            return 1
        if self.options.keep:
            print(f"{self.name}: kept in {self.work}")
        else:
            shutil.rmtree(self.work, ignore_errors=True)
        print(f"{self.name}: {self.round} rounds, {facts}, seed {self.options.seed}: ok")
        return 0


# A campaign that is ended by its caller cleans up as one that is interrupted.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
