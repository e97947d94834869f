"""linear, flatten and their modules: against loops, differences and PyTorch."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minires.gradcheck import gradcheck
from minires.layers import Flatten, Linear, flatten, linear

sizes = st.integers(1, 6)


def arrays(N, C, O, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((N, C)), rng.standard_normal((O, C)), rng.standard_normal(O)


@given(sizes, sizes, sizes, st.booleans())
def test_gradient_and_purity(check_operation, N, C, O, with_bias):
    x, weight, bias = arrays(N, C, O)
    check_operation(linear, x, weight, *([bias] if with_bias else []))


@given(sizes, sizes, sizes)
def test_naive_loop(N, C, O):
    x, weight, bias = arrays(N, C, O)
    y = [[bias[o] + sum(x[n, c] * weight[o, c] for c in range(C)) for o in range(O)] for n in range(N)]
    np.testing.assert_allclose(linear(x, weight, bias)[0], y, rtol=1e-12, atol=1e-12)


@given(sizes, sizes, sizes)
def test_pytorch(torch, N, C, O):
    x, weight, bias = arrays(N, C, O)
    theirs = [torch.tensor(a, requires_grad=True) for a in (x, weight, bias)]
    their_y = torch.nn.functional.linear(*theirs)
    dy = np.random.default_rng(1).standard_normal((N, O))
    their_y.backward(torch.tensor(dy))
    y, backward = linear(x, weight, bias)
    np.testing.assert_allclose(y, their_y.detach().numpy(), rtol=1e-12, atol=1e-12)
    for ours, tensor in zip(backward(dy), theirs, strict=True):
        np.testing.assert_allclose(ours, tensor.grad.numpy(), rtol=1e-12, atol=1e-12)


@given(st.tuples(sizes, sizes, sizes, sizes))
def test_flatten(check_operation, shape):
    x = np.random.default_rng(0).standard_normal(shape)
    check_operation(flatten, x)
    y, _ = flatten(x)
    N, H, W, C = shape
    assert y.shape == (N, H * W * C)
    for n, h, w, c in np.ndindex(shape):
        assert y[n, (h * W + w) * C + c] == x[n, h, w, c]


X, W, B = arrays(2, 3, 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((X, W[:, :2]), r"linear: x \(2, 3\) and weight \(4, 2\) do not fit: expected \(N, C\) and \(O, C\)"),
        ((X[0], W), r"linear: x \(3,\) and weight \(4, 3\) do not fit"),
        ((X, W, B[:3]), r"linear: bias has shape \(3,\), 4 outputs need \(4,\)"),
        ((X[:0], W), r"linear: empty batch, x has shape \(0, 3\)"),
        ((X.astype(np.float32), W), "linear: arrays of different dtypes.*float32, float64.*astype"),
        ((X.astype(np.int64), W.astype(np.int64)), "linear: needs floating-point arrays, got int64"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        linear(*arguments)


def test_flatten_of_an_empty_batch():
    with pytest.raises(ValueError, match="flatten: empty batch"):
        flatten(np.ones((0, 2, 2, 1)))


class TestModules:
    def test_gradients_of_parameters(self):
        gradcheck(Linear(3, 4, rng=0), X)
        gradcheck(Linear(3, 4, bias=False, rng=0), X)
        gradcheck(Flatten(), np.ones((2, 3, 1, 2)))

    def test_parameters_are_pytorchs(self, torch):
        theirs = {name: tuple(p.shape) for name, p in torch.nn.Linear(5, 4).named_parameters()}
        assert {name: p.shape for name, p in Linear(5, 4).named_parameters()} == theirs
        assert [name for name, _ in Linear(5, 4, bias=False).named_parameters()] == ["weight"]

    def test_initial_values_fill_pytorchs_range(self):
        for parameter in Linear(25, 1000, rng=0).parameters():
            assert 0.19 < np.abs(parameter.data).max() <= 0.2
            assert np.abs(parameter.data.mean()) < 0.02
            assert parameter.data.dtype == np.float32
