#!/usr/bin/env python3
"""An example of a training script that Trainyard can run, and one to start your own from.

    python3 train.py --i 0.01 --j 2 --k 2000 --images /path/to/dataset/

--i is the learning rate, --j the number of hidden layers, --k the number of steps (mini-batches). The dataset is a
folder for each class; images that stand outside of those folders carry no label and are left out.

The script prints a line of progress now and then, and as its last line one JSON object with the accuracy on images
that it has not trained on. The trained model goes into the folder TRAINYARD_MODEL_DIR, where test.py finds it.
Anything that goes wrong ends in a message on standard error and a non-zero exit status: Trainyard then shows the run
as failed, with that message, in place of an accuracy.
"""

import argparse
import json
import math
import os
import statistics
import sys
from pathlib import Path

# Several runs share the machine, so one thread each unless the caller says otherwise. Must be set before numpy loads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import joblib
import numpy as np
from PIL import Image, ImageOps
from sklearn.metrics import log_loss
from sklearn.neural_network import MLPClassifier

BATCH = 32
LAYER_WIDTH = 128
STEPS_BETWEEN_REPORTS = 100
HELD_OUT = 0.2  # the share of each class that is kept for measuring
LONGEST_SIDE = 32  # a plain network on pixels gains nothing from larger images
MODEL_FILE = "model.joblib"


class Problem(Exception):
    """Something that the person who started the run can put right; the message says how."""


def open_image(path):
    """The image as 8-bit RGB, upright, with transparent places white, and no larger than is of use here."""
    try:
        with Image.open(path) as image:
            image.load()
            image = ImageOps.exif_transpose(image)
            if image.mode.startswith("I;16"):  # 16-bit grey: Pillow's own conversion would clip it to white
                image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
            rgba = image.convert("RGBA")
    except Exception as error:  # Pillow raises many kinds, and each of them means the same here
        raise Problem(f"cannot read image {path}: {error}") from error
    # A thousand photographs at full size would not fit into memory.
    rgba.thumbnail((2 * LONGEST_SIDE, 2 * LONGEST_SIDE), Image.Resampling.BOX)
    white = Image.new("RGBA", rgba.size, "white")
    return Image.alpha_composite(white, rgba).convert("RGB")


def pixels(image, size):
    """An array of height x width x 3 bytes."""
    return np.asarray(image.resize(size, Image.Resampling.BOX), dtype=np.uint8)


def prepare(arrays, colour, mean, deviation):
    """Rows of numbers around zero, which is what the network is fed with."""
    if not colour:
        arrays = arrays[..., :1]
    return (arrays.reshape(len(arrays), -1).astype(np.float32) - mean) / deviation


def find_images(folder):
    """(label, path) of every labelled image in a fixed order; the same stored image is listed once for a label."""
    if not folder.is_dir():
        raise Problem(f"there is no dataset folder {folder}")
    found, seen, unlabelled = [], set(), 0
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        if not entry.is_dir():
            unlabelled += 1
            continue
        for path in sorted(entry.iterdir()):
            if path.name.startswith("."):
                continue
            # Equal images are links to one stored file. Were both kept, one could be trained on and the other
            # measured with.
            try:
                state = path.stat()
            except OSError as error:
                raise Problem(f"cannot read image {path}: {error.strerror}") from error
            key = (entry.name, state.st_dev, state.st_ino)
            if key not in seen:
                seen.add(key)
                found.append((entry.name, path))
    labels = sorted({label for label, _ in found})
    if not labels:
        raise Problem(
            f"no labelled images in {folder} ({unlabelled} without a label): "
            "upload images with a label, or from a folder for each class"
        )
    if len(labels) == 1:
        raise Problem(f"only one class, '{labels[0]}', in {folder}: upload images of at least one more")
    if unlabelled:
        print(f"left out, because they carry no label: {unlabelled} images", flush=True)
    return found, labels


def common_size(images):
    """The middle one of all widths and heights, made smaller where that is needed."""
    width = statistics.median_high(image.width for image in images)
    height = statistics.median_high(image.height for image in images)
    scale = min(1.0, LONGEST_SIDE / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def load_dataset(folder):
    found, labels = find_images(folder)
    images = [open_image(path) for _, path in found]
    size = common_size(images)
    x = np.stack([pixels(image, size) for image in images])
    y = np.array([labels.index(label) for label, _ in found])
    return x, y, labels, size


def split(y, labels, rng):
    """Indices to train on and indices to measure with, the latter a fixed share of every class."""
    train, held_out = [], []
    for number, label in enumerate(labels):
        members = rng.permutation(np.flatnonzero(y == number))
        count = max(1, round(len(members) * HELD_OUT)) if len(members) > 1 else 0
        if count == 0:
            print(f"class '{label}' has a single image: it is trained on, never measured", flush=True)
        held_out.extend(members[:count])
        train.extend(members[count:])
    if not held_out:
        raise Problem("every class has a single image, so none is left to measure with: upload more of each class")
    return np.array(train), np.array(held_out)


def train(x, y, x_held_out, y_held_out, classes, learning_rate, layers, steps, seed):
    """A trained network with its last loss, loss on the held-out images and accuracy on them."""
    model = MLPClassifier(
        hidden_layer_sizes=(LAYER_WIDTH,) * layers,
        solver="sgd",
        learning_rate_init=learning_rate,
        momentum=0.9,
        batch_size=BATCH,
        random_state=seed,
    )
    rng = np.random.default_rng(seed)
    done = 0
    while done < steps:
        count = min(STEPS_BETWEEN_REPORTS, steps - done)
        # partial_fit goes once through what it is given, a batch at a time: this is exactly `count` steps.
        chosen = rng.integers(0, len(y), count * BATCH)
        try:
            with np.errstate(all="ignore"):
                model.partial_fit(x[chosen], y[chosen], classes=classes)
                probabilities = model.predict_proba(x_held_out)
            finite = math.isfinite(model.loss_) and np.isfinite(probabilities).all()
        except ValueError as error:
            if "non-finite" not in str(error):
                raise
            finite = False
        if not finite:
            raise Problem(
                f"training diverged between steps {done} and {done + count}: "
                f"the learning rate {learning_rate:g} is too high for these images with {layers} layer(s), try a lower one"
            )
        done += count
        accuracy = float((probabilities.argmax(axis=1) == y_held_out).mean())
        result = {
            "loss": round(float(model.loss_), 6),
            "val_loss": round(float(log_loss(y_held_out, probabilities, labels=classes)), 6),
            "accuracy": round(accuracy, 6),
        }
        print(json.dumps({"step": done, **result}), flush=True)
    return model, result


def save(contents, folder):
    """All of the file or nothing of it: a run that is stopped half-way leaves no broken model behind."""
    unfinished = folder / (MODEL_FILE + ".unfinished")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        joblib.dump(contents, unfinished)
        os.replace(unfinished, folder / MODEL_FILE)
    except OSError as error:
        raise Problem(f"cannot keep the model in {folder}: {error.strerror}") from error


def above_zero(kind):
    def parse(text):
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value > 0):
            raise argparse.ArgumentTypeError(f"{text!r} is no {'whole ' if kind is int else ''}number above zero")
        return value

    return parse


def arguments():
    parser = argparse.ArgumentParser(description="Train an image classifier.")
    parser.add_argument("--i", type=above_zero(float), required=True, help="learning rate")
    parser.add_argument("--j", type=above_zero(int), required=True, help="number of hidden layers")
    parser.add_argument("--k", type=above_zero(int), required=True, help="number of steps")
    parser.add_argument("--images", type=Path, required=True, help="folder with a folder for each class")
    return parser.parse_args()


def main():
    options = arguments()
    try:
        seed = int(os.environ.get("TRAINYARD_SEED") or 0) % 2**32
    except ValueError:
        raise Problem("TRAINYARD_SEED must be a whole number") from None

    x, y, labels, size = load_dataset(options.images)
    colour = bool((x != x[..., :1]).any())
    to_train, held_out = split(y, labels, np.random.default_rng(seed))
    print(
        f"{len(labels)} classes, {len(to_train)} images to train on, {len(held_out)} to measure with, "
        f"{size[0]}x{size[1]} {'colour' if colour else 'grey'}",
        flush=True,
    )
    # Taken from the training images alone; what the held-out ones look like must not leak in.
    mean = float(x[to_train].mean())
    deviation = max(float(x[to_train].std()), 1.0)
    ready = prepare(x, colour, mean, deviation)
    model, result = train(
        ready[to_train],
        y[to_train],
        ready[held_out],
        y[held_out],
        np.arange(len(labels)),
        options.i,
        options.j,
        options.k,
        seed,
    )
    save(
        {"model": model, "labels": labels, "size": size, "colour": colour, "mean": mean, "deviation": deviation},
        Path(os.environ.get("TRAINYARD_MODEL_DIR", ".")),
    )
    print(json.dumps({"i": options.i, "j": options.j, "k": options.k, **result}), flush=True)


if __name__ == "__main__":
    try:
        main()
    except Problem as problem:
        sys.exit(f"train.py: {problem}")
