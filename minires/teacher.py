"""What trained networks say of the images that a student sees. Derivation: docs/distillation.md."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from minires.backend import array_module, normalize_rows, to_device
from minires.data.images import Preprocessing
from minires.losses.distillation import check_distillation, distillation, softened
from minires.models.fold import fold
from minires.modes import evaluating, no_grad
from minires.module import Module
from minires.types import Array, Operation


class Teacher:
    """x -> q (N, classes): probabilities at a temperature, of several networks their mean.

        q[n] = mean over k of  softmax(network_k(x[n]) / temperature)

    networks: pairs of a network and the Preprocessing that it was trained with.   mean, std: those that the student's
    images x (N, H, W, 3) are normalised with, RGB; each network is given the same pictures as its own Preprocessing has
    them.   device: where x will be. Networks are copied, run in inference mode, and keep nothing for a backward pass.
    """

    def __init__(
        self,
        networks: Sequence[tuple[Module, Preprocessing]],
        mean: Sequence[float],
        std: Sequence[float],
        temperature: float = 4.0,
        device: str = "cpu",
    ) -> None:
        self.temperature = check_distillation(temperature)
        self._networks = [(_frozen(network, device), prepared(own, mean, std, device)) for network, own in networks]
        if not self._networks:
            raise ValueError("Teacher: no network is given: give one, or several whose probabilities are averaged")

    def __call__(self, x: Array) -> Array:
        total: Any = 0.0
        with no_grad():
            for network, prepare in self._networks:
                total = total + softened(network(prepare(x))[0], self.temperature)
        return total / len(self._networks)

    def criterion(self, alpha: float = 0.9) -> Callable[[Array], Operation]:
        """x -> loss(logits, labels, **options) of that batch: the criterion of `train_step` that distils."""
        check_distillation(self.temperature, alpha)
        return lambda x: partial(distillation, teacher=self(x), temperature=self.temperature, alpha=alpha)


def _frozen(network, device):
    """A copy of the network for inference, its batch norms folded into the convolutions."""
    with evaluating(network):
        return fold(network).eval().to(device)


def prepared(
    own: Preprocessing, mean: Sequence[float], std: Sequence[float], device: str = "cpu"
) -> Callable[[Array], Array]:
    """x -> the same pictures as `own` normalises them, where x (N, H, own.size, 3) has mean and std, RGB.

        pixels = x * std + mean
        y = (pixels - own.mean) / own.std = x * (std / own.std) + (mean - own.mean) / own.std

    Where own.order is BGR the channels are turned round, and own.mean and own.std are in that order.
    """
    order = -1 if own.order == "BGR" else 1
    m, s = (np.array(numbers, np.float64)[::order] for numbers in (mean, std))
    scale, shift = s / own.std, (m - own.mean) / own.std
    if order == 1 and (scale == 1).all() and (shift == 0).all():
        return lambda x: x
    # each channel's number along a row of pixels, as `normalize_rows` wants it
    rows = [to_device(np.tile(numbers, own.size).astype(np.float32), device) for numbers in (scale, shift)]
    return lambda x: normalize_rows(array_module(x).ascontiguousarray(x[..., ::order]), *rows)
