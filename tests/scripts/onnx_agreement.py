#!/usr/bin/env python3
"""Compares onnxruntime's answers from model.onnx with those of `trainyard test`.

Trains with 1, 2, 4 and 7 layers on real grey digits and on generated colour pictures, asks both about 1,000 pictures each,
and wants every probability to agree to 1e-4. Also: the file passes ONNX's own checker, and `trainyard test` prints the same
digits when model.onnx is all that is left.

Usage: onnx_agreement.py [path/to/trainyard]; it needs numpy, pillow, onnx and onnxruntime.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from PIL import Image

TOP = Path(__file__).resolve().parents[2]
LAYERS = (1, 2, 4, 7)
IMAGES = 1000
TOLERANCE = 1e-4


def digits(folder):
    """The demo's handwritten digits, the first 1,000."""
    sheet = np.asarray(Image.open(TOP / "src/cli/demo/digits.png"))
    labels = "".join((TOP / "src/cli/demo/digits.txt").read_text().split())
    across = sheet.shape[1] // 8
    for number in range(IMAGES):
        row, column = divmod(number, across)
        tile = sheet[8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
        save(folder / labels[number], number, tile)


def colours(folder):
    """Stripes, checks and rings in any colours under noise, 21 pixels a side: an odd size, pooled with a rest."""
    random = np.random.default_rng(7)
    y, x = np.mgrid[0:21, 0:21]
    for number in range(IMAGES):
        label = ("stripes", "checks", "rings")[number % 3]
        period = random.integers(3, 7)
        shape = {
            "stripes": (x + number) // period % 2,
            "checks": (x // period + y // period) % 2,
            "rings": np.hypot(x - 10, y - 10).astype(int) // period % 2,
        }[label]
        ink, paper = random.integers(0, 256, (2, 3))
        picture = np.where(shape[..., None], ink, paper) + random.normal(0, 20, (21, 21, 3))
        save(folder / label, number, picture.clip(0, 255).astype(np.uint8))


def save(folder, number, pixels):
    """One PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(folder / f"{number:04}.png")


def trainyard(binary, model, *arguments):
    """What it prints."""
    environment = {"PATH": os.environ["PATH"], "TRAINYARD_MODEL_DIR": str(model)}
    return subprocess.run([binary, *arguments], check=True, capture_output=True, text=True, env=environment).stdout


def answers_of(binary, model, *flags):
    """Its answer to each image."""
    return [json.loads(line) for line in trainyard(binary, model, "test", *flags).splitlines()]


def probabilities(path, images):
    """onnxruntime's, for all images at once, and the labels."""
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    given, = session.get_inputs()
    wanted, = session.get_outputs()
    assert (given.name, given.type, given.shape) == ("image", "tensor(uint8)", ["N", *images.shape[1:]]), given
    assert (wanted.name, wanted.type) == ("probabilities", "tensor(float)"), wanted
    together, = session.run(None, {"image": images})
    alone, = session.run(None, {"image": images[:1]})
    assert np.abs(together[:1] - alone).max() < TOLERANCE
    return together, json.loads(metadata["labels"])


def compare(binary, name, folder, layers, scratch):
    """Trains once and compares; returns the largest difference."""
    model = scratch / f"{name}-{layers}"
    model.mkdir()
    flags = ["--i", "0.02", "--j", str(layers), "--k", "150"]
    trainyard(binary, model, "train", *flags, "--images", str(folder))
    answers = answers_of(binary, model, *flags, "--images", str(folder))
    files = [folder / answer["image"] for answer in answers]
    assert len(files) == IMAGES
    images = np.stack([np.asarray(Image.open(file)) for file in files])
    images = images if images.ndim == 4 else images[..., None]
    theirs, labels = probabilities(str(model / "model.onnx"), images)
    ours = np.array([[answer["probabilities"][label] for label in labels] for answer in answers])
    assert len({answer["label"] for answer in answers}) > 1, "every image got the same answer: nothing was compared"
    # The same digits where the ONNX file is all there is.
    (model / "model.safetensors").unlink()
    assert answers_of(binary, model, *flags, "--images", str(folder)) == answers
    return np.abs(ours - theirs).max()


def main():
    """All comparisons; an exit status of 1 where one fails."""
    binary = str(Path(sys.argv[1] if len(sys.argv) > 1 else TOP / "target/release/trainyard").resolve())
    failed = False
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        for name, make in (("digits", digits), ("colours", colours)):
            make(scratch / name)
            for layers in LAYERS:
                difference = compare(binary, name, scratch / name, layers, scratch)
                failed |= not difference <= TOLERANCE
                print(f"{name}, {layers} layers: {IMAGES} images, probabilities differ by at most {difference:.1e}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
