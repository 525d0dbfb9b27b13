"""Sweeps through the server against xargs of the very same commands."""

import os
import subprocess
import time

from .proc import median
from .server import PYTHON, Server, environment, png, serving
from .table import Row, say, spread

CONCURRENCY = 2
RATES = [0.001, 0.01, 0.1]
LAYERS = [1, 2, 4]
STEPS = [1000, 2000, 4000]

TRAIN_PY = """\
import sys
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
print({"i": given["--i"], "j": given["--j"], "k": given["--k"], "images": given["--images"], "accuracy": 0.5})
"""


def settings(train, grid=None):
    """A settings file for `train`, a list of words, with another grid where one is given."""
    words = ", ".join(f'"{word}"' for word in train)
    text = f"[jobs]\nconcurrency = {CONCURRENCY}\n[trainer]\ntrain = [{words}]\n"
    if grid:
        rates, layers, steps = grid
        text += f"[sweep]\nlearning_rates = {rates}\nlayers = {layers}\nsteps = {steps}\n"
    return text


def ready_model(client, name):
    """Makes a model with one image."""
    client.get("/createModel", model_name=name)
    client.upload(name, "digit_1.png", png())


def sweep_seconds(client, model, least):
    """Seconds from asking for the sweep until its last result is there.

    Asking whether it is over takes processor time from it, so that starts only when it may be nearly over: `least` is
    what it takes at the least.
    """
    began = time.perf_counter()
    client.get("/runDefaultExperiments", model_name=model)
    time.sleep(max(0.0, 0.8 * least - (time.perf_counter() - began)))
    client.wait_until_idle(every=0.01 * least)
    return time.perf_counter() - began


def xargs_seconds(train, lines):
    """Seconds that `xargs -P2` takes for `train` with each of the lines as its flags."""
    command = ["xargs", f"-P{CONCURRENCY}", "-L1", "-a", lines, *train]
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment())
    return time.perf_counter() - began


def write_lines(path, images, grid):
    """The flags of every run of the grid, a line each."""
    rates, layers, steps = grid
    with open(path, "w", encoding="utf-8") as file:
        for rate in rates:
            for layer in layers:
                for step in steps:
                    file.write(f"--i {rate} --j {layer} --k {step} --images {images}/\n")


def _compare(bench, name, train, grid):
    """Pairs of (server, xargs) seconds, and whether all results outlived a kill -9 right after the last sweep."""
    folder = bench.folder(name)
    lines = os.path.join(folder, "lines")
    write_lines(lines, folder, grid)
    runs = len(grid[0]) * len(grid[1]) * len(grid[2])
    pairs = []
    server = Server(bench.binary, folder, settings(train, grid))
    try:
        # The first of each warms up.
        least = xargs_seconds(train, lines)
        ready_model(server.client, "warm")
        sweep_seconds(server.client, "warm", least)
        for number in range(bench.runs):
            model = f"m{number}"
            ready_model(server.client, model)
            measured = sweep_seconds(server.client, model, least)
            floor = xargs_seconds(train, lines)
            least = min(least, floor)
            say(f"{name}: server {measured:.3f} s, xargs {floor:.3f} s")
            pairs.append((measured, floor))
        server.kill()
        with serving(bench.binary, folder, settings(train, grid)) as again:
            kept = all(len(again.client.accuracies(f"m{number}")) == runs for number in range(bench.runs))
    finally:
        if server.process.poll() is None:
            server.kill()
    return pairs, kept


def _row(figure, pairs, kept, target):
    measured = [pair[0] for pair in pairs]
    floors = [pair[1] for pair in pairs]
    ratio = median(pair[0] / pair[1] for pair in pairs)
    seconds = lambda value: f"{value:.3f}"
    if not kept:
        figure += ": RESULTS LOST BY kill -9"
    return Row(
        figure,
        spread(measured, seconds) + " s",
        f"xargs -P{CONCURRENCY}: {spread(floors, seconds)} s",
        ratio,
        f"ratio <= {target:.2f}",
        kept and ratio <= target,
    )


def sweep27(bench):
    """27 runs of a trivial train.py."""
    script = os.path.join(bench.folder("sweep27"), "train.py")
    with open(script, "w", encoding="utf-8") as file:
        file.write(TRAIN_PY)
    pairs, kept = _compare(bench, "sweep27", [PYTHON, script], (RATES, LAYERS, STEPS))
    return [_row("27 x trivial train.py", pairs, kept, 1.10)]


def sweep1000(bench):
    """1,000 runs of echo."""
    grid = ([n / 1000 for n in range(1, 11)], list(range(1, 11)), list(range(100, 1100, 100)))
    pairs, kept = _compare(bench, "sweep1000", ["/bin/echo", "accuracy=0.5"], grid)
    return [_row("1,000 x echo, durable", pairs, kept, 1.50)]
