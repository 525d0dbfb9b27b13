"""Makes the backbones that the tests use, and what onnxruntime answers to one picture.

Needs torch, torchvision, onnx and onnxruntime: python tests/data/backbone/make.py
"""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy
import onnxruntime
import torch

HERE = Path(__file__).resolve().parent
EXPORT = HERE.parents[2] / "scripts" / "export-backbone"
SIDE = 32
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def picture():
    """The picture of the tests, [height][width][3]."""
    y, x, c = numpy.mgrid[0:SIDE, 0:SIDE, 0:3]
    return ((x * 7 + y * 13 + c * 41) % 256).astype(numpy.uint8)


def main():
    # As scripts/export-backbone makes them: the older exporter, features, metadata.
    export = [sys.executable, EXPORT, "--model", "tiny", "--size", str(SIDE)]
    subprocess.run([*export, "--features", "--exporter", "torchscript", "--opset", "13", "--output", HERE / "tiny.onnx"], check=True)
    # As users make them who know nothing of us: the newer exporter with its defaults, which are a fixed batch, the
    # classifier, weights in a file of their own, and no metadata.
    script = runpy.run_path(str(EXPORT), run_name="export")
    model = script["tiny"](torch)
    script["wake"](torch, model, SIDE)
    torch.onnx.export(model.eval(), (torch.zeros(1, 3, SIDE, SIDE),), HERE / "plain.onnx", dynamo=True, verbose=False)
    # A batch of four that cannot be changed.
    torch.onnx.export(model, (torch.zeros(4, 3, SIDE, SIDE),), HERE / "four.onnx", dynamo=True, verbose=False, external_data=False)
    script["annotate"](str(HERE / "four.onnx"), {})
    tensor = ((picture() / 255 - MEAN) / STD).astype(numpy.float32).transpose(2, 0, 1)[None]
    answers = {}
    for name, batch in (("tiny.onnx", 1), ("plain.onnx", 1), ("four.onnx", 4)):
        session = onnxruntime.InferenceSession(HERE / name, providers=["CPUExecutionProvider"])
        answer = session.run(None, {session.get_inputs()[0].name: tensor.repeat(batch, 0)})[0][0]
        answers[name] = [float(f"{value:.6g}") for value in answer]
    (HERE / "answers.json").write_text(json.dumps(answers, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
