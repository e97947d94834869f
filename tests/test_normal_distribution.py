"""The normal distribution's function and density: against Python's erfc, which knows one number at a time."""

import math

import numpy as np
import pytest

from minires.layers.normal_distribution import normal_cdf, normal_density

X = np.concatenate([np.linspace(-8, 8, 4001), [-0.0, 1e-300, 1e-17, -1e-17]])


def exact(x):
    return np.array([math.erfc(-v / math.sqrt(2)) / 2 for v in x])


def test_function_as_pythons():
    assert np.abs(normal_cdf(X) - exact(X)).max() < 3e-16


def test_the_lower_tail_is_right_in_its_own_size():
    """Where (1 + erf(x / sqrt(2))) / 2 has nothing left of it: below -8.3 that is 0."""
    x = np.linspace(-20, -1, 2001)  # the rounding of x^2 alone is 200 times an ulp there
    np.testing.assert_allclose(normal_cdf(x), exact(x), rtol=1e-13)
    assert (1 + math.erf(-8.5 / math.sqrt(2))) / 2 == 0 < normal_cdf(np.array([-8.5]))[0]


def test_both_tails_are_one():
    np.testing.assert_allclose(normal_cdf(X) + normal_cdf(-X), 1, rtol=2e-16)
    assert normal_cdf(np.zeros(1))[0] == pytest.approx(0.5, rel=2e-16)


def test_it_rises():
    assert (np.diff(normal_cdf(np.linspace(-6, 6, 1001))) > 0).all()


def test_float32():
    x = X.astype(np.float32)
    got = normal_cdf(x)
    assert got.dtype == normal_density(x).dtype == np.float32
    assert np.abs(got - exact(x.astype(np.float64))).max() < 2e-7


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_where_there_are_no_numbers(dtype):
    x = np.array([-np.inf, -1e30, 1e30, np.inf, np.nan], dtype)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        np.testing.assert_array_equal(normal_cdf(x), [0, 0, 1, 1, np.nan])
        np.testing.assert_array_equal(normal_density(x), [0, 0, 0, 0, np.nan])


def test_density():
    np.testing.assert_allclose(
        normal_density(X), [math.exp(-v * v / 2) / math.sqrt(2 * math.pi) for v in X], rtol=1e-14
    )
    slope = (normal_cdf(X + 1e-5) - normal_cdf(X - 1e-5)) / 2e-5
    np.testing.assert_allclose(normal_density(X), slope, atol=1e-10)
