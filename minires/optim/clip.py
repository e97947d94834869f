"""Gradients made shorter before a step."""

import math
from collections.abc import Iterable

import numpy as np

from minires.backend import array_module, sum_blocks, to_numpy
from minires.parameter import Parameter


def clip_grad_norm_(parameters: Iterable[Parameter], max_norm: float) -> float:
    """Scale all gradients by one factor so that their common norm is at most max_norm; returns the norm before.

        norm = sqrt(sum of g^2 over all elements of all gradients)      summed in float64
        g <- g * min(1, max_norm / (norm + 1e-6))

    A parameter without gradient is left out. Scaled gradients are new arrays in `parameter.grad`. A norm of inf
    or nan is returned for the caller to judge. Raises ValueError for a negative max_norm.

    Source: Pascanu et al. 2013, On the difficulty of training recurrent neural networks, algorithm 1; the 1e-6
    is PyTorch's.
    """
    if not max_norm >= 0:
        raise ValueError(f"clip_grad_norm_: max_norm is {max_norm}, must be at least 0: 1.0 is usual")
    with_grad = [(parameter, parameter.grad) for parameter in parameters if parameter.grad is not None]
    if not with_grad:
        return 0.0
    squares = [array_module(grad).square(grad).sum(dtype=np.float64) for _, grad in with_grad]
    norm = math.sqrt(float(to_numpy(sum_blocks(squares))))
    scale = float(max_norm) / (norm + 1e-6)
    if scale < 1:
        for parameter, grad in with_grad:
            parameter.grad = grad * scale
    return norm
