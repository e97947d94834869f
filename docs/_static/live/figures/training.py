"""A small residual network that learns six shapes, light on dark, a few steps at a time."""

import copy
import itertools
from typing import NamedTuple

import numpy as np

from live.shapes import covers
from minires.data.synthetic import SHAPES
from minires.inspection.explain import confusion_matrix
from minires.losses import cross_entropy
from minires.models.blocks import BasicBlock
from minires.models.staged import Staged, make_stages, make_stem
from minires.modes import evaluating, no_grad
from minires.optim import SGD
from minires.schedules import OneCycleLR
from minires.training import train_step

CLASSES = ("disc", "ring", "square", "triangle", "cross", "bar")
SIZE, BATCH, CHANNELS, TEST, STEPS = 16, 32, (8, 16, 32), 120, 240
LAYERS = ("conv1", "layer1.0.conv1", "layer1.0.conv2", "layer2.0.conv1", "layer2.0.conv2")
LAYERS += ("layer3.0.conv1", "layer3.0.conv2", "fc")


class Run(NamedTuple):
    number: int
    model: Staged
    optimizer: SGD
    rng: np.random.Generator
    test: tuple
    schedule: OneCycleLR
    done: list


_run = None  # the one that goes on; none where Python was ended and started again
_numbers = itertools.count(1)
LOST = {"lost": True}


def draw(labels, rng):
    """Images float32 (n, 16, 16, 3) of shapes of any place, size and rotation, with noise."""
    cover = covers(labels, [SHAPES[name] for name in CLASSES], SIZE, (4.5, 6.5), rng)
    images = 2 * cover - 0.5 + 0.2 * rng.standard_normal(cover.shape)
    return np.repeat(images[..., None], 3, axis=-1).astype(np.float32)


def begin(shortcut, lr, seed=0):
    """A new network, and a run of STEPS steps with lr at its highest. shortcut: "A", or "none" for the plain twin.

    -> its number, the names of classes and layers, and some images.
    """
    global _run
    rng = np.random.default_rng(seed)
    stages = make_stages(
        lambda before, after, stride: BasicBlock(before, after, stride, shortcut, rng), CHANNELS[0], CHANNELS, (1, 1, 1)
    )
    model = Staged(make_stem(CHANNELS[0], True, rng), stages, CHANNELS[-1], len(CLASSES), rng)
    labels = np.arange(TEST) % len(CLASSES)
    images = draw(labels, rng)
    optimizer = SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=1e-4)
    _run = Run(next(_numbers), model, optimizer, rng, (images, labels), OneCycleLR(lr, STEPS), [0])
    shown = np.clip((images[: 2 * len(CLASSES), :, :, 0] + 0.5) * 127, 0, 255).astype(np.uint8)
    return {"run": _run.number, "steps": STEPS, "classes": CLASSES, "layers": LAYERS, "images": shown}


def steps(run, count):
    """Takes so many steps, or those that are left. -> their losses, and the root mean square of each layer's gradient
    at the last; LOST where that run is no more.
    """
    if _run is None or _run.number != run:
        return LOST
    _, model, optimizer, rng, _, schedule, done = _run
    losses = []
    for _ in range(min(count, STEPS - done[0])):
        optimizer.lr = schedule(done[0])
        done[0] += 1
        labels = rng.integers(0, len(CLASSES), BATCH)
        losses.append(float(train_step(model, optimizer, draw(labels, rng), labels)[0]))
    parameters = dict(model.named_parameters())
    return {"losses": losses, "gradients": [rms(parameters[f"{name}.weight"].grad) for name in LAYERS]}


def rms(array):
    return float(np.sqrt(np.mean(np.square(array, dtype=np.float64))))


def test(run):
    """-> loss, accuracy and confusion matrix on the test images, which no step has seen, and what loss and accuracy
    would be if batch norm took the statistics of these images; LOST where that run is no more.
    """
    if _run is None or _run.number != run:
        return LOST
    model, (images, labels) = _run.model, _run.test
    with evaluating(model), no_grad():
        found = judged(model(images)[0], labels)
    with no_grad():
        own = judged(copy.deepcopy(model)(images)[0], labels)  # of a copy, whose running statistics may move
    return {**found, "own": {"loss": own["loss"], "accuracy": own["accuracy"]}}


def judged(logits, labels):
    counts = confusion_matrix(labels, logits.argmax(axis=1), len(CLASSES))
    loss = cross_entropy(logits, labels)[0]
    return {"loss": float(loss), "accuracy": float(counts.trace() / counts.sum()), "confusion": counts}
