"""conv_transpose2d and ConvTranspose2d: against loops, differences, conv2d's own gradient and PyTorch."""

import gc
import weakref

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from minires.layers import ConvTranspose2d, conv2d, conv_transpose2d


def naive_conv_transpose2d(x, weight, bias, stride, padding, output_padding, groups, dilation):
    """Every number of x, times the kernel, added where its window lies."""
    (SH, SW), (DH, DW), (top, bottom), (left, right) = stride, dilation, *padding
    (N, H, W, C), (_, O, KH, KW) = x.shape, weight.shape
    wide = np.zeros((N, (H - 1) * SH + DH * (KH - 1) + 1, (W - 1) * SW + DW * (KW - 1) + 1, groups * O))
    for n, h, w, c in np.ndindex(x.shape):
        first = c // (C // groups) * O
        for o, i, j in np.ndindex(O, KH, KW):
            wide[n, h * SH + i * DH, w * SW + j * DW, first + o] += x[n, h, w, c] * weight[c, o, i, j]
    more = np.pad(wide, ((0, 0), (0, output_padding[0]), (0, output_padding[1]), (0, 0)))
    y = more[:, top : more.shape[1] - bottom, left : more.shape[2] - right]
    return y if bias is None else y + bias


def case(C, O, kernel, stride=(1, 1), padding=((0, 0), (0, 0)), more=(0, 0), groups=1, dilation=(1, 1), bias=True, N=2):
    """(x, weight, bias, stride, padding, output_padding, groups, dilation); C and O are channels of each group."""
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((N, 4, 5, groups * C)), rng.standard_normal((groups * C, O, *kernel))
    return x, weight, rng.standard_normal(groups * O) if bias else None, stride, padding, more, groups, dilation


@st.composite
def cases(draw):
    number = lambda least, most: draw(st.integers(least, most))  # noqa: E731
    kernel, dilation = (number(1, 4), number(1, 4)), (number(1, 2), number(1, 2))
    stride = draw(st.sampled_from([(1, 1), (2, 2), (1, 2), (3, 2)]))
    padding = tuple((number(0, 3), number(0, 3)) for _ in range(2))
    more = tuple(number(0, s - 1) for s in stride)
    sizes = [
        (n - 1) * s - sum(sides) + d * (k - 1) + m + 1
        for n, s, sides, d, k, m in zip((4, 5), stride, padding, dilation, kernel, more, strict=True)
    ]
    assume(min(sizes) >= 1)
    return case(number(1, 3), number(1, 3), kernel, stride, padding, more, number(1, 3), dilation, draw(st.booleans()))


SOME = [
    case(3, 2, (3, 3), padding=((1, 1), (1, 1))),
    case(3, 2, (2, 2), (2, 2)),  # windows side by side, as in U-Net
    case(3, 2, (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1)),  # twice the size
    case(1, 1, (4, 4), (2, 2), ((1, 1), (1, 1)), groups=3),  # depthwise, as FCN enlarges
    case(2, 3, (3, 2), (1, 2), ((0, 2), (1, 0)), (0, 1), 2, (2, 1), False),
]


def several(test):
    for drawn in SOME:
        test = example(drawn)(test)
    return given(cases())(test)


def operation(bias, *options):
    if bias is None:
        return lambda x, weight: conv_transpose2d(x, weight, None, *options)
    return lambda x, weight, bias: conv_transpose2d(x, weight, bias, *options)


@several
def test_gradient_and_purity(check_operation, drawn):
    check_operation(operation(*drawn[2:]), *(array for array in drawn[:3] if array is not None))


@several
def test_naive_loop(drawn):
    np.testing.assert_allclose(conv_transpose2d(*drawn)[0], naive_conv_transpose2d(*drawn), rtol=1e-12, atol=1e-12)


@several
def test_it_is_the_adjoint_of_conv2d(drawn):
    """<conv2d(v), x> == <v, conv_transpose2d(x)> for every image v of y's size."""
    x, weight, _, stride, padding, _, groups, dilation = drawn
    y, _ = conv_transpose2d(x, weight, None, *drawn[3:])
    v = np.random.default_rng(1).standard_normal(y.shape)
    there, backward = conv2d(v, weight, None, stride, padding, dilation=dilation, groups=groups)
    assert there.shape == x.shape
    np.testing.assert_allclose(np.vdot(there, x), np.vdot(v, y), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(backward(x)[0], y, rtol=1e-11, atol=1e-11)


@several
def test_pytorch(torch, drawn):
    x, weight, bias, stride, padding, more, groups, dilation = drawn
    ((top, bottom), (left, right)) = padding
    y, backward = conv_transpose2d(*drawn)
    dy = np.random.default_rng(1).standard_normal(y.shape)
    theirs = [torch.tensor(array, requires_grad=True) for array in (x, weight, bias) if array is not None]
    their_bias = None if bias is None else theirs[2]
    their_y = torch.nn.functional.conv_transpose2d(
        theirs[0].permute(0, 3, 1, 2), theirs[1], their_bias, stride, 0, more, groups, dilation
    ).permute(0, 2, 3, 1)
    their_y = their_y[:, top : their_y.shape[1] - bottom, left : their_y.shape[2] - right]
    their_y.backward(torch.tensor(dy))
    np.testing.assert_allclose(y, their_y.detach().numpy(), rtol=1e-11, atol=1e-12)
    for ours, tensor in zip(backward(dy), theirs, strict=True):
        np.testing.assert_allclose(ours, tensor.grad.numpy(), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("drawn", SOME, ids=range(len(SOME)))
def test_blocks_and_bands(check_blocks, drawn):
    check_blocks(operation(*drawn[2:]), *(array for array in drawn[:3] if array is not None))


def test_only_what_is_asked_for():
    drawn = SOME[2]
    y, backward = conv_transpose2d(*drawn)
    dx, dweight, dbias = backward(y)
    alone = conv_transpose2d(*drawn, input_gradient=False)[1](y)
    assert alone[0] is None
    np.testing.assert_array_equal(alone[1], dweight)
    alone = conv_transpose2d(*drawn, weight_gradient=False)[1](y)
    assert alone[1] is None
    np.testing.assert_array_equal(alone[0], dx)
    np.testing.assert_array_equal(alone[2], dbias)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x, w: conv_transpose2d(x[0], w), r"x must have shape \(N, H, W, C\)"),
        (lambda x, w: conv_transpose2d(x, w[0]), r"weight must have shape \(C, O / groups, KH, KW\)"),
        (lambda x, w: conv_transpose2d(x, w[:3]), "4 input channels, weight expects 3"),
        (lambda x, w: conv_transpose2d(x, w, np.ones(3)), r"bias has shape \(3,\), 2 output channels need \(2,\)"),
        (lambda x, w: conv_transpose2d(x, w, groups=3), "C is 4, which 3 groups do not divide"),
        (lambda x, w: conv_transpose2d(x, w, stride=2, output_padding=2), r"output_padding \(2, 2\) must be less than"),
        (lambda x, w: conv_transpose2d(x, w, output_padding=-1), "output_padding must be at least 0"),
        (lambda x, w: conv_transpose2d(x, w, padding=4), "y would have -1 x -1 pixels: use less padding"),
        (lambda x, w: conv_transpose2d(x, w.astype("f")), "arrays of different dtypes"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=rf"^conv_transpose2d: {message}") as caught:
        make(np.ones((1, 5, 5, 4)), np.ones((4, 2, 3, 3)))
    assert "\n" not in str(caught.value)


class TestModule:
    def test_weights_are_pytorchs(self, torch):
        ours, theirs = (make(6, 9, 3, 2, 1, 1, 3) for make in (ConvTranspose2d, torch.nn.ConvTranspose2d))
        assert ours.weight.shape == tuple(theirs.weight.shape) == (6, 3, 3, 3)
        bound = 1 / np.sqrt(3 * 9)
        for array in (ours.weight.data, theirs.weight.detach().numpy()):
            assert 0.8 * bound < np.abs(array).max() <= bound
        assert ours.bias.shape == (9,) and np.abs(ours.bias.data).max() <= bound

    def test_gradients_arrive(self):
        layer = ConvTranspose2d(4, 6, 3, 2, 1, 1, groups=2, rng=0).to(np.float64)
        x = np.random.default_rng(0).standard_normal((2, 5, 5, 4))
        y, backward = layer(x)
        assert y.shape == (2, 10, 10, 6)
        dx, dweight, dbias = conv_transpose2d(x, layer.weight.data, layer.bias.data, 2, 1, 1, 2)[1](y)
        np.testing.assert_array_equal(backward(y), dx)
        np.testing.assert_array_equal(layer.weight.grad, dweight)
        np.testing.assert_array_equal(layer.bias.grad, dbias)
        assert layer(x, lean=True)[1](y) is None

    def test_frozen_it_keeps_no_image(self):
        layer = ConvTranspose2d(3, 4, 3, rng=0).freeze()
        x = np.random.default_rng(0).standard_normal((2, 6, 6, 3)).astype(np.float32)
        kept = weakref.ref(x)
        y, backward = layer(x)
        del x
        gc.collect()
        assert kept() is None
        assert backward(y).shape == (2, 6, 6, 3)

    def test_says_what_it_is(self):
        text = "ConvTranspose2d(4, 6, kernel_size=(3, 3), stride=2, padding=1, output_padding=1, groups=2, bias=False)"
        assert str(ConvTranspose2d(4, 6, 3, 2, 1, 1, 2, bias=False)) == text

    def test_bad_input(self):
        with pytest.raises(ValueError, match=r"^ConvTranspose2d: in_channels is 4, which 3 groups do not divide"):
            ConvTranspose2d(4, 6, 3, groups=3)
        with pytest.raises(ValueError, match=r"^ConvTranspose2d: kernel_size must be at least 1"):
            ConvTranspose2d(4, 6, 0)
