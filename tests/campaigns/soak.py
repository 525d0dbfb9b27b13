"""A server left alone: load, kills, restarts and cancels for as long as asked, the invariants checked throughout.

The first half is a storm: kill -9 and SIGTERM at random moments. The second half nobody ends the server, and what it
holds (memory, descriptors, threads, processes) is looked at whenever it is idle. Time goes by in stretches with models
of their own; at the end of each the queue empties, every run has its own result, every place holds exactly its images.

Usage: scripts/soak [--minutes N] [--storm SHARE] [--bin PATH] [--seed N] [--concurrency N] [--keep]
"""

import json
import os
import random
import subprocess
import threading
import time
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import campaign
import images
from campaign import Campaign
from checks import Checks
from client import Gone
from ledger import Ledger
from load import Load, wait_until_idle
from server import StartFailed, describe, descendants

#: How much of the last half's first look the last one may exceed, and what a soak adds to that which is too short for
#: caches to fill up.
MEMORY, SLACK, LONG = 0.10, 8 << 20, 20 * 60

#: So many stretches are kept once nobody ends the server any more.
KEPT = 4

#: The same for descriptors and threads: connections and idle threads come and go.
SPARE = 10


class SoakLoad(Load):
    """The load of a stretch: slower than a crash campaign's, with cancels, pauses and predictions."""

    def __init__(self, run: Campaign, ledger: Ledger, stretch: int) -> None:
        super().__init__(run.client, ledger, run.violations, run.options.seed)
        self.number, self.round, self.stretch = stretch * 1_000_000, stretch, stretch
        #: Runs that may have been cancelled, and the lock that keeps submissions out while that is uncertain.
        self.cancelled: set[str] = set()
        self.submitting = threading.Lock()
        #: When all that waited was cancelled: a run whose submission a kill left unanswered may have been among it.
        self.cleared: list[tuple[float, float]] = []
        self.did: Counter[str] = Counter()

    def begin(self) -> None:
        """Starts the threads."""
        super().begin()
        for at, job in enumerate((self._predict_on, self._meddle_on)):
            thread = threading.Thread(target=self._work, args=(job, random.Random(f"{self.seed}/{self.round}/more-{at}")), daemon=True)
            self.threads.append(thread)
            thread.start()

    def _expect(self, what: str, status: int, body: dict, *also: int) -> bool:
        if status == 503 and self.death.is_set():
            raise Gone(f"{what}: the server is stopping")
        return super()._expect(what, status, body, *also)

    def _upload_on(self, dice: random.Random) -> None:
        super()._upload_on(dice)
        self.did["uploads"] += 1
        self.stopping.wait(dice.random() * 0.3)

    def _submit_on(self, dice: random.Random) -> None:
        with self.submitting:
            super()._submit_on(dice)
        self.stopping.wait(dice.random() * 0.5)

    def _look_on(self, dice: random.Random) -> None:
        super()._look_on(dice)
        self.did["looks"] += 1
        self.stopping.wait(dice.random() * 0.3)

    def _predict_on(self, dice: random.Random) -> None:
        with self.ledger.lock:
            models = sorted({model for model, _, _ in self.ledger.shown})
        if models:
            data = images.png(dice.randrange(100), dice.choice((8, 170)))
            self._expect("a prediction", *self.client.test(dice.choice(models), data))
            self.did["predictions"] += 1
        self.stopping.wait(dice.random() * 0.5)

    def _meddle_on(self, dice: random.Random) -> None:
        """Cancels a run, or all that waits; stops the queue for a moment."""
        self.stopping.wait(dice.uniform(0.5, 3))
        kind = dice.random()
        with self.submitting:
            with self.ledger.lock:
                runs = sorted(self.ledger.runs)
            if kind < 0.7 and runs:
                one = dice.choice(runs[-30:])
                self.cancelled.add(one)
                self._post(f"/api/v1/runs/{one}/cancel", 202, 409)
            elif kind < 0.85:
                self.cancelled |= set(runs)
                began = time.time()
                self.cleared.append((began, began + self.client.timeout))
                self._post("/api/v1/queue/cancel", 202)
                self.cleared[-1] = (began, time.time())
            else:
                self._post("/api/v1/queue/pause")
                self._post("/api/v1/queue/resume")

    def _post(self, path: str, *also: int) -> None:
        status, body = self.client.raw("POST", path)
        self._expect(path, status, {"message": body.decode(errors="replace")}, *also)
        self.did["cancels" if "cancel" in path else "pauses"] += 1


class SoakChecks(Checks):
    """Runs may be cancelled here, and fail by the rule of 3 attempts."""

    def __init__(self, run: Campaign, load: SoakLoad) -> None:
        super().__init__(run.client, load.ledger, run.violations)
        self.cancelled, self.cleared = load.cancelled, load.cleared

    def _excused(self, run: dict) -> bool:
        by_design = run["state"] == "failed" and "went down" in (run["reason"] or "")
        return by_design or (run["state"] == "cancelled" and (run["id"] in self.cancelled or self._cleared(run)))

    def _cleared(self, run: dict) -> bool:
        ended = datetime.fromisoformat(run["finished_at"]).timestamp()
        return any(began - 0.01 <= ended <= until + 0.01 for began, until in self.cleared)

    def _own_result(self, run: dict) -> None:
        if not self._excused(run):
            super()._own_result(run)

    def _all_done(self, model: str, runs: list[dict]) -> None:
        super()._all_done(model, [run for run in runs if not self._excused(run)])


#: How long what a run leaves behind may linger, see train.py, and a bit.
LINGERS = 7.0


@dataclass
class Look:
    """What an idle server holds."""

    at: float
    memory: int
    descriptors: int
    threads: int


class Soak:
    """The campaign."""

    def __init__(self, run: Campaign, seconds: float) -> None:
        self.run, self.server, self.violations = run, run.server, run.violations
        self.dice = random.Random(run.options.seed)
        self.seconds, self.began = seconds, time.monotonic()
        self.length = max(8.0, min(60.0, seconds / 8))
        self.storms = True
        self.loads: list[SoakLoad] = []
        self.gone: list[SoakLoad] = []
        self.sent: set[str] = set()
        self.did: Counter[str] = Counter()
        self.looks: list[Look] = []
        self.told = 0.0
        self.has_verify = subprocess.run([self.server.binary, "verify", "--help"], capture_output=True, check=False).returncode == 0
        self.violations.where = lambda: f"stretch {run.round}, {self._elapsed():.0f} s"

    def _elapsed(self) -> float:
        return time.monotonic() - self.began

    # The way through ------------------------------------------------------------------------------------------

    def all(self) -> None:
        """Both halves, and the end."""
        self.server.start()
        while self._elapsed() < self.seconds * self.run.options.storm and not self._enough():
            self._stretch()
        self.storms = False
        calm = self._elapsed()
        while (self._elapsed() < self.seconds or len(self.looks) < 2) and not self._enough():
            self._stretch()
            self._clear_away()
            self.looks.append(self._look())
        self._memory(calm)
        self._end()

    def _enough(self) -> bool:
        return len(self.violations.found) >= campaign.MOST_VIOLATIONS

    def _stretch(self) -> None:
        """New models, load for a while, whatever comes in the way, and everything compared."""
        self.run.round += 1
        ledger = Ledger(sent=self.sent)
        load = SoakLoad(self.run, ledger, self.run.round)
        checks = SoakChecks(self.run, load)
        self.run.ledger, self.run.load, self.run.checks = ledger, load, checks
        self.loads.append(load)
        for name in ("a", "b"):
            load.make_model(f"stretch-{self.run.round}-{name}")
            load.sweep(f"stretch-{self.run.round}-{name}", "first")
        until = time.monotonic() + self.length
        load.begin()
        while time.monotonic() < until and not self._enough():
            pause = self.dice.uniform(1.5, max(3.0, self.length / 5)) if self.storms else 5
            time.sleep(max(0.1, min(pause, until - time.monotonic())))
            self._tell()
            if self.storms and time.monotonic() < until:
                self._strike(load, checks)
        load.end()
        self._post_resume()
        checks.at_the_end(load)
        self._blobs(checks)
        checks.logs()
        self._leftovers()
        self._verify()
        self.did += load.did

    def _clear_away(self) -> None:
        """Deletes all but the last stretches, so that what is stored stays about the same: what grows then is a leak."""
        for load in self.loads[:-KEPT]:
            for model in sorted(load.ledger.models):
                status, body = self.run.client.raw("DELETE", f"/api/v1/models/{model}")
                if status not in (200, 404):
                    self.violations.add(f"the removal of {model} is answered {status} {body!r}")
            self.gone.append(load)
        del self.loads[:-KEPT]
        # All that a storm has left may be in there.
        deadline = time.monotonic() + 600
        while True:
            status, body = self.run.client.raw("DELETE", "/api/v1/trash")
            # What takes long goes on by itself, and nothing else is removed meanwhile.
            if status not in (202, 409) or time.monotonic() > deadline:
                break
            time.sleep(1)
        if status != 200:
            self.violations.add(f"the removal of what is in the trash is answered {status} {body!r}")
        self.did["removed for good"] += json.loads(body).get("items", 0) if status == 200 else 0

    def _strike(self, load: SoakLoad, checks: SoakChecks) -> None:
        """Ends the server one way or the other, and starts it again."""
        load.dying()
        if self.dice.random() < 0.6:
            self.did["kills"] += 1
            self.server.kill()
        else:
            self.did["stops"] += 1
            status = self.server.stop()
            if status != 0:
                self.violations.add(f"SIGTERM ended the server with status {status}")
        ended = time.monotonic()
        load.end()
        # A script's own daemons are let go with their run where that ended well before.
        for process in self.server.orphans(ended):
            self.violations.add(f"{process} outlived the server")
        self.server.start()
        checks.prediction()
        self._post_resume()
        checks.after_crash()
        checks.logs()
        load.begin()

    def _post_resume(self) -> None:
        """A pause that was cut short is none of the next one's business."""
        status, body = self.run.client.raw("POST", "/api/v1/queue/resume")
        if status != 200:
            self.violations.add(f"resume is answered {status} {body!r}")

    # Looks ----------------------------------------------------------------------------------------------------

    def _blobs(self, checks: SoakChecks) -> None:
        self.run.stats["stored files"] = checks.blobs(self.server.data)

    def _leftovers(self) -> None:
        """What is temporary is gone once nothing goes on."""
        data = self.server.data
        left = [str(file.relative_to(data)) for pattern in ("tmp/*", "store.before", "views/*.draft") for file in data.glob(pattern)]
        if left:
            self.violations.add(f"an idle server has {left[:5]}")
        folders, runs = len(os.listdir(data / "runs")), sum(len(load.ledger.runs) for load in self.loads)
        unanswered = sum(load.ledger.unanswered for load in self.loads)
        if folders > runs + 27 * unanswered:
            self.violations.add(f"{folders} folders of {runs} runs")

    def _verify(self) -> None:
        if not self.has_verify:
            return
        done = subprocess.run([self.server.binary, "verify", "--data-dir", self.server.data], capture_output=True, check=False)
        if done.returncode != 0:
            self.violations.add(f"verify ended with {done.returncode}: {(done.stdout + done.stderr).decode(errors='replace')[-400:]}")
        self.did["verified"] += 1

    def _pid(self) -> int:
        assert self.server.process is not None
        return self.server.process.pid

    def _look(self) -> Look:
        """What it holds once everything that runs leave behind is gone."""
        wait_until_idle(self.run.client, 60)
        deadline = time.monotonic() + LINGERS
        while len(left := self._strangers()) and time.monotonic() < deadline:
            time.sleep(0.1)
        if left:
            self.violations.add(f"an idle server has processes: {left}")
        process = Path(f"/proc/{self._pid()}")
        status = dict(line.split(":", 1) for line in (process / "status").read_text(encoding="ascii").splitlines())
        memory = int(status["VmRSS"].split()[0]) << 10
        return Look(self._elapsed(), memory, len(os.listdir(process / "fd")), int(status["Threads"]))

    def _strangers(self) -> list[str]:
        """Processes below the server that are neither its guard nor wait for a question."""
        words = [describe(pid) for pid in descendants(self._pid())]
        return [word for word in words if " guard " not in word and " predictor" not in word and "gone meanwhile" not in word]

    def _memory(self, calm: float) -> None:
        """The last look against the one of the tenth minute without a kill, or of the first third."""
        if len(self.looks) < 2:
            return
        mark = calm + min(600.0, (self.looks[-1].at - calm) / 3)
        first = next((look for look in self.looks if look.at >= mark), self.looks[0])
        last = self.looks[-1]
        if first is last:
            first = self.looks[-2]
        is_long = last.at - calm >= LONG
        limit = first.memory * (1 + MEMORY) + (0 if is_long else SLACK)
        figures = f"{first.memory / 2**20:.1f} MiB at {first.at - calm:.0f} s, {last.memory / 2**20:.1f} at {last.at - calm:.0f} s"
        self.run.stats["memory without kills"] = figures
        self.run.stats["descriptors"] = f"{first.descriptors} and {last.descriptors}"
        self.run.stats["threads"] = f"{first.threads} and {last.threads}"
        if last.memory > limit:
            self.violations.add(f"memory grew: {figures}, more than {limit / 2**20:.1f}")
        for what, before, after in (("descriptors", first.descriptors, last.descriptors), ("threads", first.threads, last.threads)):
            if after > before + SPARE:
                self.violations.add(f"{what} grew from {before} to {after}")

    def _tell(self) -> None:
        """A line a minute."""
        if self._elapsed() < self.told:
            return
        self.told += 60
        held = f"{self._rss() / 2**20:.0f} MiB" if not self.server.ended() else "down"
        did = self.did + sum((load.did for load in self.loads[-1:]), Counter())
        acknowledged = sum(load.ledger.acknowledged for load in self.gone + self.loads)
        facts = ", ".join(f"{count} {what}" for what, count in sorted(did.items()))
        half = "storm" if self.storms else "calm"
        print(f"{self._elapsed() / 60:5.1f} min, {half}, {held}, {acknowledged} acknowledged, {facts}, {len(self.violations.found)} violations", flush=True)

    def _rss(self) -> int:
        fields = Path(f"/proc/{self._pid()}/statm").read_text(encoding="ascii").split()
        return int(fields[1]) * os.sysconf("SC_PAGESIZE")

    # The end --------------------------------------------------------------------------------------------------

    def _end(self) -> None:
        """What was acknowledged in any stretch is still there, no run ran twice without need, SIGTERM leaves nothing."""
        for load in self.loads:
            SoakChecks(self.run, load).after_crash()
        runs, extra = self.run.checks.starts(self.server.starts, self.server.concurrency)
        ends = self.did["kills"] + self.did["stops"]
        if extra > ends * self.server.concurrency:
            self.violations.add(f"{extra} extra starts after {ends} ends")
        self.run.stats |= {"runs": runs, "extra starts": extra} | dict(sorted(self.did.items()))
        status = self.server.stop()
        if status != 0:
            self.violations.add(f"SIGTERM ended the server with status {status}")
        for process in self.server.orphans(time.monotonic()):
            self.violations.add(f"{process} outlived a clean stop")
        self._verify()
        total = Ledger()
        every = self.gone + self.loads
        total.acknowledged = sum(load.ledger.acknowledged for load in every)
        total.unanswered = sum(load.ledger.unanswered for load in every)
        self.run.ledger = total


def main() -> int:
    """Runs the campaign."""
    parser = campaign.parser("soak", __doc__, rounds=0)
    parser.add_argument("--minutes", type=float, default=60.0, help="how long")
    parser.add_argument("--storm", type=float, default=0.5, help="the share of that in which the server is killed and restarted")
    options = parser.parse_args()
    run = Campaign("soak", options)
    soak = Soak(run, options.minutes * 60)
    with run:
        try:
            soak.all()
        except StartFailed as failed:
            run.violations.add(str(failed))
    return run.report()


if __name__ == "__main__":
    raise SystemExit(main())
