"""The gradient's way back through a chain of blocks, with and without shortcut and batch norm."""

import numpy as np

from minires.layers import add, batch_norm, conv2d, relu

N, SIZE, CHANNELS = 8, 6, 8  # images, pixels on a side, channels
KINDS = {"plain": (False, False), "norm": (False, True), "shortcut": (True, False), "both": (True, True)}


def block(x, weights, has_shortcut, has_norm):
    """y = relu(F(x) + x) or relu(F(x)),  F = norm . conv . relu . norm . conv, or without the norms."""
    steps, y = [], x
    for number, weight in enumerate(weights):
        y, backward = conv2d(y, weight, padding=1)
        steps.append(lambda dy, backward=backward: backward(dy)[0])
        if has_norm:
            y, backward = batch_norm(y, None, None, np.ones(CHANNELS), np.zeros(CHANNELS), training=True)
            steps.append(lambda dy, backward=backward: backward(dy)[0])
        if number == 0:
            y, backward = relu(y)
            steps.append(backward)
    if has_shortcut:
        y, _ = add(y, x)
    y, relu_backward = relu(y)

    def backward(dy):
        dy = dx = relu_backward(dy)
        for step in reversed(steps):
            dx = step(dx)
        return dx + dy if has_shortcut else dx

    return y, backward


def chain(depth, scale, has_shortcut, has_norm, seed=0):
    """-> (the norm of the gradient at the input of each block and at the output, the size of each activation).

    Weights are normal numbers of variance scale^2 * 2 / fan-in, where 1 is He et al.'s start.
    """
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((N, SIZE, SIZE, CHANNELS))
    deviation = scale * np.sqrt(2 / (9 * CHANNELS))
    backwards, sizes = [], [float(np.sqrt((x**2).mean()))]
    for _ in range(depth):
        x, backward = block(x, deviation * rng.standard_normal((2, CHANNELS, CHANNELS, 3, 3)), has_shortcut, has_norm)
        backwards.append(backward)
        sizes.append(float(np.sqrt((x**2).mean())))
    dx = np.random.default_rng(seed + 1).standard_normal(x.shape)
    dx /= np.linalg.norm(dx)
    norms = [1.0]
    for backward in reversed(backwards):
        dx = backward(dx)
        norms.append(float(np.linalg.norm(dx)))
    return norms[::-1], sizes


def numbers(depth, scale):
    """-> {kind: {"gradients": depth + 1 norms, "sizes": as many}} of all four kinds."""
    found = {kind: chain(depth, scale, *parts) for kind, parts in KINDS.items()}
    return {kind: {"gradients": gradients, "sizes": sizes} for kind, (gradients, sizes) in found.items()}
