"""conv2d of groups and of dilated kernels: against loops, differences, a dense weight and PyTorch."""

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from minires import backend
from minires.layers import BatchNorm2d, Conv2d, conv2d
from minires.models.fold import fold
from minires.sequential import Sequential


def naive_conv2d(x, weight, bias, stride, padding, dilation, groups):
    """The sum of the docstring, one output number at a time."""
    (SH, SW), (DH, DW) = stride, dilation
    O, C, KH, KW = weight.shape
    x = np.pad(x, ((0, 0), *padding, (0, 0)))
    N, H, W, _ = x.shape
    y = np.zeros((N, (H - DH * (KH - 1) - 1) // SH + 1, (W - DW * (KW - 1) - 1) // SW + 1, O))
    for n, oh, ow, o in np.ndindex(y.shape):
        first = o // (O // groups) * C  # channel of o's group
        for c, i, j in np.ndindex(C, KH, KW):
            y[n, oh, ow, o] += weight[o, c, i, j] * x[n, oh * SH + i * DH, ow * SW + j * DW, first + c]
        y[n, oh, ow, o] += 0 if bias is None else bias[o]
    return y


def case(groups, C, O, kernel, stride=(1, 1), padding=((1, 1), (1, 1)), dilation=(1, 1), bias=True, N=2, size=(5, 6)):
    """(x, weight, bias, stride, padding, dilation, groups); C and O are channels of each group."""
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((N, *size, groups * C)), rng.standard_normal((groups * O, C, *kernel))
    return x, weight, rng.standard_normal(groups * O) if bias else None, stride, padding, dilation, groups


@st.composite
def cases(draw):
    number = lambda least, most: draw(st.integers(least, most))  # noqa: E731
    groups, C, O, N = number(1, 4), number(1, 3), number(1, 3), number(1, 3)
    kernel, dilation = (number(1, 3), number(1, 3)), (number(1, 3), number(1, 3))
    size, padding = (number(1, 7), number(1, 7)), tuple((number(0, 4), number(0, 4)) for _ in range(2))
    window = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    assume(all(n + sum(sides) >= k for n, sides, k in zip(size, padding, window, strict=True)))
    stride = draw(st.sampled_from([(1, 1), (2, 2), (1, 2), (3, 1)]))
    return case(groups, C, O, kernel, stride, padding, dilation, draw(st.booleans()), N, size)


SOME = [
    case(3, 2, 2, (3, 3)),  # groups alone
    case(1, 3, 2, (3, 3), padding=((2, 2), (2, 2)), dilation=(2, 2)),  # dilation alone
    case(4, 1, 1, (3, 3)),  # depthwise
    case(4, 1, 1, (3, 2), (2, 2), ((0, 2), (1, 0)), (1, 2)),
    case(3, 1, 2, (3, 3), bias=False),  # depthwise, two output channels of each
    case(20, 1, 2, (1, 1), padding=((0, 0), (0, 0))),  # more groups than a pack has
    case(12, 4, 4, (3, 3), (2, 1)),
    case(2, 20, 3, (2, 2)),
]


def several(test):
    for drawn in SOME:
        test = example(drawn)(test)
    return given(cases())(test)


def operation(bias, stride, padding, dilation, groups):
    options = {"dilation": dilation, "groups": groups}
    if bias is None:
        return lambda x, weight: conv2d(x, weight, None, stride, padding, **options)
    return lambda x, weight, bias: conv2d(x, weight, bias, stride, padding, **options)


@several
def test_gradient_and_purity(check_operation, drawn):
    check_operation(operation(*drawn[2:]), *(array for array in drawn[:3] if array is not None))


@several
def test_naive_loop(drawn):
    x, weight, bias, stride, padding, dilation, groups = drawn
    y, _ = conv2d(x, weight, bias, stride, padding, dilation=dilation, groups=groups)
    np.testing.assert_allclose(y, naive_conv2d(*drawn), rtol=1e-12, atol=1e-12)


@several
def test_pytorch(torch, drawn):
    x, weight, bias, stride, padding, dilation, groups = drawn
    ((top, bottom), (left, right)) = padding
    y, backward = conv2d(x, weight, bias, stride, padding, dilation=dilation, groups=groups)
    dy = np.random.default_rng(1).standard_normal(y.shape)
    theirs = [torch.tensor(array, requires_grad=True) for array in (x, weight, bias) if array is not None]
    padded = torch.nn.functional.pad(theirs[0].permute(0, 3, 1, 2), (left, right, top, bottom))
    their_bias = None if bias is None else theirs[2]
    their_y = torch.nn.functional.conv2d(padded, theirs[1], their_bias, stride, 0, dilation, groups)
    their_y = their_y.permute(0, 2, 3, 1)
    their_y.backward(torch.tensor(dy))
    np.testing.assert_allclose(y, their_y.detach().numpy(), rtol=1e-11, atol=1e-12)
    for ours, tensor in zip(backward(dy), theirs, strict=True):
        np.testing.assert_allclose(ours, tensor.grad.numpy(), rtol=1e-11, atol=1e-12)


@several
def test_only_what_is_asked_for(drawn):
    x, weight, bias, stride, padding, dilation, groups = drawn
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    y, backward = conv2d(x, weight, bias, **options)
    dy = np.random.default_rng(1).standard_normal(y.shape)
    dx, dweight, *_ = backward(dy)
    alone = conv2d(x, weight, bias, **options, input_gradient=False)[1](dy)
    assert alone[0] is None
    np.testing.assert_allclose(alone[1], dweight, rtol=1e-10, atol=1e-11)
    alone = conv2d(x, weight, bias, **options, weight_gradient=False)[1](dy)
    assert alone[1] is None
    np.testing.assert_allclose(alone[0], dx, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("drawn", SOME, ids=range(len(SOME)))
def test_blocks_and_bands(check_blocks, drawn):
    check_blocks(operation(*drawn[2:]), *(array for array in drawn[:3] if array is not None))


@pytest.mark.parametrize("drawn", SOME, ids=range(len(SOME)))
def test_a_dense_weight_with_zeros_does_the_same(drawn):
    """A block of the diagonal for each group, and a kernel with gaps."""
    x, weight, bias, stride, padding, (DH, DW), groups = drawn
    O, C, KH, KW = weight.shape
    dense = np.zeros((O, groups * C, DH * (KH - 1) + 1, DW * (KW - 1) + 1))
    for o in range(O):
        first = o // (O // groups) * C
        dense[o, first : first + C, ::DH, ::DW] = weight[o]
    y, backward = conv2d(x, weight, bias, stride, padding, dilation=(DH, DW), groups=groups)
    y2, backward2 = conv2d(x, dense, bias, stride, padding)
    np.testing.assert_allclose(y, y2, rtol=1e-12, atol=1e-12)
    dy = np.random.default_rng(1).standard_normal(y.shape)
    np.testing.assert_allclose(backward(dy)[0], backward2(dy)[0], rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("drawn", SOME, ids=range(len(SOME)))
def test_float32_and_any_layout(drawn):
    """Columns first, backwards: near to what float64 gives, and every result float32."""
    x, weight, bias, stride, padding, dilation, groups = drawn
    run = operation(bias, stride, padding, dilation, groups)
    wide = [array for array in (x, weight, bias) if array is not None]
    y, backward = run(*wide)
    dy = np.random.default_rng(1).standard_normal(y.shape)
    expected = [y, *backward(dy)]
    narrow = [np.asfortranarray(array.astype(np.float32)) for array in wide]
    narrow[0] = narrow[0][:, ::-1].copy()[:, ::-1]
    y, backward = run(*narrow)
    for ours, want in zip([y, *backward(np.asfortranarray(dy.astype(np.float32)))], expected, strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, want, rtol=0, atol=1e-5 * max(1, np.abs(want).max()))


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
@pytest.mark.parametrize("groups", [2, 4])
def test_halves_are_added_up_in_float32(name, groups):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 6, 6, 4)).astype(backend.half(name))
    weight = rng.standard_normal((4, 4 // groups, 3, 3)).astype(np.float32)
    for stride in (1, 2):
        y, backward = conv2d(x, weight, None, stride, 1, groups=groups)
        wide, wide_backward = conv2d(x.astype("f"), weight.astype(x.dtype).astype("f"), None, stride, 1, groups=groups)
        dx, dweight = backward(y)
        assert (y.dtype, dx.dtype, dweight.dtype) == (x.dtype, x.dtype, weight.dtype)
        want_dx, want_dweight = wide_backward(y.astype("f"))
        tolerance = 2e-2 if name == "bfloat16" else 2e-3
        for ours, want in ((y, wide), (dx, want_dx), (dweight, want_dweight)):
            np.testing.assert_allclose(ours.astype("f"), want, rtol=0, atol=tolerance * np.abs(want).max())


@pytest.mark.parametrize("groups", [2, 4])
def test_tf32_rounds_the_factors(groups):
    x, weight, _, *_ = case(groups, 4 // groups, 4 // groups, (3, 3))
    x, weight = x.astype("f"), weight.astype("f")
    y, _ = conv2d(x, weight, None, 1, 1, groups=groups)
    rounded, _ = conv2d(x, weight, None, 1, 1, groups=groups, tf32=True)
    assert not np.array_equal(y, rounded)
    np.testing.assert_allclose(y, rounded, rtol=0, atol=1e-2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x, w: conv2d(x, w, groups=3), "C is 4, which 3 groups do not divide: give another groups"),
        (lambda x, w: conv2d(x, w[:3], groups=2), "O is 3, which 2 groups do not divide: give another groups"),
        (lambda x, w: conv2d(x, w, groups=0), "groups must be a whole number, at least 1, got 0"),
        (lambda x, w: conv2d(x, w, groups=True), "groups must be a whole number, at least 1, got True"),
        (lambda x, w: conv2d(x, w), "4 input channels, weight expects 2: x is"),
        (lambda x, w: conv2d(x, w, groups=4), "4 input channels, weight expects 8 in 4 groups: x is .* C / groups"),
        (lambda x, w: conv2d(x, w, groups=2, dilation=0), "dilation must be at least 1, got 0"),
        (lambda x, w: conv2d(x, w, groups=2, dilation=1.5), "dilation must be a whole number or a pair of them"),
        (
            lambda x, w: conv2d(x, w, groups=2, dilation=3),
            "kernel 3x3, dilated to 7x7, is larger than the padded image 5x5: use a smaller kernel",
        ),
        (
            lambda x, w: conv2d(x, w, groups=2, padding=1, algorithm="winograd"),
            r"winograd is for 3x3 .*, dilation \(1, 1\), groups 2: use im2col",
        ),
    ],
)
def test_bad_input(make, message):
    x, weight = np.ones((1, 5, 5, 4)), np.ones((4, 2, 3, 3))
    with pytest.raises(ValueError, match=rf"^conv2d: {message}") as caught:
        make(x, weight)
    assert "\n" not in str(caught.value)


def test_winograd_is_refused_for_a_dilated_kernel_and_never_chosen():
    x, weight = np.ones((1, 40, 40, 128), "f"), np.ones((128, 128, 3, 3), "f")
    with pytest.raises(ValueError, match=r"dilation \(2, 2\), groups 1: use im2col"):
        conv2d(x, weight, padding=2, dilation=2, algorithm="winograd")
    auto, _ = conv2d(x, weight, padding=2, dilation=2)
    np.testing.assert_array_equal(auto, conv2d(x, weight, padding=2, dilation=2, algorithm="im2col")[0])


class TestModule:
    def test_weight_is_pytorchs(self, torch):
        ours, theirs = Conv2d(6, 9, 3, groups=3, dilation=2, rng=0), torch.nn.Conv2d(6, 9, 3, groups=3, dilation=2)
        assert ours.weight.shape == tuple(theirs.weight.shape) == (9, 2, 3, 3)
        bound = 1 / np.sqrt(2 * 9)
        assert 0.8 * bound < np.abs(ours.weight.data).max() <= bound
        assert np.abs(ours.bias.data).max() <= bound

    def test_gradients_arrive(self):
        layer = Conv2d(4, 6, 3, padding=2, groups=2, dilation=2, rng=0).to(np.float64)
        x = np.random.default_rng(0).standard_normal((2, 5, 5, 4))
        y, backward = layer(x)
        dx, dweight, dbias = conv2d(x, layer.weight.data, layer.bias.data, 1, 2, dilation=2, groups=2)[1](y)
        np.testing.assert_array_equal(backward(y), dx)
        np.testing.assert_array_equal(layer.weight.grad, dweight)
        np.testing.assert_array_equal(layer.bias.grad, dbias)

    def test_says_what_it_is(self):
        text = "Conv2d(6, 9, kernel_size=(3, 3), stride=1, padding=0, dilation=2, groups=3, bias=False)"
        assert str(Conv2d(6, 9, 3, groups=3, dilation=2, bias=False)) == text
        assert "dilation" not in str(Conv2d(6, 9, 3)) and "groups" not in str(Conv2d(6, 9, 3))

    def test_refuses_channels_that_groups_do_not_divide(self):
        with pytest.raises(ValueError, match=r"^Conv2d: out_channels is 8, which 3 groups do not divide"):
            Conv2d(6, 8, 3, groups=3)
        with pytest.raises(ValueError, match=r"^Conv2d: dilation must be at least 1"):
            Conv2d(6, 8, 3, dilation=0)

    @pytest.mark.parametrize("groups", [2, 4])
    def test_batch_norm_is_folded_into_it(self, groups):
        rng = np.random.default_rng(0)
        model = Sequential(Conv2d(4, 4, 3, padding=1, groups=groups, bias=False, rng=0), BatchNorm2d(4))
        for _ in range(3):
            model(rng.standard_normal((4, 6, 6, 4)).astype("f") * 2 + 1)
        model.eval()
        x = rng.standard_normal((2, 6, 6, 4)).astype("f")
        folded = fold(model)
        assert not any(isinstance(module, BatchNorm2d) for module in folded.modules())
        np.testing.assert_allclose(folded(x)[0], model(x)[0], atol=1e-5)
