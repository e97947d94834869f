"""stochastic_depth and StochasticDepth: whole images dropped, in both directions alike; draws, checkpoints, shards."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minires import checkpoint, optim
from minires.gradcheck import GradcheckError, gradcheck
from minires.layers import Linear, StochasticDepth, stochastic_depth
from minires.sequential import Sequential
from minires.sharded_step import sharded_step
from minires.shards import Batch
from minires.training import train_step

X = np.random.default_rng(0).standard_normal((9, 5, 4, 3))


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.floats(0, 0.9), st.booleans())
def test_gradient_and_purity(check_operation, shape, p, training):
    x = np.random.default_rng(0).standard_normal(shape)
    check_operation(lambda x: stochastic_depth(x, p, training, rng=3), x)


@given(st.floats(0.05, 0.95))
def test_naive_loop(p):
    """Every image is dropped or scaled as a whole, and dx is dropped and scaled where y is."""
    y, backward = stochastic_depth(X, p, rng=0)
    dx = backward(2 * X)
    for image, x, gradient in zip(y, X, dx, strict=True):
        kept = image.any()
        np.testing.assert_allclose(image, x / (1 - p) if kept else 0 * x, rtol=1e-12)
        np.testing.assert_allclose(gradient, 2 * x / (1 - p) if kept else 0 * x, rtol=1e-12)


def test_blocks(check_blocks):
    check_blocks(lambda x: stochastic_depth(x, 0.4, rng=0), X, sizes=(1, 1500))


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_torchvision(torch, p):
    """Its own operation gives, with the images that were kept here, the same numbers and gradients."""
    ops = pytest.importorskip("torchvision").ops
    y, backward = stochastic_depth(X, p, rng=4)
    their_x = torch.tensor(X, requires_grad=True)
    for seed in range(10_000):  # until it draws the same
        torch.manual_seed(seed)
        theirs = ops.stochastic_depth(their_x, p, "row")
        if np.array_equal(theirs.detach().numpy().any(axis=(1, 2, 3)), y.any(axis=(1, 2, 3))):
            break
    np.testing.assert_allclose(y, theirs.detach().numpy(), rtol=1e-12)
    theirs.backward(torch.tensor(2 * X))
    np.testing.assert_allclose(backward(2 * X), their_x.grad.numpy(), rtol=1e-12)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_drops_that_share_and_keeps_the_mean(p):
    y, _ = stochastic_depth(np.ones((20_000, 2), np.float32), p, rng=0)
    assert np.mean(y[:, 0] == 0) == pytest.approx(p, abs=0.01)
    assert y.mean() == pytest.approx(1, abs=0.03)


def test_inference_and_p_0_return_x_in_an_array_of_their_own():
    for options in ({"p": 0.5, "training": False}, {"p": 0.0}):
        y, backward = stochastic_depth(X, **options)
        np.testing.assert_array_equal(y, X)
        assert not np.shares_memory(y, X)
        np.testing.assert_array_equal(backward(X), X)


def test_what_is_kept_depends_on_the_seed_and_the_number_of_images_alone():
    def kept(x):
        return stochastic_depth(x, 0.5, rng=1)[0].reshape(len(x), -1).any(axis=1).tolist()

    assert kept(X) == kept(X.astype(np.float32)) == kept(np.ones((9, 1)))


def test_a_seed_fixes_what_is_kept_and_a_generator_moves_on():
    first, again = (stochastic_depth(X, 0.5, rng=1)[0] for _ in range(2))
    np.testing.assert_array_equal(first, again)
    rng = np.random.default_rng(1)
    one, two = (stochastic_depth(X, 0.5, rng=rng)[0] for _ in range(2))
    assert not np.array_equal(one, two)


def test_what_is_dropped_is_0_whatever_it_was():
    """Infinity and NaN, forwards and backwards; times 0 they would be NaN."""
    with np.errstate(all="raise"):
        y, backward = stochastic_depth(np.full((100, 2), np.inf), 0.5, rng=0)
        dx = backward(np.full((100, 2), np.nan))
    kept = y.any(axis=1)
    assert 0 < kept.sum() < 100
    assert (y[kept] == np.inf).all() and np.isnan(dx[kept]).all() and not dx[~kept].any()


def test_numpys_numbers_as_options_keep_the_dtype():
    y, backward = stochastic_depth(X.astype(np.float32), np.float64(0.3), rng=0)
    assert y.dtype == backward(y).dtype == np.float32


@pytest.mark.parametrize("p", [-0.1, 1, 1.5, float("nan")])
def test_bad_p(p):
    for call in (lambda: stochastic_depth(X, p), lambda: StochasticDepth(p)):
        with pytest.raises(ValueError, match=rf"(?i)stochastic_?depth: p must be in \[0, 1\), got {p}"):
            call()


def test_bad_input():
    with pytest.raises(ValueError, match="stochastic_depth: needs floating-point arrays, got int64"):
        stochastic_depth(np.arange(3, dtype=np.int64), 0.5)
    with pytest.raises(ValueError, match="stochastic_depth: x has no axes: give it the batch axis"):
        stochastic_depth(np.array(1.0), 0.5)


def branch(seed=0):
    """A small model with a layer that draws, and its optimizer."""
    model = Sequential(Linear(6, 8, rng=seed), StochasticDepth(0.4, rng=seed), Linear(8, 3, rng=seed))
    return model, optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def batch(step):
    rng = np.random.default_rng(step)
    return rng.standard_normal((12, 6)).astype(np.float32), rng.integers(0, 3, 12)


class TestModule:
    def test_seed_and_generator(self):
        one, two = StochasticDepth(0.5, rng=1), StochasticDepth(0.5, rng=1)
        first = one(X)[0]
        np.testing.assert_array_equal(first, two(X)[0])
        assert not np.array_equal(first, one(X)[0])  # its generator has moved on

    def test_in_inference_and_frozen_nothing_is_drawn(self):
        for module in (StochasticDepth(0.5, rng=1).eval(), StochasticDepth(0.5, rng=1).freeze().train()):
            before = module.rng.bit_generator.state
            np.testing.assert_array_equal(module(X)[0], X)
            assert module.rng.bit_generator.state == before

    def test_gradcheck_says_that_the_seed_must_be_fixed(self):
        with pytest.raises((ValueError, GradcheckError), match="made anew"):
            gradcheck(StochasticDepth(0.5, rng=1), X)

    def test_a_run_that_goes_on_from_a_checkpoint_has_the_same_bits(self, tmp_path):
        model, optimizer = branch()
        for step in range(6):
            if step == 3:
                checkpoint.save(tmp_path / "a.safetensors", model, optimizer)
            train_step(model.train(), optimizer, *batch(step))
        again, other = branch(seed=5)
        saved = checkpoint.load(tmp_path / "a.safetensors")
        again.load_state_dict(saved.model)
        other.load_state_dict(saved.optimizer)
        checkpoint.restore_generators(again, saved.generators)
        for step in range(3, 6):
            train_step(again.train(), other, *batch(step))
        for name, array in model.state_dict().items():
            np.testing.assert_array_equal(again.state_dict()[name], array)

    def test_every_shard_draws_for_itself(self):
        model, optimizer = branch()
        x, labels = np.ones((64, 6), np.float32), np.zeros(64, np.int64)
        found = sharded_step(model.train(), optimizer, Batch.of(x, labels, 4))
        assert len({float(loss) for loss in found.own.values()}) > 1  # images alike: only what was dropped differs
