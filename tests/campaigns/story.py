"""A scripted day of a server: everything that a client can make, ask for and take away, one call after the other.

What is refused is asked for again, which has to work, so that a single fault can spoil a single call. The story keeps
what was acknowledged, and can check a later server against that.
"""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import images
from client import Client, Gone
from ledger import Violations
from server import Server

#: How long something may be refused that has to work again.
PATIENCE = 15.0

MODEL, DATASET = "yard", "first"

#: The training script and the test script; @SLOW@ is a file that makes it wait for ever while it is there.
SCRIPT = """\
while [ $# -gt 0 ]; do
    case $1 in --images) images=$2 ;; --image) image=$2 ;; esac
    shift
done
[ -e '@SLOW@' ] && sleep 600
if [ -n "$image" ]; then
    [ -s "$image" ] || exit 1
    echo 'accuracy: 0.5'
    exit
fi
echo '{"step": 1, "loss": 0.5}'
echo "$TRAINYARD_RUN_ID" >"$TRAINYARD_MODEL_DIR/weights"
cd "$images" || exit 1
find -L . -type f -exec sha256sum {} + | sed 's/^/entry /'
echo '{"accuracy": 0.625}'
"""

ENDED = ("succeeded", "failed", "cancelled")


def configure(server: Server) -> Path:
    """Gives a server the script and two default experiments. Returns the file that makes runs wait."""
    slow, script = server.work / "slow", server.work / "script.sh"
    script.write_text(SCRIPT.replace("@SLOW@", str(slow)), encoding="ascii")
    command = f'["/bin/sh", "{script}"]'
    server.config.write_text(
        f"[jobs]\nconcurrency = 1\nstop_grace_seconds = 1\n[trainer]\ntrain = {command}\ntest = {command}\n"
        "[sweep]\nlearning_rates = [0.1]\nlayers = [1]\nsteps = [10, 20]\n",
        encoding="utf-8",
    )
    return slow


class Story:
    """What was done with one server, and what came of it."""

    def __init__(self, server: Server, violations: Violations) -> None:
        self.server, self.client, self.violations = server, Client(server), violations
        self.listens = False
        #: What was asked for when no answer came.
        self.gone: str | None = None
        #: What was refused, with status and message.
        self.refused: list[tuple[str, int, str]] = []
        #: Runs that failed, with the reason.
        self.failed: list[str] = []
        self.models: set[str] = set()
        self.datasets: set[str] = set()
        self.experiments: set[str] = set()
        self.images: dict[str, str] = {}
        self.runs: dict[str, str] = {}
        self.hooks: dict[str, bool | None] = {}
        self.last = "the start"

    def copy_onto(self, server: Server) -> "Story":
        """The same beginning, for another server."""
        copy = Story(server, self.violations)
        for name in ("models", "datasets", "experiments", "images", "runs", "hooks"):
            setattr(copy, name, getattr(self, name).copy())
        return copy

    # What is told ---------------------------------------------------------------------------------------------

    def first(self) -> None:
        """A first start, a first image, the end."""
        self._told(self._begin)

    def day(self) -> None:
        """Everything, from the start to the end."""
        self._told(self._day)

    def _told(self, what: Callable[[], None]) -> None:
        try:
            self.server.await_address()
            self.listens = True
            what()
            self.last = "the end"
            self.server.signal(15)
        except Gone:
            self.gone = self.last

    def _begin(self) -> None:
        self._make("createModel", self.models, MODEL, model_name=MODEL)
        self._make("createDataset", self.datasets, DATASET, model_name=MODEL, dataset_name=DATASET)
        self._send("small.png", images.png(1))

    def _day(self) -> None:
        for run in self.runs:
            # The one that was cut short has begun anew.
            self._end_of(run)
        self._make("createExperiment", self.experiments, "own", model_name=MODEL, experiment_name="own", learning_rate="0.5", num_layers="1", num_steps="1")
        self._make("createDataset", self.datasets, "second", model_name=MODEL, dataset_name="second", dataset_name_old=DATASET)
        self._send("new.png", images.png(2))
        self._send("large.png", images.png(3, side=170))
        self._send("again.png", images.png(1))
        self._hook()
        self._train("train", experiment_name="own")
        self._train("runDefaultExperiments")
        for number, side in ((1, 8), (4, 170)):
            data = images.png(number, side)
            self._do("test", lambda data=data: self.client.test(MODEL, data))
        self._control()

    def prepare(self, slow: Path) -> None:
        """What a day begins with: a result, and a run that the end of the server cut short."""
        self._begin()
        self._train("train", experiment_name="default_1")
        slow.touch()
        body = self._do("train", lambda: self.client.get("/train", model_name=MODEL, experiment_name="default_2", dataset_name=DATASET))
        self.runs[body["run_id"]] = "queued"
        while self.client.get(f"/api/v1/runs/{body['run_id']}")[1]["attempts"] == 0:
            time.sleep(0.005)

    # One call -------------------------------------------------------------------------------------------------

    def _do(self, what: str, call: Callable[[], tuple[int, dict]], taken: Callable[[dict], dict] | None = None) -> dict:
        """Asks until it is granted; `taken` says what an answer of 409 to a repetition amounts to."""
        self.last = what
        deadline = time.monotonic() + PATIENCE
        asked = 0
        while True:
            asked += 1
            status, body = call()
            if status < 300:
                self._look()
                return body
            message = str(body.get("message", body.get("detail", body)))
            self.refused.append((what, status, message))
            if status == 409 and asked > 1 and taken is not None:
                self.violations.add(f"{what} was refused and done all the same: {self.refused}")
                return taken(body)
            if time.monotonic() > deadline or status < 500:
                self.violations.add(f"{what} is answered {status} {message} for the {asked}th time")
                return {}
            time.sleep(0.05)

    def _look(self) -> None:
        """Whatever happens, everything can be read."""
        if MODEL not in self.models:
            return
        for path, parameters in (("/healthz", {}), ("/allAccuracies", {"model_name": MODEL}), ("/api/v1/runs", {"model": MODEL})):
            status, body = self.client.get(path, **parameters)
            if status != 200:
                self.violations.add(f"after {self.last}, {path} is answered {status} {body}")

    def _make(self, call: str, made: set[str], name: str, **parameters: str) -> None:
        if self._do(call, lambda: self.client.get(f"/{call}", **parameters), taken=lambda body: body):
            made.add(name)

    def _send(self, name: str, data: bytes) -> None:
        if self._do(f"upload {name}", lambda: self.client.upload(MODEL, DATASET, "cat", name, data)):
            self.images[f"cat/{name}"] = images.sha256(data)

    def _hook(self) -> None:
        body = b'{"url": "https://example.com/hook"}'
        head = {"Content-Type": "application/json"}
        made = self._do("a webhook", lambda: self._json("POST", "/api/v1/webhooks", body, head))
        if not made:
            return
        # Until its removal is answered it may be there or not.
        self.hooks[made["id"]] = None
        self._do("no webhook", lambda: self._json("DELETE", f"/api/v1/webhooks/{made['id']}"))
        self.hooks[made["id"]] = False

    def _json(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> tuple[int, dict]:
        status, answer = self.client.raw(method, path, body, headers)
        return status, json.loads(answer) if answer else {}

    def _train(self, call: str, **parameters: str) -> None:
        """Runs, which all end well; one that met the fault is submitted again."""
        parameters |= {"model_name": MODEL, "dataset_name": DATASET}
        for _ in range(3):
            body = self._do(call, lambda: self.client.get(f"/{call}", **parameters))
            runs = body.get("run_ids", [body.get("run_id")]) if body else []
            self.runs |= {run: "queued" for run in runs if run}
            if not [run for run in runs if self._end_of(run) != "succeeded"]:
                return
        self.violations.add(f"{call} does not end well: {self.failed}")

    def _end_of(self, run: str) -> str:
        self.last = f"waiting for {run}"
        deadline = time.monotonic() + PATIENCE
        while True:
            status, body = self.client.get(f"/api/v1/runs/{run}")
            if status == 200 and body["state"] in ENDED:
                break
            if time.monotonic() > deadline:
                self.violations.add(f"{run} does not end: {status} {body}")
                return "queued"
            time.sleep(0.01)
        self.runs[run] = body["state"]
        if body["state"] == "failed":
            self.failed.append(f"{run}: {body['reason']}")
        return body["state"]

    def _control(self) -> None:
        """A pause, a run that is cancelled while it waits, and on."""
        self._do("pause", lambda: self._json("POST", "/api/v1/queue/pause"))
        parameters = {"model_name": MODEL, "experiment_name": "own", "dataset_name": "second"}
        body = self._do("train", lambda: self.client.get("/train", **parameters))
        if "run_id" in body:
            self.runs[body["run_id"]] = "queued"
            self._do("cancel", lambda: self._json("POST", f"/api/v1/runs/{body['run_id']}/cancel"))
            self._end_of(body["run_id"])
        self._do("resume", lambda: self._json("POST", "/api/v1/queue/resume"))

    # Afterwards -----------------------------------------------------------------------------------------------

    def check(self, server: Server) -> None:
        """A server that met no fault has everything that was acknowledged, and takes more."""
        self.server, self.client = server, Client(server)
        for model in self.models:
            if self.client.get("/createModel", model_name=model)[0] != 409:
                self.violations.add(f"model {model} was acknowledged and is gone")
        for dataset in self.datasets:
            if self.client.get("/createDataset", model_name=MODEL, dataset_name=dataset)[0] != 409:
                self.violations.add(f"dataset {dataset} was acknowledged and is gone")
        self._do("resume", lambda: self._json("POST", "/api/v1/queue/resume"))
        for run, state in list(self.runs.items()):
            now = self._end_of(run)
            if state in ENDED and now != state:
                self.violations.add(f"{run} was {state} and is {now}")
            elif now == "failed" and state != "failed":
                self.violations.add(f"{run} failed after the restart: {self.failed[-1]}")
        _, listed = self._json("GET", "/api/v1/webhooks")
        there = {hook["id"] for hook in listed.get("data", [])}
        for hook, kept in self.hooks.items():
            if kept is not None and (hook in there) != kept:
                self.violations.add(f"webhook {hook} is {'gone' if kept else 'there, and its removal was acknowledged'}")
        if self.models:
            self._check_images()

    def _check_images(self) -> None:
        _, answer = self.client.get("/allAccuracies", model_name=MODEL)
        names = {row["experimentName"] for row in answer["body"]["AllExperiments"]}
        for experiment in self.experiments - names:
            self.violations.add(f"experiment {experiment} was acknowledged and is gone")
        if not self.images:
            return
        parameters = {"model_name": MODEL, "experiment_name": "default_1", "dataset_name": DATASET}
        body = self._do("listing", lambda: self.client.get("/train", **parameters))
        if self._end_of(body["run_id"]) != "succeeded":
            self.violations.add(f"the images cannot be listed: {self.failed[-1:]}")
            return
        _, log = self.client.raw("GET", f"/api/v1/runs/{body['run_id']}/log")
        lines = [line.split() for line in log.decode().splitlines() if line.startswith("entry ")]
        found = {os.path.normpath(path): digest for _, digest, path in lines}
        for path, digest in self.images.items():
            if found.get(path) != digest:
                self.violations.add(f"image {path} was acknowledged and is {found.get(path, 'gone')}")
