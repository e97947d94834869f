"""Gradients made shorter before a step."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from minires.backend import array_module, elementwise_each, known_at_once, sum_blocks, to_numpy
from minires.parameter import Parameter
from minires.types import Array


def clip_grad_norm_(parameters: Iterable[Parameter], max_norm: float) -> float:
    """Scale all gradients by one factor so that their common norm is at most max_norm; returns the norm before.

    As `clip_to_norm`, whose norm is returned as a number of Python's, for which a GPU is waited for; 0.0 where no
    parameter has a gradient.
    """
    return float(to_numpy(clip_to_norm(parameters, max_norm)))


def clip_to_norm(parameters: Iterable[Parameter], max_norm: float) -> Array:
    """Scale all gradients by one factor so that their common norm is at most max_norm; the norm before, an array ().

        norm = sqrt(sum of g^2 over all elements of all gradients)      summed in float64
        g <- g * min(1, max_norm / (norm + 1e-6))

    A parameter without gradient is left out. Scaled gradients are new arrays in `parameter.grad`. Nobody waits for a
    GPU. A norm of nan leaves all as they are; of inf, what is infinite becomes nan and all else 0.
    Raises ValueError for a negative max_norm.

    Source: Pascanu et al. 2013, On the difficulty of training recurrent neural networks, algorithm 1; the 1e-6
    is PyTorch's.
    """
    if not max_norm >= 0:
        raise ValueError(f"clip_grad_norm_: max_norm is {max_norm}, must be at least 0: 1.0 is usual")
    with_grad = [(parameter, parameter.grad) for parameter in parameters if parameter.grad is not None]
    if not with_grad:
        return np.zeros(())
    squares = [array_module(grad).square(grad).sum(dtype=np.float64) for _, grad in with_grad]
    norm = array_module(*squares).sqrt(sum_blocks(squares))
    _shorten(with_grad, norm, float(max_norm) / (norm + 1e-6))
    return norm


def _shorten(with_grad, norm, factor):
    """g * factor where that is below 1: on a CPU there is nothing to do where it is not, on a GPU nobody knows yet."""
    if known_at_once(norm):
        if factor < 1:
            with np.errstate(invalid="ignore"):  # infinity times 0, where the norm is infinite
                for parameter, grad in with_grad:
                    parameter.grad = grad * float(factor)
        return
    xp, dtype = array_module(norm), with_grad[0][1].dtype
    factor = xp.where(factor < 1, factor, 1).astype(dtype)
    gradients: list[Any] = [((grad,), {}) for _, grad in with_grad]
    for (parameter, _), grad in zip(with_grad, elementwise_each(_times, gradients, factor=factor), strict=True):
        parameter.grad = grad


def _times(grad, factor):
    return grad * factor
