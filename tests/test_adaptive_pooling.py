"""adaptive_avg_pool2d: against a loop, differences and PyTorch."""

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minires.layers import AdaptiveAvgPool2d, adaptive_avg_pool2d, avg_pool2d, global_avg_pool2d


def naive(x, output_size):
    """One window at a time, its ends by the formula."""
    (N, H, W, C), (OH, OW) = x.shape, output_size
    y = np.zeros((N, OH, OW, C))
    for n, oh, ow, c in np.ndindex(y.shape):
        top, bottom = math.floor(oh * H / OH), math.ceil((oh + 1) * H / OH)
        left, right = math.floor(ow * W / OW), math.ceil((ow + 1) * W / OW)
        pixels = [x[n, h, w, c] for h in range(top, bottom) for w in range(left, right)]
        y[n, oh, ow, c] = sum(pixels) / len(pixels)
    return y


def normal(*shape):
    return np.random.default_rng(0).standard_normal(shape)


number = st.integers(1, 9)
drawn = given(shape=st.tuples(st.integers(1, 3), number, number, st.integers(1, 3)), size=st.tuples(number, number))


@drawn
@example(shape=(2, 7, 7, 2), size=(7, 7))  # nothing changes
@example(shape=(2, 8, 6, 2), size=(4, 2))  # equal windows
@example(shape=(2, 9, 8, 2), size=(6, 6))  # windows that overlap
@example(shape=(2, 2, 3, 2), size=(5, 7))  # more windows than pixels
def test_gradient_purity_and_naive_loop(check_operation, shape, size):
    x = normal(*shape)
    check_operation(lambda x: adaptive_avg_pool2d(x, size), x)
    np.testing.assert_allclose(adaptive_avg_pool2d(x, size)[0], naive(x, size), rtol=1e-12, atol=1e-13)


@drawn
@example(shape=(2, 9, 8, 2), size=(6, 6))
@example(shape=(2, 2, 3, 2), size=(5, 7))
def test_pytorch(torch, shape, size):
    x = normal(*shape)
    y, backward = adaptive_avg_pool2d(x, size)
    tensor, dy = torch.tensor(x, requires_grad=True), normal(*y.shape)
    their_y = torch.nn.functional.adaptive_avg_pool2d(tensor.permute(0, 3, 1, 2), size).permute(0, 2, 3, 1)
    their_y.backward(torch.tensor(dy))
    np.testing.assert_allclose(y, their_y.detach().numpy(), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(backward(dy), tensor.grad.numpy(), rtol=1e-12, atol=1e-13)


def test_equal_windows_are_average_poolings():
    x, dy = normal(2, 6, 8, 3), normal(2, 3, 2, 3)
    (y, backward), (same, same_backward) = adaptive_avg_pool2d(x, (3, 2)), avg_pool2d(x, (2, 4))
    np.testing.assert_allclose(y, same, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(backward(dy), same_backward(dy), rtol=1e-12)
    np.testing.assert_allclose(adaptive_avg_pool2d(x, 1)[0][:, 0, 0], global_avg_pool2d(x)[0], rtol=1e-12, atol=1e-13)


def test_an_image_of_that_size_stays_as_it_is():
    x = normal(2, 7, 7, 3)
    np.testing.assert_array_equal(adaptive_avg_pool2d(x, 7)[0], x)


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_a_number_that_is_none_stays_in_its_windows(bad):
    """Matrices with zeros in them, which would do the same otherwise, would spread it: 0 times infinity is NaN."""
    x = np.ones((1, 5, 5, 2))
    x[0, 0, 4, 1] = bad
    y, backward = adaptive_avg_pool2d(x, 3)
    assert [tuple(place) for place in np.argwhere(~np.isfinite(y))] == [(0, 0, 2, 1)]
    dy = np.ones_like(y)
    dy[0, 1, 1, 0] = bad
    assert np.argwhere(~np.isfinite(backward(dy))).min(axis=0).tolist() == [0, 1, 1, 0]
    assert np.argwhere(~np.isfinite(backward(dy))).max(axis=0).tolist() == [0, 3, 3, 0]


def test_halves_are_added_up_in_float32():
    x = np.full((1, 64, 64, 1), 60_000, np.float16)  # whose sum float16 does not hold
    x[0, 1:] = 1
    y, backward = adaptive_avg_pool2d(x, (3, 1))
    np.testing.assert_array_equal(y, adaptive_avg_pool2d(x.astype(np.float32), (3, 1))[0].astype(np.float16))
    assert y.dtype == backward(y).dtype == np.float16


def test_blocks(check_blocks):
    check_blocks(lambda x: adaptive_avg_pool2d(x, (4, 3)), normal(7, 6, 5, 3), sizes=(1, 3000, 12000))


X = np.ones((2, 6, 6, 3))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((X, 0), "adaptive_avg_pool2d: output_size must be at least 1, got 0"),
        ((X, (2, 1.5)), r"adaptive_avg_pool2d: output_size must be a whole number or a pair of them, got \(2, 1.5\)"),
        ((X[:0], 2), r"adaptive_avg_pool2d: empty batch, x has shape \(0, 6, 6, 3\)"),
        ((X[0], 2), r"adaptive_avg_pool2d: x must have shape \(N, H, W, C\), got \(6, 6, 3\)"),
        ((X.astype(np.uint8), 2), "adaptive_avg_pool2d: needs floating-point arrays, got uint8"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        adaptive_avg_pool2d(*arguments)


def test_module():
    module, x = AdaptiveAvgPool2d((4, 2)), normal(2, 6, 5, 3)
    (y, backward), (y2, backward2) = module(x), adaptive_avg_pool2d(x, (4, 2))
    np.testing.assert_array_equal(y, y2)
    np.testing.assert_array_equal(backward(y), backward2(y))
    assert repr(module) == "AdaptiveAvgPool2d(output_size=(4, 2))"
