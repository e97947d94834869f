"""The three products of a convolution: y from (x, weight), dx from (dy, weight), dweight from (x, dy).

    P = im2col(x)        a row for every output pixel: the window of x that it is made from
    y = P W              W = weight_matrix, (KH * KW * C, O)
    dx = col2im(dy W^T)
    dweight = P^T dy

Here they stand as products of matrices, block by block, on both devices: what they mean. Under the same names are, with
fewer multiplications, cpu/winograd.py, which Geometry.algorithm chooses, and for channels in groups grouped.py and
depthwise.py.
Derivation: docs/layers/conv.md.
"""

from minires.backend.arrays import array_module
from minires.backend.cpu import winograd
from minires.backend.geometry import Geometry, turned
from minires.backend.primitives import depthwise, grouped
from minires.backend.primitives.blocks import for_each_band, for_each_block, sum_blocks
from minires.backend.primitives.devices import empty
from minires.backend.primitives.patches import borrow_patches, col2im, factors
from minires.backend.primitives.products import product
from minires.types import Array


def convolve(x: Array, weight: Array, bias: Array | None, geometry: Geometry) -> Array:
    """y (N, OH, OW, O) = im2col(x) @ weight_matrix + bias.

    x (N, H, W, C), weight (O, C, KH, KW), bias (O,) or None; where x is of halves, these are float32, and weight is
    rounded as x is.
    """
    way = _other_way(x, geometry, geometry.groups * weight.shape[1], len(weight))
    if way is not None:
        return way.convolve(x, weight, bias, geometry)
    xp, O, (OH, OW) = array_module(x), len(weight), geometry.output
    all_patches, weight_matrix = _factors(x, weight, geometry)
    row_bias = None if bias is None else xp.broadcast_to(bias, (OW, O)).reshape(-1)
    y = empty((len(x), OH, OW, O), like=x)

    def forward_block(images, rows):
        patches = _patches(x[images], geometry, rows) if all_patches is None else all_patches
        y_rows = y[images, rows].reshape(-1, O)
        product(patches, weight_matrix, y_rows, geometry.tf32)
        if bias is not None:
            y_rows = y_rows.reshape(-1, OW * O)  # long rows, so that NumPy's inner loop is long
            xp.add(y_rows, row_bias, out=y_rows)

    for_each_band(forward_block, x, OH, OW * weight_matrix[:, 0].nbytes, weight_matrix.nbytes)
    return y


def convolve_input_gradient(dy: Array, weight: Array, geometry: Geometry) -> Array:
    """dx (N, H, W, C) = col2im(dy @ weight_matrix^T); at stride 1 a convolution of dy, where nothing is scattered."""
    if geometry.turns:
        return convolve(dy, turned(weight, geometry.groups), None, geometry.turned)
    way = _other_way(dy, geometry, geometry.groups * weight.shape[1], len(weight))
    if way is not None:
        return way.convolve_input_gradient(dy, weight, geometry)
    dx = empty((len(dy), *geometry.image, weight.shape[1]), like=dy)
    weight_matrix = _weight_matrix(weight, dy)

    def backward_block(images):
        _scatter(dy[images], weight_matrix, geometry, dx[images])

    for_each_block(backward_block, dx, _patches_bytes(dx, geometry))
    return dx


def convolve_weight_gradient(x: Array, dy: Array, geometry: Geometry) -> Array:
    """dweight (O, C, KH, KW) = im2col(x)^T @ dy, a matrix (KH * KW * C, O) until its axes are named."""
    (_, OH, OW, O), C, (KH, KW) = dy.shape, x.shape[3], geometry.kernel
    way = _other_way(x, geometry, C, O)
    if way is not None:
        return way.convolve_weight_gradient(x, dy, geometry)

    def backward_block(images, rows):
        return product(_patches(x[images], geometry, rows).T, dy[images, rows].reshape(-1, O), tf32=geometry.tf32)

    column = KH * KW * C * x.itemsize
    dweight_matrix = sum_blocks(for_each_band(backward_block, x, OH, OW * column, column * O))
    return dweight_matrix.reshape(KH, KW, C, O).transpose(3, 2, 0, 1)


def convolve_gradients(x: Array, dy: Array, weight: Array, geometry: Geometry) -> tuple[Array, Array]:
    """(convolve_input_gradient(dy, weight), convolve_weight_gradient(x, dy)), with what both need made once."""
    way = _other_way(x, geometry, geometry.groups * weight.shape[1], len(weight))
    if way is not None:
        return way.convolve_gradients(x, dy, weight, geometry)
    return (_gradients_at_stride_1 if geometry.turns else _gradients_at_any_stride)(x, dy, weight, geometry)


def _gradients_at_any_stride(x, dy, weight, geometry):
    """A block of dy is in cache for both."""
    O, C, KH, KW = weight.shape
    dx = empty(x.shape, like=x)
    all_patches, weight_matrix = _factors(x, weight, geometry)

    def backward_block(images):
        _scatter(dy[images], weight_matrix, geometry, dx[images])
        patches = _patches(x[images], geometry) if all_patches is None else all_patches
        return product(patches.T, dy[images].reshape(-1, O), tf32=geometry.tf32)

    partials = for_each_block(backward_block, x, _patches_bytes(x, geometry), least_bytes=weight.nbytes)
    return dx, sum_blocks(partials).reshape(KH, KW, C, O).transpose(3, 2, 0, 1)


def _gradients_at_stride_1(x, dy, weight, geometry):
    """At stride 1 dweight, turned, is the product of x with the patches of dy that dx is made from."""
    O, C, KH, KW = weight.shape
    _, H, W, _ = x.shape
    all_dpatches, turned_matrix = _turned_factors(dy, weight, geometry)
    dx = empty(x.shape, like=x)

    def backward_block(images, rows):
        dpatches = _patches(dy[images], geometry.turned, rows) if all_dpatches is None else all_dpatches
        product(dpatches, turned_matrix, dx[images, rows].reshape(-1, C), geometry.tf32)
        return product(x[images, rows].reshape(-1, C).T, dpatches, tf32=geometry.tf32)

    partials = for_each_band(backward_block, x, H, W * turned_matrix[:, 0].nbytes, turned_matrix.nbytes)
    dturned = sum_blocks(partials)
    return dx, dturned.reshape(C, KH, KW, O)[:, ::-1, ::-1].transpose(3, 0, 1, 2)


def _other_way(x, geometry, C, O):
    """The module that has these four functions otherwise; None where they are what stands here."""
    if geometry.algorithm == "winograd":
        return winograd
    if geometry.groups == 1:
        return None
    return depthwise if depthwise.fits(x, C, O, geometry.groups) else grouped


def _factors(x, weight, geometry):
    """(patches of the whole x, or None: to be made block by block; weight_matrix)"""
    found = factors(x, weight, geometry.stride, geometry.padding, geometry.output, dilation=geometry.dilation)
    return found or (None, _weight_matrix(weight, x))


def _turned_factors(dy, weight, geometry):
    """The same of dy and turned(weight), whose matrix (KH * KW * O, C) has its rows in memory one after another."""
    found = factors(dy, weight, (1, 1), geometry.turned.padding, geometry.image, True, geometry.dilation)
    if found:
        return found
    matrix = turned(weight).transpose(2, 3, 1, 0).astype(dy.dtype, order="C", copy=False)
    return None, matrix.reshape(-1, weight.shape[1])


def _weight_matrix(weight, like):
    """(KH * KW * C, O), the columns in memory one after another, in the dtype of what it is multiplied by."""
    return weight.transpose(0, 2, 3, 1).astype(like.dtype, order="C", copy=False).reshape(len(weight), -1).T


def _patches(x, geometry, rows=None):
    """im2col(x) as a matrix, a row for each output pixel; `rows` of the output, or all."""
    patches = borrow_patches(
        x, geometry.kernel, geometry.stride, geometry.padding, rows=rows, dilation=geometry.dilation
    )
    return patches.reshape(-1, geometry.kernel[0] * geometry.kernel[1] * x.shape[3])


def _scatter(dy, weight_matrix, geometry, dx):
    """dx = col2im(dy @ weight_matrix^T)"""
    (N, OH, OW, O), (KH, KW) = dy.shape, geometry.kernel
    dpatches = empty((N, OH, OW, KH, KW, len(weight_matrix) // (KH * KW)), like=dy)
    product(dy.reshape(-1, O), weight_matrix.T, dpatches.reshape(N * OH * OW, -1), geometry.tf32)
    col2im(dpatches, geometry.image, geometry.stride, geometry.padding, dx, geometry.dilation)


def _patches_bytes(x, geometry):
    """Of an image: its patches, and their gradients."""
    (OH, OW), (KH, KW) = geometry.output, geometry.kernel
    return 2 * OH * OW * KH * KW * x.shape[3] * x.itemsize
