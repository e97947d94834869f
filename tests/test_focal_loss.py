"""sigmoid_focal_loss: against loops, differences, PyTorch and torchvision."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minires.losses import sigmoid_focal_loss


def naive_focal_loss(logits, targets, alpha, gamma):
    """Probability by probability, as the paper writes it."""
    total = 0.0
    for logit, target in zip(logits.ravel(), targets.ravel(), strict=True):
        p = 1 / (1 + math.exp(-logit))
        p_true = p if target else 1 - p
        weight = 1.0 if alpha is None else alpha if target else 1 - alpha
        total += -weight * (1 - p_true) ** gamma * math.log(p_true)
    return total


@st.composite
def cases(draw):
    """(logits, targets, alpha, gamma)"""
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    targets = rng.integers(0, 2, shape).astype(draw(st.sampled_from([bool, np.int64, np.uint8, np.float64])))
    return (
        rng.standard_normal(shape) * 3,
        targets,
        draw(st.sampled_from([None, 0.25, 0.9])),
        draw(st.sampled_from([0, 0.5, 1, 2.0, 3.5])),
    )


@given(cases())
def test_gradient_and_purity(check_operation, drawn):
    logits, targets, alpha, gamma = drawn
    before = targets.copy()
    check_operation(lambda logits: sigmoid_focal_loss(logits, targets, alpha, gamma, divisor=3), logits)
    np.testing.assert_array_equal(targets, before)


@given(cases())
def test_naive_loop(drawn):
    logits, targets, alpha, gamma = drawn
    total = naive_focal_loss(logits, targets, alpha, gamma)
    assert sigmoid_focal_loss(logits, targets, alpha, gamma)[0] == pytest.approx(total / logits.size, rel=1e-11)
    assert sigmoid_focal_loss(logits, targets, alpha, gamma, 2.5)[0] == pytest.approx(total / 2.5, rel=1e-11)


def torch_focal_loss(torch, logits, targets, alpha, gamma):
    """Of PyTorch's own parts; autograd has the derivative."""
    p, true = torch.sigmoid(logits), targets.to(logits.dtype)
    p_true = torch.where(targets, p, 1 - p)
    cost = torch.nn.functional.binary_cross_entropy_with_logits(logits, true, reduction="none")
    weight = 1 if alpha is None else alpha * true + (1 - alpha) * (1 - true)
    return (weight * (1 - p_true) ** gamma * cost).sum()


@given(cases())
def test_pytorch(torch, drawn):
    logits, targets, alpha, gamma = drawn
    tensor = torch.tensor(logits, requires_grad=True)
    theirs = torch_focal_loss(torch, tensor, torch.tensor(targets != 0), alpha, gamma)
    theirs.backward(torch.tensor(1.7, dtype=torch.float64))
    loss, backward = sigmoid_focal_loss(logits, targets, alpha, gamma, divisor=1)
    assert loss == pytest.approx(theirs.item(), rel=1e-10)
    np.testing.assert_allclose(backward(1.7), tensor.grad.numpy(), rtol=1e-9, atol=1e-13)


@given(cases())
def test_torchvision(torch, drawn):
    theirs = pytest.importorskip("torchvision").ops.sigmoid_focal_loss
    logits, targets, alpha, gamma = drawn
    tensor = torch.tensor(logits, requires_grad=True)
    wanted = torch.tensor(targets.astype(np.float64))
    their_loss = theirs(tensor, wanted, -1 if alpha is None else alpha, gamma, reduction="mean")
    their_loss.backward()
    loss, backward = sigmoid_focal_loss(logits, targets, alpha, gamma)
    assert loss == pytest.approx(their_loss.item(), rel=1e-10)
    np.testing.assert_allclose(backward(), tensor.grad.numpy(), rtol=1e-9, atol=1e-13)


@given(cases())
def test_gamma_0_is_cross_entropy(drawn):
    """log(1 + exp(-s)), and its derivative is a probability minus the target."""
    logits, targets, _, _ = drawn
    loss, backward = sigmoid_focal_loss(logits, targets, None, 0)
    true = targets != 0
    assert loss == pytest.approx(np.log1p(np.exp(np.where(true, -logits, logits))).mean(), rel=1e-12)
    np.testing.assert_allclose(backward(), (1 / (1 + np.exp(-logits)) - true) / logits.size, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1e3, 1e30])
def test_large_logits(dtype, size):
    """Nothing overflows: what is right costs 0, what is wrong its distance, with a derivative of alpha either way."""
    logits = np.array([size, -size, size, -size], dtype)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        loss, backward = sigmoid_focal_loss(logits, np.array([1, 0, 0, 1]), alpha=0.25, divisor=1)
        dlogits = backward()
    assert loss == pytest.approx(0.75 * size + 0.25 * size)
    np.testing.assert_allclose(dlogits, [0, 0, 0.75, -0.25], atol=1e-30)


def test_the_example_of_the_page():
    """A logit of 2.9444 for what is there: p = 0.95, and a loss 400 times below cross-entropy's."""
    logits, targets = np.array([math.log(0.95 / 0.05)]), np.array([1])
    loss, backward = sigmoid_focal_loss(logits, targets, alpha=None)
    cost, cost_backward = sigmoid_focal_loss(logits, targets, alpha=None, gamma=0)
    assert loss == pytest.approx(0.05**2 * -math.log(0.95), rel=1e-9)
    assert cost / loss == pytest.approx(400, rel=1e-9)
    assert backward()[0] == pytest.approx(-(0.05**2) * (2 * 0.95 * -math.log(0.95) + 0.05), rel=1e-9)
    assert cost_backward()[0] == pytest.approx(-0.05, rel=1e-9)


def test_dtype_follows_the_logits():
    for divisor in (None, 3, np.float64(3), np.array(3)):
        loss, backward = sigmoid_focal_loss(np.zeros((2, 3), np.float32), np.ones((2, 3)), divisor=divisor)
        assert loss.dtype == backward().dtype == np.float32
        assert loss.shape == ()


LOGITS, TARGETS = np.zeros((2, 3)), np.ones((2, 3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sigmoid_focal_loss(LOGITS, TARGETS[:1]), r"targets have shape \(1, 3\), logits \(2, 3\)"),
        (lambda: sigmoid_focal_loss(LOGITS, TARGETS / 2), "a target is neither 0 nor 1: give a yes or no"),
        (lambda: sigmoid_focal_loss(LOGITS, TARGETS * np.nan), "a target is neither 0 nor 1"),
        (lambda: sigmoid_focal_loss(LOGITS[:0], TARGETS[:0]), "empty batch"),
        (lambda: sigmoid_focal_loss(LOGITS.astype(int), TARGETS), "needs floating-point arrays"),
        (lambda: sigmoid_focal_loss(LOGITS, TARGETS, alpha=1.1), "alpha must be a number from 0 to 1, got 1.1"),
        (lambda: sigmoid_focal_loss(LOGITS, TARGETS, gamma=-1), "gamma must be a number from 0 to inf, got -1"),
        (lambda: sigmoid_focal_loss(LOGITS, TARGETS, divisor=0), "divisor must be a number above 0, got 0"),
        (lambda: sigmoid_focal_loss(LOGITS, TARGETS)[1](np.ones(2)), "dloss has shape"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=rf"^sigmoid_focal_loss: {message}") as caught:
        make()
    assert "\n" not in str(caught.value)
