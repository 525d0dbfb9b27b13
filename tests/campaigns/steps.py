"""kill -9 between any two steps of one upload, of a first start, and of the start after a kill.

For every call that changes the disk, the server is killed right before it, or right after it, and started again: an
image that was acknowledged is there with its bytes; one that was not is there as a whole or not at all, nothing is
left in tmp, and sending it again works.

Usage: steps.py [--bin PATH] [--rounds N] [--seed N] [--keep]     N points of every kind; 0 is all of them
"""

import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import campaign
import images
import tracer
from campaign import Campaign
from client import Client, Gone
from load import LISTING_PARAMETERS, wait_until_idle
from results import LISTING
from server import StartFailed

MODEL = "steps"


@dataclass
class Case:
    """One way to send an image."""

    name: str
    side: int
    repeated: bool = False


#: Small ones are written at once, large ones while they come; bytes that are stored already are not written again.
CASES = [Case("small", 8), Case("large", 170), Case("repeated", 8, repeated=True)]


class Steps:
    """The campaign."""

    def __init__(self, run: Campaign, dice: random.Random) -> None:
        self.run, self.dice = run, dice
        self.server, self.client, self.violations = run.server, run.client, run.violations
        self.number = 0
        self.hit: Counter[str] = Counter()
        self.left_files = 0
        self.sent: set[str] = set()
        self.last_run = ""
        #: Points after which the file `format` was never written.
        self.formatless: list[str] = []

    def uploads(self) -> None:
        """All points of all cases."""
        self.server.start()
        self.client.get("/createModel", model_name=MODEL)
        rate, layers, steps = LISTING_PARAMETERS
        self.client.get("/createExperiment", model_name=MODEL, experiment_name=LISTING, learning_rate=rate, num_layers=layers, num_steps=steps)
        for case in CASES:
            calls = self.one(case, at=0, after=False)
            points = [(at, after) for at in range(1, len(calls) + 1) for after in (False, True)]
            for at, after in self._chosen(points):
                self.one(case, at, after)
                if self._enough():
                    return
            self.run.stats[f"calls of a {case.name} upload"] = len(calls)

    def _enough(self) -> bool:
        return len(self.violations.found) >= campaign.MOST_VIOLATIONS

    def _chosen(self, points: list) -> list:
        most = self.run.options.rounds
        return points if most == 0 or most >= len(points) else sorted(self.dice.sample(points, most))

    def one(self, case: Case, at: int, after: bool) -> list[str]:
        """One upload with a kill at one point; returns the calls that were seen."""
        self.number += 1
        self.run.round = self.number
        dataset, name = f"at-{self.number}", f"cat.{self.number}.png"
        self.client.get("/createDataset", model_name=MODEL, dataset_name=dataset)
        data = images.png(self.number, case.side)
        self.sent.add(images.sha256(data))
        if case.repeated:
            self.client.upload(MODEL, "", "dog", f"earlier-{name}", data)
        # The threads that serve an upload are there before they are traced.
        self.client.upload(MODEL, "", "dog", "warm.png", self._warm(case.side))

        helper = tracer.Helper(lambda: Client(self.server).upload(MODEL, dataset, "cat", name, data), lambda: Client(self.server).get("/healthz"))
        assert self.server.process is not None
        traced = tracer.Tracer(self.server.process.pid, str(self.server.data))
        traced.attach()
        helper.start()
        trace = traced.follow(at, after, lambda: helper.over)
        helper.join()
        self.server.process.wait()
        where = f"{case.name}, {trace.killed_at}"
        self.hit[tracer.kind_of(where)] += 1
        acknowledged = helper.error is None and helper.outcome[0] == 200
        if helper.error is not None and not isinstance(helper.error, Gone):
            self.violations.add(f"{where}: {helper.error!r}")
        if at == 0 and not acknowledged:
            self.violations.add(f"{where}: an upload that nobody disturbed failed: {helper.outcome} {helper.error!r}")

        self.server.start()
        self._check(where, dataset, name, data, acknowledged, case.repeated)
        return trace.calls

    def _warm(self, side: int) -> bytes:
        data = images.png(0, side)
        self.sent.add(images.sha256(data))
        return data

    def _check(self, where: str, dataset: str, name: str, data: bytes, acknowledged: bool, repeated: bool) -> None:
        whole = {f"cat/{name}": images.sha256(data)}
        left = sorted(os.listdir(self.server.data / "tmp"))
        if left:
            self.violations.add(f"{where}: left in tmp: {left}")
        found = self._listing(where, dataset)
        everywhere = {path: digest for path, digest in self._listing(where, "").items() if path in whole}
        if acknowledged and found != whole:
            self.violations.add(f"{where}: the image was acknowledged and the dataset holds {found}")
        if found not in ({}, whole):
            self.violations.add(f"{where}: the dataset holds {found}")
        if found != everywhere:
            self.violations.add(f"{where}: the dataset holds {found}, all images {everywhere}")
        stored = {images.sha256(file.read_bytes()) for file in self.server.data.glob("blobs/*/*")}
        for digest in stored - self.sent:
            self.violations.add(f"{where}: a stored file holds what nobody sent: {digest}")
        if not found and images.sha256(data) in stored and not repeated:
            self.left_files += 1
        outcome = self.client.upload(MODEL, dataset, "cat", name, data)
        if outcome[0] != 200:
            self.violations.add(f"{where}: sent again, it is answered {outcome}")
        if (again := self._listing(where, dataset)) != whole:
            self.violations.add(f"{where}: sent again, the dataset holds {again}")

    def _listing(self, where: str, dataset: str) -> dict[str, str]:
        parameters = {"model_name": MODEL, "experiment_name": LISTING, "dataset_name": dataset}
        status, body = self.client.get("/train", **{key: value for key, value in parameters.items() if value})
        if status != 200:
            if "no images" not in body.get("message", ""):
                self.violations.add(f"{where}: train is answered {status} {body}")
            return {}
        wait_until_idle(self.client, 60)
        _, run = self.client.get(f"/api/v1/runs/{body['run_id']}")
        if run["state"] != "succeeded":
            self.violations.add(f"{where}: the listing failed: {run['state']} {run['reason']}")
        _, log = self.client.raw("GET", f"/api/v1/runs/{body['run_id']}/log")
        return {line.split()[1]: line.split()[2] for line in log.decode().splitlines() if line.startswith("entry ")}

    # Starts ---------------------------------------------------------------------------------------------------

    def first_starts(self) -> None:
        """A first start is killed at each of its steps; the next one serves, and keeps what it acknowledges."""
        self._starts("first start", self._empty, self._serves)
        if self.formatless:
            places = f"{len(self.formatless)} points, from `{self.formatless[0]}` to `{self.formatless[-1]}`"
            self.violations.add(f"the next start never writes the file `format`, by which a later release knows the format: {places}")

    def later_starts(self) -> None:
        """The start after a kill in mid-run is killed at each of its steps; the next one still knows the run."""
        self._empty()
        self.server.start()
        self.client.get("/createModel", model_name=MODEL)
        self.client.upload(MODEL, "", "cat", "one.png", images.png(1))
        self.server.kill()
        self._starts("later start", self._interrupt, self._goes_on)

    def _starts(self, what: str, before: Callable[[], None], check: Callable[[str], None]) -> None:
        before()
        calls = self._start(what, 0, False, check)
        by_kind: dict[str, list[int]] = {}
        for at, call in enumerate(calls, 1):
            by_kind.setdefault(tracer.kind_of(call), []).append(at)
        # Of 256 folders the first, one in the middle and the last will do.
        chosen = sorted({at for places in by_kind.values() for at in (places[0], places[len(places) // 2], places[-1])})
        for at, after in self._chosen([(at, after) for at in chosen for after in (False, True)]):
            before()
            self._start(what, at, after, check)
            if self._enough():
                return
        self.run.stats[f"calls of a {what}"] = len(calls)

    def _start(self, what: str, at: int, after: bool, check: Callable[[str], None]) -> list[str]:
        """One start that is killed at one point, and another one; returns the calls that were seen."""
        self.number += 1
        self.run.round = self.number
        # The shell waits until it is traced.
        self.server.begin(prefix=["/bin/sh", "-c", 'read -r go && exec "$@"', "sh"])
        assert self.server.process is not None and self.server.process.stdin is not None
        traced = tracer.Tracer(self.server.process.pid, str(self.server.data))
        traced.attach()
        helper = tracer.Helper(self.server.await_address, lambda: Client(self.server).get("/healthz"))
        helper.start()
        self.server.process.stdin.write(b"go\n")
        self.server.process.stdin.flush()
        trace = traced.follow(at, after, lambda: helper.over)
        self.server.process.wait()
        helper.join()
        where = f"{what}, {trace.killed_at}"
        self.hit[tracer.kind_of(where)] += 1
        try:
            self.server.start()
            check(where)
            self.server.kill()
        except StartFailed as failed:
            self.violations.add(f"{where}: {failed}")
        return trace.calls

    def _empty(self) -> None:
        shutil.rmtree(self.server.data, ignore_errors=True)

    def _serves(self, where: str) -> None:
        status, body = self.client.get("/createModel", model_name=MODEL)
        uploaded = self.client.upload(MODEL, "", "cat", "one.png", images.png(1))
        if status != 200 or uploaded[0] != 200:
            self.violations.add(f"{where}: the next start answers {status} {body}, {uploaded}")
        if not (self.server.data / "format").is_file():
            self.formatless.append(where)
        self.server.kill()
        self.server.start()
        if self.client.get("/api/v1/runs", model=MODEL)[0] != 200:
            self.violations.add(f"{where}: the model was acknowledged and is gone")

    def _interrupt(self) -> None:
        """Leaves a run behind that was running."""
        self.server.start()
        self.client.upload(MODEL, "", "cat", f"cat.{self.number}.png", images.png(self.number))
        _, body = self.client.get("/train", model_name=MODEL, experiment_name="default_1")
        self.last_run = body["run_id"]
        while self.client.get(f"/api/v1/runs/{self.last_run}")[1]["attempts"] == 0:
            time.sleep(0.002)
        self.server.kill()

    def _goes_on(self, where: str) -> None:
        _, run = self.client.get(f"/api/v1/runs/{self.last_run}")
        if run.get("state") not in ("queued", "running", "succeeded"):
            self.violations.add(f"{where}: the interrupted run is {run}")
        if self.client.upload(MODEL, "", "cat", "one.png", images.png(1))[0] != 200:
            self.violations.add(f"{where}: nothing can be uploaded")


def main() -> int:
    """Runs the campaign."""
    options = campaign.parser("steps", __doc__, rounds=0).parse_args()
    reason = tracer.unavailable()
    if reason is not None:
        print(f"skipped: kill between two steps of an upload, because {reason}")
        return 0
    run = Campaign("steps", options)
    steps = Steps(run, random.Random(options.seed))
    with run:
        steps.uploads()
        run.server.kill()
        steps.first_starts()
        steps.later_starts()
    run.stats["points"] = sum(steps.hit.values())
    run.stats["different points"] = len(steps.hit)
    run.stats["files without an entry"] = steps.left_files
    for where, times in sorted(steps.hit.items()):
        print(f"  {times:3} x {where}")
    return run.report()


if __name__ == "__main__":
    raise SystemExit(main())
