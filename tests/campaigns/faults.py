"""One fault at a time: every write, sync and rename of a server's day fails once.

The same day is lived again and again. Each time one call to the kernel that would change something on the disk goes
wrong: it fails with EIO or ENOSPC, it writes half of its bytes, or half of them and then finds the disk full, or the
process is killed before it learns that it was done. The server goes on, answers reads and grants what is asked for
again; or it ends on purpose and its log says why. What it acknowledged is there after a restart, nothing else is left.
What fails in a child is the child's own affair.

Usage: faults.py [--bin PATH] [--seconds N] [--seed N] [--only TEXT] [--keep]
  --seconds N   as many points as fit in, kinds of calls in turn; 0 is every point
  --only TEXT   points whose words hold this, such as "ENOSPC at write store/wal"
"""

import os
import random
import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import campaign
import tracer
from campaign import Campaign
from server import StartFailed
from story import Story, configure
from tracer import Fault

#: After this a server that neither goes on nor ends is killed.
HANGS = 90.0

#: What the kernel's words for the faults look like in a log.
WORDS = {"EIO": "Input/output error", "ENOSPC": "No space left", "torn": "No space left"}

#: What is there for a moment only.
TEMPORARY = ("tmp/*", "store.*", "*.draft", "views/*.draft", "store/*.generating")

#: Of folders that are all alike, the first, the middle and the last will do.
ALIKE = ("blobs/*",)


@dataclass
class Day:
    """One way to spend it."""

    name: str
    tell: Callable[[Story], None]
    #: A folder to begin with, and what was acknowledged in it.
    folder: Path | None = None
    before: Story | None = None


class Faults:
    """The campaign."""

    def __init__(self, run: Campaign, dice: random.Random) -> None:
        self.run, self.dice = run, dice
        self.server, self.violations = run.server, run.violations
        self.slow = configure(run.server)
        self.hit: Counter[str] = Counter()
        self.missed = 0
        self.ended = 0
        self.refused: Counter[str] = Counter()
        self.has_verify = subprocess.run([run.server.binary, "verify", "--help"], capture_output=True, check=False).returncode == 0
        self.where = "the preparation"
        self.violations.where = lambda: self.where

    def days(self) -> list[Day]:
        """The first one, and one of a server that was killed before."""
        before = Story(self.server, self.violations)
        self.server.start()
        before.prepare(self.slow)
        self.server.kill()
        self.server.orphans(time.monotonic())
        self.slow.unlink()
        folder = self.run.work / "prepared"
        self.server.data.rename(folder)
        return [Day("first start", Story.first), Day("later day", Story.day, folder, before)]

    # Points ---------------------------------------------------------------------------------------------------

    def points(self, day: Day) -> list[Fault]:
        """All that can go wrong, in an undisturbed day."""
        calls = self.live(day, None)
        counted = Counter(tracer.kind_of(call) for call in calls)
        found = []
        for kind, times in counted.items():
            alike = kind.endswith(ALIKE) and times > 200
            places = sorted({1, times // 2, times}) if alike else range(1, times + 1)
            found += [Fault(kind, nth, way) for way in tracer.ways_of(kind) for nth in places]
        self.run.stats[f"calls in a {day.name}"] = sum(times for kind, times in counted.items() if tracer.ways_of(kind))
        return found

    def in_turn(self, points: list[Fault]) -> Iterator[Fault]:
        """Every kind and way once, then once more, and so on."""
        piles: dict[tuple[str, str], list[Fault]] = {}
        for point in points:
            piles.setdefault((point.kind, point.way), []).append(point)
        order = list(piles.values())
        for pile in order:
            self.dice.shuffle(pile)
        while order:
            self.dice.shuffle(order)
            for pile in order:
                yield pile.pop()
            order = [pile for pile in order if pile]

    # One day --------------------------------------------------------------------------------------------------

    def live(self, day: Day, fault: Fault | None) -> list[str]:
        """One day with a fault, and the morning after; returns the calls that were seen."""
        self.run.round += 1
        self.where = f"{day.name}, {fault}" if fault else f"an undisturbed {day.name}"
        shutil.rmtree(self.server.data, ignore_errors=True)
        if day.folder is not None:
            subprocess.run(["cp", "-a", day.folder, self.server.data], check=True)
        story = day.before.copy_onto(self.server) if day.before else Story(self.server, self.violations)
        begin = self.server.log.stat().st_size if self.server.log.exists() else 0
        trace = self._traced(story, day, fault)
        log = self.server.log.read_bytes()[begin:].decode(errors="replace")
        if fault is None and (trace.status != 0 or story.refused or story.failed):
            self.violations.add(f"it ended with {trace.status}: {story.refused} {story.failed}")
        if fault is not None and trace.struck is None:
            self.missed += 1
        elif fault is not None:
            self.hit[f"{day.name}, {fault.way} at {fault.kind}"] += 1
            self._judge(story, fault, trace, log)
        self.server.orphans(time.monotonic())
        # What could not be removed is removed by the next start.
        if trace.status == 0 and not (fault and fault.kind.startswith(("unlink", "rmdir"))):
            self._left("after the end")
        self._morning_after(story)
        return trace.calls

    def _traced(self, story: Story, day: Day, fault: Fault | None) -> tracer.Trace:
        # The shell waits until it is traced.
        self.server.begin(prefix=["/bin/sh", "-c", 'read -r go && exec "$@"', "sh"])
        process = self.server.process
        assert process is not None and process.stdin is not None
        traced = tracer.Tracer(process.pid, str(self.server.data), fault)
        traced.attach()
        helper = tracer.Helper(lambda: day.tell(story), lambda: story.client.get("/healthz"))
        hangs = threading.Timer(HANGS, self._hang, [process.pid, story])
        hangs.start()
        helper.start()
        process.stdin.write(b"go\n")
        process.stdin.flush()
        trace = traced.follow(0, False, lambda: helper.over and helper.error is not None)
        hangs.cancel()
        process.wait()
        helper.join()
        if trace.status is None:
            # It ended before it listened, and the helper saw that first.
            trace.status = process.returncode
        if helper.error is not None and not isinstance(helper.error, StartFailed):
            self.violations.add(f"the campaign itself failed: {helper.error!r}")
        return trace

    def _hang(self, pid: int, story: Story) -> None:
        self.violations.add(f"it neither goes on nor ends at {story.last}; {self.server.tail()}")
        os.kill(pid, 9)

    def _judge(self, story: Story, fault: Fault, trace: tracer.Trace, log: str) -> None:
        """Either it went on, or it ended and said why."""
        word = WORDS.get(fault.way)
        if fault.way == "torn" and fault.kind == "write store/conf":
            # sled reads what it wrote, and tells of that instead.
            word = "corrupted"
        # After a sync that failed nobody knows what is on the disk, whatever the kernel gave as the reason.
        unsure = fault.way == "EIO" or fault.kind.startswith(("fsync store", "fdatasync store"))
        for what, status, message in story.refused:
            self.refused[f"{fault.way}: {status} {message}"] += 1
            wanted = 503 if unsure else 507
            if fault.way not in WORDS or status != wanted:
                self.violations.add(f"{what} is answered {status} {message} ({trace.struck})")
        if fault.way == "crash":
            return
        if fault.way == "short" and (story.failed or story.gone or trace.status != 0):
            self.violations.add(f"a short write is no error: {trace.status} {story.gone} {story.failed} ({trace.struck})")
        if word is not None and (story.refused or story.failed or trace.status != 0) and word not in log + str(story.failed):
            self.violations.add(f"`{word}` is not told ({trace.struck}): {story.refused} {story.failed} {trace.status}")
        if trace.status != 0:
            self.ended += 1
            if not unsure and story.listens:
                self.violations.add(f"a full disk ended it with {trace.status} ({trace.struck}); {self.server.tail()}")
            if trace.status is None or trace.status < 0:
                self.violations.add(f"it was ended by signal {trace.status} ({trace.struck}); {self.server.tail()}")
        elif story.gone is not None:
            self.violations.add(f"no answer to {story.gone} from a server that ended well ({trace.struck})")

    def _left(self, when: str) -> None:
        """What is temporary is gone, but for what is being deleted at leisure and the copy that a repair keeps."""
        data = self.server.data
        left = {str(file.relative_to(data)) for pattern in TEMPORARY for file in data.glob(pattern)}
        kept = {name for name in left if name.startswith("store.damaged")}
        if kept:
            self.violations.note(f"{self.where.split(' no.')[0]}: a repair was tried, and its copy kept")
        if left - kept:
            self.violations.add(f"{when}, {sorted(left - kept)} is left")

    def _morning_after(self, story: Story) -> None:
        try:
            self._verify("before a restart")
            self.server.start()
            story.check(self.server)
            status = self.server.stop()
        except StartFailed as failed:
            self.violations.add(f"it does not start again: {failed}")
            return
        if status != 0:
            self.violations.add(f"without a fault it ended with {status}")
        self._left("after a restart")
        self._verify("after a restart")

    def _verify(self, when: str) -> None:
        if not self.has_verify or not (self.server.data / "format").exists():
            return
        done = subprocess.run([self.server.binary, "verify", "--data-dir", self.server.data], capture_output=True, check=False)
        if done.returncode != 0:
            self.violations.add(f"verify {when} ended with {done.returncode}: {(done.stdout + done.stderr).decode(errors='replace')[-500:]}")


def main() -> int:
    """Runs the campaign."""
    parser = campaign.parser("faults", __doc__, rounds=0)
    parser.add_argument("--seconds", type=float, default=45.0, help="how long; 0 is every point")
    parser.add_argument("--only", default="", help="points whose words hold this")
    options = parser.parse_args()
    reason = tracer.unavailable()
    if reason is not None:
        print(f"skipped: faults in every write, sync and rename, because {reason}")
        return 0
    run = Campaign("faults", options)
    faults = Faults(run, random.Random(options.seed))
    until = time.monotonic() + options.seconds if options.seconds else float("inf")
    with run:
        days = {day.name: day for day in faults.days()}
        points = {name: [point for point in faults.points(day) if options.only in str(point)] for name, day in days.items()}
        run.stats["points"] = sum(map(len, points.values()))
        piles = {name: faults.in_turn(pile) for name, pile in points.items()}
        while piles and time.monotonic() < until and len(run.violations.found) < campaign.MOST_VIOLATIONS:
            # The later day has more to go wrong.
            name = faults.dice.choice([name for name in piles for _ in range(1 if name == "first start" else 3)])
            point = next(piles[name], None)
            if point is None:
                del piles[name]
            else:
                faults.live(days[name], point)
    for where, times in sorted(faults.hit.items()):
        print(f"  {times:3} x {where}")
    for what, times in faults.refused.most_common():
        print(f"  {times:3} x refused: {what}")
    run.stats |= {"met": sum(faults.hit.values()), "not met": faults.missed, "ended on purpose": faults.ended}
    return run.report()


if __name__ == "__main__":
    raise SystemExit(main())
