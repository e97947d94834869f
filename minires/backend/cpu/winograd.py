"""Winograd's F(4x4, 3x3): a 3x3 convolution at stride 1 with a quarter of the multiplications.

A tile of 4x4 output pixels depends on 6x6 input pixels. im2col takes 16 * 9 = 144 multiplications for it (one channel
in, one out); this takes 36. Input tiles, kernel and output tiles are each carried by a small constant matrix from or
to a space of 36 numbers, where convolution is a product number by number, summed over channels:

    V = INPUT @ tiles of x,   U = KERNEL @ kernel,   M = V @ U for each of the 36,   tiles of y = OUTPUT @ M

Each step is linear, so its adjoint is the transposed matrix. Derivation: docs/performance.md.
Source: Lavin and Gray 2015, Fast algorithms for convolutional neural networks, sections 4.1 to 4.3.
"""

import math

import numpy as np

from minires.backend.arrays import device_of
from minires.backend.cpu import memory
from minires.backend.cpu.blocks import for_each_block_of as for_each_block
from minires.backend.cpu.memory import empty_like as empty
from minires.backend.geometry import Geometry, turned
from minires.types import Array, Sides, Size

LEAST_CHANNELS = 128  # from which on it is faster than im2col (docs/performance.md)
LEAST_TILES = 64  # the same: with fewer, transforming the kernel costs more than is saved
TILE = 4
_B = [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0]]
_B += [[0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]]
_G = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24
_A = [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]
# Applied to rows and to columns: the Kronecker product of each with itself, (36, 36), (36, 9) and (16, 36)
INPUT, KERNEL, OUTPUT = (np.kron(matrix, matrix).astype(np.float64) for matrix in (_B, _G, _A))


def fits(x: Array, kernel: Size, stride: Size, padding: Sides) -> bool:
    """Whether a convolution can be done this way, forwards and backwards."""
    small = all(side <= 2 for sides in padding for side in sides)
    return device_of(x) == "cpu" and x.itemsize >= 4 and tuple(kernel) == (3, 3) and stride == (1, 1) and small


def pays(N: int, weight: Array, size: Size) -> bool:
    """Whether N images of weight (O, C, 3, 3), with `size` output pixels, are faster this way than by im2col."""
    tiles = N * math.prod(_tiles_of(size))
    return min(weight.shape[:2]) >= LEAST_CHANNELS and tiles >= LEAST_TILES


def _tiles_of(size):
    return -(-size[0] // TILE), -(-size[1] // TILE)


def to_tiles(matrix: Array, x: Array, size: Size, corner: Size = (0, 0)) -> Array:
    """matrix (36, window^2) @ windows of x (N, H, W, C): (36, N, TH, TW, C), one window for each tile of `size` pixels.

    Windows start at every fourth pixel of x, which has `corner` zeros above and to the left, and zeros all around.
    """
    (N, H, W, C), (TH, TW), (top, left) = x.shape, _tiles_of(size), corner
    matrix = matrix.astype(x.dtype)
    window = 6 if matrix.shape[1] == 36 else TILE
    rows, columns = TILE * TH + window - TILE, TILE * TW + window - TILE
    inside = (slice(None), slice(top, top + H), slice(left, left + W))
    number = x.itemsize
    row, pixel = columns * C * number, C * number
    V = empty((len(matrix), N, TH, TW, C), like=x)

    def transform_block(images):
        n = images.stop - images.start
        padded = memory.framed((n, rows, columns, C), x.dtype, inside, 0)
        padded[inside] = x[images]
        windows = memory.scratch("windows", (window, window, n, TH, TW), f"V{pixel}")
        strides = (row, pixel, rows * row, TILE * row, TILE * pixel)
        np.copyto(windows, np.ndarray(windows.shape, windows.dtype, padded, 0, strides))
        numbers = np.ndarray((window * window, n * TH * TW * C), x.dtype, windows)
        np.matmul(matrix, numbers, out=V[:, images].reshape(len(matrix), -1))

    for_each_block(transform_block, x, V.nbytes // N)
    return V


def from_tiles(M: Array, size: Size, bias: Array | None = None) -> Array:
    """The tiles OUTPUT @ M (36, N, TH, TW, O) side by side, cut to `size`, + bias: y (N, OH, OW, O)."""
    (_, N, TH, TW, O), (OH, OW) = M.shape, size
    output = OUTPUT.astype(M.dtype)
    y = empty((N, OH, OW, O), like=M)

    def transform_block(images):
        n = images.stop - images.start
        tiles = memory.scratch("tiles", (TILE, TILE, n, TH, TW, O), M.dtype)
        np.matmul(output, M[:, images].reshape(len(M), -1), out=tiles.reshape(len(output), -1))
        image = memory.scratch("image", (n, TH, TILE, TW, TILE, O), M.dtype)
        np.copyto(image.transpose(2, 4, 0, 1, 3, 5), tiles)
        y[images] = image.reshape(n, TH * TILE, TW * TILE, O)[:, :OH, :OW]
        if bias is not None:
            np.add(y[images], bias, out=y[images])

    for_each_block(transform_block, y, M.nbytes // N)
    return y


def products(V: Array, U: Array) -> Array:
    """V (36, T, C) @ U (36, C, O) -> (36, T, O): 36 products of matrices, on all threads."""
    M = empty((len(V), V.shape[1], U.shape[2]), like=V)
    for_each_block(lambda block: np.matmul(V[block], U[block], out=M[block]), M, (V.nbytes + U.nbytes) // len(V))
    return M


def _map_kernel(matrix, kernel):
    """matrix (R, K) @ kernel (K, C, O) -> (R, C, O)."""
    matrix = matrix.astype(kernel.dtype)
    result = empty((len(matrix), *kernel.shape[1:]), like=kernel)

    def map_some_channels(block):
        some = kernel[:, block]
        result[:, block] = (matrix @ some.reshape(len(some), -1)).reshape(len(matrix), *some.shape[1:])

    by_channel = result.transpose(1, 0, 2)
    for_each_block(map_some_channels, by_channel, 4 * by_channel[0].nbytes)
    return result


def transform_kernel(kernel: Array) -> Array:
    """kernel (3, 3, C, O) -> U (36, C, O)."""
    return _map_kernel(KERNEL, kernel.reshape(9, *kernel.shape[2:]))


def transform_kernel_adjoint(dU: Array) -> Array:
    """dU (36, C, O) -> dkernel (3, 3, C, O)."""
    return _map_kernel(KERNEL.T, dU).reshape(3, 3, *dU.shape[1:])


def convolve(x: Array, weight: Array, bias: Array | None, geometry: Geometry) -> Array:
    """y (N, OH, OW, O) of x (N, H, W, C), weight (O, C, 3, 3) and bias (O,) or None."""
    return _from_products(_tiles(x, geometry), weight, bias, geometry)


def convolve_input_gradient(dy: Array, weight: Array, geometry: Geometry) -> Array:
    """dx (N, H, W, C): a convolution of dy with the kernel turned."""
    return convolve(dy, turned(weight), None, geometry.turned)


def convolve_weight_gradient(x: Array, dy: Array, geometry: Geometry) -> Array:
    """dweight (O, C, 3, 3): the adjoint, with respect to the kernel, of the convolution that leads from dy to dx."""
    return _weight_gradient(x, _tiles(dy, geometry.turned), geometry)


def convolve_gradients(x: Array, dy: Array, weight: Array, geometry: Geometry) -> tuple[Array, Array]:
    """(dx, dweight): both need the tiles of dy, which are made once."""
    V = _tiles(dy, geometry.turned)
    return _from_products(V, turned(weight), None, geometry.turned), _weight_gradient(x, V, geometry)


def _tiles(x, geometry):
    return to_tiles(INPUT, x, geometry.output, (geometry.padding[0][0], geometry.padding[1][0]))


def _from_products(V, weight, bias, geometry):
    M = products(V.reshape(36, -1, V.shape[-1]), transform_kernel(weight.transpose(2, 3, 1, 0)))
    return from_tiles(M.reshape(*V.shape[:-1], -1), geometry.output, bias)


def _weight_gradient(x, V, geometry):
    """From V, the tiles of dy: dx = OUTPUT @ (V @ KERNEL @ turned weight), so x, in dx's place, gives dweight."""
    dM = to_tiles(OUTPUT.T, x, geometry.image).reshape(36, -1, x.shape[3])
    dturned = transform_kernel_adjoint(products(V.reshape(36, -1, V.shape[-1]).transpose(0, 2, 1), dM))
    return dturned[::-1, ::-1].transpose(2, 3, 0, 1)
