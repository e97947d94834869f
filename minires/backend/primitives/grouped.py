"""The three products of a convolution in groups: each group of channels is a convolution of its own, all at once.

The groups become images: (N, H, W, groups * C) is seen as (groups, N, H, W, C). Then im2col is what it was, and where
convolution.py has a product of matrices, here is a stack of them, one for each group:

    P = im2col(x)        (groups, N * OH * OW, KH * KW * C)
    y = P W              W (groups, KH * KW * C, O), of weight (groups * O, C, KH, KW)
    dx = col2im(dy W^T)
    dweight = P^T dy

Groups of few channels make products too thin for a CPU's BLAS. So several share one, as a *pack*: its matrix has theirs
on its diagonal, and zeros elsewhere. More is multiplied, and it takes less time.
Derivation: docs/layers/grouped_conv.md.
"""

import numpy as np

from minires.backend.arrays import array_module
from minires.backend.geometry import Geometry, turned
from minires.backend.primitives.blocks import for_each_band, for_each_block, sum_blocks
from minires.backend.primitives.devices import empty, zeros
from minires.backend.primitives.patches import borrow_patches, col2im
from minires.backend.primitives.products import product
from minires.types import Array

PACK_CHANNELS = 16, 32  # of a pack on a CPU: groups of fewer than 16 are put into 16, others into 32


def convolve(x: Array, weight: Array, bias: Array | None, geometry: Geometry) -> Array:
    """y (N, OH, OW, O) of x (N, H, W, C), weight (O, C / groups, KH, KW) and bias (O,) or None."""
    O, (OH, OW) = len(weight), geometry.output
    packs = _packs(x, weight, geometry.groups)
    matrices = _matrices(weight, geometry.groups, packs, x)
    y = empty((len(x), OH, OW, O), like=x)

    def forward_block(images, rows):
        y_rows = y[images, rows]
        product(_patches(x[images], packs, geometry, rows), matrices, _columns(y_rows, packs), geometry.tf32)
        if bias is not None:
            y_rows += bias

    for_each_band(forward_block, x, OH, _row_bytes(x, geometry, OW), matrices[0].nbytes)
    return y


def convolve_input_gradient(dy: Array, weight: Array, geometry: Geometry) -> Array:
    """dx (N, H, W, C) = col2im(dy @ W^T), group by group; at stride 1 convolution.py has it as a convolution."""
    packs = _packs(dy, weight, geometry.groups)
    matrices = _matrices(weight, geometry.groups, packs, dy)
    dx = empty((len(dy), *geometry.image, geometry.groups * weight.shape[1]), like=dy)

    def backward_block(images):
        _scatter(dy[images], matrices, geometry, dx[images])

    for_each_block(backward_block, dx, 2 * geometry.output[0] * _row_bytes(dx, geometry, geometry.output[1]))
    return dx


def convolve_weight_gradient(x: Array, dy: Array, geometry: Geometry) -> Array:
    """dweight (O, C / groups, KH, KW) = P^T dy, group by group."""
    (_, OH, OW, O), C = dy.shape, x.shape[3]
    packs = _packs_of(x, C, O, geometry.groups)

    def backward_block(images, rows):
        patches = _patches(x[images], packs, geometry, rows)
        return product(patches.swapaxes(1, 2), _columns(dy[images, rows], packs), tf32=geometry.tf32)

    least = C // packs * geometry.kernel[0] * geometry.kernel[1] * O * x.itemsize
    partials = for_each_band(backward_block, x, OH, _row_bytes(x, geometry, OW), least)
    return _weight_of(sum_blocks(partials), geometry.kernel, geometry.groups)


def convolve_gradients(x: Array, dy: Array, weight: Array, geometry: Geometry) -> tuple[Array, Array]:
    """(dx, dweight), with the patches that both need made once."""
    return (_gradients_at_stride_1 if geometry.turns else _gradients_at_any_stride)(x, dy, weight, geometry)


def _gradients_at_any_stride(x, dy, weight, geometry):
    packs = _packs(x, weight, geometry.groups)
    matrices = _matrices(weight, geometry.groups, packs, x)
    dx = empty(x.shape, like=x)

    def backward_block(images):
        _scatter(dy[images], matrices, geometry, dx[images])
        patches = _patches(x[images], packs, geometry)
        return product(patches.swapaxes(1, 2), _columns(dy[images], packs), tf32=geometry.tf32)

    image_bytes = 2 * geometry.output[0] * _row_bytes(x, geometry, geometry.output[1])
    partials = for_each_block(backward_block, x, image_bytes, least_bytes=matrices.nbytes)
    return dx, _weight_of(sum_blocks(partials), geometry.kernel, geometry.groups)


def _gradients_at_stride_1(x, dy, weight, geometry):
    """At stride 1 dweight, turned, is the product of x with the patches of dy that dx is made from."""
    packs = _packs(x, weight, geometry.groups)
    matrices = _matrices(turned(weight, geometry.groups), geometry.groups, packs, x)
    dx = empty(x.shape, like=x)

    def backward_block(images, rows):
        dpatches = _patches(dy[images], packs, geometry.turned, rows)
        product(dpatches, matrices, _columns(dx[images, rows], packs), geometry.tf32)
        return product(dpatches.swapaxes(1, 2), _columns(x[images, rows], packs), tf32=geometry.tf32)

    _, H, W, _ = x.shape
    partials = for_each_band(backward_block, x, H, _row_bytes(dy, geometry, W), matrices[0].nbytes)
    return dx, turned(_weight_of(sum_blocks(partials), geometry.kernel, geometry.groups), geometry.groups)


def _packs(x, weight, groups):
    return _packs_of(x, groups * weight.shape[1], len(weight), groups)


def _packs_of(x, C, O, groups):
    """Into how many packs the groups of C and O channels are put, all of one size: on a GPU each is one."""
    if array_module(x) is not np:
        return groups
    few, many = PACK_CHANNELS
    channels = max(C, O) // groups
    fitting = max(1, (few if channels < few else many) // channels)
    return groups // max(size for size in range(1, groups + 1) if groups % size == 0 and size <= fitting)


def _matrices(weight, groups, packs, like):
    """(packs, KH * KW * C / packs, O / packs), in the dtype of what they are multiplied by: W of every pack."""
    O, C, KH, KW = weight.shape
    size = groups // packs
    blocks = weight.reshape(packs, size, O // groups, C, KH * KW).transpose(0, 4, 1, 3, 2)
    if size == 1:
        return blocks.astype(like.dtype, order="C", copy=False).reshape(packs, KH * KW * C, O // packs)
    matrices = zeros((packs, KH * KW, size, C, size, O // groups), like=like)
    for group in range(size):
        matrices[:, :, group, :, group] = blocks[:, :, group]
    return matrices.reshape(packs, KH * KW * size * C, O // packs)


def _weight_of(matrices, kernel, groups):
    """weight (O, C / groups, KH, KW) from W of every pack: what lies on the diagonals."""
    packs, rows, columns = matrices.shape
    size, (KH, KW) = groups // packs, kernel
    blocks = matrices.reshape(packs, KH, KW, size, rows // (KH * KW * size), size, columns // size)
    diagonals = [blocks[:, None, :, :, group, :, group] for group in range(size)]
    diagonals = diagonals[0] if size == 1 else array_module(matrices).concatenate(diagonals, axis=1)
    _, _, _, _, C, O = diagonals.shape  # (packs, size, KH, KW, C, O)
    return diagonals.transpose(0, 1, 5, 4, 2, 3).reshape(groups * O, C, KH, KW)


def _columns(x, packs):
    """A view (packs, pixels, channels of a pack) of x (N, H, W, C), all of whose pixels lie one after another."""
    return x.reshape(-1, packs, x.shape[3] // packs).transpose(1, 0, 2)


def _by_pack(x, packs):
    """x (N, H, W, C) as (packs, N, H, W, C / packs): a view."""
    N, H, W, C = x.shape
    return x.reshape(N, H, W, packs, C // packs).transpose(3, 0, 1, 2, 4)


def _patches(x, packs, geometry, rows=None):
    """im2col of every pack, a matrix with a row for each output pixel: (packs, pixels, KH * KW * C / packs)."""
    N, H, W, C = x.shape
    images = _by_pack(x, packs).reshape(packs * N, H, W, C // packs)
    patches = borrow_patches(
        images, geometry.kernel, geometry.stride, geometry.padding, rows=rows, dilation=geometry.dilation
    )
    return patches.reshape(packs, -1, geometry.kernel[0] * geometry.kernel[1] * (C // packs))


def _scatter(dy, matrices, geometry, dx):
    """dx = col2im(dy @ W^T), group by group"""
    (N, OH, OW, _), (packs, _, _), C = dy.shape, matrices.shape, dx.shape[3]
    dpatches = empty((packs * N, OH, OW, *geometry.kernel, C // packs), like=dy)
    product(_columns(dy, packs), matrices.swapaxes(1, 2), dpatches.reshape(packs, N * OH * OW, -1), geometry.tf32)
    images = col2im(dpatches, geometry.image, geometry.stride, geometry.padding, dilation=geometry.dilation)
    _by_pack(dx, packs)[...] = images.reshape(packs, N, *geometry.image, C // packs)


def _row_bytes(x, geometry, columns):
    """Of the patches of one row of output pixels."""
    return columns * geometry.kernel[0] * geometry.kernel[1] * x.shape[3] * x.itemsize
