"""The built-in trainer against PyTorch with the same networks: a step, and a whole sweep from images to results."""

import json
import os
import subprocess
import time

from .backbone import python_with
from .proc import median
from .server import environment, serving
from .sweeps import CONCURRENCY, LAYERS, RATES, STEPS, settings, sweep_seconds, write_lines
from .table import Row, say, skipped, spread

TWIN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "twin.py")
SIDE, PLANES = 64, 3
SECONDS = 3.0
# Least ratios: instruction set, layers, ratio.
STEP_TARGETS = [("avx512", 1, 3.0), ("avx512", 2, 3.0), ("avx512", 4, 2.5), ("avx2", 1, 2.0), ("avx2", 2, 2.0), ("avx2", 4, 2.0)]
PEAK_SHARE = 0.75
DIGITS_RATIO, PICTURES_RATIO, MLP_RATIO = 12.0, 5.0, 4.0
# What PyTorch and its libraries are held to, where not to what the processor has.
HELD = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
NO_TORCH = "no Python with torch, numpy and pillow; TRAINYARD_TORCH_PYTHON names one"


def _ours(binary, isa, layers):
    words = ["measure", "--side", SIDE, "--channels", PLANES, "--layers", layers, "--seconds", SECONDS, "--plain"]
    known = {**environment(), "TRAINYARD_ISA": isa}
    asked = subprocess.run([binary, *map(str, words)], check=False, capture_output=True, text=True, env=known)
    return json.loads(asked.stdout) if asked.returncode == 0 else None


def _twin(python, isa, *words):
    known = {**environment(), **(HELD if isa == "avx2" else {})}
    asked = subprocess.run([python, TWIN, *map(str, words)], check=True, capture_output=True, text=True, env=known)
    return float(asked.stdout)


def step(bench):
    """One step on 32 images of 64 x 64 x 3; the plain network of four layers against this core's sgemm."""
    python = python_with("torch, numpy, PIL")
    if not python:
        return [skipped("a training step", NO_TORCH)]
    rows = []
    for isa, layers, least in STEP_TARGETS:
        if _ours(bench.binary, isa, layers) is None:
            rows.append(skipped(f"step, {layers} layer(s), {isa}", "this processor lacks it"))
            continue
        ours, theirs, peaks = [], [], []
        for _ in range(bench.runs):
            ours.append(_ours(bench.binary, isa, layers))
            theirs.append(_twin(python, isa, "step", SIDE, PLANES, layers, SECONDS))
            if layers == 4:
                peaks.append(_twin(python, isa, "sgemm"))
        times = [one["median_ms"] for one in ours]
        form = "{:.2f} ms".format
        ratio = median(their / our for our, their in zip(times, theirs, strict=True))
        rows.append(
            Row(
                f"step, {layers} layer(s), {isa}",
                spread(times, form),
                f"PyTorch {spread(theirs, form)}",
                ratio,
                f">= {least}",
                ratio >= least,
            )
        )
        if layers == 4:
            form = "{:.0f} GFLOP/s".format
            speeds = [one["gflops"] for one in ours]
            share = median(speed / peak for speed, peak in zip(speeds, peaks, strict=True))
            rows.append(
                Row(
                    f"  of it, {isa}",
                    spread(speeds, form),
                    f"sgemm {spread(peaks, form)}",
                    share,
                    f">= {PEAK_SHARE}",
                    share >= PEAK_SHARE,
                )
            )
    return rows


def _digits(bench, python):
    """The demo's images as a folder; they are in the sources."""
    folder = bench.folder("digits")
    demo = os.path.join(bench.checkout, "src", "cli", "demo")
    words = [os.path.join(demo, "digits.png"), os.path.join(demo, "digits.txt"), folder]
    subprocess.run([python, TWIN, "unpack", *words], check=True, env=environment())
    return folder


def _lines(bench, images):
    """The flags of the 27, a line each."""
    path = os.path.join(bench.root, "twin-lines")
    write_lines(path, images, (RATES, LAYERS, STEPS))
    return path


def _ours27(bench, images, turn):
    """Seconds of the sweep and its best accuracy."""
    with serving(bench.binary, bench.folder(f"twin-{turn}"), settings(["trainyard", "train"])) as server:
        server.client.get("/createModel", model_name="m")
        for label in sorted(os.listdir(images)):
            for name in sorted(os.listdir(os.path.join(images, label))):
                with open(os.path.join(images, label, name), "rb") as file:
                    server.client.upload("m", f"{label}/{name}", file.read())
        seconds = sweep_seconds(server.client, "m", 1.0)
        return seconds, max(float(accuracy) for accuracy in server.client.accuracies("m"))


def _theirs27(python, word, lines):
    """Seconds of the same sweep by a script, two at a time, and its best accuracy."""
    command = ["xargs", f"-P{CONCURRENCY}", "-L1", "-a", lines, python, TWIN, word]
    began = time.perf_counter()
    asked = subprocess.run(command, check=True, capture_output=True, text=True, env=environment())
    seconds = time.perf_counter() - began
    return seconds, max(float(line.split("=")[1]) for line in asked.stdout.splitlines() if line.startswith("accuracy="))


def twin27(bench):
    """The 27 through the server, against a PyTorch train.py of the same networks and scikit-learn's perceptron."""
    python = python_with("torch, numpy, PIL")
    if not python:
        return [skipped("27 runs", NO_TORCH)]
    images = bench.images or _digits(bench, python)
    lines = _lines(bench, images)
    peers = {"PyTorch": ("train", PICTURES_RATIO if bench.images else DIGITS_RATIO)}
    if not bench.images and python_with("sklearn, torch, numpy, PIL"):
        peers["scikit-learn"] = ("mlp", MLP_RATIO)
    ours, theirs = [], {peer: [] for peer in peers}
    for turn in range(bench.runs):
        ours.append(_ours27(bench, images, turn))
        for peer, (word, _) in peers.items():
            theirs[peer].append(_theirs27(python, word, lines))
        say(f"twin27: {ours[-1]}, " + ", ".join(f"{peer} {them[-1]}" for peer, them in theirs.items()))
    name = os.path.basename(os.path.normpath(images))
    return [row for peer in peers for row in _compared27(name, ours, peer, theirs[peer], peers[peer][1])]


def _compared27(name, ours, peer, theirs, least):
    """Times and accuracies of both."""
    form, rate = "{:.1f} s".format, "{:.4f}".format
    seconds, best = zip(*ours, strict=True)
    their_seconds, their_best = zip(*theirs, strict=True)
    ratio = median(their / our for our, their in zip(seconds, their_seconds, strict=True))
    return [
        Row(f"27 runs, {name}", spread(seconds, form), f"{peer} {spread(their_seconds, form)}", ratio, f">= {least}", ratio >= least),
        Row("  best accuracy", spread(best, rate), f"{peer} {spread(their_best, rate)}", None, "", None),
    ]
