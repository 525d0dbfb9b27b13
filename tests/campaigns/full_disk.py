"""A disk that fills up at random moments of a sweep while images come in: nothing acknowledged is lost, everything can
be read throughout, and writing goes on by itself once there is room.

The server lives on a small ext4 file system in a file, which is filled to the last byte. In some rounds the server is
killed and started again meanwhile, and what the start freed is filled as well.

Usage: full_disk.py [--bin PATH] [--rounds N] [--seed N] [--concurrency N] [--keep]      as root
"""

import random
import threading
import time
from pathlib import Path

import campaign
import disk
from campaign import Campaign
from client import Client, Gone
from disk import Disk
from server import StartFailed

SIZE = 192 << 20

#: What is to stay free, in bytes: less than by default, since the disk is small.
FREE = 16 << 20

#: How long a server may take to write again once there is room.
PATIENCE = 15.0

HOW = ("goes on", "killed", "killed twice")


def fill(folder: Path) -> None:
    """Takes what is left, in ever smaller pieces."""
    with (folder / "filler").open("ab", buffering=0) as filler:
        for size in (4 << 20, 64 << 10, 4096, 512):
            piece = b"\x5a" * size
            try:
                while filler.write(piece) == size:
                    pass
            except OSError:
                continue


class Reader(threading.Thread):
    """Reads for as long as it lives; whatever cannot be read is a violation."""

    def __init__(self, run: Campaign) -> None:
        super().__init__(daemon=True)
        self.run_, self.stopping, self.may_die, self.reads = run, threading.Event(), threading.Event(), 0

    def run(self) -> None:
        client = Client(self.run_.server)
        while not self.stopping.is_set():
            try:
                self._look(client)
            except Gone as gone:
                if not self.may_die.wait(0.5):
                    self.run_.violations.add(f"no answer while the disk is full: {gone}")
                return

    def _look(self, client: Client) -> None:
        with self.run_.ledger.lock:
            models = sorted(self.run_.ledger.models)
        for model in models:
            for path, allowed in (("/allAccuracies", (200,)), ("/bestAccuracy", (200, 409))):
                status, body = client.get(path, model_name=model)
                if status not in allowed:
                    self.run_.violations.add(f"{path} of {model} is answered {status} {body} while the disk is full")
            status, runs = client.runs(model)
            if status != 200:
                self.run_.violations.add(f"the runs of {model} are answered {status} while the disk is full")
            self.reads += 3
        for path in ("/healthz", "/api/v1/queue"):
            status, body = client.get(path)
            if status != 200:
                self.run_.violations.add(f"{path} is answered {status} {body} while the disk is full")

    def end(self) -> None:
        self.stopping.set()
        self.join()


def await_writes(run: Campaign) -> None:
    """Waits until the server writes again."""
    began = time.monotonic()
    name = f"after-{run.round}"
    while True:
        status, body = run.client.get("/createDataset", model_name="alpha", dataset_name=name)
        if status in (200, 409):
            run.ledger.add_dataset("alpha", name)
            took = time.monotonic() - began
            run.stats["slowest recovery"] = f"{max(took, float(str(run.stats.get('slowest recovery', '0 s')).split()[0])):.1f} s"
            return
        if time.monotonic() - began > PATIENCE:
            run.violations.add(f"{PATIENCE:.0f} s after there was room, a write is answered {status} {body}")
            return
        time.sleep(0.05)


def one_round(run: Campaign, drive: Disk, dice: random.Random, how: str) -> None:
    """Load, a full disk, perhaps a restart on it, room again, checks."""
    run.load.begin()
    time.sleep(dice.uniform(0.1, 1.5))
    run.load.full.set()
    reader = Reader(run)
    reader.start()
    fill(drive.mounted)
    time.sleep(dice.uniform(0.1, 1.2))
    fill(drive.mounted)
    for _ in range(HOW.index(how)):
        run.load.dying()
        reader.may_die.set()
        run.server.kill()
        killed = time.monotonic()
        run.load.end()
        reader.end()
        for process in run.server.orphans(killed):
            run.violations.add(f"{process} outlived kill -9 of the server by 2 s")
        run.server.start()
        reader = Reader(run)
        reader.start()
        run.load.begin()
        fill(drive.mounted)
        time.sleep(dice.uniform(0.05, 0.5))
    (drive.mounted / "filler").unlink()
    await_writes(run)
    run.load.has_room()
    reader.end()
    run.stats["reads while full"] = int(run.stats.get("reads while full", 0)) + reader.reads
    run.load.end()
    run.checks.after_crash()
    run.checks.blobs(run.server.data)
    run.checks.verify()


def for_want_of_room(run: dict) -> bool:
    """A script that finds no room fails, and says so."""
    return any(words in (run["reason"] or "") for words in ("No space left", "could not be written to the disk", "folder of the dataset"))


def main() -> int:
    """Runs the campaign."""
    options = campaign.parser("full_disk", __doc__, rounds=20).parse_args()
    reason = disk.unavailable()
    if reason is not None:
        print(f"skipped: full disks, because {reason}")
        return 0
    run = Campaign("full_disk", options)
    dice = random.Random(options.seed)
    drive = Disk(run.work, SIZE)
    run.server.data = drive.mounted / "data"
    run.server.configure(f"[server]\nmin_free_bytes = {FREE}\n")
    run.checks.may_fail = for_want_of_room
    how = "before any"
    run.violations.where = lambda: f"round {run.round} ({how})"
    try:
        drive.make()
        drive.mount()
        with run:
            try:
                run.server.start()
                run.prepare()
                for number in run.rounds():
                    how = HOW[number % len(HOW)]
                    one_round(run, drive, dice, how)
                run.finish()
            except StartFailed as failed:
                run.violations.add(str(failed))
        run.stats["writes refused"] = run.load.refused
        if drive.is_mounted:
            drive.unmount()
            if (wrong := drive.check()) is not None:
                run.violations.add(f"e2fsck: {wrong}")
    finally:
        drive.drop()
    return run.report()


if __name__ == "__main__":
    raise SystemExit(main())
