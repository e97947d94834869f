"""dropout and Dropout: the mean kept, the mask the same in both directions, nothing done in inference."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minires.gradcheck import GradcheckError, gradcheck
from minires.layers import Dropout, dropout

X = np.random.default_rng(0).standard_normal((4, 5, 3))


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.floats(0, 0.9), st.booleans())
def test_gradient_and_purity(check_operation, shape, p, training):
    x = np.random.default_rng(0).standard_normal(shape)
    check_operation(lambda x: dropout(x, p, training, rng=3), x)


@given(st.floats(0.05, 0.95))
def test_naive_loop(p):
    """Every number is dropped or scaled, and dx is dropped and scaled where y is."""
    y, backward = dropout(X, p, rng=0)
    dx = backward(np.ones_like(X))
    for value, x, gradient in zip(y.ravel(), X.ravel(), dx.ravel(), strict=True):
        kept = value != 0
        assert value == pytest.approx(x / (1 - p) if kept else 0, rel=1e-12)
        assert gradient == pytest.approx(1 / (1 - p) if kept else 0, rel=1e-12)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_drops_that_share_and_keeps_the_mean(p):
    y, _ = dropout(np.ones((200, 200), np.float32), p, rng=0)
    assert np.mean(y == 0) == pytest.approx(p, abs=0.01)
    assert y.mean() == pytest.approx(1, abs=0.02)


def test_inference_and_p_0_return_x_in_an_array_of_their_own():
    for options in ({"p": 0.5, "training": False}, {"p": 0.0}):
        y, backward = dropout(X, **options)
        np.testing.assert_array_equal(y, X)
        assert not np.shares_memory(y, X)
        np.testing.assert_array_equal(backward(X), X)


def test_a_seed_fixes_the_mask_and_a_generator_moves_on():
    np.testing.assert_array_equal(dropout(X, rng=1)[0], dropout(X, rng=1)[0])
    rng = np.random.default_rng(1)
    assert not np.array_equal(dropout(X, rng=rng)[0], dropout(X, rng=rng)[0])


def test_the_mask_does_not_depend_on_dtype():
    np.testing.assert_array_equal(dropout(X, rng=1)[0] == 0, dropout(X.astype(np.float32), rng=1)[0] == 0)


def test_what_is_dropped_is_0_whatever_it_was():
    """Infinity and NaN, forwards and backwards; times a mask of 0 they would be NaN."""
    with np.errstate(all="raise"):
        y, backward = dropout(np.full(100, np.inf), rng=0)
        dx = backward(np.full(100, np.nan))
    kept = y != 0
    assert 0 < kept.sum() < 100
    assert (y[kept] == np.inf).all() and np.isnan(dx[kept]).all() and not dx[~kept].any()


def test_a_gradient_of_another_shape_is_refused():
    for options in ({"rng": 0}, {"training": False}, {"p": 0}):
        with pytest.raises(ValueError, match=r"dropout: dy has shape \(3,\), y \(4, 5, 3\)"):
            dropout(X, **options)[1](X[0, 0])


def test_numpys_numbers_as_options_keep_the_dtype():
    y, backward = dropout(X.astype(np.float32), np.float64(0.3), rng=0)
    assert y.dtype == backward(y).dtype == np.float32


@pytest.mark.parametrize("p", [-0.1, 1, 1.5, float("nan")])
def test_bad_p(p):
    with pytest.raises(ValueError, match=rf"dropout: p must be in \[0, 1\), got {p}"):
        dropout(X, p)


def test_integers_are_refused():
    with pytest.raises(ValueError, match="dropout: needs floating-point arrays, got int64"):
        dropout(np.arange(3, dtype=np.int64))


class TestModule:
    def test_seed_and_generator(self):
        one, two = Dropout(0.5, rng=1), Dropout(0.5, rng=1)
        first = one(X)[0]
        np.testing.assert_array_equal(first, two(X)[0])
        assert not np.array_equal(first, one(X)[0])  # its generator has moved on

    def test_eval(self):
        np.testing.assert_array_equal(Dropout(0.5).eval()(X)[0], X)

    def test_gradcheck_says_that_the_seed_must_be_fixed(self):
        with pytest.raises((ValueError, GradcheckError), match="made anew"):
            gradcheck(Dropout(0.5, rng=1), X)
