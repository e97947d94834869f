"""squeeze_excitation and SqueezeExcitation: against a loop, differences, PyTorch and torchvision's block."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minires.gradcheck import gradcheck
from minires.layers import BatchNorm2d, Conv2d, SqueezeExcitation, squeeze_excitation
from minires.models.fold import fold
from minires.modes import no_grad
from minires.sequential import Sequential

small = st.integers(1, 4)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def drawn(N, H, W, C, S, seed=0):
    """x, weight1, bias1, weight2, bias2; no hidden number lies where ReLU has its kink."""
    x, weight1, bias1 = normal(N, H, W, C, seed=seed), normal(S, C, 1, 1, seed=seed + 1), normal(S, seed=seed + 2)
    hidden = x.mean(axis=(1, 2)) @ weight1[:, :, 0, 0].T + bias1
    bias1 = bias1 + np.where(np.abs(hidden).min(axis=0) < 0.05, 10.0, 0.0)
    return x, weight1, bias1, normal(C, S, 1, 1, seed=seed + 3), normal(C, seed=seed + 4)


def naive(x, weight1, bias1, weight2, bias2):
    """The formula, an image and a number at a time."""
    y = np.empty_like(x)
    for n, image in enumerate(x):
        means = [sum(image[..., c].ravel()) / image[..., c].size for c in range(x.shape[-1])]
        hidden = [
            max(0, bias1[s] + sum(weight1[s, c, 0, 0] * m for c, m in enumerate(means))) for s in range(len(bias1))
        ]
        for c in range(x.shape[-1]):
            logit = bias2[c] + sum(weight2[c, s, 0, 0] * h for s, h in enumerate(hidden))
            y[n, :, :, c] = image[..., c] / (1 + math.exp(-logit))
    return y


@given(small, small, small, small, small, st.integers(0, 1000))
def test_gradient_and_purity(check_operation, N, H, W, C, S, seed):
    check_operation(squeeze_excitation, *drawn(N, H, W, C, S, seed))


@given(small, small, small, small, small, st.integers(0, 1000))
def test_naive_loop(N, H, W, C, S, seed):
    inputs = drawn(N, H, W, C, S, seed)
    np.testing.assert_allclose(squeeze_excitation(*inputs)[0], naive(*inputs), rtol=1e-12, atol=1e-12)


def test_blocks(check_blocks):
    check_blocks(squeeze_excitation, *drawn(7, 3, 5, 4, 2), sizes=(1, 1500, 3000))


@pytest.mark.parametrize("shape", [(1, 1, 1, 3, 2), (2, 3, 5, 4, 7), (5, 8, 6, 16, 4)])
def test_pytorch(torch, shape):
    """PyTorch's own convolutions and its automatic gradient, on NCHW, in float64."""
    inputs = drawn(*shape)
    tensors = [torch.tensor(array, requires_grad=True) for array in inputs]
    functional, theirs = torch.nn.functional, tensors[0].permute(0, 3, 1, 2)
    gate = functional.conv2d(theirs.mean(dim=(2, 3), keepdim=True), tensors[1], tensors[2])
    gate = torch.sigmoid(functional.conv2d(torch.relu(gate), tensors[3], tensors[4]))
    theirs = (theirs * gate).permute(0, 2, 3, 1)
    y, backward = squeeze_excitation(*inputs)
    dy = normal(*y.shape, seed=9)
    theirs.backward(torch.tensor(dy))
    np.testing.assert_allclose(y, theirs.detach().numpy(), rtol=1e-10, atol=1e-10)
    for gradient, tensor in zip(backward(dy), tensors, strict=True):
        np.testing.assert_allclose(gradient, tensor.grad.numpy(), rtol=1e-10, atol=1e-10)


def test_torchvisions_block(torch):
    """Its state loads as it is, and both give the same numbers."""
    theirs = pytest.importorskip("torchvision").ops.SqueezeExcitation(6, 3).double()
    ours = SqueezeExcitation(6, 3).to(np.float64)
    ours.load_state_dict({name: tensor.numpy() for name, tensor in theirs.state_dict().items()})
    x, dy = normal(3, 5, 4, 6), normal(3, 5, 4, 6, seed=1)
    their_x = torch.tensor(x, requires_grad=True)
    their_y = theirs(their_x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    their_y.backward(torch.tensor(dy))
    y, backward = ours(x)
    np.testing.assert_allclose(y, their_y.detach().numpy(), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(backward(dy), their_x.grad.numpy(), rtol=1e-10, atol=1e-10)
    named = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        np.testing.assert_allclose(parameter.grad, named[name].grad.numpy(), rtol=1e-10, atol=1e-10)


def test_each_image_has_a_gate_of_its_own():
    """What the other images are changes not a bit of an image's y: nothing is shared over the batch."""
    inputs = drawn(4, 3, 3, 4, 2)
    y, _ = squeeze_excitation(*inputs)
    other = np.concatenate([inputs[0][:1], 100 * inputs[0][1:]])
    np.testing.assert_allclose(squeeze_excitation(other, *inputs[1:])[0][:1], y[:1], rtol=1e-14)


def test_large_logits_neither_overflow_nor_warn():
    x, weight1, bias1, weight2, bias2 = drawn(2, 3, 3, 4, 2)
    for bias in (-1e4, 1e4):
        with np.errstate(all="raise"):
            y, backward = squeeze_excitation(x, weight1, bias1, weight2, bias2 + bias)
            assert all(np.isfinite(gradient).all() for gradient in backward(x))
        np.testing.assert_allclose(y, x if bias > 0 else 0 * x, atol=1e-12)


X, W1, B1, W2, B2 = drawn(2, 3, 3, 4, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (X, W1[:, :3], B1, W2, B2),
            r"4 input channels squeezed to 2, weight1 has shape \(2, 3, 1, 1\): expected \(2, 4",
        ),
        ((X, W1[..., 0, 0], B1, W2, B2), r"weight1 has shape \(2, 4\): expected \(2, 4, 1, 1\)"),
        ((X, W1, B2, W2, B2), r"bias1 has shape \(4,\): expected \(2,\)"),
        ((X, W1, B1, W1, B2), r"weight2 has shape \(2, 4, 1, 1\): expected \(4, 2, 1, 1\)"),
        ((X, W1, B1, W2, B1), r"bias2 has shape \(2,\): expected \(4,\)"),
        ((X, np.array(1.0), B1, W2, B2), r"weight1 has shape \(\): expected"),
        ((X, W1[:0], B1[:0], W2[:, :0], B2), r"squeezed to 0, weight1 has shape \(0, 4, 1, 1\)"),
        ((X[0], W1, B1, W2, B2), r"squeeze_excitation: x must have shape \(N, H, W, C\), got \(3, 3, 4\)"),
        ((X[:0], W1, B1, W2, B2), "squeeze_excitation: empty batch"),
        ((X.astype(np.float32), W1, B1, W2, B2), "squeeze_excitation: arrays of different dtypes"),
        (tuple(a.astype(int) for a in (X, W1, B1, W2, B2)), "squeeze_excitation: needs floating-point arrays"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        squeeze_excitation(*arguments)


class TestModule:
    def test_gradients_of_parameters(self):
        gradcheck(SqueezeExcitation(4, 2, rng=0).to(np.float64), X)

    def test_its_state_has_the_names_and_shapes_of_others(self):
        state = SqueezeExcitation(8, 3, rng=0).state_dict()
        assert {name: array.shape for name, array in state.items()} == {
            "fc1.weight": (3, 8, 1, 1),
            "fc1.bias": (3,),
            "fc2.weight": (8, 3, 1, 1),
            "fc2.bias": (8,),
        }

    def test_a_seed_fixes_the_weights(self):
        one, two, other = (SqueezeExcitation(4, 2, rng=seed).state_dict() for seed in (1, 1, 2))
        assert all(np.array_equal(one[name], two[name]) for name in one)
        assert not np.array_equal(one["fc1.weight"], other["fc1.weight"])

    def test_frozen_it_still_hands_dx_on(self):
        module, x = SqueezeExcitation(4, 2, rng=0), X.astype(np.float32)
        dx = module(x)[1](x)
        module.zero_grad()
        np.testing.assert_array_equal(module.freeze()(x)[1](x), dx)
        assert all(parameter.grad is None for parameter in module.parameters())

    def test_both_modes_and_no_grad_give_the_same(self):
        module, x = SqueezeExcitation(4, 2, rng=0), X.astype(np.float32)
        y, _ = module(x)
        with no_grad():
            np.testing.assert_array_equal(module.eval()(x)[0], y)

    def test_folding_the_batch_norm_before_it_leaves_it_as_it_is(self):
        model = Sequential(Conv2d(4, 6, 3, rng=0), BatchNorm2d(6), SqueezeExcitation(6, 2, rng=1))
        x = np.random.default_rng(0).standard_normal((8, 5, 5, 4)).astype(np.float32)
        model(x)  # moves the running statistics
        folded = fold(model.eval())
        assert not any(isinstance(module, BatchNorm2d) for module in folded.modules())
        np.testing.assert_allclose(folded(x)[0], model(x)[0], rtol=1e-5, atol=1e-5)

    def test_sizes(self):
        with pytest.raises(ValueError, match="SqueezeExcitation: squeeze_channels must be at least 1, got 0"):
            SqueezeExcitation(4, 0)
