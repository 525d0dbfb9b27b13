"""scripts/train.py and scripts/test.py, started the way the server starts them.

Run with a Python that has scripts/requirements.txt installed: python -m unittest discover -s tests/scripts
"""

import ast
import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from PIL import Image

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


def bars(shift, upright, colour=None):
    """A 12x12 picture of three bars, lying or upright."""
    image = Image.new("RGB" if colour else "L", (12, 12))
    for x in range(12):
        for y in range(12):
            lit = ((x if upright else y) + shift) % 4 < 2
            image.putpixel((x, y), (colour or 160 + 8 * shift) if lit else (0, 0, 0) if colour else x + shift)
    return image


class Examples(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)
        self.images = self.folder / "data set"
        self.kept = self.folder / "run"
        self.images.mkdir()
        self.kept.mkdir()

    def store(self, label, name, image):
        """As the server lays a dataset out: the image stands elsewhere, the dataset holds a link to it."""
        stored = self.folder / "stored"
        stored.mkdir(exist_ok=True)
        blob = stored / f"{len(list(stored.iterdir())):04}"
        image.save(blob, format="PNG")
        target = self.images / label if label else self.images
        target.mkdir(exist_ok=True)
        (target / name).symlink_to(blob)
        return blob

    def two_classes(self, colour=None):
        for number in range(10):
            self.store("lying down", f"{number}.png", bars(number, False, colour))
            self.store("upright é", f"{number}.png", bars(number, True, colour))

    def start(self, script, *flags, seed="7"):
        environment = {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
            "TRAINYARD_SEED": seed,
            "TRAINYARD_MODEL_DIR": str(self.kept),
        }
        return subprocess.run(
            [sys.executable, str(SCRIPTS / script), *map(str, flags)],
            env=environment,
            cwd=self.kept,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def train(self, i=0.01, j=1, k=250, **more):
        return self.start("train.py", "--i", i, "--j", j, "--k", k, "--images", f"{self.images}/", **more)

    def predict(self, image):
        return self.start("test.py", "--i", 0.01, "--j", 1, "--k", 250, "--image", image)

    def refused(self, done, *words):
        self.assertNotEqual(done.returncode, 0, done.stdout)
        self.assertNotIn("Traceback", done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)

    def test_trains_reports_and_predicts(self):
        self.two_classes()
        done = self.train()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stderr, "")
        lines = done.stdout.splitlines()
        result = ast.literal_eval(lines[-1])
        self.assertEqual(result, json.loads(lines[-1]))
        self.assertEqual((result["i"], result["j"], result["k"]), (0.01, 1, 250))
        self.assertGreater(result["accuracy"], 0.7)
        self.assertLessEqual(result["accuracy"], 1.0)
        steps = [json.loads(line) for line in lines if '"step"' in line]
        self.assertEqual([point["step"] for point in steps], [100, 200, 250])
        for point in steps:
            self.assertLessEqual({"loss", "val_loss", "accuracy"}, point.keys())
        self.assertEqual([path.name for path in self.kept.iterdir()], ["model.joblib"])

        image = self.folder / "unseen.png"
        bars(2, True).save(image)
        answer = self.predict(image)
        self.assertEqual(answer.returncode, 0, answer.stderr)
        said = json.loads(answer.stdout.splitlines()[-1])
        self.assertEqual(said["label"], "upright é")
        self.assertEqual(set(said["probabilities"]), {"lying down", "upright é"})
        self.assertEqual(said["accuracy"], said["probabilities"]["upright é"])
        self.assertAlmostEqual(sum(said["probabilities"].values()), 1.0, places=4)

    def test_same_seed_same_result_and_a_longer_run_passes_through_the_shorter_one(self):
        self.two_classes(colour=(200, 40, 10))
        first, again, longer = self.train(k=200), self.train(k=200), self.train(k=300)
        self.assertIn("12x12 colour", first.stdout)
        self.assertEqual(first.stdout, again.stdout)
        self.assertEqual(first.stdout.splitlines()[:-1], longer.stdout.splitlines()[:-2])
        self.assertNotEqual(first.stdout, self.train(k=200, seed="8").stdout)

    def test_divergence_is_a_failure_that_names_the_learning_rate(self):
        self.two_classes()
        done = self.train(i=1e6, j=4, k=400)
        self.refused(done, "diverged", "learning rate 1e+06")
        self.assertNotIn('"k"', done.stdout)
        self.assertEqual(list(self.kept.iterdir()), [])

    def test_images_without_a_label_are_left_out_and_alone_are_refused(self):
        self.store("", "loose.png", bars(0, True))
        self.refused(self.train(), "no labelled images", "1 without a label")
        self.two_classes()
        done = self.train(k=1)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("left out, because they carry no label: 1", done.stdout)

    def test_one_class_is_refused(self):
        self.store("cat", "1.png", bars(0, True))
        self.refused(self.train(), "only one class, 'cat'")

    def test_single_images_leave_nothing_to_measure(self):
        self.store("cat", "1.png", bars(0, True))
        self.store("dog", "1.png", bars(0, False))
        self.refused(self.train(), "single image", "upload more")

    def test_the_same_stored_image_counts_once(self):
        self.two_classes()
        stored = self.store("cat", "1.png", bars(0, True))
        (self.images / "cat" / "2.png").symlink_to(stored)
        done = self.train(k=1)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("class 'cat' has a single image", done.stdout)

    def test_an_unreadable_image_is_named(self):
        self.two_classes()
        (self.images / "upright é" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
        self.refused(self.train(), "cannot read image", "broken.png")
        (self.images / "upright é" / "broken.png").unlink()
        (self.images / "upright é" / "gone.png").symlink_to(self.folder / "nowhere")
        self.refused(self.train(), "gone.png", "No such file")

    def test_other_sizes_and_kinds_of_image_are_taken(self):
        self.two_classes()
        self.store("lying down", "wide.png", Image.new("RGBA", (90, 20), (0, 0, 0, 0)))
        self.store("lying down", "deep.png", Image.new("I;16", (12, 12), 30000))
        self.store("upright é", "flags.png", Image.new("P", (5, 50)))
        done = self.train(k=50)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("12x12 grey", done.stdout)

    def test_flags_are_checked(self):
        self.refused(self.train(i=0), "--i", "above zero")
        self.refused(self.train(i="nan"), "--i", "above zero")
        self.refused(self.train(j="1.5"), "--j", "whole number")
        self.refused(self.train(k=-1), "--k", "whole number")
        self.refused(self.train(), "no labelled images")
        self.refused(self.train(seed="seven"), "TRAINYARD_SEED")

    def test_predicting_without_a_model_or_with_a_damaged_one_says_what_to_do(self):
        image = self.folder / "unseen.png"
        bars(2, True).save(image)
        self.refused(self.predict(image), "no model.joblib", "train first")
        (self.kept / "model.joblib").write_bytes(b"damaged")
        self.refused(self.predict(image), "cannot load", "train again")

    def test_predicting_something_that_is_no_image_names_it(self):
        self.two_classes()
        self.assertEqual(self.train(k=1).returncode, 0)
        text = self.folder / "letter.txt"
        text.write_text("dear reader")
        self.refused(self.predict(text), "cannot read image", "letter.txt")


if __name__ == "__main__":
    unittest.main()
