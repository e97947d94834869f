"""leaky_relu, silu, gelu, hardswish: against their definitions, differences and PyTorch."""

import functools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripts import EXAMPLES, call, load, picture

from minires.layers import GELU, Hardswish, LeakyReLU, SiLU, gelu, hardswish, leaky_relu, silu

KAPPA = math.sqrt(2 / math.pi)
FUNCTIONS = {
    "leaky_relu": leaky_relu,
    "leaky_relu, steep": functools.partial(leaky_relu, negative_slope=1.5),
    "leaky_relu, flat": functools.partial(leaky_relu, negative_slope=0),
    "silu": silu,
    "gelu": gelu,
    "gelu, tanh": functools.partial(gelu, approximate="tanh"),
    "hardswish": hardswish,
}
NAIVE = {
    "leaky_relu": lambda v: v if v > 0 else 0.01 * v,
    "leaky_relu, steep": lambda v: v if v > 0 else 1.5 * v,
    "leaky_relu, flat": lambda v: v if v > 0 else 0.0,
    "silu": lambda v: v / (1 + math.exp(-v)),
    "gelu": lambda v: v * math.erfc(-v / math.sqrt(2)) / 2,
    "gelu, tanh": lambda v: v * (1 + math.tanh(KAPPA * (v + 0.044715 * v**3))) / 2,
    "hardswish": lambda v: 0.0 if v <= -3 else v if v >= 3 else v * (v + 3) / 6,
}
KINKS = {"leaky_relu": (0,), "leaky_relu, steep": (0,), "leaky_relu, flat": (0,), "hardswish": (-3, 3)}
every_function = pytest.mark.parametrize("name", FUNCTIONS)


def pytorchs(torch, name):
    function = FUNCTIONS[name]
    options = getattr(function, "keywords", {})
    return functools.partial(getattr(torch.nn.functional, name.split(",")[0]), **options)


def away_from_kinks(name, x):
    """x, every number of it at least 0.01 away from where the slope jumps."""
    for kink in KINKS.get(name, ()):
        x = x + 0.01 * np.sign(x - kink)
    return np.asarray(x)


@st.composite
def arrays(draw):
    """Any shape of up to four axes, numbers on both sides of all kinks, and not where all is nearly flat."""
    shape = draw(st.lists(st.integers(1, 5), min_size=0, max_size=4))
    return np.asarray(np.random.default_rng(draw(st.integers(0, 1000))).uniform(-3.9, 3.9, shape))


@every_function
@given(x=arrays())
def test_gradient_and_purity(check_operation, name, x):
    check_operation(FUNCTIONS[name], away_from_kinks(name, x))


@every_function
@given(x=arrays())
def test_naive_loop(name, x):
    expected = np.vectorize(NAIVE[name], otypes=[float])(x)
    np.testing.assert_allclose(FUNCTIONS[name](x)[0], expected, rtol=1e-13, atol=1e-15)


@every_function
@given(x=arrays())
def test_pytorch(torch, name, x):
    y, backward = FUNCTIONS[name](x)
    theirs = torch.tensor(x, requires_grad=True)
    dy = np.asarray(np.random.default_rng(0).standard_normal(x.shape))
    their_y = pytorchs(torch, name)(theirs)
    their_y.backward(torch.tensor(dy))
    np.testing.assert_allclose(y, their_y.detach().numpy(), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(backward(dy), theirs.grad.numpy(), rtol=1e-12, atol=1e-14)


@every_function
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_at_kinks_and_far_out_as_pytorch(torch, name, dtype):
    x = np.array([-1e4, -100, -3, -0.0, 0, 3, 100, 1e4, np.nan], dtype)
    dy = np.arange(1, 10).astype(dtype)
    theirs = torch.tensor(x, requires_grad=True)
    their_y = pytorchs(torch, name)(theirs)
    their_y.backward(torch.tensor(dy))
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        y, backward = FUNCTIONS[name](x)
        dx = backward(dy)
    tolerance = 1e-6 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(y, their_y.detach().numpy(), rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(dx, theirs.grad.numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_a_shut_gate_keeps_everything_out(torch, bad):
    """Hard swish up to -3, as in PyTorch, where 0 times infinity would be NaN."""
    x, dy = np.array([-5.0, -3.0, -1.0, 4.0]), np.full(4, bad)
    theirs = torch.tensor(x, requires_grad=True)
    torch.nn.functional.hardswish(theirs).backward(torch.tensor(dy))
    dx = hardswish(x)[1](dy)
    np.testing.assert_array_equal(dx, theirs.grad.numpy())
    assert dx[:2].tolist() == [0, 0]


def test_tanh_is_near_gelu():
    x = np.linspace(-8, 8, 100_001)
    assert 4e-4 < np.abs(gelu(x)[0] - gelu(x, approximate="tanh")[0]).max() < 5e-4


@pytest.mark.parametrize("name", ["silu", "gelu", "gelu, tanh", "hardswish"])
def test_no_function_of_y_is_the_derivative(name):
    """Two x with one y and different slopes: what the page says of why x is kept."""
    x = np.linspace(-2.9, -0.1, 2801)
    y, backward = FUNCTIONS[name](x)
    dx = backward(np.ones_like(x))
    lowest = int(y.argmin())
    left = lowest // 2
    right = lowest + int(np.abs(y[lowest:] - y[left]).argmin())
    assert abs(y[left] - y[right]) < 1e-3 < 0.02 < dx[right] - dx[left]


@every_function
@pytest.mark.parametrize("shape", [(7, 3, 5, 2), (11,), (1, 64)])
def test_blocks(check_blocks, name, shape):
    check_blocks(FUNCTIONS[name], np.random.default_rng(0).standard_normal(shape))


@every_function
def test_halves_are_computed_in_float32(name):
    x = np.random.default_rng(0).standard_normal(200).astype(np.float16)
    y, backward = FUNCTIONS[name](x)
    wide, wide_backward = FUNCTIONS[name](x.astype(np.float32))
    np.testing.assert_array_equal(y, wide.astype(np.float16))
    assert y.dtype == backward(x).dtype == np.float16
    np.testing.assert_array_equal(backward(x), wide_backward(x.astype(np.float32)).astype(np.float16))


@every_function
def test_integers_are_refused(name):
    kind = name.split(",")[0]
    with pytest.raises(ValueError, match=rf"{kind}: needs floating-point arrays, got int64.*astype\(np.float32\)"):
        FUNCTIONS[name](np.arange(3, dtype=np.int64))


@every_function
def test_lists_are_refused(name):
    with pytest.raises(TypeError, match="expected a NumPy or CuPy array, got list"):
        FUNCTIONS[name]([1.0, 2.0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: leaky_relu(np.ones(2), -0.1), "leaky_relu: negative_slope must be a number from 0 to inf, got -0.1"),
        (
            lambda: leaky_relu(np.ones(2), math.nan),
            "leaky_relu: negative_slope must be a number from 0 to inf, got nan",
        ),
        (lambda: LeakyReLU("0.1"), "LeakyReLU: negative_slope must be a number from 0 to inf, got '0.1'"),
        (lambda: gelu(np.ones(2), "erf"), "gelu: unknown approximate 'erf': choose none or tanh"),
        (lambda: GELU(None), "GELU: unknown approximate None: choose none or tanh"),
    ],
)
def test_bad_options(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("module", "function", "printed"),
    [
        (LeakyReLU(), leaky_relu, "LeakyReLU(negative_slope=0.01)"),
        (LeakyReLU(0.2), lambda x: leaky_relu(x, 0.2), "LeakyReLU(negative_slope=0.2)"),
        (SiLU(), silu, "SiLU()"),
        (GELU(), gelu, "GELU(approximate='none')"),
        (GELU("tanh"), lambda x: gelu(x, "tanh"), "GELU(approximate='tanh')"),
        (Hardswish(), hardswish, "Hardswish()"),
    ],
)
def test_modules(module, function, printed):
    x = np.random.default_rng(0).standard_normal((2, 3))
    (y, backward), (y2, backward2) = module(x), function(x)
    np.testing.assert_array_equal(y, y2)
    np.testing.assert_array_equal(backward(x), backward2(x))
    assert module.parameters() == [] and repr(module) == printed


def test_the_picture_shows_every_function(monkeypatch, capsys, tmp_path):
    script = load("experiments/gates")
    assert [name.split("(")[0] for name in script.FUNCTIONS] == ["leaky_relu", "silu", "gelu", "hardswish"]
    code, out, _ = call(script, monkeypatch, capsys, "--out", tmp_path / "new" / "gates.png")
    assert (code, out) == (0, f"wrote {tmp_path / 'new' / 'gates.png'}\n")
    shown = picture(EXAMPLES.parent / "docs" / "images" / "gates.png")
    assert picture(tmp_path / "new" / "gates.png").size == shown.size
