"""The load of the campaigns: threads that upload, submit and look, while the server is killed under them."""

import random
import threading
import time

import images
from client import Client, Gone
from ledger import GRID, Ledger, Violations
from results import LISTING

#: The parameters of the experiment whose runs list their images.
LISTING_PARAMETERS = ("0.5", "1", "1")

#: Submitters wait while this many runs wait, so that the queue empties in time at the end.
MOST_QUEUED = 12

LABELS = ("cat", "dog", "heron")


class Load:
    """Threads at work between `begin` and `end`; what they are told goes into the ledger."""

    def __init__(self, client: Client, ledger: Ledger, violations: Violations, seed: int, writers: int = 3) -> None:
        self.client, self.ledger, self.violations, self.seed, self.writers = client, ledger, violations, seed, writers
        self.stopping, self.death = threading.Event(), threading.Event()
        #: Set while the disk is full: writes may be refused for that, and for nothing else, if they were sent before it had room.
        self.full, self.room_since = threading.Event(), 0.0
        self.refused = 0
        self.threads: list[threading.Thread] = []
        self.round = 0
        self.number = 0
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Starts the threads."""
        self.round += 1
        self.stopping.clear()
        self.death.clear()
        jobs = [self._upload_on] * self.writers + [self._submit_on, self._look_on]
        self.threads = [
            threading.Thread(target=self._work, args=(job, random.Random(f"{self.seed}/{self.round}/{at}")), daemon=True)
            for at, job in enumerate(jobs)
        ]
        for thread in self.threads:
            thread.start()

    def dying(self) -> None:
        """From now on a call that gets no answer is no surprise; the threads go on until they meet one."""
        self.death.set()

    def has_room(self) -> None:
        """The disk has room again, and the server writes."""
        self.room_since = time.monotonic()
        self.full.clear()

    def stop(self) -> None:
        """Lets the threads make no further calls; those that wait for an answer go on waiting."""
        self.stopping.set()

    def end(self) -> None:
        """Waits for the threads."""
        self.stop()
        for thread in self.threads:
            thread.join()

    def _work(self, job, dice: random.Random) -> None:
        try:
            while not self.stopping.is_set():
                job(dice)
        except Gone as gone:
            self.ledger.lose_answer()
            if not self.death.wait(0.5):
                self.violations.add(f"no answer from a server that nobody had killed: {gone}")

    def _expect(self, what: str, status: int, body: dict, *also: int) -> bool:
        if status == 200:
            return True
        if status == 507 and (self.full.is_set() or self.client.asked < self.room_since) and "disk" in body.get("message", body.get("detail", "")):
            with self._lock:
                self.refused += 1
            return False
        if status not in also:
            self.violations.add(f"{what} was answered {status} {body}")
        return False

    # What is made ---------------------------------------------------------------------------------------------

    def make_model(self, model: str) -> None:
        """A model, its experiment that lists, and a first dataset with an image."""
        if not self._expect(f"createModel {model}", *self.client.get("/createModel", model_name=model)):
            return
        self.ledger.add_model(model)
        self.make_experiment(model, LISTING, LISTING_PARAMETERS)
        self.make_dataset(model, "first")
        self.send(model, "first", "cat", "first.png", images.png(self._next()))

    def complete_model(self, model: str) -> None:
        """Sees to it that a model has its experiment that lists, though its making may have been cut short."""
        if (model, LISTING) not in self.ledger.experiments:
            self.make_experiment(model, LISTING, LISTING_PARAMETERS, may_be_there=True)

    def make_dataset(self, model: str, dataset: str) -> None:
        """A dataset."""
        outcome = self.client.get("/createDataset", model_name=model, dataset_name=dataset)
        if self._expect(f"createDataset {dataset}", *outcome):
            self.ledger.add_dataset(model, dataset)

    def make_experiment(self, model: str, name: str, parameters: tuple[str, str, str], may_be_there: bool = False) -> None:
        """An experiment; one that was sent before and never answered may be there."""
        rate, layers, steps = parameters
        self.ledger.maybe_experiments.add((model, name))
        outcome = self.client.get(
            "/createExperiment", model_name=model, experiment_name=name, learning_rate=rate, num_layers=layers, num_steps=steps
        )
        if self._expect(f"createExperiment {name}", *outcome, *([409] if may_be_there else [])) or may_be_there:
            self.ledger.add_experiment(model, name, parameters)

    def send(self, model: str, dataset: str, label: str, name: str, data: bytes) -> None:
        """One image."""
        digest, path = images.sha256(data), f"{label}/{name}"
        self.ledger.before_upload((model, dataset), path, digest)
        if self._expect(f"upload {path}", *self.client.upload(model, dataset, label, name, data)):
            self.ledger.add_image((model, dataset), path, digest)

    def train(self, model: str, experiment: str, dataset: str) -> str | None:
        """One run; its id."""
        parameters = {"model_name": model, "experiment_name": experiment, "dataset_name": dataset}
        status, body = self.client.get("/train", **{key: value for key, value in parameters.items() if value})
        if not self._expect(f"train {experiment} on {dataset}", status, body):
            return None
        self.ledger.add_run(body["run_id"], model, experiment, dataset)
        return body["run_id"]

    def sweep(self, model: str, dataset: str) -> None:
        """The default experiments."""
        parameters = {"model_name": model, "dataset_name": dataset}
        status, body = self.client.get("/runDefaultExperiments", **{key: value for key, value in parameters.items() if value})
        if self._expect(f"sweep on {dataset}", status, body):
            for number, run in enumerate(body["run_ids"], 1):
                self.ledger.add_run(run, model, f"default_{number}", dataset)

    def _next(self) -> int:
        with self._lock:
            self.number += 1
            return self.number

    # The threads ----------------------------------------------------------------------------------------------

    def _filled(self, dice: random.Random) -> tuple[str, str]:
        """A place that holds an image."""
        with self.ledger.lock:
            return dice.choice(sorted(place for place, held in self.ledger.images.items() if held))

    def _upload_on(self, dice: random.Random) -> None:
        with self.ledger.lock:
            places = sorted(self.ledger.datasets)[-8:] + [(model, "") for model in sorted(self.ledger.models)]
        model, dataset = dice.choice(places)
        label, number = dice.choice(LABELS), self._next()
        kind = dice.random()
        if kind < 0.15:
            # The very same entry again: nothing changes.
            place = self._filled(dice)
            with self.ledger.lock:
                path, digest = dice.choice(sorted(self.ledger.images[place].items()))
            data = self._bytes_of(digest)
            if data is not None:
                self.send(*place, *path.split("/"), data)
        elif kind < 0.35:
            # Bytes that are stored already, or are on their way, under another name.
            self.send(model, dataset, label, f"again-{number}.png", self._remember(images.png(dice.randrange(1, number + 1))))
        elif kind < 0.40:
            # Large enough to be written while it comes.
            self.send(model, dataset, label, f"large-{number}.png", self._remember(images.png(number, side=170)))
        else:
            self.send(model, dataset, label, f"new-{number}.png", self._remember(images.png(number)))
        self.stopping.wait(dice.random() * 0.05)

    #: Bytes by hash, so that an entry can be sent again; small ones only.
    kept: dict[str, bytes] = {}

    def _remember(self, data: bytes) -> bytes:
        if len(data) < 1000:
            self.kept[images.sha256(data)] = data
        return data

    def _bytes_of(self, digest: str) -> bytes | None:
        return self.kept.get(digest)

    def _submit_on(self, dice: random.Random) -> None:
        status, queue = self.client.get("/api/v1/queue")
        if self._expect("queue", status, queue) and queue["queued"] < MOST_QUEUED:
            model, dataset = self._filled(dice)
            kind = dice.random()
            if kind < 0.06:
                self.sweep(model, dataset)
            elif kind < 0.12:
                self.make_dataset(model, f"set-{self._next()}")
            elif kind < 0.18:
                self.make_experiment(model, f"own-{self._next()}", dice.choice(GRID))
            elif kind < 0.20 and len(self.ledger.models) < 5:
                self.make_model(f"model-{self._next()}")
            else:
                with self.ledger.lock:
                    known = sorted(name for owner, name in self.ledger.experiments if owner == model)
                self.train(model, dice.choice(known), dataset)
        self.stopping.wait(dice.random() * 0.15)

    def _look_on(self, dice: random.Random) -> None:
        with self.ledger.lock:
            model = dice.choice(sorted(self.ledger.models))
        results = self.client.results(model)
        if results is not None:
            self.ledger.see(model, results)
        status, runs = self.client.runs(model)
        if self._expect("runs", status, {}):
            self.ledger.see_runs(runs)
        self.stopping.wait(dice.random() * 0.02)


def wait_until_idle(client: Client, limit: float) -> bool:
    """Waits until nothing is queued and nothing runs; what went down twice waits for 10 s after a start."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        status, queue = client.get("/api/v1/queue")
        if status == 200 and queue["queued"] == 0 and queue["running"] == 0:
            return True
        time.sleep(0.05)
    return False
