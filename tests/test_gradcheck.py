"""The checker: what it says of right backward passes and of wrong ones. test_sabotage.py has many more of these."""

import re

import numpy as np
import pytest

from minires.gradcheck import GradcheckError, NoVerdictError, gradcheck, numeric_gradient
from minires.layers import BatchNorm2d, Conv2d, Dropout, Linear, StochasticDepth, add, batch_norm, linear, relu
from minires.losses import cross_entropy
from minires.module import Module, Parameter
from minires.protocol import check_protocol
from minires.sequential import Sequential

X = np.random.default_rng(0).standard_normal((3, 4))


def square(x):
    return x * x, lambda dy: 2 * x * dy


def test_three_lines_are_enough():
    report = gradcheck(square, X)
    assert report.checked == 12
    assert report.error < 1e-6
    assert re.match(
        r"gradcheck passed: 12 elements, the worst is input 0\[\d, \d\] with rel.*\(tolerance 1e-06\)", str(report)
    )


def test_numeric_gradient():
    x = np.array([[1.0, -2.0], [0.5, 3.0]])
    before = x.copy()
    dy = np.array([[1.0, 2.0], [3.0, 4.0]])
    np.testing.assert_allclose(numeric_gradient(lambda: x**3, x, dy), 3 * before**2 * dy, rtol=1e-8)
    np.testing.assert_array_equal(x, before)


def test_one_wrong_element_is_named():
    def wrong(x):
        def backward(dy):
            dx = 2 * x * dy
            dx[2, 1] += 1e-3
            return dx

        return x * x, backward

    with pytest.raises(GradcheckError, match=r"1 of 12 elements of input 0 \(shape \(3, 4\)\).*is input 0\[2, 1\]"):
        gradcheck(wrong, X)


def test_the_message_gives_both_numbers():
    x = np.array([3.0])
    with pytest.raises(GradcheckError) as info:
        gradcheck(lambda x: (x * x, lambda dy: x * dy), x)
    given, numeric = (float(v) for v in re.search(r"gives (\S+), central differences (\S+) ", str(info.value)).groups())
    assert numeric == pytest.approx(2 * given, rel=1e-6)


def test_the_worst_of_several_arrays_is_named():
    def wrong(x1, x2):
        return x1 * x2, lambda dy: (dy * x2 * 1.00001, dy * x1 * 5)

    with pytest.raises(GradcheckError, match=r"12 of 12 elements of input 1"):
        gradcheck(wrong, X, X + 1)


@pytest.mark.parametrize("shape", [(4, 3), (12,), (1, 4), (3, 4, 1), ()])
def test_wrong_shape(shape):
    with pytest.raises(GradcheckError, match=re.escape(f"input 0: the gradient has shape {shape}, the array (3, 4)")):
        gradcheck(lambda x: (x * x, lambda dy: np.ones(shape)), X)


def test_missing_gradients():
    with pytest.raises(GradcheckError, match="gave 1 gradients for 2 differentiable inputs"):
        gradcheck(lambda a, b: (a * b, lambda dy: dy * b), X, X)
    with pytest.raises(GradcheckError, match="input 1: backward gave no gradient"):
        gradcheck(lambda a, b: (a * b, lambda dy: (dy * b, None)), X, X)


def test_zero_gradient():
    with pytest.raises(GradcheckError, match="12 of 12"):
        gradcheck(lambda x: (x * x, lambda dy: np.zeros_like(x)), X)


def test_nan_gradient():
    with pytest.raises(GradcheckError, match="backward gives nan"):
        gradcheck(lambda x: (x * x, lambda dy: np.where(x > 1, np.nan, 2 * x * dy)), X + 1)


def test_backward_that_changes_dy():
    def mutating(x):
        def backward(dy):
            dy *= 2
            dy *= x
            return dy

        return x * x, backward

    with pytest.raises(GradcheckError, match="changed dy, which others may still use: copy it first"):
        gradcheck(mutating, X)


def test_forward_that_changes_its_input():
    def mutating(x):
        np.maximum(x, 0, out=x)
        return x.copy(), lambda dy: dy * (x > 0)

    with pytest.raises(GradcheckError, match="changed input 0"):
        gradcheck(mutating, X)


def test_backward_that_changes_an_input():
    def mutating(x1, x2):
        def backward(dy):
            dx1 = dy * x2
            dx2 = dy * x1
            x2[...] = 0
            return dx1, dx2

        return x1 * x2, backward

    with pytest.raises(GradcheckError, match="changed input 1"):
        gradcheck(mutating, X, X + 1)


def test_the_callers_arrays_are_not_touched():
    before = X.copy()
    gradcheck(square, X)
    np.testing.assert_array_equal(X, before)


def test_function_that_draws_at_random():
    rng = np.random.default_rng(0)

    def noisy(x):
        noise = rng.standard_normal(x.shape)
        return x + noise, lambda dy: dy

    with pytest.raises(
        ValueError, match="two calls gave two results: let each call draw the same numbers, from a generator made anew"
    ):
        gradcheck(noisy, X)


@pytest.mark.parametrize("drop", [Dropout(0.5, rng=2), StochasticDepth(0.5, rng=2)], ids=["numbers", "branches"])
def test_a_block_that_draws(drop):
    """A fixed seed is not enough, as the generator moves on; what the message says is."""

    class Block(Module):
        def __init__(self):
            self.conv, self.drop = Linear(4, 4, rng=0), drop

        def forward(self, x):
            y, conv_backward = self.conv(x)
            y, drop_backward = self.drop(y)
            y, add_backward = add(x, y)

            def backward(dy):
                dx, dy = add_backward(dy)
                return dx + conv_backward(drop_backward(dy))

            return y, backward

    class Again(Module):
        def __init__(self):
            self.block = Block()

        def forward(self, x):
            self.block.drop.rng = np.random.default_rng(2)
            return self.block(x)

    with pytest.raises(ValueError, match=r"gradcheck: two calls.* block.drop.rng = np.random.default_rng\(2\), since"):
        gradcheck(Block(), X)
    assert gradcheck(Again(), X).checked == 12 + 16 + 4
    check_protocol(Again(), X.astype(np.float32))
    block = Block()
    with pytest.raises(
        ValueError, match=r"check_protocol: two calls.* block.drop.rng = np.random.default_rng\(2\), since"
    ):
        check_protocol(lambda x: block(x), X.astype(np.float32))


def test_a_kink_is_hinted_at():
    with pytest.raises(GradcheckError, match=r"worst is input 0\[1\].*slopes left and right of it differ.*a kink"):
        gradcheck(relu, np.array([1.0, 0.0, -1.0]))
    with pytest.raises(GradcheckError) as info:
        gradcheck(lambda x: (x * x, lambda dy: x * dy), X)
    assert "kink" not in str(info.value)  # only wrong


@pytest.mark.parametrize(
    ("slack", "offset", "rule"),
    [
        (0, 0, "tolerance 1e-06"),
        (8e-9, 0, "within 1e-08 of the array's largest"),
        (3e-8, 20, "within the noise"),
    ],
)
def test_the_report_says_which_rule_let_the_worst_pass(slack, offset, rule):
    """One slope is a thousandth of the other, and off by more than a millionth of itself."""
    slopes, one_off = np.array([1e-3, 1]), np.array([slack, 0])

    def line(x):
        return slopes * x + offset, lambda dy: slopes * dy + one_off * abs(dy[1])

    report = gradcheck(line, np.array([0.5, 0.5]))
    assert report.rule == rule and str(report).endswith(f" ({rule})")
    assert (report.error > 1e-6) == (slack > 0)


def test_integer_inputs_are_passed_through():
    labels = np.array([0, 3, 1])
    seen = []

    def loss(logits, labels):
        seen.append(labels)
        return cross_entropy(logits, labels)

    assert gradcheck(loss, X, labels).checked == 12
    assert all(array is labels for array in seen)


def test_nothing_to_check():
    with pytest.raises(ValueError, match="nothing to check: give at least one floating-point input"):
        gradcheck(lambda x: (x, lambda dy: dy), np.array([1, 2]))


def test_float32_is_checked_in_float64():
    def in_float64(x):
        assert x.dtype == np.float64
        return square(x)

    gradcheck(in_float64, X.astype(np.float32))


def test_sum_would_not_do():
    """With dy = 1 a training-mode batch norm has gradient 0, and a backward pass that says 0 would pass."""

    def wrong(x):
        y, _ = batch_norm(x, None, None, training=True)
        return y, lambda dy: np.zeros_like(x)

    x = X.copy()
    y_sum = numeric_gradient(lambda: wrong(x)[0], x, np.ones_like(x))
    np.testing.assert_allclose(y_sum, 0, atol=1e-7)
    with pytest.raises(GradcheckError):
        gradcheck(wrong, X)


def test_dy_is_not_the_x_that_a_reader_draws():
    """With dy == x, dy^T @ x is its own transpose, and a transpose forgotten would pass."""
    seen = []

    def spy(x):
        return x.copy(), lambda dy: seen.append(dy) or dy

    gradcheck(spy, np.random.default_rng(0).standard_normal((3, 3)))
    assert not np.array_equal(seen[0], np.random.default_rng(0).standard_normal((3, 3)))


def test_max_elements():
    calls = []

    def counted(x):
        calls.append(1)
        return square(x)

    assert gradcheck(counted, np.ones((10, 10)), max_elements=5).checked == 5
    assert len(calls) <= 2 + 2 * 5 + 3


def test_scalar_output_and_scalar_input():
    gradcheck(lambda x: ((x * x).sum(), lambda dy: 2 * x * dy), X)
    gradcheck(square, np.array(3.0))


class TestModules:
    def test_parameters_are_checked(self):
        report = gradcheck(Linear(4, 5, rng=0), X)
        assert report.checked == 12 + 20 + 5

    def test_a_network(self):
        network = Sequential(Conv2d(2, 3, 3, padding=1, bias=False, rng=0), BatchNorm2d(3), Conv2d(3, 2, 3, 2, rng=1))
        gradcheck(network, np.random.default_rng(0).standard_normal((2, 5, 5, 2)))

    def test_wrong_parameter_gradient_is_named_with_its_path(self):
        class Wrong(Linear):
            def forward(self, x):
                y, linear_backward = linear(x, self.weight.data, self.bias.data)

                def backward(dy):
                    dx, dweight, dbias = linear_backward(dy)
                    self.weight.add_grad(dweight)
                    self.bias.add_grad(dbias / len(x))
                    return dx

                return y, backward

        with pytest.raises(GradcheckError, match=r"elements of 1\.bias .*the worst is 1\.bias\[\d\]"):
            gradcheck(Sequential(Linear(4, 4, rng=0), Wrong(4, 5, rng=0)), X)

    def test_parameter_without_a_gradient(self):
        class Forgetful(Linear):
            def forward(self, x):
                y, backward = linear(x, self.weight.data, self.bias.data)
                return y, lambda dy: backward(dy)[0]

        with pytest.raises(GradcheckError, match="weight: backward gave no gradient"):
            gradcheck(Forgetful(4, 5, rng=0), X)

    def test_a_parameter_used_twice(self):
        class Twice(Module):
            def __init__(self, forget):
                self.scale = Parameter(np.array([0.5, -1.0, 2.0, 3.0]))
                self.forget = forget

            def forward(self, x):
                y, _ = add(x * self.scale.data, self.scale.data * self.scale.data + np.zeros_like(x))

                def backward(dy):
                    self.scale.add_grad((dy * x).sum(axis=0))
                    if not self.forget:
                        self.scale.add_grad((dy * 2 * self.scale.data).sum(axis=0))
                    return dy * self.scale.data

                return y, backward

        gradcheck(Twice(forget=False), X)
        with pytest.raises(GradcheckError, match="elements of scale"):
            gradcheck(Twice(forget=True), X)


@pytest.mark.parametrize("scale", [1e-10, 1e-3, 1e6])
def test_a_zero_gradient_is_caught_at_any_scale(scale):
    x = np.random.default_rng(1).standard_normal(5)
    gradcheck(lambda x: (scale * x**2, lambda dy: 2 * scale * x * dy), x)
    with pytest.raises(GradcheckError):
        gradcheck(lambda x: (scale * x**2, lambda dy: 0 * dy), x)
    with pytest.raises(GradcheckError):
        gradcheck(lambda x: (scale * x**2, lambda dy: 2.0001 * scale * x * dy), x)


def test_gradients_that_are_truly_zero_pass():
    gradcheck(lambda x: (x * 0 + 3, lambda dy: 0 * dy), np.ones(3))
    gradcheck(lambda x: (x * 0, lambda dy: 0 * dy), np.ones(3))


def test_what_is_no_operation_gets_a_sentence():
    with pytest.raises(ValueError, match=r"must return \(y, backward\), got a ndarray"):
        gradcheck(lambda x: x, np.ones(3))
    with pytest.raises(ValueError, match="an input is empty"):
        gradcheck(lambda x: (x, lambda dy: dy), np.ones((0, 3)))


LARGE = np.array([1.5e9])


def operation(f, slope):
    return lambda x: (f(x), lambda dy: slope(x) * dy)


class TestRounding:
    """What rounding hides is neither right nor wrong."""

    @pytest.mark.parametrize("slope", [0.0, 1.0])
    @pytest.mark.parametrize("constant", [1e13, 1e15])
    def test_a_constant_beside_which_no_step_is_seen(self, constant, slope):
        """All differences are 0 there, or rounding alone: neither answer can be told from the other."""
        with pytest.raises(NoVerdictError, match=r"no verdict on input 0.*shift or scale y to about"):
            gradcheck(lambda x: (x + constant, lambda dy: slope * dy), np.ones((2, 3)))

    def test_a_large_y_that_is_exact(self):
        assert gradcheck(operation(lambda x: 2 * x, lambda x: 2), LARGE).error < 1e-6
        for slope in (0, 1, 2.1, -2):
            with pytest.raises(GradcheckError, match="1 of 1 elements"):
                gradcheck(operation(lambda x: 2 * x, lambda x, slope=slope: slope), LARGE)

    def test_a_large_constant_beside_x(self):
        for slope in (1, 1.00001):
            with pytest.raises(NoVerdictError, match=r"no verdict on .*y is as large as 1\.0e\+09, .* shift or"):
                gradcheck(operation(lambda x: x + 1e9, lambda x, slope=slope: slope), X)
        with pytest.raises(GradcheckError):
            gradcheck(operation(lambda x: x + 1e9, lambda x: 0), X)

    def test_a_small_slope_beside_a_constant(self):
        with pytest.raises(GradcheckError):
            gradcheck(operation(lambda x: 1e-9 * x + 1, lambda x: 0), X)

    @pytest.mark.parametrize("scale", [1e-9, 1, 1e6])
    def test_a_bias_before_batch_norm(self, scale):
        """Its gradient is 0, and the differences are noise."""

        def norm(x, bias):
            y, backward = batch_norm(x + bias, None, None, training=True)

            def both(dy):
                (dx,) = backward(scale * dy)
                return dx, dx.sum(axis=0)

            return scale * y, both

        report = gradcheck(norm, X, np.ones(4))
        assert report.error < 1e-5
        with pytest.raises(GradcheckError):
            gradcheck(lambda x, b: (norm(x, b)[0], lambda dy: (norm(x, b)[1](dy)[0], scale * dy.sum(axis=0))), X, X[0])

    def test_the_direction_that_softmax_does_not_see(self):
        def shifted(shift):
            e = np.exp(X[0] + shift)
            return e / e.sum(), lambda dy: np.zeros(1)

        assert gradcheck(shifted, np.zeros(1)).error == 0

    def test_zeros(self):
        assert gradcheck(operation(lambda x: x**3, lambda x: 3 * x**2), np.zeros(2)).error < 1e-6
        assert gradcheck(lambda a, b: (a * a, lambda dy: (2 * a * dy, 0 * b)), X, X).error < 1e-6

    def test_a_step_that_is_lost_in_x(self):
        with pytest.raises(ValueError, match=r"a step of 1e-06 is lost beside .*as large as 1e\+12.*eps of 5e-04"):
            gradcheck(operation(lambda x: x - 1e12, lambda x: 1), np.array([1e12]))

    def test_float32_for_float64(self):
        with pytest.raises(ValueError, match="y is float32 though the inputs are float64"):
            gradcheck(lambda x: (x.astype(np.float32) ** 2, lambda dy: 2 * x * dy), X)

    def test_gradients_that_are_no_numbers(self):
        for slope, message in ((np.inf, "backward gives inf"), (1j, "the gradient is complex128")):
            with pytest.raises(GradcheckError, match=message):
                gradcheck(operation(lambda x: x, lambda x, slope=slope: slope), X)
        gradcheck(operation(lambda x: x * x, lambda x: 2 * x), X.astype(np.float16))

    def test_a_function_without_a_value_beside_x(self):
        with (
            np.errstate(all="ignore"),
            pytest.raises(ValueError, match=r"y is NaN or infinity 1e-06 away from"),
        ):
            gradcheck(operation(np.sqrt, lambda x: 1), np.array([0.0]))


def test_frozen_parameters_have_no_gradient_to_check():
    model, x = Sequential(Linear(3, 4, rng=0), Linear(4, 2, rng=1)), np.random.default_rng(0).random((2, 3))
    assert gradcheck(model, x).checked == 6 + 16 + 10
    model[0].freeze()
    assert gradcheck(model, x).checked == 6 + 10
