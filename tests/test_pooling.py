"""max_pool2d, avg_pool2d and global_avg_pool2d: against loops, differences and PyTorch."""

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from minires.layers import (
    AvgPool2d,
    GlobalAvgPool2d,
    MaxPool2d,
    avg_pool2d,
    global_avg_pool2d,
    max_pool2d,
)

POOLS = {"max": max_pool2d, "avg": avg_pool2d}
both_pools = pytest.mark.parametrize("pool", POOLS)


WAYS = [("max", {}), ("avg", {}), ("avg", {"count_include_pad": False})]
every_way = pytest.mark.parametrize(("pool", "options"), WAYS, ids=["max", "avg", "avg of the image alone"])


def naive_pool(pool, x, kernel, stride, padding):
    """One window at a time."""
    (KH, KW), (SH, SW) = kernel, stride
    x = np.pad(x, ((0, 0), *padding, (0, 0)), constant_values=-np.inf if pool == "max" else 0)
    N, H, W, C = x.shape
    y = np.zeros((N, (H - KH) // SH + 1, (W - KW) // SW + 1, C))
    for n, oh, ow, c in np.ndindex(y.shape):
        window = x[n, oh * SH : oh * SH + KH, ow * SW : ow * SW + KW, c]
        y[n, oh, ow, c] = max(window.ravel()) if pool == "max" else sum(window.ravel()) / (KH * KW)
    return y


def distinct(shape, seed=0):
    """Numbers that all differ by at least 0.1: no window has a tie, nor comes near one."""
    return np.random.default_rng(seed).permutation(np.prod(shape)).reshape(shape) * 0.1 - 3


@st.composite
def cases(draw):
    """(x, kernel, stride, padding): odd shapes, windows that overlap, touch or leave gaps, four different sides."""
    number = lambda least, most: draw(st.integers(least, most))  # noqa: E731
    shape = (number(1, 3), number(1, 8), number(1, 8), number(1, 3))
    KH, KW = number(1, 4), number(1, 4)
    padding = tuple((number(0, k // 2), number(0, k // 2)) for k in (KH, KW))
    assume(shape[1] + sum(padding[0]) >= KH and shape[2] + sum(padding[1]) >= KW)
    stride = draw(st.sampled_from([(1, 1), (2, 2), (1, 3), (3, 2), (KH, KW)]))
    return distinct(shape, number(0, 1000)), (KH, KW), stride, padding


NONE = ((0, 0), (0, 0))
EXAMPLES = [
    (distinct((2, 6, 6, 3)), (2, 2), (2, 2), NONE),
    (distinct((2, 7, 7, 2)), (3, 3), (2, 2), ((1, 1), (1, 1))),  # overlapping, as in ImageNet's networks
    (distinct((1, 5, 4, 1)), (2, 3), (1, 1), ((1, 0), (0, 1))),
]


@both_pools
@given(drawn=cases())
@example(drawn=EXAMPLES[0])
@example(drawn=EXAMPLES[1])
def test_gradient_and_purity(check_operation, pool, drawn):
    x, *window = drawn
    check_operation(lambda x: POOLS[pool](x, *window), x)


@both_pools
@given(drawn=cases())
@example(drawn=EXAMPLES[1])
@example(drawn=EXAMPLES[2])
def test_naive_loop(pool, drawn):
    np.testing.assert_allclose(POOLS[pool](*drawn)[0], naive_pool(pool, *drawn), rtol=1e-12, atol=1e-12)


def pytorch_pool(torch, pool, x, kernel, stride, padding, dy, **options):
    """PyTorch's y and dx; padding as it has it, symmetric."""
    function = getattr(torch.nn.functional, f"{pool}_pool2d")
    tensor = torch.tensor(x, requires_grad=True)
    y = function(tensor.permute(0, 3, 1, 2), kernel, stride, padding, **options).permute(0, 2, 3, 1)
    y.backward(torch.tensor(dy))
    return y.detach().numpy(), tensor.grad.numpy()


@both_pools
@given(drawn=cases())
@example(drawn=EXAMPLES[0])
@example(drawn=EXAMPLES[1])
def test_pytorch(torch, pool, drawn):
    x, kernel, stride, ((rows, _), (columns, _)) = drawn
    assume(x.shape[1] + 2 * rows >= kernel[0] and x.shape[2] + 2 * columns >= kernel[1])
    y, backward = POOLS[pool](x, kernel, stride, (rows, columns))
    dy = np.random.default_rng(1).standard_normal(y.shape)
    their_y, their_dx = pytorch_pool(torch, pool, x, kernel, stride, (rows, columns), dy)
    np.testing.assert_allclose(y, their_y, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(backward(dy), their_dx, rtol=1e-12, atol=1e-12)


def naive_pool_rounded_up(pool, x, kernel, stride, padding, count_include_pad=True):
    """The windows that begin within the image or the padding before it, each cut where that which counts ends."""
    padded_area = [(-before, n + after) for n, (before, after) in zip(x.shape[1:3], padding, strict=True)]
    image_area = [(0, n) for n in x.shape[1:3]]
    starts = []
    for n, k, s, (before, after) in zip(x.shape[1:3], kernel, stride, padding, strict=True):
        all_of_them = range(-before, n, s)
        fitting = [start for start in all_of_them if start + k <= n + after]
        left_over = not fitting or fitting[-1] + k < n + after
        starts.append(all_of_them[: len(fitting) + left_over])
    y = np.zeros((len(x), len(starts[0]), len(starts[1]), x.shape[3]))
    for n, oh, ow, c in np.ndindex(y.shape):
        start = starts[0][oh], starts[1][ow]

        def pixels(area, start=start):
            spans = zip(start, kernel, area, strict=True)
            return [range(max(at, first), min(at + k, last)) for at, k, (first, last) in spans]

        rows, columns = pixels(image_area)
        window = x[n, rows.start : rows.stop, columns.start : columns.stop, c].ravel()
        counted = pixels(padded_area if count_include_pad else image_area)
        y[n, oh, ow, c] = max(window) if pool == "max" else sum(window) / (len(counted[0]) * len(counted[1]))
    return y


@st.composite
def rounded_up(draw):
    """(x, kernel, stride, padding), mostly with a window more than when rounded down."""
    number = lambda least, most: draw(st.integers(least, most))  # noqa: E731
    shape, kernel, stride = (
        (2, number(1, 9), number(1, 9), 2),
        (number(1, 4), number(1, 4)),
        (number(1, 5), number(1, 5)),
    )
    padding = tuple((number(0, k // 2), number(0, k // 2)) for k in kernel)
    room = [n + sum(sides) - k for n, k, sides in zip(shape[1:3], kernel, padding, strict=True)]
    assume(all(r > -s for r, s in zip(room, stride, strict=True)))
    return distinct(shape, number(0, 1000)), kernel, stride, padding


SIX_BY_3 = (distinct((2, 6, 6, 2)), (3, 3), (2, 2), NONE)  # GoogLeNet's windows
BEHIND = (distinct((1, 3, 3, 1)), (2, 2), (2, 2), ((1, 1), (1, 1)))  # one more would begin behind the image


@every_way
@given(drawn=rounded_up())
@example(drawn=SIX_BY_3)
@example(drawn=BEHIND)
def test_rounded_up(check_operation, pool, options, drawn):
    """ceil_mode, and what of the border counts: gradients, purity, and a naive loop."""
    x, *window = drawn
    check_operation(lambda x: POOLS[pool](x, *window, ceil_mode=True, **options), x, max_elements=20)
    y, _ = POOLS[pool](x, *window, ceil_mode=True, **options)
    np.testing.assert_allclose(y, naive_pool_rounded_up(pool, *drawn, **options), rtol=1e-12, atol=1e-12)


@every_way
@pytest.mark.parametrize("ceil_mode", [False, True])
@given(drawn=rounded_up())
@example(drawn=SIX_BY_3)
@example(drawn=BEHIND)
@example(drawn=(distinct((1, 1, 1, 1)), (4, 4), (5, 5), NONE))  # no window would fit
def test_rounded_up_as_in_pytorch(torch, pool, options, ceil_mode, drawn):
    x, kernel, stride, ((rows, _), (columns, _)) = drawn
    room = [n + 2 * p - k for n, p, k in zip(x.shape[1:3], (rows, columns), kernel, strict=True)]
    assume(all(r > (-s if ceil_mode else -1) for r, s in zip(room, stride, strict=True)))
    y, backward = POOLS[pool](x, kernel, stride, (rows, columns), ceil_mode=ceil_mode, **options)
    dy = np.random.default_rng(1).standard_normal(y.shape)
    their_y, their_dx = pytorch_pool(
        torch, pool, x, kernel, stride, (rows, columns), dy, ceil_mode=ceil_mode, **options
    )
    np.testing.assert_allclose(y, their_y, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(backward(dy), their_dx, rtol=1e-12, atol=1e-12)


@every_way
def test_rounded_up_nothing_changes_where_windows_fit(pool, options):
    x = distinct((2, 7, 5, 3))
    y, backward = POOLS[pool](x, 3, 2, **options)
    same, same_backward = POOLS[pool](x, 3, 2, ceil_mode=True, **options)
    np.testing.assert_array_equal(same, y)
    np.testing.assert_array_equal(same_backward(y), backward(y))


@every_way
def test_rounded_up_in_blocks(check_blocks, pool, options):
    function = lambda x: POOLS[pool](x, 3, 2, 1, ceil_mode=True, **options)  # noqa: E731
    check_blocks(function, distinct((7, 6, 6, 3)), sizes=(1, 3000, 12000))


def test_a_window_cut_by_the_border_is_a_mean_of_fewer():
    x = np.arange(1.0, 10).reshape(1, 3, 3, 1)
    y, backward = avg_pool2d(x, 2, ceil_mode=True)
    np.testing.assert_array_equal(y[0, ..., 0], [[3, 4.5], [7.5, 9]])
    dx = backward(np.ones_like(y))[0, ..., 0]
    np.testing.assert_array_equal(dx, [[0.25, 0.25, 0.5], [0.25, 0.25, 0.5], [0.5, 0.5, 1]])


def test_a_border_that_does_not_count():
    ones = np.ones((1, 3, 3, 1))
    np.testing.assert_array_equal(avg_pool2d(ones, 3, 1, 1, count_include_pad=False)[0], ones)


@pytest.mark.parametrize("kernel, stride, padding", [(2, 2, 0), (3, 2, 1), (3, 1, 1)])
def test_ties_go_to_the_first_as_in_pytorch(torch, kernel, stride, padding):
    x = np.random.default_rng(0).integers(0, 2, (3, 8, 7, 2)).astype(np.float64)  # hardly a window without a tie
    y, backward = max_pool2d(x, kernel, stride, padding)
    dy = np.random.default_rng(1).standard_normal(y.shape)
    their_y, their_dx = pytorch_pool(torch, "max", x, kernel, stride, padding, dy)
    np.testing.assert_array_equal(y, their_y)
    np.testing.assert_allclose(backward(dy), their_dx, rtol=1e-12, atol=1e-12)


def test_a_tie_goes_to_the_first_in_reading_order():
    y, backward = max_pool2d(np.ones((1, 2, 2, 1)), 2)
    np.testing.assert_array_equal(backward(np.full_like(y, 5)).ravel(), [5, 0, 0, 0])


@pytest.mark.parametrize("place", [(0, 0), (0, 1), (1, 0), (1, 1), (3, 4)])
def test_max_pool_passes_nan_on(torch, place):
    x = distinct((1, 4, 5, 1))
    x[0, place[0], place[1], 0] = np.nan
    y, backward = max_pool2d(x, 3, 2, 1)
    dy = np.random.default_rng(1).standard_normal(y.shape)
    their_y, their_dx = pytorch_pool(torch, "max", x, 3, 2, 1, dy)
    assert np.isnan(y).any()
    np.testing.assert_array_equal(y, their_y)
    np.testing.assert_allclose(backward(dy), their_dx, rtol=1e-12)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_max_pool_keeps_a_bad_gradient_to_its_pixel(bad):
    _, backward = max_pool2d(distinct((1, 2, 2, 1)), 2)
    assert np.isfinite(backward(np.array([[[[bad]]]]))).sum() == 3


def test_max_pool_of_minus_infinity_gives_dy_to_a_pixel_of_the_image():
    _, backward = max_pool2d(np.full((1, 2, 2, 1), -np.inf), 2, 2, 1)
    np.testing.assert_array_equal(backward(np.ones((1, 2, 2, 1))), np.ones((1, 2, 2, 1)))


@both_pools
def test_gray_images_given_their_channel_axis(pool):
    images = distinct((2, 6, 4))
    expected = naive_pool(pool, images.reshape(2, 6, 4, 1), (2, 2), (2, 2), NONE)
    np.testing.assert_allclose(POOLS[pool](images[..., None], 2)[0], expected, rtol=1e-12, atol=1e-12)


def test_avg_pool_counts_the_padding():
    y, _ = avg_pool2d(np.ones((1, 2, 2, 1)), 2, 1, 1)
    np.testing.assert_array_equal(y[0, ..., 0], [[0.25, 0.5, 0.25], [0.5, 1, 0.5], [0.25, 0.5, 0.25]])


def test_stride_is_the_kernel_by_default():
    x = distinct((1, 6, 7, 2))
    for function in POOLS.values():
        np.testing.assert_array_equal(function(x, (2, 3))[0], function(x, (2, 3), (2, 3))[0])


@both_pools
@pytest.mark.parametrize("window", [(2, 2, 0), (3, 2, 1)])
def test_blocks(check_blocks, pool, window):
    check_blocks(lambda x: POOLS[pool](x, *window), distinct((7, 6, 5, 3)), sizes=(1, 3000, 12000))


class TestGlobalAveragePool:
    @given(shape=st.tuples(*[st.integers(1, 5)] * 4))
    def test_gradient_purity_and_naive_loop(self, check_operation, shape):
        x = np.random.default_rng(0).standard_normal(shape)
        check_operation(global_avg_pool2d, x)
        N, H, W, C = shape
        expected = [[sum(x[n, :, :, c].ravel()) / (H * W) for c in range(C)] for n in range(N)]
        np.testing.assert_allclose(global_avg_pool2d(x)[0], expected, rtol=1e-12, atol=1e-13)

    def test_pytorch(self, torch):
        x, dy = distinct((3, 5, 4, 2)), np.random.default_rng(0).standard_normal((3, 2))
        tensor = torch.tensor(x, requires_grad=True)
        y = torch.nn.functional.adaptive_avg_pool2d(tensor.permute(0, 3, 1, 2), 1)[:, :, 0, 0]
        y.backward(torch.tensor(dy))
        ours, backward = global_avg_pool2d(x)
        np.testing.assert_allclose(ours, y.detach().numpy(), rtol=1e-12)
        np.testing.assert_allclose(backward(dy), tensor.grad.numpy(), rtol=1e-12)

    def test_the_gradient_is_the_callers_own(self):
        _, backward = global_avg_pool2d(np.ones((1, 2, 2, 1)))
        dx = backward(np.ones((1, 1)))
        dx[0, 0, 0, 0] = 5  # neither read-only nor one number in four places
        assert dx.ravel().tolist() == [5, 0.25, 0.25, 0.25]


X = np.ones((2, 6, 6, 3))


@both_pools
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((X, 7), "kernel 7x7 is larger than the padded image 6x6"),
        ((X, 9, 2, 0, True), "kernel 9x9 is larger than the padded image 6x6"),
        ((X, 0), "pool2d: kernel_size must be at least 1, got 0"),
        ((X, 2, 0), "pool2d: stride must be at least 1, got 0"),
        ((X, 2, 2, -1), "pool2d: padding must be at least 0, got -1"),
        ((X, 3, 2, 2), "pool2d: padding 2 is more than half of kernel_size 3.*use less padding"),
        ((X, 2, 2, ((0, 0), (0, 2))), "is more than half of kernel_size 2"),
        ((X[:0], 2), r"pool2d: empty batch, x has shape \(0, 6, 6, 3\)"),
        ((X[0], 2), r"pool2d: x must have shape \(N, H, W, C\), got \(6, 6, 3\)"),
        ((X.astype(np.uint8), 2), "pool2d: needs floating-point arrays, got uint8"),
    ],
)
def test_bad_input(pool, arguments, message):
    with pytest.raises(ValueError, match=message):
        POOLS[pool](*arguments)


def test_bad_input_of_the_global_pool():
    for x, message in ((X[:0], "empty batch"), (X[0], "add the batch axis"), (X.astype(np.int64), "got int64")):
        with pytest.raises(ValueError, match=f"global_avg_pool2d: .*{message}"):
            global_avg_pool2d(x)


@pytest.mark.parametrize(
    ("module", "function"),
    [
        (MaxPool2d(3, 2, 1), lambda x: max_pool2d(x, 3, 2, 1)),
        (MaxPool2d(3, 2, ceil_mode=True), lambda x: max_pool2d(x, 3, 2, ceil_mode=True)),
        (AvgPool2d(2), lambda x: avg_pool2d(x, 2)),
        (AvgPool2d(3, 2, 1, True, False), lambda x: avg_pool2d(x, 3, 2, 1, ceil_mode=True, count_include_pad=False)),
        (GlobalAvgPool2d(), global_avg_pool2d),
    ],
)
def test_modules(module, function):
    x = distinct((2, 6, 5, 3))
    (y, backward), (y2, backward2) = module(x), function(x)
    np.testing.assert_array_equal(y, y2)
    np.testing.assert_array_equal(backward(y), backward2(y))


def test_how_modules_print():
    assert repr(MaxPool2d(3, 2)) == "MaxPool2d(kernel_size=3, stride=2, padding=0)"
    assert repr(MaxPool2d(3, 2, ceil_mode=True)) == "MaxPool2d(kernel_size=3, stride=2, padding=0, ceil_mode=True)"
    assert repr(AvgPool2d(3, 1, 1, count_include_pad=False)).endswith("padding=1, count_include_pad=False)")
