"""A convolution of one image by its patch matrix: forward, and every window's way back."""

import numpy as np

from minires.backend import col2im, im2col
from minires.layers import conv2d

NONE = ((0, 0), (0, 0))  # no padding


def numbers(x, weight, dy, stride, padding):
    """x: rows of numbers, weight: rows, dy: as many numbers as there are windows at most. -> everything between them.

    P and dP have a row a window, `parts` the padded image that each window alone hands back.
    """
    x, weight = np.array(x, np.float64), np.array(weight, np.float64)
    images, kernel = x[None, :, :, None], weight[None, None]
    y, backward = conv2d(images, kernel, None, stride, padding)
    _, OH, OW, _ = y.shape
    dy = np.resize(np.array(dy, np.float64), y.shape)
    dx, dweight = backward(dy)[:2]
    border = (padding, padding), (padding, padding)
    P = im2col(images, weight.shape, (stride, stride), border).reshape(OH * OW, weight.size).copy()
    dP = dy.reshape(-1, 1) @ weight.reshape(1, -1)
    parts, padded = [], tuple(size + 2 * padding for size in x.shape)
    for window in range(OH * OW):
        alone = np.zeros((OH * OW, weight.size))
        alone[window] = dP[window]
        patches = alone.reshape(1, OH, OW, *weight.shape, 1)
        parts.append(col2im(patches, padded, (stride, stride), NONE)[0, :, :, 0].copy())
    return {
        "y": y[0, :, :, 0],
        "dy": dy[0, :, :, 0],
        "P": P,
        "dP": dP,
        "parts": parts,
        "dx": dx[0, :, :, 0],
        "dweight": dweight[0, 0],
        "products": [float(np.vdot(P, dP)), float(np.vdot(x, dx))],
    }
