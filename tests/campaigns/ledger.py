"""What the server acknowledged: everything in here has to be there after a crash.

What was sent and never answered may be there or not; what was never sent may not.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

#: (model, dataset); the empty dataset is all images of the model.
Place = tuple[str, str]

GRID = [(rate, layers, steps) for rate in ("0.001", "0.01", "0.1") for layers in ("1", "2", "4") for steps in ("1000", "2000", "4000")]


@dataclass(frozen=True)
class Run:
    """A run that was acknowledged."""

    model: str
    experiment: str
    dataset: str


@dataclass
class Ledger:
    """Everything that was acknowledged, and what else may be there. Its methods may be called from many threads."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    models: set[str] = field(default_factory=set)
    datasets: set[Place] = field(default_factory=set)
    #: (model, experiment) and its parameters.
    experiments: dict[tuple[str, str], tuple[str, str, str]] = field(default_factory=dict)
    #: What a place holds: `label/name` and the hash of the bytes.
    images: dict[Place, dict[str, str]] = field(default_factory=dict)
    #: Uploads without an answer.
    maybe_images: dict[Place, dict[str, str]] = field(default_factory=dict)
    maybe_experiments: set[tuple[str, str]] = field(default_factory=set)
    runs: dict[str, Run] = field(default_factory=dict)
    #: Runs that the server showed as succeeded, with the accuracy.
    succeeded: dict[str, str] = field(default_factory=dict)
    #: What /allAccuracies showed last for (model, experiment, dataset).
    shown: dict[tuple[str, str, str], str] = field(default_factory=dict)
    #: Hashes of all bytes that were ever sent.
    sent: set[str] = field(default_factory=set)
    acknowledged: int = 0
    unanswered: int = 0

    def add_model(self, model: str) -> None:
        """A model with its default experiments."""
        with self.lock:
            self.models.add(model)
            self.acknowledged += 1
            for number, parameters in enumerate(GRID, 1):
                self.experiments[model, f"default_{number}"] = parameters
            self.images.setdefault((model, ""), {})

    def add_dataset(self, model: str, dataset: str) -> None:
        """An empty dataset."""
        with self.lock:
            self.datasets.add((model, dataset))
            self.images.setdefault((model, dataset), {})
            self.acknowledged += 1

    def add_experiment(self, model: str, experiment: str, parameters: tuple[str, str, str]) -> None:
        """An experiment."""
        with self.lock:
            self.experiments[model, experiment] = parameters
            self.acknowledged += 1

    def before_upload(self, place: Place, path: str, digest: str) -> None:
        """An image is about to be sent."""
        with self.lock:
            self.sent.add(digest)
            for one in {place, (place[0], "")}:
                self.maybe_images.setdefault(one, {})[path] = digest

    def add_image(self, place: Place, path: str, digest: str) -> None:
        """An image was acknowledged: it is in its dataset and among all images of the model."""
        with self.lock:
            self.acknowledged += 1
            for one in {place, (place[0], "")}:
                self.images.setdefault(one, {})[path] = digest

    def add_run(self, run: str, model: str, experiment: str, dataset: str) -> None:
        """A run was accepted."""
        with self.lock:
            self.runs[run] = Run(model, experiment, dataset)
            self.acknowledged += 1

    def see(self, model: str, results: dict[tuple[str, str], str]) -> None:
        """The server showed these results."""
        with self.lock:
            for (experiment, dataset), accuracy in results.items():
                self.shown[model, experiment, dataset] = accuracy

    def see_runs(self, runs: list[dict]) -> None:
        """The server showed these runs."""
        with self.lock:
            for run in runs:
                if run["state"] == "succeeded":
                    self.succeeded[run["id"]] = run["accuracy"]

    def lose_answer(self) -> None:
        """A call ended without an answer."""
        with self.lock:
            self.unanswered += 1


class Violations:
    """What is not as it has to be; printed at once, counted to the end."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.notes: list[str] = []
        #: Where the campaign is, in words.
        self.where: Callable[[], str] = str
        self._lock = threading.Lock()

    def add(self, text: str) -> None:
        """One violation."""
        with self._lock:
            if text not in self.found:
                self.found.append(text)
                print(f"VIOLATION in {self.where()}: {text}", flush=True)

    def note(self, text: str) -> None:
        """Something worth saying that is no violation."""
        with self._lock:
            if text not in self.notes:
                self.notes.append(text)
                print(f"note: {text}", flush=True)
