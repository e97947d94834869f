"""Makes the weights that travel with the site, for the figure on docs/pictures.md: a resnet8 that knows drawn shapes.

    python docs/weights.py docs/_build/weights/shapes.safetensors

`make docs` does it once, in less than a minute, and keeps the file; `make docs WEIGHTS=FILE` takes another. The shapes
are those of minires.data.synthetic, drawn plainly, light on dark: what can be learned in that time.
"""

import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that a fresh clone runs without being installed
sys.path.insert(0, str(Path(__file__).resolve().parent / "_static"))

import numpy as np
from live.shapes import covers

from minires import data, models, optim, pretrained
from minires.data.images import Preprocessing
from minires.data.synthetic import SHAPES
from minires.modes import evaluating, no_grad
from minires.schedules import OneCycleLR
from minires.training import train_step

SIZE, BATCH, STEPS, LR = 32, 32, 300, 0.15
PREPROCESSING = Preprocessing((0.5, 0.5, 0.5), (0.25, 0.25, 0.25), size=SIZE, resize=None)


def draw(labels, rng):
    """Images uint8 (n, 32, 32, 3) of shapes of any place, size and rotation, grey, lighter than their ground."""
    cover = covers(labels, list(SHAPES.values()), SIZE, (9, 14), rng)
    ground, light = (rng.uniform(low, high, (len(labels), 1, 1)) for low, high in ((30, 90), (150, 230)))
    images = ground + cover * (light - ground) + rng.uniform(3, 12, ground.shape) * rng.standard_normal(cover.shape)
    return np.repeat(np.clip(images, 0, 255)[..., None], 3, axis=-1).astype(np.uint8)


def make(path, steps=STEPS, test=500):
    """Trains, and writes the file whole or not at all. -> the share of test images that are right"""
    rng = np.random.default_rng(0)
    model = models.resnet8(len(SHAPES), rng=rng)
    optimizer = optim.SGD(model.parameters(), lr=LR, momentum=0.9, weight_decay=5e-4)
    schedule = OneCycleLR(LR, steps)
    for step in range(steps):
        optimizer.lr = schedule(step)
        labels = rng.integers(0, len(SHAPES), BATCH)
        train_step(model, optimizer, prepared(draw(labels, rng)), labels)
    labels = np.arange(test) % len(SHAPES)
    right = accuracy(model, prepared(draw(labels, rng)), labels)
    drawn = f"{steps * BATCH:,} drawn shapes, light on dark"
    source = f"trained on {drawn}, right on {right:.1%} of {test:,} others"
    metadata = {"model": "resnet8", "classes": list(SHAPES), "source": source, "assumed": False, "options": {}}
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    pretrained.write(path, model.state_dict(), {**metadata, "preprocessing": asdict(PREPROCESSING)})
    return right


def prepared(images):
    return data.normalize(images, PREPROCESSING.mean, PREPROCESSING.std)


def accuracy(model, x, labels):
    with evaluating(model), no_grad():
        right = [model(x[at : at + 250])[0].argmax(axis=1) == labels[at : at + 250] for at in range(0, len(x), 250)]
    return float(np.concatenate(right).mean())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    print(f"{sys.argv[1]}: right on {make(sys.argv[1]):.1%} of the test images")
