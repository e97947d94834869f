"""Pooling of one image: what each window hands on, and to which pixels its gradient goes back."""

import numpy as np

from minires.layers import avg_pool2d, max_pool2d

POOLS = {"max": max_pool2d, "average": avg_pool2d}


def numbers(kind, x, dy, kernel, stride, padding):
    """x: rows of numbers, dy: as many as there are windows at most. `parts`: what each window alone hands back."""
    images = np.array(x, np.float64)[None, :, :, None]
    y, backward = POOLS[kind](images, kernel, stride, padding)
    dy = np.resize(np.array(dy, np.float64), y.shape)
    parts, shares = [], []
    for window in range(y.size):
        alone = np.zeros(y.size)
        alone[window] = 1
        share = backward(alone.reshape(y.shape))[0, :, :, 0].copy()
        shares.append(share)
        parts.append(share * dy.ravel()[window])
    return {
        "y": y[0, :, :, 0],
        "dy": dy[0, :, :, 0],
        "dx": backward(dy)[0, :, :, 0].copy(),
        "parts": parts,
        "shares": shares,  # of a gradient of 1: what part of it each pixel gets
    }
