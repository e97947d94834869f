"""conv2d and Conv2d: against loops, differences and PyTorch."""

import gc
import weakref

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from minires.gradcheck import gradcheck
from minires.layers import Conv2d, conv2d


def naive_conv2d(x, weight, bias, stride, padding):
    """The sum of the docstring, one output number at a time."""
    (SH, SW), (rows, columns) = stride, padding
    O, _, KH, KW = weight.shape
    x = np.pad(x, ((0, 0), rows, columns, (0, 0)))
    N, H, W, _ = x.shape
    y = np.zeros((N, (H - KH) // SH + 1, (W - KW) // SW + 1, O))
    for n, oh, ow, o in np.ndindex(y.shape):
        window = x[n, oh * SH : oh * SH + KH, ow * SW : ow * SW + KW]  # (KH, KW, C)
        y[n, oh, ow, o] = (window * weight[o].transpose(1, 2, 0)).sum() + (0 if bias is None else bias[o])
    return y


@st.composite
def cases(draw):
    """(x, weight, bias, stride, padding) of small, odd shapes, every side with a padding of its own."""
    number = lambda least, most: draw(st.integers(least, most))  # noqa: E731
    (N, C, O), (H, W), (KH, KW) = (
        (number(1, 3), number(1, 3), number(1, 3)),
        (number(1, 7), number(1, 7)),
        (number(1, 4), number(1, 4)),
    )
    padding = ((number(0, KH), number(0, KH)), (number(0, KW), number(0, KW)))
    assume(H + sum(padding[0]) >= KH and W + sum(padding[1]) >= KW)
    stride = draw(st.sampled_from([(1, 1), (2, 2), (1, 2), (3, 1), (2, 3)]))
    rng = np.random.default_rng(number(0, 1000))
    bias = rng.standard_normal(O) if draw(st.booleans()) else None
    return rng.standard_normal((N, H, W, C)), rng.standard_normal((O, C, KH, KW)), bias, stride, padding


def case(N, H, W, C, O, KH, KW, stride, padding, bias=True):
    rng = np.random.default_rng(0)
    b = rng.standard_normal(O) if bias else None
    return rng.standard_normal((N, H, W, C)), rng.standard_normal((O, C, KH, KW)), b, stride, padding


SAME, NONE = ((1, 1), (1, 1)), ((0, 0), (0, 0))


def operation(bias, stride, padding):
    """conv2d and its differentiable inputs, as gradcheck wants them."""
    if bias is None:
        return lambda x, weight: conv2d(x, weight, None, stride, padding)
    return lambda x, weight, bias: conv2d(x, weight, bias, stride, padding)


@given(cases())
@example(case(2, 5, 5, 3, 4, 3, 3, (1, 1), SAME))  # resnet's own
@example(case(2, 5, 6, 3, 4, 3, 3, (2, 2), SAME))
@example(case(2, 5, 6, 3, 4, 1, 1, (2, 2), NONE, bias=False))
@example(case(2, 4, 5, 3, 4, 1, 1, (1, 1), NONE))
@example(case(1, 6, 5, 2, 2, 2, 3, (1, 1), ((0, 1), (2, 1))))  # four sides
@example(case(1, 1, 1, 1, 1, 1, 1, (1, 1), NONE))
@example(case(2, 9, 8, 1, 2, 7, 7, (2, 2), ((3, 3), (3, 3))))  # the first layer of ImageNet's networks
def test_gradient_and_purity(check_operation, drawn):
    x, weight, bias, stride, padding = drawn
    inputs = (x, weight) if bias is None else (x, weight, bias)
    check_operation(operation(bias, stride, padding), *inputs)


@given(cases())
@example(case(3, 7, 5, 3, 4, 3, 3, (1, 1), SAME))
@example(case(3, 7, 5, 3, 4, 3, 3, (2, 2), SAME))
@example(case(3, 7, 5, 3, 4, 1, 1, (2, 2), NONE))
def test_naive_loop(drawn):
    np.testing.assert_allclose(conv2d(*drawn)[0], naive_conv2d(*drawn), rtol=1e-12, atol=1e-12)


@given(cases())
@example(case(3, 8, 7, 5, 4, 3, 3, (1, 1), SAME))
@example(case(3, 8, 7, 5, 4, 3, 3, (2, 2), SAME))
@example(case(3, 8, 7, 5, 4, 1, 1, (2, 2), NONE))
def test_pytorch(torch, drawn):
    x, weight, bias, stride, ((top, bottom), (left, right)) = drawn
    y, backward = conv2d(x, weight, bias, stride, ((top, bottom), (left, right)))
    dy = np.random.default_rng(1).standard_normal(y.shape)
    theirs = [None if a is None else torch.tensor(a, requires_grad=True) for a in (x, weight, bias)]
    padded = torch.nn.functional.pad(theirs[0].permute(0, 3, 1, 2), (left, right, top, bottom))
    their_y = torch.nn.functional.conv2d(padded, theirs[1], theirs[2], stride).permute(0, 2, 3, 1)
    their_y.backward(torch.tensor(dy))
    np.testing.assert_allclose(y, their_y.detach().numpy(), rtol=1e-11, atol=1e-12)
    for ours, tensor in zip(backward(dy), [t for t in theirs if t is not None], strict=True):
        np.testing.assert_allclose(ours, tensor.grad.numpy(), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (1, 2)])
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (2, 3)])
@pytest.mark.parametrize("padding", [SAME, ((0, 1), (0, 0))], ids=["same", "bottom"])
def test_blocks_and_bands(check_blocks, block_bytes, stride, kernel, padding):
    """Several images a block, a batch that blocks do not divide, one image in bands of rows: one result."""
    if kernel == (1, 1):
        padding = NONE
    drawn = case(5, 9, 7, 3, 4, *kernel, stride, padding)
    check_blocks(operation(*drawn[2:]), *drawn[:3])
    with block_bytes(2000):
        np.testing.assert_allclose(conv2d(*drawn)[0], naive_conv2d(*drawn), rtol=1e-12, atol=1e-12)


# Few channels, for which neighbouring pixels share a row, and their neighbours ----------------------------------

LAYOUTS = {
    "as it is": lambda x: x,
    "every second": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
    "columns first": np.asfortranarray,
    "backwards": lambda x: x[:, ::-1].copy()[:, ::-1],
}


def windows_of(x, kernel, stride, padding):
    """(N, OH, OW, C, KH, KW), as NumPy sees them."""
    padded = np.pad(x, ((0, 0), *padding, (0, 0)))
    return np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=(1, 2))[:, :: stride[0], :: stride[1]]


def reference(x, weight, bias, stride, padding, dy):
    """y, dx, dweight, dbias: dx scattered window by window."""
    (SH, SW), (KH, KW), ((top, _), (left, _)) = stride, weight.shape[2:], padding
    windows = windows_of(x, (KH, KW), stride, padding)
    y = np.einsum("nhwcij,ocij->nhwo", windows, weight) + (0 if bias is None else bias)
    dpadded = np.zeros_like(np.pad(x, ((0, 0), *padding, (0, 0))))
    for oh, ow in np.ndindex(dy.shape[1:3]):
        window = dpadded[:, oh * SH : oh * SH + KH, ow * SW : ow * SW + KW]
        window += np.einsum("no,ocij->nijc", dy[:, oh, ow], weight)
    dx = dpadded[:, top : top + x.shape[1], left : left + x.shape[2]]
    dweight = np.einsum("nhwcij,nhwo->ocij", windows, dy)
    return [y, dx, dweight] + ([] if bias is None else [dy.sum(axis=(0, 1, 2))])


def assert_all_close(ours, theirs, tolerance):
    """Each array within `tolerance` of its largest number."""
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.shape == other.shape
        np.testing.assert_allclose(mine, other, rtol=0, atol=tolerance * max(1, np.abs(other).max(initial=0)))


@st.composite
def small_convolutions(draw):
    """(x, weight, bias, stride, padding) with up to 17 channels and widths from 1 on."""
    number = lambda least, most: draw(st.integers(least, most))  # noqa: E731
    channels = st.one_of(st.integers(1, 4), st.integers(14, 17))
    N, C, O, H, W = number(1, 3), draw(channels), draw(channels), number(1, 6), number(1, 9)
    kernel, stride = (
        draw(st.sampled_from([(3, 3), (1, 1), (2, 2), (5, 5), (1, 3), (3, 2)])),
        draw(st.sampled_from([(1, 1), (2, 2), (1, 2), (2, 1)])),
    )
    padding = tuple((number(0, k), number(0, k)) for k in kernel)
    assume(all(n + sum(sides) >= k for n, sides, k in zip((H, W), padding, kernel, strict=True)))
    rng = np.random.default_rng(number(0, 1000))
    bias = rng.standard_normal(O) if draw(st.booleans()) else None
    return rng.standard_normal((N, H, W, C)), rng.standard_normal((O, C, *kernel)), bias, stride, padding


@given(
    small_convolutions(),
    st.sampled_from([np.float32, np.float64]),
    st.tuples(*[st.sampled_from(list(LAYOUTS))] * 3),
    st.sampled_from([1, 700, 5000, 2**40]),
)
@example(case(2, 5, 8, 16, 16, 3, 3, (1, 1), SAME), np.float32, ("as it is",) * 3, 2**40)
@example(case(2, 5, 8, 17, 16, 3, 3, (1, 1), SAME), np.float32, ("as it is",) * 3, 2**40)
@example(case(2, 5, 8, 16, 17, 3, 3, (1, 1), SAME), np.float64, ("as it is",) * 3, 5000)
@example(case(1, 1, 2, 3, 4, 3, 3, (1, 1), SAME), np.float64, ("backwards",) * 3, 1)
@example(case(3, 4, 7, 3, 4, 3, 3, (1, 2), SAME), np.float64, ("columns first",) * 3, 700)
@example(case(1, 4, 1, 2, 2, 3, 3, (1, 1), SAME), np.float64, ("every second",) * 3, 2**40)
def test_layouts_and_blocks(block_bytes, drawn, dtype, layouts, size):
    """y and every gradient, with and without dx, whatever the strides and the blocks."""
    x, weight, bias = (None if array is None else array.astype(dtype) for array in drawn[:3])
    stride, padding = drawn[3:]
    with block_bytes(size):
        laid_x, laid_weight = LAYOUTS[layouts[0]](x), LAYOUTS[layouts[1]](weight)
        y, backward = conv2d(laid_x, laid_weight, bias, stride, padding)
        dy = np.random.default_rng(1).standard_normal(y.shape).astype(dtype)
        gradients = backward(LAYOUTS[layouts[2]](dy))
        y2, backward2 = conv2d(laid_x, laid_weight, bias, stride, padding, input_gradient=False)
        dx2, *gradients2 = backward2(LAYOUTS[layouts[2]](dy))
    wide = [None if array is None else array.astype(np.float64) for array in (x, weight, bias)]
    expected = reference(*wide, stride, padding, dy.astype(np.float64))
    tolerance = 1e-5 if dtype == np.float32 else 1e-13
    assert {array.dtype for array in (y, *gradients, *gradients2)} == {np.dtype(dtype)}
    assert_all_close([y, *gradients], expected, tolerance)
    assert dx2 is None
    assert_all_close([y2, *gradients2], [expected[0], *expected[2:]], tolerance)


@pytest.mark.parametrize(("C", "O"), [(3, 16), (16, 16), (17, 16), (16, 17), (1, 1)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (1, 2), (2, 1)], ids=str)
@pytest.mark.parametrize("size", [(6, 8), (5, 7)], ids=str)
def test_pytorch_with_odd_numbers_of_channels(torch, C, O, stride, size):
    x, weight, bias, *_ = case(3, *size, C, O, 3, 3, stride, SAME)
    theirs = [torch.tensor(array, requires_grad=True) for array in (x, weight, bias)]
    their_y = torch.nn.functional.conv2d(theirs[0].permute(0, 3, 1, 2), *theirs[1:], stride, 1).permute(0, 2, 3, 1)
    y, backward = conv2d(x, weight, bias, stride, 1)
    dy = np.random.default_rng(1).standard_normal(y.shape)
    their_y.backward(torch.tensor(dy))
    expected = [their_y.detach().numpy(), *(tensor.grad.numpy() for tensor in theirs)]
    assert_all_close([y, *backward(dy)], expected, 1e-13)


@pytest.mark.parametrize("width", [1, 2, 3, 8, 9])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (1, 2)], ids=str)
def test_narrow_images_in_blocks_and_bands(check_blocks, width, stride):
    drawn = case(5, 7, width, 3, 4, 3, 3, stride, ((1, 0), (2, 1)))
    check_blocks(operation(*drawn[2:]), *drawn[:3])


@pytest.mark.parametrize("channels", [(3, 4), (16, 17)], ids=str)
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize(("kernel", "stride"), [(3, (1, 1)), (3, (2, 2)), (1, (2, 2)), (5, (1, 1))], ids=str)
def test_no_input_gradient_where_nobody_asks(channels, bias, kernel, stride):
    x, weight, b, _, padding = case(2, 6, 8, *channels, kernel, kernel, stride, SAME, bias)
    y, backward = conv2d(x, weight, b, stride, padding)
    dy = np.random.default_rng(1).standard_normal(y.shape)
    expected = backward(dy)[1:]
    y2, backward2 = conv2d(x, weight, b, stride, padding, input_gradient=False)
    np.testing.assert_array_equal(y2, y)
    dx, *gradients = backward2(dy)
    assert dx is None
    assert_all_close(gradients, expected, 1e-12)


# Winograd's algorithm -------------------------------------------------------------------------------------------


def by_winograd(x, weight, bias=None, padding=SAME, input_gradient=True):
    return conv2d(x, weight, bias, 1, padding, input_gradient, algorithm="winograd")


@st.composite
def three_by_three(draw):
    """(x, weight, bias, stride, padding) that Winograd's algorithm is for; tiles are of 4x4 pixels."""
    number = lambda least, most: draw(st.integers(least, most))  # noqa: E731
    N, C, O, H, W = number(1, 3), number(1, 5), number(1, 5), number(1, 10), number(1, 10)
    padding = tuple((number(0, 2), number(0, 2)) for _ in range(2))
    assume(H + sum(padding[0]) >= 3 and W + sum(padding[1]) >= 3)
    rng = np.random.default_rng(number(0, 1000))
    bias = rng.standard_normal(O) if draw(st.booleans()) else None
    return rng.standard_normal((N, H, W, C)), rng.standard_normal((O, C, 3, 3)), bias, (1, 1), padding


@given(
    three_by_three(),
    st.sampled_from([np.float32, np.float64]),
    st.tuples(*[st.sampled_from(list(LAYOUTS))] * 3),
    st.sampled_from([1, 2000, 20000, 2**40]),
)
@example(case(2, 8, 8, 5, 4, 3, 3, (1, 1), SAME), np.float32, ("as it is",) * 3, 2**40)
@example(case(5, 9, 5, 2, 3, 3, 3, (1, 1), ((2, 0), (0, 1))), np.float64, ("columns first",) * 3, 3000)
@example(case(1, 1, 1, 2, 3, 3, 3, (1, 1), SAME), np.float64, ("every second",) * 3, 1)
def test_winograd(block_bytes, drawn, dtype, layouts, size):
    x, weight, bias = (None if array is None else array.astype(dtype) for array in drawn[:3])
    padding = drawn[4]
    with block_bytes(size):
        y, backward = by_winograd(LAYOUTS[layouts[0]](x), LAYOUTS[layouts[1]](weight), bias, padding)
        dy = np.random.default_rng(1).standard_normal(y.shape).astype(dtype)
        gradients = backward(LAYOUTS[layouts[2]](dy))
    wide = [None if array is None else array.astype(np.float64) for array in (x, weight, bias)]
    expected = reference(*wide, (1, 1), padding, dy.astype(np.float64))
    assert {array.dtype for array in (y, *gradients)} == {np.dtype(dtype)}
    assert_all_close([y, *gradients], expected, 2e-5 if dtype == np.float32 else 1e-13)


@given(three_by_three())
def test_winograd_gradient_and_purity(check_operation, drawn):
    x, weight, bias, _, padding = drawn
    inputs = (x, weight) if bias is None else (x, weight, bias)
    check_operation(lambda x, weight, bias=None: by_winograd(x, weight, bias, padding), *inputs)


def test_winograd_of_many_channels():
    """More than one block of everything, nothing changed; "auto" comes to the same, whichever it takes."""
    x, weight, bias, *_ = case(4, 20, 17, 130, 128, 3, 3, (1, 1), SAME)
    results = []
    for algorithm in ("im2col", "winograd", "auto"):
        y, backward = conv2d(x, weight, bias, 1, 1, algorithm=algorithm)
        results.append([y, *backward(np.random.default_rng(1).standard_normal(y.shape))])
    for result in results[1:]:
        assert_all_close(result, results[0], 1e-12)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [((1, 1), 1, 0), ((3, 2), 1, 1), ((3, 3), 2, 1), ((3, 3), (1, 2), 1), ((3, 3), 1, 3), ((5, 5), 1, 2)],
)
def test_where_winograd_cannot_be_used(kernel, stride, padding):
    x, weight, *_ = case(1, 6, 6, 2, 3, *kernel, (1, 1), NONE)
    with pytest.raises(ValueError, match=r"conv2d: winograd is for 3x3 kernels at stride 1 .*: use im2col"):
        conv2d(x, weight, None, stride, padding, algorithm="winograd")
    conv2d(x, weight, None, stride, padding)


def test_large_enough_for_bands_with_the_usual_blocks():
    """One image whose patches do not fit in a block, with nothing changed: the first row of blocks, and the last."""
    drawn = case(2, 40, 33, 16, 3, 3, 3, (1, 1), SAME)
    y, backward = conv2d(*drawn)
    x, weight, bias, _, padding = drawn
    for rows in (slice(0, 4), slice(17, 22), slice(35, 40)):
        padded = np.pad(x, ((0, 0), *padding, (0, 0)))[:, rows.start : rows.stop + 2]
        np.testing.assert_allclose(y[:, rows], naive_conv2d(padded, weight, bias, (1, 1), NONE), rtol=1e-11, atol=1e-11)
    dx, dweight, dbias = backward(np.ones_like(y))
    np.testing.assert_allclose(dx[0, 20, 20], weight.sum(axis=(0, 2, 3)), rtol=1e-11)
    np.testing.assert_allclose(dweight[:, :, 1, 1], [x.sum(axis=(0, 1, 2))] * 3, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(dbias, 2 * 40 * 33)


@pytest.mark.parametrize(
    ("kernel", "padding"),
    [
        ((3, 3), ((4, 0), (0, 0))),
        ((3, 3), ((0, 5), (0, 0))),
        ((1, 1), SAME),
        ((3, 3), ((0, 0), (0, 4))),
        ((2, 2), ((0, 0), (3, 0))),
        ((3, 1), ((1, 1), (1, 1))),
        ((3, 3), ((3, 3), (3, 3))),
    ],
)
def test_padding_as_wide_as_the_kernel(check_operation, kernel, padding):
    """Windows that see nothing but padding."""
    x, weight, bias, *_ = case(2, 4, 5, 2, 3, *kernel, (1, 1), padding)
    np.testing.assert_allclose(
        conv2d(x, weight, bias, 1, padding)[0], naive_conv2d(x, weight, bias, (1, 1), padding), rtol=1e-12, atol=1e-12
    )
    check_operation(operation(bias, (1, 1), padding), x, weight, bias)


def test_gray_images_given_their_channel_axis():
    """images[..., None] has stride 0 along the channels, and NumPy calls it contiguous."""
    images = np.random.default_rng(0).standard_normal((2, 6, 5))
    weight = np.random.default_rng(1).standard_normal((3, 1, 3, 3))
    for stride in (1, 2):
        y, backward = conv2d(images[..., None], weight, None, stride)
        expected, expected_backward = conv2d(images.reshape(2, 6, 5, 1), weight, None, stride)
        np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)
        for gradient, wanted in zip(backward(y), expected_backward(expected), strict=True):
            np.testing.assert_allclose(gradient, wanted, rtol=1e-12, atol=1e-12)


def test_padding_as_wide_as_the_kernel_in_bands(check_blocks):
    x, weight, bias, stride, padding = case(2, 4, 5, 2, 3, 2, 2, (1, 1), ((3, 3), (1, 1)))
    check_blocks(operation(bias, stride, padding), x, weight, bias)


def test_spellings_of_stride_and_padding():
    x, weight, bias, *_ = case(2, 6, 5, 2, 3, 3, 3, (1, 1), SAME)
    np.testing.assert_array_equal(conv2d(x, weight, bias, 2, 1)[0], conv2d(x, weight, bias, (2, 2), SAME)[0])
    two_and_four = [conv2d(x, weight, bias, 1, padding)[0] for padding in ((2, 1), ((2, 2), (1, 1)))]
    np.testing.assert_array_equal(*two_and_four)


def test_without_bias_no_gradient_for_it():
    x, weight, *_ = case(1, 3, 3, 2, 3, 3, 3, (1, 1), SAME)
    y, backward = conv2d(x, weight, padding=1)
    assert len(backward(np.ones_like(y))) == 2


X = np.zeros((2, 8, 8, 3), np.float32)
W = np.zeros((4, 3, 3, 3), np.float32)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((X, np.zeros((4, 16, 3, 3), np.float32)), "conv2d: 3 input channels, weight expects 16"),
        ((X, np.zeros((4, 3, 9, 3), np.float32)), "kernel 9x3 is larger than the padded image 8x8.*a smaller kernel"),
        ((X, np.zeros((4, 3, 3), np.float32)), r"weight must have shape \(O, C, KH, KW\).*got \(4, 3, 3\)"),
        ((X, W, np.zeros(3, np.float32)), r"bias has shape \(3,\), 4 output channels need \(4,\)"),
        ((X[:0], W), r"conv2d: empty batch, x has shape \(0, 8, 8, 3\): give it at least one"),
        ((X[0], W), r"x must have shape \(N, H, W, C\), got \(8, 8, 3\): add the batch axis"),
        ((X, W.astype(np.float64)), "different dtypes.*float32, float64.*astype"),
        ((X.astype(np.uint8), W.astype(np.uint8)), r"needs floating-point arrays, got uint8.*astype\(np.float32\)"),
        ((X.astype(np.uint8), W), "different dtypes.*float32, uint8.*astype"),
        ((X, W, None, 0), "stride must be at least 1, got 0"),
        ((X, W, None, (1, -2)), r"stride must be at least 1, got \(1, -2\)"),
        ((X, W, None, 1.5), "stride must be a whole number or a pair of them, got 1.5"),
        ((X, W, None, (1, 2, 3)), r"stride must be a whole number or a pair of them, got \(1, 2, 3\)"),
        ((X, W, None, 1, -1), "padding must be at least 0, got -1"),
        ((X, W, None, 1, ((1, 1), (0, -1))), r"padding must be at least 0, got \(0, -1\)"),
        ((X, W, None, 1, 1, True, "fft"), "conv2d: unknown algorithm 'fft': choose auto, im2col or winograd"),
        ((X, W, None, 1, "same"), "padding must be a whole number or a pair of them or .*, got 'same'"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        conv2d(*arguments)


class TestModule:
    def test_gradients_of_parameters(self):
        gradcheck(Conv2d(2, 3, (3, 2), stride=(2, 1), padding=1, rng=0), case(2, 5, 4, 2, 3, 1, 1, (1, 1), NONE)[0])
        gradcheck(Conv2d(2, 3, 3, padding=1, bias=False, rng=0), case(2, 5, 4, 2, 3, 1, 1, (1, 1), NONE)[0])

    def test_parameters_are_pytorchs(self, torch):
        theirs = torch.nn.Conv2d(5, 4, (3, 2), bias=True)
        ours = Conv2d(5, 4, (3, 2), rng=0)
        shapes = {name: tuple(tensor.shape) for name, tensor in theirs.named_parameters()}
        assert {name: parameter.shape for name, parameter in ours.named_parameters()} == shapes
        assert all(parameter.data.dtype == np.float32 for parameter in ours.parameters())

    def test_initial_values_fill_pytorchs_range(self):
        layer = Conv2d(4, 500, 3, rng=0)
        bound = 1 / np.sqrt(4 * 9)
        for parameter in layer.parameters():
            assert 0.9 * bound < np.abs(parameter.data).max() <= bound
            assert np.abs(parameter.data.mean()) < 0.1 * bound

    def test_seed(self):
        np.testing.assert_array_equal(Conv2d(2, 3, 3, rng=7).weight.data, Conv2d(2, 3, 3, rng=7).weight.data)
        assert not np.array_equal(Conv2d(2, 3, 3, rng=7).weight.data, Conv2d(2, 3, 3, rng=8).weight.data)

    def test_no_input_gradient_where_nobody_asks(self):
        layer = Conv2d(3, 4, 3, padding=1, rng=0).to(np.float64)
        x = case(2, 5, 4, 3, 4, 1, 1, (1, 1), NONE)[0]
        y, backward = layer(x)
        dy = np.random.default_rng(1).standard_normal(y.shape)
        assert backward(dy).shape == x.shape
        expected = [parameter.grad for parameter in layer.parameters()]
        layer.zero_grad()
        _, backward = layer(x, lean=True)
        assert backward(dy) is None
        assert_all_close([parameter.grad for parameter in layer.parameters()], expected, 1e-13)

    def test_algorithm(self):
        """Of one instance, or of the class."""
        layer = Conv2d(3, 4, 3, padding=1, rng=0).to(np.float64)
        x = case(2, 5, 4, 3, 4, 1, 1, (1, 1), NONE)[0]
        y, backward = layer(x)
        dx = backward(y)
        layer.algorithm = "winograd"
        y2, backward = layer(x)
        assert_all_close([y2, backward(y)], [y, dx], 1e-13)
        layer.algorithm = "fft"
        with pytest.raises(ValueError, match="unknown algorithm 'fft'"):
            layer(x)

    def test_without_bias(self):
        assert [name for name, _ in Conv2d(2, 3, 3, bias=False).named_parameters()] == ["weight"]


def test_winograd_leaves_the_input_gradient_out_too():
    x, weight, bias, *_ = case(2, 6, 7, 3, 4, 3, 3, (1, 1), SAME)
    y, backward = by_winograd(x, weight, bias)
    dy = np.random.default_rng(1).standard_normal(y.shape)
    dx, *gradients = by_winograd(x, weight, bias, input_gradient=False)[1](dy)
    assert dx is None
    assert_all_close(gradients, backward(dy)[1:], 1e-12)


# The three products ----------------------------------------------------------------------------------------------


def check_products(x, weight, bias, stride, padding, algorithm):
    """Each gradient alone is what both together are; both are the adjoints of the product x, weight -> y."""
    options = {"stride": stride, "padding": padding, "algorithm": algorithm}
    y, both = conv2d(x, weight, bias, **options)
    rng = np.random.default_rng(1)
    dy = rng.standard_normal(y.shape)
    dx, dweight, *dbias = both(dy)
    alone = conv2d(x, weight, bias, **options, weight_gradient=False)[1](dy)
    assert alone[1] is None
    assert_all_close([alone[0], *alone[2:]], [dx, *dbias], 1e-11)
    alone = conv2d(x, weight, bias, **options, input_gradient=False)[1](dy)
    assert alone[0] is None
    assert_all_close(alone[1:], [dweight, *dbias], 1e-11)
    assert conv2d(x, weight, bias, **options, input_gradient=False, weight_gradient=False)[1](dy)[:2] == (None, None)
    for changed, gradient in ((0, dx), (1, dweight)):  # linear in each, so that <f(v), dy> = <v, its gradient>
        arrays = [x, weight]
        arrays[changed] = rng.standard_normal(gradient.shape)
        linear = conv2d(*arrays, None, **options)[0]
        np.testing.assert_allclose(np.vdot(linear, dy), np.vdot(arrays[changed], gradient), rtol=1e-8, atol=1e-8)


@given(cases())
def test_only_what_is_asked_for_by_im2col(drawn):
    check_products(*drawn, "im2col")


@given(three_by_three())
def test_only_what_is_asked_for_by_winograd(drawn):
    check_products(*drawn, "winograd")


def test_frozen_weights_keep_no_image_and_receive_nothing():
    layer = Conv2d(3, 4, 3, rng=0).freeze()
    x = np.random.default_rng(0).standard_normal((2, 6, 6, 3)).astype(np.float32)
    kept = weakref.ref(x)
    y, backward = layer(x)
    del x
    gc.collect()
    assert kept() is None
    assert backward(y).shape == (2, 6, 6, 3)
    assert layer.weight.grad is None


def test_the_algorithm_is_an_option_of_the_module():
    x = np.random.default_rng(0).standard_normal((2, 6, 6, 3)).astype(np.float32)
    layers = [Conv2d(3, 4, 3, rng=0, algorithm=algorithm) for algorithm in ("im2col", "winograd")]
    one, other = (layer(x)[0] for layer in layers)
    assert not np.array_equal(one, other)
    np.testing.assert_allclose(one, other, atol=1e-5)
