"""A moving average of a model's weights, which is often better than any of the weights that it is an average of.

Derivation: docs/strong_training.md.
"""

import copy
from typing import Any

from minires.backend import elementwise_each
from minires.module import Module


class AveragedModel:
    """A copy of `model`, in `averaged`, whose numbers follow those of `model`; `update` is called after each step.

        a <- a + (1 - d) * (w - a),        d = min(decay, (1 + t) / (10 + t))

    w: each parameter and each buffer of the model, batch norm's running statistics among them.   a: that of the copy,
    at first w as it is when this is made.   t: steps taken before, so that the average forgets the first weights, which
    have learned nothing, ten times as fast as it grows old. A weight that no longer changes is its own average, to the
    last bit.

    Raises ValueError for a decay that is not above 0 and below 1.
    Source: Polyak & Juditsky 1992, Acceleration of stochastic approximation by averaging, for the idea; the exponential
    form and d's beginning are TensorFlow's `ExponentialMovingAverage`.
    """

    def __init__(self, model: Module, decay: float) -> None:
        check_decay("AveragedModel: decay", decay)
        self.model, self.decay = model, float(decay)
        self.averaged = copy.deepcopy(model)
        self.averaged.zero_grad()

    def update(self, t: int) -> None:
        """Move towards the model's present numbers, of which t steps before this one were: on a GPU one launch."""
        sets: list[Any] = [((a, w), {}) for a, w in zip(_numbers(self.averaged), _numbers(self.model), strict=True)]
        share = 1 - min(self.decay, (1 + t) / (10 + t))
        for _ in elementwise_each(_nearer, sets, share=share):
            pass


def check_decay(name: str, decay: float) -> None:
    """Raise ValueError unless 0 < decay < 1."""
    if not 0 < decay < 1:  # so that NaN fails, too
        raise ValueError(f"{name} must be a number above 0 and below 1, got {decay}: 0.999 is usual")


def _numbers(model):
    return [parameter.data for parameter in model.parameters()] + model.buffers()


def _nearer(a, w, share):
    """a, changed in place."""
    a += share * (w - a)
    return a
