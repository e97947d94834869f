"""upsample_bilinear2d and UpsampleBilinear2d: against loops, differences and PyTorch."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minires import backend
from minires.layers import UpsampleBilinear2d, upsample_bilinear2d
from minires.layers.upsample import interpolation


def naive_upsample(x, size, align_corners):
    """One output pixel at a time: from the four pixels that it falls between, by how far it is from each."""
    y = np.zeros((len(x), *size, x.shape[3]))

    def neighbours(o, out, length):
        place = o * (length - 1) / max(1, out - 1) if align_corners else (o + 0.5) * length / out - 0.5
        place = min(max(place, 0), length - 1)
        return ((int(place), 1 - place % 1), (min(int(place) + 1, length - 1), place % 1))

    for oh, ow in np.ndindex(size):
        for h, of_row in neighbours(oh, size[0], x.shape[1]):
            for w, of_column in neighbours(ow, size[1], x.shape[2]):
                y[:, oh, ow] += of_row * of_column * x[:, h, w]
    return y


@st.composite
def cases(draw):
    number = lambda least, most: draw(st.integers(least, most))  # noqa: E731
    x = np.random.default_rng(number(0, 99)).standard_normal((number(1, 3), number(1, 6), number(1, 6), number(1, 3)))
    return x, (number(1, 9), number(1, 9)), draw(st.booleans())


@given(cases())
def test_gradient_and_purity(check_operation, drawn):
    x, size, align_corners = drawn
    check_operation(lambda x: upsample_bilinear2d(x, size, align_corners=align_corners), x)


@given(cases())
@example((np.arange(16.0).reshape(1, 4, 4, 1), (8, 8), False))
@example((np.arange(16.0).reshape(1, 4, 4, 1), (1, 7), True))
def test_naive_loop(drawn):
    x, size, align_corners = drawn
    y, _ = upsample_bilinear2d(x, size, align_corners=align_corners)
    np.testing.assert_allclose(y, naive_upsample(x, size, align_corners), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(
    "how",
    [{"size": (9, 13)}, {"size": 3}, {"scale_factor": 2}, {"scale_factor": 1.7}, {"scale_factor": (0.5, 3.3)}],
    ids=str,
)
def test_pytorch(torch, how, align_corners):
    x = np.random.default_rng(0).standard_normal((2, 5, 6, 3))
    y, backward = upsample_bilinear2d(x, **how, align_corners=align_corners)
    dy = np.random.default_rng(1).standard_normal(y.shape)
    theirs = torch.tensor(x, requires_grad=True)
    their_y = torch.nn.functional.interpolate(
        theirs.permute(0, 3, 1, 2), mode="bilinear", align_corners=align_corners, **how
    ).permute(0, 2, 3, 1)
    their_y.backward(torch.tensor(dy))
    np.testing.assert_allclose(y, their_y.detach().numpy(), rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(backward(dy), theirs.grad.numpy(), rtol=1e-11, atol=1e-12)


def test_blocks(check_blocks):
    x = np.random.default_rng(0).standard_normal((5, 4, 3, 2))
    check_blocks(lambda x: upsample_bilinear2d(x, (7, 5)), x)


@given(st.integers(1, 9), st.integers(1, 20), st.booleans())
def test_every_pixel_is_a_mean(length, out, align_corners):
    """Weights are at least 0 and sum to 1, two of them at most; a constant image stays as it is."""
    matrix = interpolation(length, out, np.ones(1), align_corners)
    assert matrix.shape == (out, length)
    assert matrix.min() >= 0 and ((matrix > 0).sum(axis=1) <= 2).all()
    np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=1e-12)


def test_twice_the_size_of_a_row():
    """Quarters, as every drawing of it has them."""
    expected = np.array([[4, 0], [3, 1], [1, 3], [0, 4]]) / 4
    np.testing.assert_array_equal(interpolation(2, 4, np.ones(1)), expected)
    np.testing.assert_allclose(interpolation(2, 4, np.ones(1), True), np.array([[3, 0], [2, 1], [1, 2], [0, 3]]) / 3)


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_halves_are_added_up_in_float32(name):
    x = np.random.default_rng(0).standard_normal((2, 5, 5, 3)).astype(backend.half(name))
    y, backward = upsample_bilinear2d(x, 11)
    wide, wide_backward = upsample_bilinear2d(x.astype("f"), 11)
    assert y.dtype == x.dtype
    np.testing.assert_array_equal(y, wide.astype(x.dtype))
    np.testing.assert_array_equal(backward(y), wide_backward(y.astype("f")).astype(x.dtype))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x: upsample_bilinear2d(x), "give either size or scale_factor, got size=None, scale_factor=None"),
        (lambda x: upsample_bilinear2d(x, 4, 2), "give either size or scale_factor, got size=4, scale_factor=2"),
        (lambda x: upsample_bilinear2d(x, 0), "size must be at least 1, got 0"),
        (lambda x: upsample_bilinear2d(x, 2.5), "size must be a whole number or a pair of them"),
        (lambda x: upsample_bilinear2d(x, scale_factor=0), "scale_factor must be a number above 0"),
        (lambda x: upsample_bilinear2d(x, scale_factor=(1, 2, 3)), "scale_factor must be a number above 0 or a pair"),
        (lambda x: upsample_bilinear2d(x, scale_factor=float("inf")), "scale_factor must be a number above 0"),
        (lambda x: upsample_bilinear2d(x, scale_factor=0.1), r"scale_factor \(0.1, 0.1\) leaves nothing of \(5, 5\)"),
        (lambda x: upsample_bilinear2d(x[0], 2), "x must have shape"),
        (lambda x: upsample_bilinear2d(x[:0], 2), "empty batch"),
        (lambda x: upsample_bilinear2d(x.astype(int), 2), "needs floating-point arrays"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=rf"^upsample_bilinear2d: {message}") as caught:
        make(np.ones((1, 5, 5, 2)))
    assert "\n" not in str(caught.value)


class TestModule:
    def test_it_is_the_function(self):
        x = np.random.default_rng(0).standard_normal((2, 3, 4, 2))
        y, backward = UpsampleBilinear2d(scale_factor=2, align_corners=True)(x)
        expected, expected_backward = upsample_bilinear2d(x, scale_factor=2, align_corners=True)
        np.testing.assert_array_equal(y, expected)
        np.testing.assert_array_equal(backward(y), expected_backward(y))
        assert UpsampleBilinear2d((7, 5))(x)[0].shape == (2, 7, 5, 2)

    def test_says_what_it_is(self):
        assert str(UpsampleBilinear2d(scale_factor=2)) == "UpsampleBilinear2d(scale_factor=2, align_corners=False)"
        assert str(UpsampleBilinear2d((7, 5))) == "UpsampleBilinear2d(size=(7, 5), align_corners=False)"

    def test_bad_input(self):
        with pytest.raises(ValueError, match=r"^UpsampleBilinear2d: give either size or scale_factor"):
            UpsampleBilinear2d()
