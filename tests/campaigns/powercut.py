"""Power cuts at random moments of a sweep while images come in: nothing acknowledged is missing afterwards.

The server lives on an ext4 file system in a file. It is stopped (SIGSTOP: what it said until then counts), the file
system is frozen without another write, the file is copied, the server is killed, and the next one starts on the copy.

Usage: powercut.py [--bin PATH] [--rounds N] [--seed N] [--concurrency N] [--keep]      as root
"""

import os
import random
import signal
import time
from pathlib import Path

import campaign
import disk
from campaign import Campaign
from disk import Disk
from server import StartFailed

#: Seconds between two commits of the journal that nobody asks for: the default, and hardly ever.
COMMITS = (5, 300)


def await_stopped(pid: int) -> None:
    """Waits until every thread has stopped, or waits in the kernel for the disk."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        states = set()
        for thread in os.listdir(f"/proc/{pid}/task"):
            text = Path(f"/proc/{pid}/task/{thread}/stat").read_text(encoding="utf-8", errors="replace")
            states.add(text[text.rindex(")") + 2])
        if states <= {"T", "D"}:
            return
        time.sleep(0.0005)
    raise StartFailed("the server did not stop on SIGSTOP")


def one_round(run: Campaign, drive: Disk, dice: random.Random) -> None:
    """Load, cut, start on the copy, check."""
    run.load.begin()
    time.sleep(dice.uniform(0.15, 2.2))
    run.load.dying()
    assert run.server.process is not None
    run.server.signal(signal.SIGSTOP)
    await_stopped(run.server.process.pid)
    drive.freeze()
    drive.copy()
    run.load.stop()
    run.server.kill()
    killed = time.monotonic()
    run.load.end()
    for process in run.server.orphans(killed):
        run.violations.add(f"{process} outlived kill -9 of the server by 2 s")
    drive.take(dice.choice(COMMITS))
    run.server.start()
    run.checks.prediction()
    run.checks.after_crash()
    run.checks.blobs(run.server.data)
    run.checks.logs()
    run.checks.verify()


def main() -> int:
    """Runs the campaign."""
    options = campaign.parser("powercut", __doc__, rounds=20).parse_args()
    reason = disk.unavailable()
    if reason is not None:
        print(f"skipped: power cuts, because {reason}")
        return 0
    run = Campaign("powercut", options)
    # What ended and what was started in its place may both not be on the disk yet; nobody was shown either.
    run.undone = 2
    dice = random.Random(options.seed)
    drive = Disk(run.work)
    run.server.data = drive.mounted / "data"
    try:
        drive.make()
        drive.mount(dice.choice(COMMITS))
        with run:
            try:
                run.server.start()
                run.prepare()
                for _ in run.rounds():
                    one_round(run, drive, dice)
                run.finish()
            except StartFailed as failed:
                run.violations.add(str(failed))
        if drive.is_mounted:
            drive.unmount()
            if (wrong := drive.check()) is not None:
                run.violations.add(f"e2fsck: {wrong}")
    finally:
        drive.drop()
    return run.report()


if __name__ == "__main__":
    raise SystemExit(main())
