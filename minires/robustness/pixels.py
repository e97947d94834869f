"""A network as a function of the picture's own numbers, so that "8 of 255" means what it says.

Derivation: docs/robustness.md.
"""

from collections.abc import Sequence

from minires.data.images import Preprocessing
from minires.ensemble import Ensemble, Prepared
from minires.module import Module

BYTES = {"mean": (0.0, 0.0, 0.0), "std": (1 / 255, 1 / 255, 1 / 255)}  # that numbers from 0 to 255 are normalised with


class OnPixels(Prepared):
    """x (N, H, W, 3) in RGB, floats from 0 to 255 -> the network's logits of it, normalised as the network wants it.

        z = (x / 255 - mean) / std,   dx = dz / (255 * std)

    preprocessing: the network's; where its order is BGR the channels are turned round first.
    """

    def __init__(self, network: Module, preprocessing: Preprocessing) -> None:
        super().__init__(network, preprocessing, **BYTES)


def ensemble_on_pixels(networks: Sequence[tuple[Module, Preprocessing]]) -> Ensemble:
    """x, as `OnPixels` takes it -> logits whose softmax is the mean of the networks' probabilities."""
    return Ensemble(networks, **BYTES)
