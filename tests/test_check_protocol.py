"""check_protocol: that it catches what breaks a rule, and that every operation and module keeps them all."""

import numpy as np
import pytest
from device_cases import MODELS, MODULES, OPERATIONS, OPTIMIZERS, missing_cases

from minires.layers import Linear
from minires.module import Module, Parameter
from minires.protocol import ProtocolError, check_protocol

X = np.random.default_rng(0).standard_normal((3, 4))
FIRST_ALONE = ("mse_loss", "_weighted_cross_entropy", "_giou_loss")  # have a gradient


@pytest.mark.parametrize("case", OPERATIONS, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_operation(case, dtype):
    if case.function.__name__.startswith("_batch_norm"):  # these change the running statistics, as they say
        x, weight, bias, mean, var, *shortcut = case.inputs(dtype)

        def function(x, weight, bias, *shortcut):
            y, backward = case.function(x, weight, bias, mean.copy(), var.copy(), *shortcut, **case.options)
            number = 3 + len(shortcut)
            return y, lambda dy: backward(dy)[:number]

        check_protocol(function, x, weight, bias, *shortcut)
    elif case.options.get("input_gradient") is False:
        pytest.skip("gives no dx, as asked")
    elif case.function.__name__ in FIRST_ALONE:
        first, *others = case.inputs(dtype)
        check_protocol(lambda first: case.function(first, *others, **case.options), first)
    else:
        floats, others = case.inputs(dtype)[: len(case.shapes)], case.others
        check_protocol(lambda *floats: case.function(*floats, *others, **case.options), *floats)


@pytest.mark.parametrize("name", [*MODULES, *MODELS])
def test_every_module(name):
    make, shape = {**MODULES, **MODELS}[name]
    check_protocol(make(), np.random.default_rng(0).standard_normal(shape).astype(np.float32))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_backward_pass_after_a_step_of_any_optimizer(name):
    layer = Linear(4, 3, rng=0).to(np.float64)
    _, backward = layer(X)
    dy = np.ones((3, 3))
    before = backward(dy)
    OPTIMIZERS[name](layer.parameters()).step()
    np.testing.assert_array_equal(backward(dy), before)


scratch = np.empty((3, 4))


def in_scratch(x):
    np.multiply(x, x, out=scratch)
    return scratch, lambda dy: 2 * x * dy


def forgetful(x):
    calls = []
    return x * x, lambda dy: calls.append(1) or 2 * x * dy * len(calls)


def writing(x):
    return x * x, lambda dy: np.multiply(dy, 2 * x, out=dy)


def restoring(x):
    x += 1
    x -= 1
    return x * 2, lambda dy: dy * 2


def in_float64(x):
    return x * x, lambda dy: (2 * x * dy).astype(np.float32)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (in_scratch, "y changed after another forward pass"),
        (forgetful, "other numbers when it was called again"),
        (writing, "changed dy"),
        (restoring, "read-only inputs"),
        (in_float64, r"a gradient is float32 \(3, 4\), its array float64"),
    ],
)
def test_broken_rules(function, message):
    with pytest.raises(ProtocolError, match=message):
        check_protocol(function, np.round(X * 4))


class Scale(Module):
    def __init__(self, mistake):
        self.weight, self.mistake = Parameter(np.full((3, 4), 2.0)), mistake

    def forward(self, x):
        weight = self.weight.data

        def backward(dy):
            if self.mistake == "alias":
                self.weight.grad = dy
                return dy
            self.weight.add_grad(dy * x)
            return dy * (self.weight.data if self.mistake == "late" else weight)

        return x * weight, backward


def test_a_module_that_looks_its_weight_up_when_it_goes_back():
    check_protocol(Scale(""), X)
    with pytest.raises(ProtocolError, match="other numbers after an optimizer's step"):
        check_protocol(Scale("late"), X)


def test_a_gradient_that_is_the_callers():
    with pytest.raises(ProtocolError, match=r"weight\.grad shares memory with dy"):
        check_protocol(Scale("alias"), X)


def test_every_public_operation_and_module_is_among_the_cases():
    assert not missing_cases(), "add a case to device_cases.py"


class TestWhatItSays:
    """Broken rules, each named for what it is."""

    X = np.random.default_rng(0).standard_normal((3, 4))

    @pytest.mark.parametrize(
        ("function", "inputs", "message"),
        [
            (lambda a, b: (a + b, lambda dy: dy), (X, X), "backward gave 1 gradients for 2 floating-point inputs"),
            (lambda x: (x.copy(), lambda dy: (dy, dy)), (X,), "backward gave 2 gradients for 1 floating-point inputs"),
            (lambda x: (np.multiply(x, 2, out=x), lambda dy: 2 * dy), (X,), "pass changed input 0"),
            (lambda x: (np.maximum(x, 0, out=x), lambda dy: dy * (x > 0)), (X,), "pass changed input 0"),
        ],
    )
    def test_names_the_rule(self, function, inputs, message):
        with pytest.raises(ProtocolError, match=message):
            check_protocol(function, *inputs)
