"""scale and Scale: against loops, differences and PyTorch; a block that begins as the identity."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minires import optim
from minires.gradcheck import gradcheck
from minires.layers import Scale, add, conv2d, scale

X = np.random.default_rng(0).standard_normal((4, 5, 3, 2))


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.sampled_from([(), (1,)]), st.floats(-2, 2))
def test_gradient_and_purity(check_operation, shape, of_weight, weight):
    x = np.random.default_rng(0).standard_normal(shape)
    check_operation(scale, x, np.full(of_weight, weight))


@given(st.floats(-2, 2))
def test_naive_loop(weight):
    y, backward = scale(X, np.array(weight))
    dx, dweight = backward(2 * X)
    total = 0.0
    for value, x, gradient in zip(y.ravel(), X.ravel(), dx.ravel(), strict=True):
        assert value == weight * x and gradient == weight * 2 * x
        total += 2 * x * x
    assert dweight.shape == () and dweight == pytest.approx(total, rel=1e-12)


def test_blocks(check_blocks):
    check_blocks(scale, np.random.default_rng(1).standard_normal((7, 5, 3)), np.array([0.3]), sizes=(1, 300))


@pytest.mark.parametrize("shape", [(), (1,)])
def test_pytorch(torch, shape):
    weight = np.full(shape, 0.7)
    tensors = [torch.tensor(array, requires_grad=True) for array in (X, weight)]
    theirs = tensors[0] * tensors[1]
    y, backward = scale(X, weight)
    dy = np.random.default_rng(1).standard_normal(X.shape)
    theirs.backward(torch.tensor(dy))
    np.testing.assert_array_equal(y, theirs.detach().numpy())
    for gradient, tensor in zip(backward(dy), tensors, strict=True):
        np.testing.assert_allclose(gradient, tensor.grad.numpy(), rtol=1e-10, atol=1e-10)


def test_at_0_a_block_is_the_identity_and_yet_learns():
    """y = x + weight * F(x) at weight 0: y is x, dx is dy, F's weight gets nothing, and this one number a gradient."""
    kernel, dy = np.random.default_rng(1).standard_normal((2, 2, 3, 3)), np.ones(X.shape)
    branch, conv_backward = conv2d(X, kernel, padding=1)
    y, scale_backward = scale(branch, np.zeros(1))
    y, _ = add(y, X)
    np.testing.assert_array_equal(y, X)
    dbranch, dweight = scale_backward(dy)
    dx, dkernel = conv_backward(dbranch)
    assert not dx.any() and not dkernel.any()
    assert dweight[0] == pytest.approx(branch.sum(), rel=1e-12) and dweight[0] != 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((X, np.ones(2)), r"scale: weight has shape \(2,\): expected \(\) or \(1,\), one number"),
        ((X, np.ones((1, 1))), r"scale: weight has shape \(1, 1\)"),
        ((X, np.ones(1, np.float32)), "scale: arrays of different dtypes"),
        ((X.astype(int), np.ones(1, int)), "scale: needs floating-point arrays"),
        ((X[:0], np.ones(1)), "scale: empty batch"),
        ((np.array(1.0), np.ones(1)), r"scale: x has no axes: add the batch axis with x\[None\]"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        scale(*arguments)


class TestModule:
    def test_gradient_of_its_parameter(self):
        gradcheck(Scale(0.3).to(np.float64), X)

    def test_it_begins_where_it_is_told(self):
        assert Scale().weight.data.tolist() == [0] and Scale(0.5).state_dict()["weight"].tolist() == [0.5]

    @pytest.mark.parametrize("make", [optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop])
    def test_every_optimizer_moves_it(self, make):
        module = Scale()
        optimizer = make(module.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            module(X.astype(np.float32))[1](X.astype(np.float32))
            optimizer.step()
        assert module.weight.shape == (1,) and module.weight.data[0] < 0

    def test_frozen_it_stays(self):
        module = Scale(0.5).freeze()
        module(X.astype(np.float32))[1](X.astype(np.float32))
        assert module.weight.grad is None
