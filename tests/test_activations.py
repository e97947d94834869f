"""relu, sigmoid, tanh: against their definitions, differences and PyTorch."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minires.layers import ReLU, Sigmoid, Tanh, relu, sigmoid, tanh

FUNCTIONS = {"relu": relu, "sigmoid": sigmoid, "tanh": tanh}
NAIVE = {"relu": lambda v: v if v > 0 else 0.0, "sigmoid": lambda v: 1 / (1 + math.exp(-v)), "tanh": math.tanh}
every_function = pytest.mark.parametrize("name", FUNCTIONS)


@st.composite
def arrays(draw):
    """Any shape of up to four axes, every number at least 0.01 away from relu's kink."""
    shape = draw(st.lists(st.integers(1, 5), min_size=0, max_size=4))
    x = np.asarray(np.random.default_rng(draw(st.integers(0, 1000))).standard_normal(shape) * 2)
    return x + 0.01 * np.sign(x)


@every_function
@given(x=arrays())
def test_gradient_and_purity(check_operation, name, x):
    check_operation(FUNCTIONS[name], x)


@every_function
@given(x=arrays())
def test_naive_loop(name, x):
    np.testing.assert_allclose(FUNCTIONS[name](x)[0], np.vectorize(NAIVE[name], otypes=[float])(x), rtol=1e-13)


@every_function
@given(x=arrays())
def test_pytorch(torch, name, x):
    y, backward = FUNCTIONS[name](x)
    theirs = torch.tensor(x, requires_grad=True)
    dy = np.asarray(np.random.default_rng(0).standard_normal(x.shape))
    their_y = getattr(torch, name)(theirs)
    their_y.backward(torch.tensor(dy))
    np.testing.assert_allclose(y, their_y.detach().numpy(), rtol=1e-12)
    np.testing.assert_allclose(backward(dy), theirs.grad.numpy(), rtol=1e-12, atol=1e-15)


@every_function
@pytest.mark.parametrize("shape", [(7, 3, 5, 2), (11,), (1, 64)])
def test_blocks(check_blocks, name, shape):
    check_blocks(FUNCTIONS[name], np.random.default_rng(0).standard_normal(shape))


def test_relu_at_its_kink():
    """The gradient at 0 is 0, as in PyTorch."""
    y, backward = relu(np.array([-1.0, 0.0, -0.0, 2.0]))
    np.testing.assert_array_equal(y, [0, 0, 0, 2])
    np.testing.assert_array_equal(backward(np.full(4, 3.0)), [0, 0, 0, 3])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_infinite_gradients_as_pytorch(torch, dtype):
    """relu's gate keeps infinity and NaN out; sigmoid's and tanh's slope of 0 times infinity is NaN."""
    x = np.array([-1000, 0, 1000, -1000, 0, 1000, -1000], dtype)
    dy = np.array([np.inf, np.inf, np.inf, np.nan, -np.inf, -np.inf, -3], dtype)
    for name, function in FUNCTIONS.items():
        theirs = torch.tensor(x, requires_grad=True)
        getattr(torch, name)(theirs).backward(torch.tensor(dy))
        with np.errstate(all="raise" if name == "relu" else "ignore"):
            np.testing.assert_array_equal(function(x)[1](dy), theirs.grad.numpy())


def test_relu_passes_nan_on():
    np.testing.assert_array_equal(relu(np.array([np.nan, 1.0]))[0], [np.nan, 1.0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_numbers_do_not_overflow(dtype):
    x = np.array([-1e4, -100, 0, 100, 1e4], dtype)
    with np.errstate(all="raise"):
        y, backward = sigmoid(x)
        dx = backward(np.ones_like(x))
    np.testing.assert_allclose(y, [0, 0, 0.5, 1, 1], atol=1e-7)
    np.testing.assert_allclose(dx, [0, 0, 0.25, 0, 0], atol=1e-7)
    np.testing.assert_array_equal(tanh(x)[0], [-1, -1, 0, 1, 1])


@every_function
def test_integers_are_refused(name):
    with pytest.raises(ValueError, match=rf"{name}: needs floating-point arrays, got int64.*astype\(np.float32\)"):
        FUNCTIONS[name](np.arange(3, dtype=np.int64))


@every_function
def test_lists_are_refused(name):
    with pytest.raises(TypeError, match="expected a NumPy or CuPy array, got list"):
        FUNCTIONS[name]([1.0, 2.0])


@pytest.mark.parametrize(("module", "function"), [(ReLU, relu), (Sigmoid, sigmoid), (Tanh, tanh)])
def test_modules(module, function):
    x = np.random.default_rng(0).standard_normal((2, 3))
    (y, backward), (y2, backward2) = module()(x), function(x)
    np.testing.assert_array_equal(y, y2)
    np.testing.assert_array_equal(backward(x), backward2(x))
    assert module().parameters() == []
