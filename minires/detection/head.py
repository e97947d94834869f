"""What a detector says at each position: a logit for each class, and how far the sides of the object's box are.

Derivation: docs/detection.md.
"""

import math

import numpy as np

from minires.backend import array_module
from minires.layers import Conv2d, GroupNorm, ReLU, concat
from minires.layers.checks import check_float, check_gradient
from minires.module import Module, Parameter
from minires.sequential import Sequential
from minires.types import Array, Backward, Rng

PRIOR = 0.01  # what the probability of each class is before training, at every position
LARGEST = 6.0  # of an exponent: e^6 = 403 strides, beyond any image


def exp_distances(x: Array, stride: float) -> tuple[Array, Backward]:
    """y = stride * exp(min(x, 6)):  any number becomes a length.   backward(dy) -> dx = dy * y, 0 where x > 6.

    x: floating-point, of any shape.   Source: Tian et al. 2019, section 3.2.
    """
    check_float("exp_distances", x)
    xp = array_module(x)
    small = x <= LARGEST
    y = (stride * xp.exp(xp.minimum(x, LARGEST))).astype(x.dtype)
    shape, dtype = y.shape, y.dtype

    def backward(dy):
        check_gradient("exp_distances", dy, shape, dtype)
        return dy * xp.where(small, y, 0)

    return y, backward


def tower(channels: int, depth: int, groups: int, rng: np.random.Generator) -> Sequential:
    """`depth` times a 3x3 convolution, group norm and ReLU. Group norm: one set of parameters serves maps of all
    levels, whose statistics differ, and each map is normalised by its own.
    """
    layers: list[Module] = []
    for _ in range(depth):
        conv = Conv2d(channels, channels, 3, padding=1, bias=False, rng=rng)
        layers += [conv, GroupNorm(groups, channels), ReLU()]
    return Sequential(*layers)


class Head(Module):
    """y[n, h * W + w] = num_classes logits, and the distances l, t, r, b in pixels, of that pixel of a map.

    Input (N, H, W, channels) and the map's stride, output (N, H * W, num_classes + 4). Two towers: one for what, one
    for where. It is called for the map of each level, so a parameter is used several times, and its gradients add up.
    The classes' biases start where each probability is PRIOR, for at first nearly all positions see no object.
    Source: Tian et al. 2019, section 3.2 and figure 2, without the centre-ness; the prior: Lin et al. 2017b, 4.1.
    """

    def __init__(self, channels: int, num_classes: int, depth: int = 1, groups: int = 8, rng: Rng = None) -> None:
        rng = np.random.default_rng(rng)
        self.what = tower(channels, depth, groups, rng)
        self.where = tower(channels, depth, groups, rng)
        self.logits = Conv2d(channels, num_classes, 3, padding=1, rng=rng)
        self.distances = Conv2d(channels, 4, 3, padding=1, rng=rng)
        for layer, bias in ((self.logits, -math.log((1 - PRIOR) / PRIOR)), (self.distances, 0.0)):
            layer.weight.data = rng.normal(0, 0.01, layer.weight.shape).astype(np.float32)
            layer.bias = Parameter(np.full(len(layer.weight.data), bias, np.float32))

    def forward(self, x: Array, stride: float = 1.0) -> tuple[Array, Backward]:
        what, what_backward = self.what(x)
        logits, logits_backward = self.logits(what)
        where, where_backward = self.where(x)
        lengths, lengths_backward = self.distances(where)
        distances, exp_backward = exp_distances(lengths, stride)
        y, concat_backward = concat(logits, distances)
        N, H, W, out = y.shape

        def backward(dy):
            dlogits, ddistances = concat_backward(dy.reshape(N, H, W, out))  # (N, H*W, out) -> (N, H, W, out)
            dx_what = what_backward(logits_backward(dlogits))
            dx_where = where_backward(lengths_backward(exp_backward(ddistances)))
            return dx_what + dx_where  # x was used twice

        return y.reshape(N, H * W, out), backward
