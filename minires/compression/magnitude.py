"""Magnitude pruning: the weights nearest to zero become zero (Han et al. 2015). Derivation: docs/compression.md."""

from collections.abc import Iterable

import numpy as np

from minires.backend import array_module, device_of, to_device, to_numpy
from minires.module import Module
from minires.parameter import Parameter

SCOPES = ("global", "layer")


def prunable(model: Module) -> list[Parameter]:
    """The weights of convolutions and linear layers: parameters of two or more dimensions."""
    return [parameter for parameter in model.parameters() if parameter.data.ndim >= 2]


def magnitude_prune(weights: Iterable[Parameter], sparsity: float, scope: str = "global") -> None:
    """Set to zero the share `sparsity` of the weights whose |w| is least; of equals the later ones stay.

    scope: "global" counts them over all parameters given, "layer" in each by itself.
    weights: Parameters; each gets a new array. What is zero already is the least of all and stays so.
    Raises ValueError for a sparsity outside [0, 1), an unknown scope, or no weights.
    Source: Han et al. 2015, section 3; Zhu and Gupta 2017, section 3.
    """
    weights = list(weights)
    check_sparsity(sparsity)
    if scope not in SCOPES:
        raise ValueError(f"magnitude_prune: unknown scope {scope!r}: choose one of {', '.join(SCOPES)}")
    if not weights:
        raise ValueError("magnitude_prune: no weights are given: pass prunable(model)")
    for group in [weights] if scope == "global" else [[weight] for weight in weights]:
        _prune_together(group, sparsity)


def _prune_together(weights, sparsity):
    magnitudes = np.concatenate([abs(to_numpy(weight.data)).ravel() for weight in weights])
    keeps = np.ones(magnitudes.size, bool)
    keeps[np.argsort(magnitudes, kind="stable")[: round(sparsity * magnitudes.size)]] = False
    start = 0
    for weight in weights:
        w, end = weight.data, start + weight.data.size
        mask = to_device(keeps[start:end].reshape(w.shape), device_of(w))
        xp = array_module(w)
        weight.data = xp.where(mask, w, xp.zeros_like(w))  # not w * mask, which leaves -0.0
        start = end


def sparsity_of(weights: Iterable[Parameter]) -> float:
    """The share of the numbers in these weights that are zero."""
    arrays = [to_numpy(weight.data) for weight in weights]
    total = sum(array.size for array in arrays)
    return sum(int((array == 0).sum()) for array in arrays) / max(total, 1)


def check_sparsity(sparsity: float) -> float:
    """The share itself. Raises ValueError unless it is in [0, 1)."""
    if not 0 <= sparsity < 1:
        raise ValueError(f"sparsity must be at least 0 and below 1, got {sparsity}: 0.8 leaves a fifth of the weights")
    return sparsity
