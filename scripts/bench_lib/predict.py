"""Predictions over HTTP by the built-in trainer's warm child, beside a process a question."""

import os
import random
import struct
import subprocess
import time
import zlib

from .proc import MIB, children, resident
from .rates import find_wrk, load
from .server import environment, serving
from .table import Row, say, skipped, spread

MODEL = "shapes"
SIDE = 64
CONNECTIONS = 8
IMAGES = 64
CLASSES = 4
# The largest network of the default sweep.
LAYERS = 4
ALONE = 20

SETTINGS = f"""\
[sweep]
learning_rates = [0.02]
layers = [{LAYERS}]
steps = [100]
"""


def _png(seed):
    """Stripes in a direction that says the class, in two colours, under noise: 64x64 RGB."""
    rng = random.Random(seed)
    kind = seed % CLASSES
    ink, paper = ([rng.randrange(40, 216) for _ in range(3)] for _ in range(2))
    rows = bytearray()
    for y in range(SIDE):
        rows.append(0)
        for x in range(SIDE):
            along = (x, y, x + y, x - y)[kind]
            colour = ink if along // 6 % 2 else paper
            rows += bytes(value + rng.randrange(-40, 40) for value in colour)

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(rows))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def _trained(client):
    """A model with one result."""
    client.get("/createModel", model_name=MODEL)
    for number in range(12 * CLASSES):
        client.upload(MODEL, f"class{number % CLASSES}/{number}.png", _png(1000 + number))
    client.get("/runDefaultExperiments", model_name=MODEL)
    client.wait_until_idle(every=0.05)
    runs = client.get("/api/v1/runs", model=MODEL)["data"]
    if [run["state"] for run in runs] != ["succeeded"]:
        raise RuntimeError(f"the model was not trained: {runs}")
    return runs[0]["id"]


def _alone(bench, folder, image):
    """Questions a second where each is a process."""
    command = [bench.binary, "test", "--i", "0.02", "--j", str(LAYERS), "--k", "100", "--image", image]
    began = time.perf_counter()
    for _ in range(ALONE):
        subprocess.run(
            command, check=True, stdout=subprocess.DEVNULL, env=environment() | {"TRAINYARD_MODEL_DIR": folder}
        )
    return ALONE / (time.perf_counter() - began)


def predict(bench):
    """POST /test with 64x64 PNG over eight connections."""
    wrk = find_wrk()
    if not wrk:
        return [skipped("POST /test", "wrk is not installed and could not be: apt-get install wrk")]
    images = bench.folder("images")
    for number in range(IMAGES):
        with open(os.path.join(images, f"{number}.png"), "wb") as file:
            file.write(_png(number))
    script = [os.path.join(os.path.dirname(__file__), "predict.lua"), images, str(IMAGES), MODEL]
    loads, alone = [], []
    with serving(bench.binary, bench.folder("predict"), SETTINGS) as server:
        run = _trained(server.client)
        url = f"http://{server.address}/test"
        model = os.path.join(server.folder, "runs", run)
        load(wrk, url, seconds=1, connections=CONNECTIONS, script=script)
        for _ in range(bench.runs):
            loads.append(load(wrk, url, connections=CONNECTIONS, script=script))
            alone.append(_alone(bench, model, os.path.join(images, "0.png")))
            say(f"predict: {loads[-1][0]:.0f} a second, 99th percentile {loads[-1][1]:.1f} ms; alone {alone[-1]:.0f}")
        kept = [resident(child) / MIB for child in children(server.pid)]
        say(f"predict: {resident(server.pid) / MIB:.1f} MiB resident after the load; children {kept}")
    rates, slowest = sorted(rate for rate, _ in loads), sorted(tail for _, tail in loads)
    middle, tail = rates[len(rates) // 2], slowest[len(slowest) // 2]
    beside = f"a process a question: {spread(alone, '{:.0f}'.format)} /s"
    ratio = middle / sorted(alone)[len(alone) // 2]
    return [
        Row("predict, 64x64 PNG, 4 layers", spread(rates, "{:.0f}".format) + " /s", beside, ratio, ">= 1000 /s", middle >= 1000),
        Row("  its 99th percentile", spread(slowest, "{:.1f}".format) + " ms", "", None, "< 20 ms", tail < 20),
    ]
