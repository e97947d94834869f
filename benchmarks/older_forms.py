"""The older forms that ideas.py puts in the place of minires's own: each does the same without the idea."""

from dataclasses import dataclass, field

import numpy as np

from minires import backend, layers, sequential
from minires.backend.cpu import blocks, memory, workers


def whole_batch(function, n, *sizes):
    return [function(slice(0, n))]


def whole_images(function, n, rows, *sizes):
    return [function(slice(0, n), slice(0, rows))]


def new_memory(name, shape, dtype):
    """Where a batch is not cut into blocks, nothing is small enough to be kept for the next."""
    return np.empty(shape, dtype)


def one_after_another(function, pieces):
    return [function(piece) for piece in pieces]


def broadcast_channels(function, arrays, vectors=()):
    """Vectors (C,) broadcast over arrays (..., C): NumPy's inner loop has C numbers."""
    y = backend.empty(arrays[0].shape, arrays[0])
    backend.for_each_block(lambda block: function(*(array[block] for array in arrays), *vectors, out=y[block]), y)
    return y


def the_same(*arrays):
    return arrays


def sum_axes(function, arrays, vectors=(), then=the_same, *more, **named):
    """np.sum over all axes but the last."""

    def sums_of_block(block):
        parts = [array[block] for array in arrays]
        values = function(*parts, *vectors, out=np.empty_like(parts[0]))
        products = [np.multiply(*value) if isinstance(value, tuple) else value for value in values]
        return [product.sum(axis=tuple(range(product.ndim - 1))) for product in products]

    partials = backend.for_each_block(sums_of_block, arrays[0])
    return then(*(backend.sum_blocks(of_blocks) for of_blocks in zip(*partials, strict=True)), *more, **named)


def patches_by_pixels(x, kernel, stride=(1, 1), padding=((0, 0), (0, 0)), value=0, rows=None, dilation=(1, 1)):
    """A copy for each of the kernel's KH * KW pixels, which goes through all images."""
    OH, OW = backend.output_size(x.shape[1:3], kernel, stride, padding, dilation=dilation)
    (KH, KW), rows = kernel, rows or slice(0, OH)
    OH = rows.stop - rows.start
    padded = backend.borrow_padded(x, padding, value)[:, rows.start * stride[0] :]
    patches = memory.scratch("patches", (len(x), OH, OW, KH, KW, x.shape[3]), x.dtype)
    for k, pixel in enumerate(backend.window_views(padded, kernel, stride, (OH, OW), dilation)):
        patches[:, :, :, k // KW, k % KW] = pixel
    return patches


def moments_in_two_passes(x, then=the_same, *more, **named):
    """The mean; then, with it, the mean of (x - mean)^2."""
    count = x.size // x.shape[-1]
    mean = backend.sum_channels(lambda x, out: (x,), (x,))[0] / count

    def centered(x, mean, out):
        np.subtract(x, mean, out=out)
        return ((out, out),)

    return then(mean, backend.sum_channels(centered, (x,), (mean,))[0] / count, *more, **named)


def separate_norm_add_relu(self, x, shortcut=None):
    """BatchNormReLU2d.forward by three operations, each of which reads and writes whole arrays."""
    running, affine = (self.running_mean, self.running_var), (self.weight.data, self.bias.data)
    y, norm_backward = layers.batch_norm(x, *running, *affine, self.training, self.momentum, self.eps)
    if shortcut is not None:
        y, _ = layers.add(y, shortcut)
    y, relu_backward = layers.relu(y)

    def backward(dy):
        dz = relu_backward(dy)
        dx, dweight, dbias = norm_backward(dz)
        self.weight.add_grad(dweight)
        self.bias.add_grad(dbias)
        return dx if shortcut is None else (dx, dz)

    return y, backward


def full_blocks(n, item_bytes, block_bytes=None):
    """As large as allowed, and the last one what is left."""
    size = max(1, (block_bytes or blocks.BLOCK_BYTES) // max(1, item_bytes))
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


@dataclass(frozen=True)
class Idea:
    """functions {function of minires: its older form}, attributes {(class, name): its older value}."""

    name: str
    title: str
    functions: dict = field(default_factory=dict)
    attributes: dict = field(default_factory=dict)


IDEAS = (
    Idea("gather", "dx gathered, not scattered", {}, {(backend.Geometry, "turns"): property(lambda self: False)}),
    Idea(
        "blocks",
        "blocks of 2 MB that stay in cache",
        {blocks.for_each_block: whole_batch, blocks.for_each_band: whole_images, memory.scratch: new_memory},
    ),
    Idea("threads", "blocks on all threads, BLAS on one", {workers.run: one_after_another}),
    Idea(
        "rows",
        "channels tiled to rows, sums by BLAS",
        {backend.map_channels: broadcast_channels, backend.sum_channels: sum_axes},
    ),
    Idea("items", "a window's row copied as one item", {backend.borrow_patches: patches_by_pixels}),
    Idea("pool", "memory from a pool", {memory.empty: np.empty}),
    Idea(
        "fused",
        "batch norm, sum and ReLU in one",
        {backend.channel_moments: moments_in_two_passes, backend.far_from_zero: lambda mean, var: True},
        {(layers.BatchNormReLU2d, "forward"): separate_norm_add_relu},
    ),
    Idea("even", "blocks of equal size, even number", {blocks.block_slices: full_blocks}),
    Idea("lean", "no dx of images, arrays let go of", {sequential.call: lambda function, x, **_: function(x)}),
)
