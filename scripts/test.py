#!/usr/bin/env python3
"""Predicts one image with the model that train.py left in the folder TRAINYARD_MODEL_DIR.

    python3 test.py --i 0.01 --j 2 --k 2000 --image /path/to/image.png

Prints one JSON object: the label, how sure the model is of it (as "accuracy"), and the probability of every label.
The first three flags are those of the run that trained the model; the model file holds all that is needed already.
"""

import argparse
import json
import os
import sys
from pathlib import Path

# Reading and preparing an image must be exactly what it was in training, so it is written there once.
from train import MODEL_FILE, Problem, open_image, pixels, prepare

import joblib
import numpy as np


def load(folder):
    path = folder / MODEL_FILE
    if not path.is_file():
        raise Problem(f"there is no {MODEL_FILE} in {folder}: train first, with the same TRAINYARD_MODEL_DIR")
    try:
        return joblib.load(path)
    except Exception as error:  # whatever a damaged file or another scikit-learn version brings up
        raise Problem(f"cannot load {path}: {error}; train again with the versions installed now") from error


def main():
    parser = argparse.ArgumentParser(description="Predict the class of one image.")
    for flag in ("--i", "--j", "--k"):
        parser.add_argument(flag, help="as in training; the model file has it already")
    parser.add_argument("--image", type=Path, required=True)
    options = parser.parse_args()

    saved = load(Path(os.environ.get("TRAINYARD_MODEL_DIR", ".")))
    array = pixels(open_image(options.image), saved["size"])
    row = prepare(array[np.newaxis], saved["colour"], saved["mean"], saved["deviation"])
    probabilities = saved["model"].predict_proba(row)[0]
    best = int(probabilities.argmax())
    print(
        json.dumps(
            {
                "accuracy": round(float(probabilities[best]), 6),
                "label": saved["labels"][best],
                "probabilities": {label: round(float(p), 6) for label, p in zip(saved["labels"], probabilities)},
            },
            ensure_ascii=False,
        )
    )


if __name__ == "__main__":
    try:
        main()
    except Problem as problem:
        sys.exit(f"test.py: {problem}")
