"""The built-in trainer's networks in PyTorch: a train.py of the usual kind, and the time of one step. One thread.

twin.py step SIDE CHANNELS LAYERS SECONDS     median milliseconds of a step in both memory layouts
twin.py sgemm                                 GFLOP/s of the best of many 1024 x 1024 matrix products
twin.py unpack SHEET LABELS DIR               the demo's digits, a folder a class
twin.py train --i LR --j LAYERS --k STEPS --images DIR
twin.py mlp   --i LR --j LAYERS --k STEPS --images DIR     scikit-learn's perceptron
"""

import argparse
import os
import statistics
import sys
import time

CHANNELS = [16, 32, 32, 64]
BATCH = 32


def network(side, planes, layers, classes):
    """As src/trainer/classify/architecture.rs has it."""
    from torch import nn

    parts = []
    for layer in range(layers):
        width = CHANNELS[min(layer, 3)]
        parts += [nn.Conv2d(planes, width, 3, padding=1), nn.ReLU()]
        planes = width
        if side >= 4:
            parts.append(nn.MaxPool2d(2))
            side //= 2
    return nn.Sequential(*parts, nn.Flatten(), nn.Linear(planes * side * side, classes))


def step(side, planes, layers, seconds):
    """Forward, backward, update on a batch that is there already."""
    import torch
    from torch import nn

    torch.set_num_threads(1)
    medians = []
    for layout in (torch.contiguous_format, torch.channels_last):
        net = network(side, planes, layers, 10).to(memory_format=layout)
        images = torch.rand(BATCH, planes, side, side).to(memory_format=layout)
        targets = torch.randint(0, 10, (BATCH,))
        optimiser = torch.optim.SGD(net.parameters(), lr=0.01)
        times, begin = [], time.perf_counter()
        while time.perf_counter() - begin < seconds / 2 or len(times) < 12:
            at = time.perf_counter()
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(net(images), targets)
            loss.backward()
            optimiser.step()
            loss.item()
            times.append(time.perf_counter() - at)
        medians.append(1e3 * statistics.median(times[5:]))
    print(min(medians))


def sgemm():
    """What this core can do."""
    import torch

    torch.set_num_threads(1)
    size = 1024
    left, right = torch.rand(size, size), torch.rand(size, size)
    best = min(_timed(lambda: left @ right) for _ in range(40))
    print(2 * size**3 / best / 1e9)


def _timed(work):
    at = time.perf_counter()
    work()
    return time.perf_counter() - at


def unpack(sheet, labels, folder):
    """Tiles of 8 x 8, row by row, and what each shows."""
    from PIL import Image

    side = 8
    with Image.open(sheet) as tiles, open(labels, encoding="ascii") as file:
        across = tiles.width // side
        for number, label in enumerate(character for character in file.read() if character.isdigit()):
            x, y = number % across * side, number // across * side
            os.makedirs(os.path.join(folder, label), exist_ok=True)
            tiles.crop((x, y, x + side, y + side)).save(os.path.join(folder, label, f"{number:04}.png"))


def flags_of(arguments):
    """What a train.py is called with."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--i", type=float)
    parser.add_argument("--j", type=int)
    parser.add_argument("--k", type=int)
    parser.add_argument("--images")
    return parser.parse_args(arguments)


def load(folder):
    """Images in 0..1 as N, C, H, W; their classes; which are held out (a fifth); which are learned from."""
    import numpy
    from PIL import Image

    pictures, targets = [], []
    for number, label in enumerate(sorted(os.listdir(folder))):
        for name in sorted(os.listdir(os.path.join(folder, label))):
            pictures.append(numpy.asarray(Image.open(os.path.join(folder, label, name))))
            targets.append(number)
    pictures = numpy.stack(pictures)
    pictures = pictures[:, None] if pictures.ndim == 3 else pictures.transpose(0, 3, 1, 2)
    order = numpy.random.default_rng(0).permutation(len(targets))
    fifth = len(order) // 5
    return pictures.astype(numpy.float32) / 255, numpy.array(targets), order[:fifth], order[fifth:]


def train(arguments):
    """What people write: read the folder, hold out a fifth, train, print the accuracy."""
    import torch
    from torch import nn

    torch.set_num_threads(1)
    flags = flags_of(arguments)
    torch.manual_seed(0)
    pictures, targets, held, learned = load(flags.images)
    images = torch.from_numpy(pictures).to(memory_format=torch.channels_last)
    targets, held, learned = (torch.from_numpy(one) for one in (targets, held, learned))
    classes = int(targets.max()) + 1
    net = network(images.shape[2], images.shape[1], flags.j, classes).to(memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(net.parameters(), lr=flags.i, momentum=0.9)
    for _ in range(flags.k):
        batch = learned[torch.randint(0, len(learned), (BATCH,))]
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(images[batch]), targets[batch]).backward()
        optimiser.step()
    with torch.no_grad():
        right = (net(images[held]).argmax(1) == targets[held]).float().mean().item()
    print(f"accuracy={right}")


def train_mlp(arguments):
    """The same with scikit-learn: layers of 128 on the pixels."""
    import numpy
    from sklearn.neural_network import MLPClassifier

    flags = flags_of(arguments)
    pictures, targets, held, learned = load(flags.images)
    pictures = pictures.reshape(len(pictures), -1)
    net = MLPClassifier(
        (128,) * flags.j,
        solver="sgd",
        learning_rate_init=flags.i,
        momentum=0.9,
        nesterovs_momentum=False,
        alpha=0.0,
        batch_size=BATCH,
        random_state=0,
    )
    random = numpy.random.default_rng(0)
    for _ in range(flags.k):
        batch = learned[random.integers(0, len(learned), BATCH)]
        net.partial_fit(pictures[batch], targets[batch], classes=numpy.unique(targets))
    print(f"accuracy={(net.predict(pictures[held]) == targets[held]).mean()}")


if __name__ == "__main__":
    # Before numpy is loaded, which makes its threads then.
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")
    WORD = sys.argv[1]
    if WORD == "step":
        step(int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]))
    elif WORD == "sgemm":
        sgemm()
    elif WORD == "unpack":
        unpack(*sys.argv[2:5])
    elif WORD == "mlp":
        train_mlp(sys.argv[2:])
    else:
        train(sys.argv[2:])
