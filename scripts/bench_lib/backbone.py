"""Transfer learning: a sweep of heads on the features of a MobileNet, first without and then with kept features."""

import os
import struct
import subprocess
import zlib

from .proc import MIB, median
from .server import PYTHON, environment, serving
from .sweeps import CONCURRENCY, sweep_seconds
from .table import Row, say, skipped, spread

IMAGES = 1000
SIDE = 96
CLASSES = 5
MODEL = "m"
RUNS = 27
FIRST_SECONDS = 60
SECOND_SECONDS = 10
# Polling is cheap against what is measured: it may begin at once.
LEAST_SECONDS = 1.0


def _picture(label, number):
    """A PNG in colour: stripes whose width is the class's, with a hue and a shift of their own."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    width = 3 + 2 * label
    rows = []
    for y in range(SIDE):
        row = bytearray(b"\0")
        for x in range(SIDE):
            lit = 120 if (x + number + y * (number % 3)) // width % 2 else 20
            row += bytes((lit + number * 7 % 90, lit + number * 13 % 110, lit + (number + y) % 70))
        rows.append(bytes(row))
    head = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"".join(rows), 1)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def python_with(modules):
    """An interpreter that has these modules; None where there is none."""
    for python in (os.environ.get("TRAINYARD_TORCH_PYTHON"), PYTHON):
        if not python:
            continue
        asked = subprocess.run([python, "-c", f"import {modules}"], check=False, capture_output=True)
        if asked.returncode == 0:
            return python
    return None


def _export(bench, python):
    """MobileNetV3 small for pictures of 96 pixels, with random weights: they take as long as any."""
    file = os.path.join(bench.folder("backbone"), "mobilenet_v3_small.onnx")
    script = os.path.join(bench.checkout, "scripts", "export-backbone")
    words = ["--model", "mobilenet_v3_small", "--weights", "none", "--features", "--size", str(SIDE), "--output", file]
    subprocess.run([python, "-W", "ignore", script, *words], check=True, stdout=subprocess.DEVNULL, env=environment())
    return file


def backbone(bench):
    """1,000 images through a MobileNet, 27 heads; then 27 heads again."""
    binary = os.path.join(bench.checkout, "target", "trainyard-backbone")
    if not os.path.exists(binary):
        return [skipped("27 heads on a backbone", "no target/trainyard-backbone; see scripts/build-release")]
    python = python_with("torch, torchvision, onnx, onnxscript")
    if not python:
        why = "no Python with torch, torchvision, onnx and onnxscript; TRAINYARD_TORCH_PYTHON names one"
        return [skipped("27 heads on a backbone", why)]
    text = f'[jobs]\nconcurrency = {CONCURRENCY}\n[trainer]\nbackbone = "{_export(bench, python)}"\n'
    images = [(label, number, _picture(label, number)) for number in range(IMAGES // CLASSES) for label in range(CLASSES)]
    first, second, best = [], [], []
    for turn in range(bench.runs):
        with serving(binary, bench.folder(f"backbone-{turn}"), text) as server:
            server.client.get("/createModel", model_name=MODEL)
            for label, number, picture in images:
                server.client.upload(MODEL, f"class{label}/{number}.png", picture)
            for seconds in (first, second):
                seconds.append(sweep_seconds(server.client, MODEL, LEAST_SECONDS))
                results = server.client.accuracies(MODEL)
                if len(results) != RUNS:
                    raise RuntimeError(f"{len(results)} of {RUNS} heads have a result")
            best.append(max(float(accuracy) for accuracy in results))
        say(f"backbone: {first[-1]:.1f} s, then {second[-1]:.1f} s, best accuracy {best[-1]:.3f}")
    form = "{:.1f}".format
    size = os.path.getsize(binary)
    return [
        Row(
            f"{IMAGES:,} images, MobileNet, 27 heads",
            f"{spread(first, form)} s",
            f"best accuracy {median(best):.3f}",
            None,
            f"<= {FIRST_SECONDS} s",
            median(first) <= FIRST_SECONDS,
        ),
        Row(
            "  again, features kept",
            f"{spread(second, form)} s",
            "",
            median(second) / median(first),
            f"< {SECOND_SECONDS} s",
            median(second) < SECOND_SECONDS,
        ),
        Row("  the file with backbones", f"{size / MIB:.1f} MiB", "", None, "<= 45 MiB", size <= 45 * MIB),
    ]
