"""kill -9 at random moments of a sweep while images come in: nothing acknowledged is missing afterwards.

The next server starts once nothing is left of the old one, or at once as under a supervisor, or even before the old
one's guard gets its turn, which a busy machine may bring about.

Usage: crash.py [--bin PATH] [--rounds N] [--seed N] [--concurrency N] [--keep] [--restart HOW]
"""

import os
import random
import time
from collections import Counter

import campaign
from campaign import Campaign
from server import StartFailed, descendants, describe, now_ticks

HOW = {"waits": "after the last process", "at-once": "at once", "late-guard": "before the guard"}

#: How late a guard may come here.
LATE = 0.3


def hold_guard() -> list[int]:
    """Opens the pipe by which the guard sees its server's end, so that it sees it once this is closed."""
    guards = [pid for pid in descendants() if " guard " in describe(pid)]
    return [os.open(f"/proc/{guard}/fd/0", os.O_WRONLY | os.O_CLOEXEC) for guard in guards]


def one_round(run: Campaign, dice: random.Random, how: str) -> None:
    """Load, kill, no orphans, start, check."""
    run.load.begin()
    time.sleep(dice.uniform(0.15, 2.2))
    held = hold_guard() if how == "before the guard" else []
    run.load.dying()
    family = run.server.kill()
    killed = time.monotonic()
    run.load.stop()
    run.stats["processes"] = int(run.stats.get("processes", 0)) + len(family)
    if how == "after the last process":
        left = run.server.orphans(killed)
        run.checks.verify_stopped(run.server.binary, run.server.data)
        run.server.start()
    else:
        born = now_ticks()
        run.server.start()
        if held:
            time.sleep(LATE)
            for pipe in held:
                os.close(pipe)
        left = run.server.orphans(killed, older_than=born)
    for process in left:
        run.violations.add(f"{process} outlived kill -9 of the server by 2 s; the next one started {how}")
    run.checks.prediction()
    run.load.end()
    run.checks.after_crash()
    run.checks.blobs(run.server.data)
    run.checks.logs()
    run.checks.verify()


def main() -> int:
    """Runs the campaign."""
    parser = campaign.parser("crash", __doc__, rounds=20)
    parser.add_argument("--restart", choices=sorted(HOW), help="how the next server starts; all ways in turn without this")
    options = parser.parse_args()
    run = Campaign("crash", options)
    dice = random.Random(options.seed)
    used: Counter[str] = Counter()
    run.violations.where = lambda: f"round {run.round} ({how})"
    how = "before any"
    with run:
        try:
            run.server.start()
            run.prepare()
            for number in run.rounds():
                how = HOW[options.restart] if options.restart else [*HOW.values()][number % len(HOW)]
                used[how] += 1
                one_round(run, dice, how)
            run.finish()
        except StartFailed as failed:
            run.violations.add(str(failed))
    run.stats["started"] = " / ".join(f"{times} {how}" for how, times in used.items())
    return run.report()


if __name__ == "__main__":
    raise SystemExit(main())
