"""layer_norm and LayerNorm: against loops, differences and PyTorch, over the channels and over more axes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minires.gradcheck import gradcheck
from minires.layers import LayerNorm, group_norm, layer_norm
from minires.modes import no_grad


def naive_layer_norm(x, weight, bias, eps=1e-5):
    """The formula, a pixel (or whatever is before weight's axes) at a time."""
    y = np.empty_like(x)
    for place in np.ndindex(x.shape[: x.ndim - weight.ndim]):
        values = x[place]
        mean = sum(values.ravel()) / values.size
        var = sum((values.ravel() - mean) ** 2) / values.size
        y[place] = weight * (values - mean) / (var + eps) ** 0.5 + bias
    return y


@st.composite
def cases(draw):
    """(x, weight, bias), at least three numbers to a mean: two are always normalised to +-1."""
    shapes = [((4, 3), 1), ((2, 3, 4), 1), ((1, 2, 2, 5), 1), ((3, 2, 3, 4), 3), ((2, 3, 2, 6), 2), ((3, 4), 2)]
    shape, axes = draw(st.sampled_from(shapes))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    x = rng.standard_normal(shape) * 2 + rng.standard_normal(shape[-1])
    return x, rng.standard_normal(shape[-axes:]), rng.standard_normal(shape[-axes:])


@given(cases(), st.booleans(), st.booleans())
def test_gradient_and_purity(check_operation, drawn, scaled, shifted):
    x, weight, bias = drawn

    def operation(x, *rest):
        rest = list(rest)
        w = rest.pop(0) if scaled else None
        b = rest.pop(0) if shifted else None
        return layer_norm(x, w, b)

    check_operation(operation, x, *([weight] if scaled else []), *([bias] if shifted else []))


@given(cases())
def test_naive_loop(drawn):
    np.testing.assert_allclose(layer_norm(*drawn)[0], naive_layer_norm(*drawn), rtol=1e-11, atol=1e-11)


@given(cases())
def test_output_is_normalised(drawn):
    x = drawn[0]
    y, backward = layer_norm(x, eps=0)
    np.testing.assert_allclose(y.mean(axis=-1), 0, atol=1e-10)
    np.testing.assert_allclose(y.var(axis=-1), 1, rtol=1e-10)
    (dx,) = backward(np.random.default_rng(0).standard_normal(x.shape))
    # neither a shift nor a scaling of a pixel changes y, so dx has no part in either direction
    np.testing.assert_allclose(dx.sum(axis=-1), 0, atol=1e-9)
    np.testing.assert_allclose((dx * y).sum(axis=-1), 0, atol=1e-9)


def test_blocks(check_blocks):
    rng = np.random.default_rng(0)
    x, (weight, bias) = rng.standard_normal((7, 5, 3, 4)) + 3, rng.standard_normal((2, 4))
    check_blocks(layer_norm, x, weight, bias, sizes=(1, 300, 5000))


@pytest.mark.parametrize(("shape", "axes"), [((3, 6, 7, 8), 1), ((2, 4, 4, 6), 3), ((5, 3, 2, 6), 2), ((4, 9), 1)])
@pytest.mark.parametrize("affine", [True, False])
def test_pytorch(torch, shape, axes, affine):
    rng = np.random.default_rng(0)
    axes = axes if affine else 1
    inputs = [rng.standard_normal(shape) * 2 + 1] + ([*rng.standard_normal((2, *shape[-axes:]))] if affine else [])
    tensors = [torch.tensor(array, requires_grad=True) for array in inputs]
    theirs = torch.nn.functional.layer_norm(tensors[0], shape[-axes:], *tensors[1:], eps=1e-6)
    y, backward = layer_norm(*inputs, eps=1e-6)
    dy = rng.standard_normal(shape)
    theirs.backward(torch.tensor(dy))
    np.testing.assert_allclose(y, theirs.detach().numpy(), rtol=1e-10, atol=1e-10)
    for gradient, tensor in zip(backward(dy), tensors, strict=True):
        np.testing.assert_allclose(gradient, tensor.grad.numpy(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("mean", [100, 1000, 1e5])
def test_far_from_zero_float32_keeps_its_digits(mean):
    """Against float64 of the same numbers; mean(x^2) - mean(x)^2 would lose them all."""
    x = (np.random.default_rng(0).standard_normal((4, 5, 5, 96)) + mean).astype(np.float32)
    dy = np.random.default_rng(1).standard_normal(x.shape).astype(np.float32)
    (y, backward), (exact, exact_backward) = layer_norm(x), layer_norm(x.astype(np.float64))
    np.testing.assert_allclose(y, exact, atol=1e-5)
    np.testing.assert_allclose(backward(dy)[0], exact_backward(dy.astype(np.float64))[0], atol=1e-4 + 1e-7 * mean)


@pytest.mark.parametrize("value", [0, 7.1, -1e4, 1e8])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_constant_pixel_stays_finite(value, dtype):
    x = np.full((3, 5, 7, 96), value, dtype)
    with np.errstate(all="raise", under="ignore"):
        y, backward = layer_norm(x)
        (dx,) = backward(np.ones_like(x))
    np.testing.assert_allclose(y, 0, atol=1e-3)
    np.testing.assert_allclose(dx, 0, atol=1e-2)


def test_over_all_but_the_batch_it_is_group_norm_of_one_group():
    """And over the channels it is that of an image for each pixel."""
    x, dy = np.random.default_rng(0).standard_normal((2, 3, 4, 5, 6))
    (y, backward), (expected, expected_backward) = layer_norm(x, np.ones((4, 5, 6))), group_norm(x, 1)
    np.testing.assert_allclose(y, expected, atol=1e-12)
    np.testing.assert_allclose(backward(dy)[0], expected_backward(dy)[0], atol=1e-12)
    pixels = x.reshape(-1, 6)
    np.testing.assert_allclose(layer_norm(x)[0].reshape(-1, 6), group_norm(pixels, 1)[0], atol=1e-12)


X, V = np.ones((2, 3, 3, 4)), np.ones(4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((X, np.ones(5)), r"layer_norm: x has shape \(2, 3, 3, 4\), weight \(5,\): expected \(4,\)"),
        ((X, V, np.ones((3, 4))), r"bias \(3, 4\): expected \(4,\)"),
        ((X, None, np.ones((2, 4))), r"bias \(2, 4\): expected \(3, 4\)"),
        ((X, np.ones((1, 2, 3, 3, 4))), r"layer_norm: x has shape \(2, 3, 3, 4\): give it, and weight and bias, the"),
        ((X, np.array(1.0)), "give it, and weight and bias, the channels' axis"),
        ((np.array(1.0),), "give it, and weight and bias, the channels' axis"),
        ((X[..., :1],), r"layer_norm: x \(2, 3, 3, 1\) has one channel, whose variance is 0"),
        ((X[:0], V), "layer_norm: empty batch, x has shape"),
        ((X.astype(np.float32), V), "different dtypes.*float32, float64"),
        ((X.astype(np.int64),), "needs floating-point arrays, got int64"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        layer_norm(*arguments)


class TestModule:
    def test_gradients_of_parameters(self):
        module = LayerNorm(4)
        module.weight.data = np.array([0.5, -1, 2, 1.5])
        gradcheck(module.to(np.float64), np.random.default_rng(0).standard_normal((3, 2, 5, 4)))

    @pytest.mark.parametrize("shape", [4, (4,), (5, 4), [2, 5, 4]])
    def test_pytorchs_state_loads(self, torch, shape):
        theirs = torch.nn.LayerNorm(shape, eps=1e-6)
        module = LayerNorm(shape, eps=1e-6).load_state_dict(
            {name: tensor.detach().numpy() for name, tensor in theirs.state_dict().items()}
        )
        assert module.weight.shape == module.bias.shape == tuple(theirs.normalized_shape)
        x = np.random.default_rng(0).standard_normal((3, 2, 5, 4)).astype(np.float32)
        np.testing.assert_allclose(module(x)[0], theirs(torch.tensor(x)).detach().numpy(), atol=1e-5)

    def test_both_modes_and_no_grad_give_the_same_bits(self):
        module, x = LayerNorm(4), np.random.default_rng(0).standard_normal((3, 2, 5, 4)).astype(np.float32)
        y, _ = module(x)
        with no_grad():
            np.testing.assert_array_equal(module.eval()(x)[0], y)

    def test_frozen_it_still_hands_dx_on(self):
        module, x = LayerNorm(4), np.random.default_rng(0).standard_normal((3, 2, 5, 4)).astype(np.float32)
        dx = module(x)[1](x)
        module.zero_grad()
        np.testing.assert_array_equal(module.freeze()(x)[1](x), dx)
        assert module.weight.grad is None and module.bias.grad is None

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: LayerNorm(0), "LayerNorm: normalized_shape must be at least 1, got 0"),
            (lambda: LayerNorm((3, 0)), "LayerNorm: normalized_shape must be at least 1, got 0"),
            (lambda: LayerNorm(()), "LayerNorm: normalized_shape must be at least 1, got 0"),
            (lambda: LayerNorm(4, eps="1"), "LayerNorm: eps must be a number from 0 to inf, got '1'"),
        ],
    )
    def test_bad_options(self, make, message):
        with pytest.raises(ValueError, match=message):
            make()
