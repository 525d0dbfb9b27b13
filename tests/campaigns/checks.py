"""What has to hold after a crash, and at the end of a campaign."""

import base64
import json
import subprocess
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import images
from client import Client
from ledger import Ledger, Violations
from load import LISTING_PARAMETERS, Load, wait_until_idle
from results import LISTING, accuracy


def listing(log: str) -> dict[str, str]:
    """What train.py listed: paths, and hashes or their beginnings."""
    packed = "".join(line.removeprefix("packed ") for line in log.splitlines() if line.startswith("packed "))
    text = zlib.decompress(base64.b64decode(packed)).decode() if packed else log
    return {line.split()[1]: line.split()[2] for line in text.splitlines() if line.startswith("entry ")}


class Checks:
    """Compares a server with the ledger."""

    def __init__(self, client: Client, ledger: Ledger, violations: Violations) -> None:
        self.client, self.ledger, self.violations = client, ledger, violations
        self.blob_names: dict[str, str] = {}
        #: Says of a run that failed whether it may.
        #: A run that the server went down under three times is not started a fourth time.
        self.may_fail: Callable[[dict], bool] = lambda run: run["attempts"] >= 3 and "went down" in (run["reason"] or "")

    # After every crash ----------------------------------------------------------------------------------------

    def after_crash(self) -> None:
        """Everything that was acknowledged is there; everything that was shown is still shown."""
        with self.ledger.lock:
            models = sorted(self.ledger.models)
        for model in models:
            results = self.client.results(model)
            if results is None:
                self.violations.add(f"model {model} was acknowledged and is gone")
                continue
            status, runs = self.client.runs(model)
            if status != 200:
                self.violations.add(f"the runs of {model} are answered {status}")
            self._experiments(model)
            self._runs(model, runs)
            self._results(model, results, runs)
        for model, dataset in sorted(self.ledger.datasets):
            # The one question about a dataset that needs nothing else: its name is taken.
            status, body = self.client.get("/createDataset", model_name=model, dataset_name=dataset)
            if status != 409:
                self.violations.add(f"dataset {model}/{dataset} was acknowledged and is gone: {status} {body}")

    def _experiments(self, model: str) -> None:
        _, body = self.client.get("/allAccuracies", model_name=model)
        rows = {row["experimentName"]: row for row in body["body"]["AllExperiments"]}
        for (owner, name), (rate, layers, steps) in list(self.ledger.experiments.items()):
            if owner != model:
                continue
            row = rows.pop(name, None)
            if row is None:
                self.violations.add(f"experiment {model}/{name} was acknowledged and is gone")
            elif (str(row["learningRate"]), str(row["layers"]), str(row["steps"])) != (rate, layers, steps):
                self.violations.add(f"experiment {model}/{name} has other parameters: {row}")
        for name in rows:
            if (model, name) not in self.ledger.maybe_experiments:
                self.violations.add(f"experiment {model}/{name} is there and was never made")

    def _runs(self, model: str, runs: list[dict]) -> None:
        there = {run["id"]: run for run in runs}
        for run, known in list(self.ledger.runs.items()):
            if known.model != model:
                continue
            found = there.get(run)
            if found is None:
                self.violations.add(f"{run} of {model} was acknowledged and is gone")
                continue
            if (found["experiment"], found["dataset"]) != (known.experiment, known.dataset):
                self.violations.add(f"{run} is another run now: {found}")
            kept = self.ledger.succeeded.get(run)
            if kept is not None and (found["state"], found["accuracy"]) != ("succeeded", kept):
                self.violations.add(f"{run} was shown as succeeded with {kept} and is {found['state']} {found['accuracy']} now")
        for run in runs:
            self._own_result(run)

    def _own_result(self, run: dict) -> None:
        if run["state"] == "failed" and not self.may_fail(run):
            self.violations.add(f"{run['id']} failed in attempt {run['attempts']}: {run['reason']}")
        if run["state"] == "cancelled":
            self.violations.add(f"{run['id']} is cancelled, and nobody asked for that")
        if run["state"] == "succeeded" and run["accuracy"] != self._expected(run):
            self.violations.add(f"{run['id']} has the result {run['accuracy']}, its own is {self._expected(run)}")

    def _expected(self, run: dict) -> str:
        own = self.ledger.experiments.get((run["model"], run["experiment"]))
        shown = (str(run["learning_rate"]), str(run["layers"]), str(run["steps"]))
        return accuracy(run["id"], run["experiment"], run["dataset"], *(own or shown))

    def _results(self, model: str, results: dict[tuple[str, str], str], runs: list[dict]) -> None:
        """The result that is shown is that of a run at least as late as the one that was shown before."""
        order = {(run["experiment"], run["dataset"], self._expected(run)): at for at, run in enumerate(runs)}
        for (owner, experiment, dataset), before in list(self.ledger.shown.items()):
            if owner != model:
                continue
            now = results.get((experiment, dataset))
            what = f"the result of {model}/{experiment} on `{dataset}`"
            if now is None:
                self.violations.add(f"{what} was shown ({before}) and is gone")
            elif (old := order.get((experiment, dataset, before))) is None:
                self.violations.add(f"{what}, {before}, was shown, and its run is gone")
            elif (new := order.get((experiment, dataset, now))) is None or new < old:
                self.violations.add(f"{what} was {before} and is an earlier or a foreign one, {now}, now")

    def prediction(self) -> None:
        """A prediction right after a start, while the server still looks for what an earlier one left."""
        done = sorted({model for model, _, _ in self.ledger.shown})
        if done:
            status, body = self.client.test(done[0], images.png(1))
            if status != 200:
                self.violations.add(f"a prediction right after the start is answered {status}: {body.get('message', body)}")

    def logs(self) -> None:
        """The finished runs whose log is not there; every run of a campaign prints its accuracy at the end."""
        gone = set()
        for run in list(self.ledger.succeeded):
            status, log = self.client.raw("GET", f"/api/v1/runs/{run}/log")
            if status != 200 or b"accuracy" not in log:
                gone.add(run)
        if gone:
            self.violations.add(f"{len(gone)} logs of finished runs are gone, that of {min(gone)} for one")

    # Everything -----------------------------------------------------------------------------------------------

    def verify(self) -> None:
        """The server's own look at every record and file, whatever goes on meanwhile."""
        status, body = self.client.raw("POST", "/api/v1/maintenance/verify")
        if status != 200:
            self.violations.add(f"verify is answered {status} {body[:300]!r}")
            return
        self._verified("the running server", body.splitlines())

    def verify_stopped(self, binary: Path, data: Path) -> None:
        """The same on a folder that nobody has open."""
        done = subprocess.run([binary, "verify", "--json", "--data-dir", data], capture_output=True, check=False)
        if done.returncode != 0:
            self.violations.add(f"verify ended with {done.returncode}: {done.stderr.decode(errors='replace')[-300:]}")
        self._verified("the stopped folder", done.stdout.splitlines())

    def _verified(self, what: str, lines: list[bytes]) -> None:
        words = [json.loads(line) for line in lines]
        for word in words:
            if word["type"] == "finding" and word["weight"] == "problem":
                self.violations.add(f"verify of {what}: {word['what']}")
            elif word["type"] == "finding":
                self.violations.note(f"verify of {what}: {word['what']}")
        if not words or words[-1]["type"] != "done":
            self.violations.add(f"verify of {what} did not come to its end: {words[-1:]}")

    # Files ----------------------------------------------------------------------------------------------------

    def blobs(self, data: Path) -> int:
        """Every stored file holds bytes that were sent, once, under a name that never changes. Returns how many."""
        seen: dict[str, str] = {}
        for file in sorted(data.glob("blobs/*/*")):
            digest = images.sha256(file.read_bytes())
            if digest not in self.ledger.sent:
                self.violations.add(f"{file} ({file.stat().st_size} bytes) holds what nobody sent")
            if digest in seen:
                self.violations.add(f"{file} and {seen[digest]} hold the same bytes")
            if self.blob_names.setdefault(file.name, digest) != digest:
                self.violations.add(f"{file} has changed")
            seen[digest] = str(file)
        with self.ledger.lock:
            missing = {digest for held in self.ledger.images.values() for digest in held.values()} - seen.keys()
        for digest in sorted(missing)[:10]:
            self.violations.add(f"the bytes of an acknowledged image are gone: sha256 {digest}")
        if any(data.glob("store/blobs/*")):
            self.violations.note("sled has blob files, which it never syncs (FINDINGS: keep records small)")
        if (data / "store.damaged").exists():
            self.violations.note("the store was damaged once: store.damaged is there")
        return len(seen)

    # At the end -----------------------------------------------------------------------------------------------

    def at_the_end(self, load: Load, limit: float = 180.0) -> None:
        """The queue empties, every run has its own result, every place holds exactly its images."""
        if not wait_until_idle(self.client, limit):
            self.violations.add(f"the queue is not empty after {limit:.0f} s: {self.client.get('/api/v1/queue')[1]}")
            return
        self.after_crash()
        for model in sorted(self.ledger.models):
            load.complete_model(model)
            _, runs = self.client.runs(model)
            self._all_done(model, runs)
        listings = {place: load.train(place[0], LISTING, place[1]) for place, held in sorted(self.ledger.images.items()) if held}
        if not wait_until_idle(self.client, limit):
            self.violations.add("the runs that list their images do not end")
            return
        for place, run in listings.items():
            if run is not None:
                self._listing(place, run)

    def _all_done(self, model: str, runs: list[dict]) -> None:
        latest: dict[tuple[str, str], str] = {}
        for run in runs:
            if run["state"] != "succeeded":
                if not self.may_fail(run):
                    self.violations.add(f"{run['id']} is {run['state']} at the end: {run['reason']}")
            else:
                latest[run["experiment"], run["dataset"]] = run["accuracy"]
        results = self.client.results(model) or {}
        if results != latest:
            wrong = {key: (results.get(key), latest.get(key)) for key in results.keys() | latest.keys() if results.get(key) != latest.get(key)}
            self.violations.add(f"{model} does not show the results of its latest runs (shown, own): {wrong}")

    def _listing(self, place: tuple[str, str], run: str) -> None:
        status, log = self.client.raw("GET", f"/api/v1/runs/{run}/log")
        _, body = self.client.get(f"/api/v1/runs/{run}")
        if status != 200 or body["state"] != "succeeded":
            self.violations.add(f"the listing of {place} failed: {body.get('state')} {body.get('reason')}")
            return
        self._own_result(body)
        assert body["learning_rate"] == float(LISTING_PARAMETERS[0])
        listed = listing(log.decode())
        wanted, possible = self.ledger.images[place], self.ledger.maybe_images.get(place, {})
        for path, digest in wanted.items():
            if path not in listed or not digest.startswith(listed[path]):
                self.violations.add(f"image {path} of {place} was acknowledged and is {listed.get(path, 'gone')}")
        for path, digest in listed.items():
            if path not in wanted and not possible.get(path, "-").startswith(digest):
                self.violations.add(f"image {path} of {place} is there and was never sent so: {digest}")

    def starts(self, file: Path, concurrency: int) -> tuple[int, int]:
        """Counts starts. Each server marks its children, so one that was born as its server died, and writes its line
        while the next one is up already, is not taken for the next one's. Returns runs and extra starts."""
        last, extra = {}, Counter()
        for line in file.read_text(encoding="ascii").splitlines():
            run, _, server = line.split()
            if run in last:
                if last[run] == server:
                    self.violations.add(f"{run} was started twice by one server")
                extra[last[run]] += 1
            last[run] = server
        for server, count in extra.items():
            if count > concurrency:
                self.violations.add(f"{count} extra starts after the crash of {server}, more than {concurrency}")
        return len(last), sum(extra.values())
