"""Memory and start-up, with an empty store and with many stored results."""

import os
import subprocess
import time

from .proc import MIB, PeakMemory, children, median, proportional, resident
from .server import PYTHON, Peer, environment, peer_serving, png, serving
from .sweeps import CONCURRENCY, LAYERS, RATES, STEPS, TRAIN_PY, ready_model, settings
from .table import Row, say, spread

DATASETS = 10
SETTLE_SECONDS = 1.0
MODEL = "big"

# Every result another accuracy, as real ones are; a shell's own echo, since another process would take longer.
TRAINER = """\
#!/bin/sh
echo "accuracy=0.$(( (10000 + ($6 * 7919 + $4 * 104729 + ${TRAINYARD_DATASET#d} * 15485863) % 90000) ))"
"""

# What the same results take in the process that reads them all.
READER = """\
import json, sys
with open(sys.argv[1]) as file:
    results = json.load(file)
with open("/proc/self/status") as file:
    print(next(line.split()[1] for line in file if line.startswith("VmRSS")))
"""


def _mib(value):
    return f"{value / MIB:.1f}"


def _memory_row(figure, values, beside, peer, target):
    measured = median(values)
    return Row(
        figure,
        spread(values, _mib) + " MiB",
        f"{beside}: {_mib(peer)} MiB",
        measured / peer,
        f"<= {target} MiB",
        measured <= target * MIB,
    )


class BigStore:
    """A folder with many stored results, made by real runs through the API.

    It is made once and kept for all figures that want it; with --store also for the next call of the script.
    """

    def __init__(self, bench):
        self.bench = bench
        self.results = bench.results
        self.folder = bench.store or bench.folder("big")
        self.trainer = os.path.join(self.folder, "trainer.sh")
        self.mark = os.path.join(self.folder, f"loaded-{self.results}")
        self.resident_after_loading = None

    def settings(self):
        """The grid: a tenth of the results, each trained on ten datasets."""
        steps = self.results // DATASETS // 100
        if steps * 100 * DATASETS != self.results:
            raise SystemExit("bench: --results has to be a multiple of 1000")
        grid = ([n / 1000 for n in range(1, 11)], list(range(1, 11)), list(range(1, steps + 1)))
        return settings([self.trainer], grid)

    def serving(self):
        """A server over the folder, which is loaded first where that was not done yet."""
        if not os.path.exists(self.mark):
            self._load()
        return serving(self.bench.binary, self.folder, self.settings())

    def _load(self):
        os.makedirs(self.folder, exist_ok=True)
        with open(self.trainer, "w", encoding="utf-8") as file:
            file.write(TRAINER)
        os.chmod(self.trainer, 0o755)
        say(f"storing {self.results} results by as many runs; this takes minutes")
        began = time.perf_counter()
        with serving(self.bench.binary, self.folder, self.settings()) as server:
            client = server.client
            client.get("/createModel", model_name=MODEL)
            with PeakMemory(server.pid) as peak:
                for number in range(DATASETS):
                    dataset = f"d{number}"
                    client.get("/createDataset", model_name=MODEL, dataset_name=dataset)
                    client.upload(MODEL, "digit_1.png", png(), dataset_name=dataset)
                    client.get("/runDefaultExperiments", model_name=MODEL, dataset_name=dataset)
                    client.wait_until_idle(every=0.25)
                    took = time.perf_counter() - began
                    say(f"dataset {number + 1} of {DATASETS}: {took:.0f} s, {_mib(resident(server.pid))} MiB resident")
            time.sleep(SETTLE_SECONDS)
            self.resident_after_loading = resident(server.pid)
            say(f"peak while loading {_mib(peak.bytes)} MiB, afterwards {_mib(self.resident_after_loading)} MiB")
            stored = len(client.accuracies(MODEL))
            if stored != self.results:
                raise RuntimeError(f"{self.results} runs left {stored} results; {server.log} says why")
        open(self.mark, "w", encoding="utf-8").close()

    def reader_bytes(self, server):
        """What a Python process takes that holds the same results."""
        path = os.path.join(self.bench.folder("reader"), "results.json")
        with open(path, "wb") as file:
            file.write(server.client.text("/allAccuracies", model_name=MODEL))
        read = subprocess.run([PYTHON, "-c", READER, path], check=True, capture_output=True, env=environment())
        return int(read.stdout) * 1024


def _idle_then_sweep(bench, number, script):
    """(idle, its PSS, the guard's, peak of a 27-way sweep) of a fresh server, in bytes."""
    train = [PYTHON, script]
    with serving(bench.binary, bench.folder(f"memory-{number}"), settings(train, (RATES, LAYERS, STEPS))) as server:
        for _ in range(5):
            server.client.text("/healthz")
        time.sleep(SETTLE_SECONDS)
        idle, shared = resident(server.pid), proportional(server.pid)
        guards = sum(resident(child) for child in children(server.pid))
        ready_model(server.client, "m")
        with PeakMemory(server.pid) as peak:
            server.client.get("/runDefaultExperiments", model_name="m")
            server.client.wait_until_idle(every=0.02)
        return idle, shared, guards, peak.bytes


def memory(bench):
    """Resident memory: idle, in a sweep, and with many results."""
    script = os.path.join(bench.folder("memory"), "train.py")
    with open(script, "w", encoding="utf-8") as file:
        file.write(TRAIN_PY)
    taken = [_idle_then_sweep(bench, number, script) for number in range(bench.runs)]
    idle, shared, guards, peaks = (list(column) for column in zip(*taken, strict=True))
    with peer_serving(bench.folder("peer")) as peer:
        peer_bytes = resident(peer.pid)
    rows = [
        _memory_row("memory idle, empty store", idle, Peer.NAME, peer_bytes, 12),
        Row("  of it its own (PSS); its guard", f"{_mib(median(shared))}; {_mib(median(guards))} MiB"),
        _memory_row(f"memory peak, 27 runs, {CONCURRENCY} at once", peaks, Peer.NAME + ", idle", peer_bytes, 32),
    ]
    many = f"{bench.results:,} results"
    with bench.big.serving() as server:
        reader = bench.big.reader_bytes(server)
    reopened = []
    for _ in range(bench.runs):
        with bench.big.serving() as server:
            server.client.get("/bestAccuracy", model_name=MODEL)
            time.sleep(SETTLE_SECONDS)
            reopened.append(resident(server.pid))
    loaded = bench.big.resident_after_loading
    beside = "Python holding the same results"
    if loaded is not None:
        rows.append(_memory_row(f"memory, {many}, loaded", [loaded], beside, reader, 64))
    rows.append(_memory_row(f"memory, {many}, restarted", reopened, beside, reader, 64))
    return rows


def start(bench):
    """From the start of the process to the first 200."""
    empty, many, versions, peers = [], [], [], []
    for number in range(bench.runs):
        with serving(bench.binary, bench.folder(f"start-{number}"), settings(["/bin/echo"])) as server:
            empty.append(server.start_seconds)
        with bench.big.serving() as server:
            many.append(server.start_seconds)
        began = time.perf_counter()
        subprocess.run([bench.binary, "--version"], check=True, capture_output=True, env=environment())
        versions.append(time.perf_counter() - began)
        with peer_serving(bench.folder("peer")) as peer:
            peers.append(peer.start_seconds)
    milliseconds = lambda value: f"{value * 1000:.0f}"

    def row(figure, values, beside, floors, target):
        measured = median(values)
        return Row(
            figure,
            spread(values, milliseconds) + " ms",
            f"{beside}: {spread(floors, milliseconds)} ms",
            measured / median(floors),
            f"<= {target} ms",
            measured * 1000 <= target,
        )

    return [
        row("start to first 200, empty store", empty, Peer.NAME, peers, 50),
        row(f"start, {bench.results:,} results", many, "the binary's --version", versions, 300),
    ]
