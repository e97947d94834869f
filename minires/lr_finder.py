"""Which learning rate? The range test: raise it from step to step, and watch the loss.

Below a certain rate the loss hardly moves; then it falls; at some rate it is lowest, and from there it jumps and grows
without bound. What to train with lies between where it begins to fall and where it is lowest.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from minires import checkpoint
from minires.module import Module
from minires.optim import Optimizer
from minires.precision import options_for
from minires.training import train_step

SMOOTHING = 0.9  # of the loss before, in the mean that the test looks at
EXPLODED = 2.0  # so many times the first loss ends the test


@dataclass(frozen=True)
class RangeTest:
    """What a range test found: the rates, the loss of the batch at each, and its running mean, lists of one length.

    ended: why there are no more rates, in words.
    """

    lrs: list[float]
    losses: list[float]
    means: list[float]
    ended: str

    @property
    def lowest(self) -> float:
        """The rate at which the running mean is lowest."""
        return self.lrs[int(np.argmin(self.means))]

    @property
    def suggested(self) -> float:
        """A third of `lowest`, a rate to hold; a schedule that comes down again may go up to `lowest` itself."""
        return self.lowest / 3

    @property
    def fall(self) -> float:
        """By what share of the first mean the mean has fallen; below a tenth the test says little."""
        return 1 - min(self.means) / self.means[0]


def lr_find(
    model: Module,
    optimizer: Optimizer,
    loader: Any,
    *,
    start: float = 1e-4,
    end: float = 10.0,
    iterations: int = 200,
    label_smoothing: float = 0.0,
    precision: str = "float32",
    clip_norm: float | None = None,
) -> RangeTest:
    """Train for so many iterations while the learning rate grows, and put model and optimizer back as they were.

        lr[i] = start * (end / start)^(i / (iterations - 1))
        mean[i] = (sum over j <= i of 0.9^(i - j) * loss[j]) / (sum over j <= i of 0.9^(i - j))

    The test ends early where the mean is above twice the first loss, or no number at all; the rate there is not kept.
    loader: of the training images, whose epochs are gone through as often as it takes.   precision, clip_norm: as in
    Trainer.
    Raises ValueError unless 0 < start < end, for fewer than 10 iterations, and where the first step gives no number.

    Source: Smith 2017, Cyclical learning rates for training neural networks, section 3.3. There the rate grows in a
    line and the accuracy is watched; over several powers of ten it takes equal factors, and the loss moves first.
    """
    if not 0 < start < end < math.inf:
        raise ValueError(f"lr_find: from {start} to {end}: the rates must be above 0 and grow")
    if iterations < 10:
        raise ValueError(f"lr_find: {iterations} iterations: at least 10 are needed to see anything")
    before = _kept(model, optimizer)
    try:
        options = {**options_for(model, precision), "label_smoothing": label_smoothing, "clip_norm": clip_norm}
        return _raise_rate(model, optimizer, loader, start, end, iterations, options)
    finally:
        _put_back(model, optimizer, before)


def _raise_rate(model, optimizer, loader, start, end, iterations, options):
    lrs: list[float] = []
    losses: list[float] = []
    means: list[float] = []
    weighted, weights = 0.0, 0.0
    model.train()
    batches = _without_end(loader)
    ended = f"{end:g}, the highest rate asked for, is reached"
    with np.errstate(all="ignore"):  # it is meant to explode
        for i in range(iterations):
            optimizer.lr = start * (end / start) ** (i / (iterations - 1))
            x, labels = next(batches)
            loss = float(train_step(model, optimizer, x, labels, **options)[0])
            weighted, weights = SMOOTHING * weighted + loss, SMOOTHING * weights + 1
            mean = weighted / weights
            if not math.isfinite(loss) or (losses and mean > EXPLODED * losses[0]):
                ended = f"at {optimizer.lr:.2g} the loss explodes"
                break
            lrs.append(optimizer.lr)
            losses.append(loss)
            means.append(mean)
    if not losses:
        raise ValueError(
            f"lr_find: the first step, at {start:g}, gives no finite loss: check the model, or start lower"
        )
    return RangeTest(lrs, losses, means, ended)


def _without_end(loader: Any) -> Iterator[tuple]:
    number = 0
    while True:
        yield from loader.epoch(number)
        number += 1


def _kept(model, optimizer):
    state = {key: array.copy() for key, array in model.state_dict().items()}
    modes = [(module, module.training, getattr(module, "tf32", None)) for module in model.modules()]
    return state, optimizer.state_dict(), checkpoint.generator_states(model), modes


def _put_back(model, optimizer, before):
    state, optimizer_state, generators, modes = before
    model.load_state_dict(state)
    optimizer.load_state_dict(optimizer_state)
    checkpoint.restore_generators(model, generators)
    for module, training, tf32 in modes:
        module.training = training
        if tf32 is not None:
            module.tf32 = tf32
    model.zero_grad()
