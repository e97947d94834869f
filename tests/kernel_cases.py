"""Kernels on arrays that nobody would think of: shapes, sizes of windows, numbers of blocks and indices, all drawn.

A case draws from its generator, computes by kernels on the double and by NumPy, and compares.
"""

import contextlib
from unittest import mock

import numpy as np

from minires import backend
from minires.backend import array_module, half, to_device, to_numpy
from minires.backend.geometry import extent
from minires.backend.gpu import classes, compiling, fusing, images, layouts, patches, pooling, sums
from minires.backend.primitives.patches import factors
from minires.layers import max_pool2d, pad_shortcut
from minires.losses import cross_entropy

# Of numbers, and what an index is below if it has 32 bits
KINDS = (("f", compiling.SMALL), ("d", 0), ("e", compiling.SMALL), ("E", compiling.SMALL))
ALL_KINDS = tuple((real, small) for real in ("f", "d", "e", "E") for small in (compiling.SMALL, 0))


@contextlib.contextmanager
def circumstances(rng):
    """A number of blocks, mostly so few that each thread has many indices, and 32 or 64 bits for these.

    Gives the type of the arrays' numbers.
    """
    real, small = KINDS[rng.integers(len(KINDS))]
    blocks = int(rng.choice([1, 2, 5, compiling.BLOCKS]))

    def grid(n, most=0):
        return compiling.grid(n, blocks)

    with (
        mock.patch.object(fusing, "grid", grid),
        mock.patch.object(patches, "grid", grid),
        mock.patch.object(classes, "grid", grid),
        mock.patch.object(pooling, "grid", grid),
        mock.patch.object(images, "grid", grid),
        mock.patch.object(layouts, "grid", grid),
        mock.patch.object(sums, "SUM_BLOCKS", int(rng.choice([1, 3, 16, sums.SUM_BLOCKS]))),
        mock.patch.object(compiling, "SMALL", small),
    ):
        yield real


def run(rng):
    """One case of those that are drawn from."""
    with circumstances(rng) as real:
        CASES[rng.integers(len(CASES))](rng, real)


def _numbers(rng, real, *shape):
    return rng.standard_normal(shape).astype(_dtype(real))


def _dtype(real):
    return half("bfloat16") if real == "E" else np.dtype(real)


def _wide(real):
    """What is computed of these numbers, and what parameters are that go with them."""
    return backend.widened(_dtype(real)).char


def _shape(rng):
    """(..., C), of up to a few thousand numbers, often of one."""
    axes = [int(rng.integers(1, 12)) for _ in range(rng.integers(0, 4))]
    return *axes, int(rng.choice([1, 2, 3, 4, 16, 31, 33, 64, 100, 255, 257, 300]))


def _same(got, want, rtol=0.0):
    got = to_numpy(got)
    assert got.dtype == want.dtype, f"{got.dtype}, not {want.dtype}"
    got, want = (array.astype(np.float64) if array.dtype.kind in "fV" else array for array in (got, want))
    scale = float(np.abs(want).max(initial=1))
    np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol * scale if rtol else 0)


def _dilation(rng):
    """Mostly none."""
    return tuple(int(d) for d in rng.integers(1, 4, 2)) if rng.random() < 0.4 else (1, 1)


def patches_and_their_adjoint(rng, real):
    """im2col and col2im: windows larger than the image, with gaps, strides larger than windows, some rows only."""
    kernel, stride = (tuple(int(k) for k in rng.integers(1, 6, 2)) for _ in range(2))
    dilation = _dilation(rng)
    window = extent(kernel, dilation)
    padding = tuple(tuple(int(p) for p in rng.integers(0, 4, 2)) for _ in range(2))
    size = [int(rng.integers(max(1, k - sum(sides)), 12 + k)) for k, sides in zip(window, padding, strict=True)]
    x = _numbers(rng, real, int(rng.integers(1, 4)), *size, int(rng.choice([1, 2, 3, 4, 5, 8, 12, 36])))
    want = backend.im2col(x, kernel, stride, padding, -2.5, dilation=dilation)
    got = backend.im2col(to_device(x, "gpu"), kernel, stride, padding, -2.5, dilation=dilation)
    _same(got, want)
    first, last = sorted(int(row) for row in rng.integers(0, want.shape[1] + 1, 2))
    some = backend.borrow_patches(to_device(x, "gpu"), kernel, stride, padding, -2.5, slice(first, last), dilation)
    _same(some, want[:, first:last])
    dx = backend.col2im(got, tuple(size), stride, padding, dilation=dilation)
    _same(dx, backend.col2im(want, tuple(size), stride, padding, dilation=dilation), 1e-5 if _wide(real) == real else 0)


def both_factors(rng, real):
    """Patches and the weight's matrix in one kernel, as it is and turned, of halves as well."""
    kernel, stride = tuple(int(k) for k in rng.integers(1, 5, 2)), tuple(int(k) for k in rng.integers(1, 4, 2))
    kernel, dilation = (2, 1) if kernel == (1, 1) else kernel, _dilation(rng)
    padding = tuple(tuple(int(p) for p in rng.integers(0, 3, 2)) for _ in range(2))
    window = extent(kernel, dilation)
    size = [int(rng.integers(max(1, k - sum(sides)), 9 + k)) for k, sides in zip(window, padding, strict=True)]
    C, O = int(rng.choice([1, 3, 4, 8, 16])), int(rng.choice([1, 2, 5, 40, 300]))
    x = _numbers(rng, real, int(rng.integers(1, 4)), *size, C)
    weight, turned = _numbers(rng, _wide(real), O, C, *kernel), rng.random() < 0.5
    given = weight[:, :, ::-1, ::-1].transpose(1, 0, 2, 3).copy() if turned else weight
    patches = backend.im2col(x, kernel, stride, padding, dilation=dilation)
    N, OH, OW = patches.shape[:3]
    got = factors(to_device(x, "gpu"), to_device(given, "gpu"), stride, padding, (OH, OW), turned, dilation)
    _same(got[0], patches.reshape(N * OH * OW, -1))
    _same(got[1], weight.transpose(0, 2, 3, 1).astype(x.dtype).reshape(O, -1).T)


def element_wise(rng, real):
    """New arrays of numbers and of truth values, and one that is written in place."""
    x, y, kept = (_numbers(rng, _wide(real), *_shape(rng)),) * 2 + (None,)
    y, kept = np.flip(y).copy(), x > 0.3

    def function(x, y, kept, slope):
        xp = array_module(x, y)
        y += slope * x
        return xp.where(kept, x * y, 0), y > x

    on_gpu = [to_device(array, "gpu") for array in (x, y, kept)]
    for got, want in zip(backend.elementwise(function, *on_gpu, slope=3.0), function(x, y, kept, 3.0), strict=True):
        _same(got, want)
    _same(on_gpu[1], y)


def numbers_a_channel(rng, real):
    """An array from arrays (..., C) and vectors (C,)."""
    x = _numbers(rng, real, *_shape(rng))
    scale, shift = (_numbers(rng, _wide(real), x.shape[-1]) for _ in range(2))

    def line(x, scale, shift, out):
        xp = array_module(x)
        xp.multiply(x, scale, out=out)
        xp.add(out, shift, out=out)

    got = backend.map_channels(line, (to_device(x, "gpu"),), (to_device(scale, "gpu"), to_device(shift, "gpu")))
    _same(got, (x * scale + shift).astype(x.dtype))


def sums_over_channels(rng, real):
    """Two sums of arrays (..., C) and a vector (C,), and what follows them."""
    x = _numbers(rng, real, int(rng.integers(1, 40)), *_shape(rng))
    mean, changed = (_numbers(rng, _wide(real), x.shape[-1]) for _ in range(2))

    def centered(x, mean, out):
        array_module(x).subtract(x, mean, out=out)
        return out, (out, x)

    def then(total, products, mean, changed, count):
        changed += mean
        return total, products, total / count + changed

    rows = x.reshape(-1, x.shape[-1]).astype(np.float64)
    on_gpu = [to_device(array.copy(), "gpu") for array in (x, mean, changed)]
    found = backend.sum_channels(centered, on_gpu[:1], on_gpu[1:2], then, *on_gpu[1:], count=len(rows))
    total, products, changed = (rows - mean).sum(axis=0), ((rows - mean) * rows).sum(axis=0), changed + mean
    wanted = (total, products, total / len(rows) + changed, changed)
    for got, want in zip((*found, on_gpu[2]), wanted, strict=True):
        _same(got, want.astype(_wide(real)), 1e-4)


def many_arrays(rng, real):
    """More sets of arrays than a launch has room for, empty ones among them."""
    sizes = [int(rng.integers(0, 5) ** rng.integers(1, 5)) for _ in range(rng.integers(1, 300))]
    sets = [tuple(_numbers(rng, _wide(real), size) for _ in range(2)) for size in sizes]
    scale, taken = _numbers(rng, _wide(real)), np.asarray(rng.random() < 0.5)

    def step(w, g, scale, taken, lr):
        g *= 0.5
        return array_module(w).where(taken, w - lr * (g / scale), w)

    on_gpu = [tuple(to_device(array, "gpu") for array in one) for one in sets]
    numbers = {"scale": to_device(scale, "gpu"), "taken": to_device(taken, "gpu")}
    results = list(backend.elementwise_each(step, [(one, {}) for one in on_gpu], **numbers, lr=0.25))
    for got, arrays, (w, g) in zip(results, on_gpu, sets, strict=True):
        _same(got, step(w, g, scale, taken, 0.25))
        _same(arrays[1], g)


def infinite_numbers(rng, real):
    """Whether all numbers of many arrays are finite, where of often many none, or one, is not."""
    sizes = [int(rng.integers(0, 5) ** rng.integers(1, 5)) for _ in range(rng.integers(1, 300))]
    arrays = [_numbers(rng, _wide(real), size) for size in sizes]
    filled = [array for array in arrays if array.size] or [np.ones(1)]
    spoilt = filled[rng.integers(len(filled))]
    if rng.random() < 0.7:
        spoilt[rng.integers(spoilt.size)] = rng.choice([np.nan, np.inf, -np.inf])
    _same(backend.all_finite([to_device(array, "gpu") for array in arrays]), backend.all_finite(arrays))


def rows_of_logits(rng, real):
    """A loss of labels of all kinds, its gradient, and how many are right, with equal logits and infinite ones."""
    real, N, K = _wide(real), int(rng.integers(1, 70)), int(rng.choice([1, 2, 3, 7, 10, 31, 33, 100, 257, 300]))
    z = np.round(3 * _numbers(rng, real, N, K)).astype(real)
    labels, weight = rng.integers(0, K, N), rng.uniform(0.5, 2, K).astype(real) if rng.random() < 0.5 else None
    kind, smoothing = rng.choice(["all", "ignored", "soft"]), float(rng.choice([0, 0.1]))
    if kind != "soft" and not smoothing:  # the loss is no infinity
        z[(rng.random((N, K)) < 0.1) & (np.arange(K) != labels[:, None])] = -np.inf
    if kind == "ignored":
        labels[1::3] = -100
    t = rng.dirichlet(np.ones(K), N).astype(real) if kind == "soft" else labels.astype(rng.choice(["i4", "i8", "i2"]))
    want, backward = cross_entropy(z, t, smoothing, weight=weight)
    on_gpu = [to_device(array, "gpu") for array in (z, t)]
    weight_there = None if weight is None else to_device(weight, "gpu")
    got, backward_there = cross_entropy(*on_gpu, smoothing, weight=weight_there)
    _same(got, want, 1e-4)
    _same(backward_there(3.0), backward(3.0), 1e-4)
    _same(backward_there(to_device(np.array(3, real), "gpu")), backward(3.0), 1e-4)
    z[rng.random((N, K)) < 0.01] = np.nan
    _same(backend.count_largest(to_device(z, "gpu"), to_device(labels, "gpu")), backend.count_largest(z, labels))


def _equal(got, want):
    """The same numbers, NaN and infinity among them."""
    assert got.dtype == want.dtype
    np.testing.assert_array_equal(*(array.astype(backend.widened(array.dtype)) for array in (to_numpy(got), want)))


def largest_pixels(rng, real):
    """Max pooling and its gradient: equal pixels, NaN and -infinity, windows that overlap or leave gaps, padding.

    Often with a last window that reaches beyond the border.
    """
    kernel, stride = (tuple(int(k) for k in rng.integers(1, 6, 2)) for _ in range(2))
    padding = tuple(tuple(int(p) for p in rng.integers(0, k // 2 + 1, 2)) for k in kernel)
    ceil_mode = bool(rng.random() < 0.5)
    least = [k - sum(sides) - ceil_mode * (s - 1) for k, sides, s in zip(kernel, padding, stride, strict=True)]
    size = [int(rng.integers(max(1, n), 12)) for n in least]
    x = np.round(2 * _numbers(rng, real, int(rng.integers(1, 4)), *size, int(rng.choice([1, 2, 3, 4, 5, 8, 36]))))
    x = x.astype(_dtype(real))
    x[rng.random(x.shape) < rng.choice([0, 0.1, 0.5])] = rng.choice([np.nan, -np.inf])
    with np.errstate(invalid="ignore"):  # NumPy's halves warn of NaN
        want, backward = max_pool2d(x, kernel, stride, padding, ceil_mode)
    got, backward_there = max_pool2d(to_device(x, "gpu"), kernel, stride, padding, ceil_mode)
    _equal(got, want)
    dy = _numbers(rng, real, *want.shape)
    dy[rng.random(dy.shape) < 0.1] = np.inf
    _equal(backward_there(to_device(dy, "gpu")), backward(dy))


def moved_pixels(rng, real):
    """Images of bytes or numbers, shifted, mirrored, both or neither; and bytes normalised."""
    N, H, W, C = (int(size) for size in rng.integers(1, 9, 4))
    padding, wide = int(rng.integers(0, 4)), _wide(real)
    images = np.abs(20 * _numbers(rng, wide, N, H, W, C)).astype(rng.choice(["u1", "f4", "f8", "i2"]))
    offsets = rng.integers(0, 2 * padding + 1, (N, 2)) if rng.random() < 0.7 else None
    mask = rng.random(N) < 0.5 if offsets is None or rng.random() < 0.7 else None
    there = [None if array is None else to_device(array, "gpu") for array in (images, offsets, mask)]
    _same(backend.move_pixels(*there, padding), backend.move_pixels(images, offsets, mask, padding))
    scale, shift = (_numbers(rng, "f", W * C) for _ in range(2))
    got = backend.normalize_rows(there[0], to_device(scale, "gpu"), to_device(shift, "gpu"))
    _same(got, backend.normalize_rows(images, scale, shift), 1e-6)


def kept_pixels(rng, real):
    """The shortcut without parameters, and its gradient."""
    N, H, W, C = (int(size) for size in rng.integers(1, 9, 4))
    x, channels, stride = (
        _numbers(rng, real, N, H, W, C),
        C + int(rng.integers(0, 5)),
        tuple(rng.integers(1, 4, 2).tolist()),
    )
    want, backward = pad_shortcut(x, channels, stride)
    got, backward_there = pad_shortcut(to_device(x, "gpu"), channels, stride)
    _same(got, want)
    dy = _numbers(rng, real, *want.shape)
    _same(backward_there(to_device(dy, "gpu")), backward(dy))


def copies_of_many(rng, real):
    """Arrays that lie in memory in any order, backwards, with gaps; few of them or more than a launch has room for."""
    pairs = []
    for _ in range(int(rng.choice([1, 3, 150]))):
        axes = int(rng.integers(1, 6))
        array = _numbers(rng, rng.choice(["f", "d"]), *rng.integers(1, 6, axes))
        order, steps = rng.permutation(axes), tuple(slice(None, None, int(rng.choice([-1, 1, 2]))) for _ in range(axes))
        pairs.append([each.transpose(*order)[steps] for each in (to_device(array, "gpu"), array)])
    copies = layouts.contiguous_each([there for there, _ in pairs])
    for got, (_, want) in zip(copies, pairs, strict=True):
        assert got.flags.c_contiguous
        _same(got, want)


CASES = [
    patches_and_their_adjoint,
    both_factors,
    element_wise,
    numbers_a_channel,
    sums_over_channels,
    many_arrays,
    infinite_numbers,
    rows_of_logits,
    largest_pixels,
    moved_pixels,
    kept_pixels,
    copies_of_many,
]
