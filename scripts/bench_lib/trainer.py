"""The built-in trainer against PyTorch with the same networks: a step, and a whole sweep from images to results."""

import json
import os
import subprocess
import time

from .backbone import python_with
from .proc import median
from .server import environment, serving
from .sweeps import CONCURRENCY, LAYERS, RATES, STEPS, settings, sweep_seconds, xargs_seconds
from .table import Row, say, skipped, spread

TWIN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "twin.py")
SIDE, PLANES = 64, 3
SECONDS = 3.0
# Least ratios: instruction set, layers, ratio.
STEP_TARGETS = [("avx512", 1, 3.0), ("avx512", 2, 3.0), ("avx512", 4, 2.5), ("avx2", 1, 2.0), ("avx2", 2, 2.0), ("avx2", 4, 2.0)]
PEAK_SHARE = 0.75
DIGITS_RATIO = 12.0
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


def twin27(bench):
    """The 27 on digits through the server, against a PyTorch train.py of the same networks."""
    python = python_with("torch, numpy, PIL")
    if not python:
        return [skipped("27 runs on digits", NO_TORCH)]
    images = _digits(bench, python)
    lines = os.path.join(bench.root, "twin-lines")
    with open(lines, "w", encoding="utf-8") as file:
        for rate in RATES:
            for layers in LAYERS:
                file.writelines(f"--i {rate} --j {layers} --k {steps} --images {images}\n" for steps in STEPS)
    ours, theirs, best = [], [], []
    for turn in range(bench.runs):
        with serving(bench.binary, bench.folder(f"twin-{turn}"), settings(["trainyard", "train"])) as server:
            server.client.get("/createModel", model_name="m")
            for label in sorted(os.listdir(images)):
                for name in sorted(os.listdir(os.path.join(images, label))):
                    with open(os.path.join(images, label, name), "rb") as file:
                        server.client.upload("m", f"{label}/{name}", file.read())
            ours.append(sweep_seconds(server.client, "m", 0.5))
            best.append(max(float(accuracy) for accuracy in server.client.accuracies("m")))
        begin = time.perf_counter()
        theirs.append(xargs_seconds([python, TWIN, "train"], lines))
        say(f"twin27: {ours[-1]:.1f} s, PyTorch {theirs[-1]:.1f} s ({time.perf_counter() - begin:.0f} s)")
    form = "{:.1f} s".format
    ratio = median(their / our for our, their in zip(ours, theirs, strict=True))
    peer = f"PyTorch, {CONCURRENCY} at a time {spread(theirs, form)}"
    return [
        Row("27 runs on digits", spread(ours, form), peer, ratio, f">= {DIGITS_RATIO}", ratio >= DIGITS_RATIO),
        Row("  best accuracy", spread(best, "{:.4f}".format), "", None, ">= 0.985", median(best) >= 0.985),
    ]
