"""cross_entropy and mse_loss: against loops, differences and PyTorch."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minires.gradcheck import gradcheck
from minires.losses import cross_entropy, mse_loss


def naive_cross_entropy(logits, targets, smoothing):
    """-sum t log softmax, item by item; targets (N, K)."""
    N, K = logits.shape
    total = 0
    for n in range(N):
        sum_of_exponentials = sum(math.exp(value) for value in logits[n])
        for k in range(K):
            t = (1 - smoothing) * targets[n, k] + smoothing / K
            total -= t * math.log(math.exp(logits[n, k]) / sum_of_exponentials)
    return total / N


@st.composite
def cases(draw):
    """(logits, labels, label_smoothing), the labels integers of some kind or floats."""
    N, K = draw(st.integers(1, 5)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    kind = draw(st.sampled_from([np.int64, np.uint8, np.int32, "soft", "unnormalised"]))
    if isinstance(kind, str):
        labels = rng.uniform(0.1, 1, (N, K))
        if kind == "soft":
            labels /= labels.sum(axis=1, keepdims=True)
    else:
        labels = rng.integers(0, K, N).astype(kind)
    return rng.standard_normal((N, K)) * 3, labels, draw(st.sampled_from([0.0, 0.1, 0.7, 1.0]))


def as_soft(labels, K):
    return labels if labels.dtype.kind == "f" else np.eye(K)[labels]


@given(cases())
def test_gradient_and_purity(check_operation, drawn):
    logits, labels, smoothing = drawn
    before = labels.copy()
    check_operation(lambda logits: cross_entropy(logits, labels, smoothing), logits)
    np.testing.assert_array_equal(labels, before)


@given(cases())
def test_naive_loop(drawn):
    logits, labels, smoothing = drawn
    loss, _ = cross_entropy(logits, labels, smoothing)
    assert loss == pytest.approx(naive_cross_entropy(logits, as_soft(labels, logits.shape[1]), smoothing), rel=1e-11)


@given(cases())
def test_pytorch(torch, drawn):
    logits, labels, smoothing = drawn
    tensor = torch.tensor(logits, requires_grad=True)
    targets = torch.tensor(labels if labels.dtype.kind == "f" else labels.astype(np.int64))
    theirs = torch.nn.functional.cross_entropy(tensor, targets, label_smoothing=smoothing)
    theirs.backward(torch.tensor(1.7, dtype=torch.float64))
    loss, backward = cross_entropy(logits, labels, smoothing)
    assert loss == pytest.approx(theirs.item(), rel=1e-11, abs=1e-13)
    np.testing.assert_allclose(backward(1.7), tensor.grad.numpy(), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1e4, 1e30])
def test_large_logits(dtype, size):
    """Nothing overflows, the loss is the distance from the largest logit, the gradient softmax - one-hot."""
    logits = np.array([[size, 0, -size], [-size, 0, size]], dtype)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        loss, backward = cross_entropy(logits, np.array([0, 1]))
        dlogits = backward()
    assert loss == pytest.approx(size / 2)
    assert dlogits.tolist() == [[0, 0, 0], [0, -0.5, 0.5]]


def test_large_logits_as_pytorch(torch):
    logits = (np.random.default_rng(0).standard_normal((6, 5)) * 1e4).astype(np.float32)
    labels = np.arange(6) % 5
    tensor = torch.tensor(logits, requires_grad=True)
    theirs = torch.nn.functional.cross_entropy(tensor, torch.tensor(labels), label_smoothing=0.1)
    theirs.backward()
    loss, backward = cross_entropy(logits, labels, 0.1)
    assert loss == pytest.approx(theirs.item(), rel=1e-5)
    np.testing.assert_allclose(backward(), tensor.grad.numpy(), atol=1e-6)


def test_the_loss_of_equal_logits_is_log_K():
    assert cross_entropy(np.zeros((3, 10)), np.array([0, 5, 9]))[0] == pytest.approx(math.log(10))


def test_integer_labels_are_passed_through_by_gradcheck():
    gradcheck(cross_entropy, np.random.default_rng(0).standard_normal((4, 3)), np.array([0, 2, 1, 1]))


def test_dtype_follows_the_logits():
    logits = np.zeros((2, 3), np.float32)
    for labels in (np.array([0, 1]), np.full((2, 3), 1 / 3)):  # float64, as NumPy makes them
        loss, backward = cross_entropy(logits, labels, 0.1)
        assert loss.dtype == np.float32
        assert backward().dtype == np.float32
        assert loss.shape == ()


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4))
def test_mse(check_operation, shape):
    prediction, target = np.random.default_rng(0).standard_normal((2, *shape))
    check_operation(lambda prediction: mse_loss(prediction, target.astype(prediction.dtype)), prediction)
    squares = [(p - t) ** 2 for p, t in zip(prediction.ravel(), target.ravel(), strict=True)]
    assert mse_loss(prediction, target)[0] == pytest.approx(sum(squares) / len(squares), rel=1e-12)


def test_mse_as_pytorch(torch):
    prediction, target = np.random.default_rng(0).standard_normal((2, 4, 3))
    tensor = torch.tensor(prediction, requires_grad=True)
    theirs = torch.nn.functional.mse_loss(tensor, torch.tensor(target))
    theirs.backward(torch.tensor(0.3, dtype=torch.float64))
    loss, backward = mse_loss(prediction, target)
    assert loss == pytest.approx(theirs.item(), rel=1e-12)
    np.testing.assert_allclose(backward(0.3), tensor.grad.numpy(), rtol=1e-12)


INF = np.inf


@pytest.mark.parametrize("logits", [[1, -INF, 2], [1, INF, 2], [-INF, -INF, -INF], [-INF, 5, -INF]])
@pytest.mark.parametrize("smoothing", [0, 0.1])
def test_infinite_logits_as_pytorch(torch, logits, smoothing):
    for label in range(3):
        tensor = torch.tensor([logits], dtype=torch.float64, requires_grad=True)
        theirs = torch.nn.functional.cross_entropy(tensor, torch.tensor([label]), label_smoothing=smoothing)
        theirs.backward()
        with np.errstate(invalid="ignore" if math.isnan(theirs.item()) else "raise"):
            loss, backward = cross_entropy(np.array([logits], float), np.array([label]), smoothing)
            np.testing.assert_allclose(loss, theirs.item(), rtol=1e-12)
            np.testing.assert_allclose(backward(), tensor.grad.numpy(), rtol=1e-12, atol=1e-16)


def test_a_class_of_probability_0_costs_what_its_target_asks():
    logits = np.array([[1, -INF, 2]])
    with np.errstate(all="raise"):
        assert cross_entropy(logits, np.array([2]))[0] == pytest.approx(math.log(1 + math.exp(-1)))
        loss, backward = cross_entropy(logits, np.array([[0.5, 0, 0.5]]))  # PyTorch says NaN here: 0 times infinity
        assert loss == pytest.approx(math.log(1 + math.exp(-1)) + 0.5)
    p = 1 / (1 + math.e)
    np.testing.assert_allclose(backward(), [[p - 0.5, 0, 0.5 - p]])
    assert cross_entropy(logits, np.array([[0.5, 0.1, 0.4]]))[0] == INF


@pytest.mark.parametrize("ignore_index", [-100, 255, 1])
@pytest.mark.parametrize("smoothing", [0, 0.1])
def test_ignore_index_as_pytorch(torch, ignore_index, smoothing):
    logits = np.random.default_rng(0).standard_normal((5, 4))
    labels = np.array([2, ignore_index, 0, 3, ignore_index])
    tensor = torch.tensor(logits, requires_grad=True)
    options = {"label_smoothing": smoothing, "ignore_index": ignore_index}
    theirs = torch.nn.functional.cross_entropy(tensor, torch.tensor(labels), **options)
    theirs.backward()
    loss, backward = cross_entropy(logits, labels, **options)
    assert loss == pytest.approx(theirs.item(), rel=1e-12)
    np.testing.assert_allclose(backward(), tensor.grad.numpy(), rtol=1e-12, atol=1e-16)
    gradcheck(lambda logits: cross_entropy(logits, labels, **options), logits)
    assert not backward()[[1, 4]].any()


def test_the_usual_ignore_index_is_the_default():
    logits = np.random.default_rng(0).standard_normal((2, 4))
    assert cross_entropy(logits, np.array([3, -100]))[0] == cross_entropy(logits[:1], np.array([3]))[0]


WEIGHT = np.array([0.5, 2.0, 0.0, 1.25])


@pytest.mark.parametrize("kind", ["integers", "ignored", "soft", "one-hot integers"])
@pytest.mark.parametrize("smoothing", [0, 0.1])
def test_weight_as_pytorch(torch, kind, smoothing):
    rng = np.random.default_rng(0)
    logits, labels = rng.standard_normal((5, 4)), np.array([2, 1, 0, 3, 1])
    if kind == "ignored":
        labels = np.array([2, -100, 0, 3, -100])
    elif kind == "soft":
        labels = rng.dirichlet(np.ones(4), 5)
    elif kind == "one-hot integers":
        labels = np.eye(4, dtype=int)[labels]
    tensor = torch.tensor(logits, requires_grad=True)
    target = torch.tensor(labels * 1.0 if labels.ndim == 2 else labels)
    options = {"label_smoothing": smoothing}
    theirs = torch.nn.functional.cross_entropy(tensor, target, weight=torch.tensor(WEIGHT), **options)
    theirs.backward(torch.tensor(0.3, dtype=torch.float64))
    loss, backward = cross_entropy(logits, labels, **options, weight=WEIGHT)
    assert loss == pytest.approx(theirs.item(), rel=1e-12)
    np.testing.assert_allclose(backward(0.3), tensor.grad.numpy(), rtol=1e-12, atol=1e-16)
    gradcheck(lambda logits: cross_entropy(logits, labels, **options, weight=WEIGHT), logits)


def test_equal_weights_change_nothing_and_the_dtype_stays():
    logits, labels = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32), np.array([2, 1, 0, 3, 1])
    plain, plain_backward = cross_entropy(logits, labels)
    loss, backward = cross_entropy(logits, labels, weight=np.full(4, 3.0))
    np.testing.assert_allclose(loss, plain, rtol=1e-6)
    np.testing.assert_allclose(backward(), plain_backward(), rtol=1e-5, atol=1e-8)
    assert loss.dtype == backward().dtype == np.float32


def test_a_weight_of_two_is_an_item_that_is_there_twice():
    logits, labels = np.random.default_rng(0).standard_normal((3, 3)), np.array([0, 1, 2])
    twice = np.array([0, 1, 1, 2])
    assert cross_entropy(logits, labels, weight=np.array([1.0, 2, 1]))[0] == pytest.approx(
        cross_entropy(logits[twice], labels[twice])[0], rel=1e-12
    )


@pytest.mark.parametrize("kind", ["u1", "i1", ">i4", ">u2", "u8", "i8"])
def test_labels_of_any_integer_kind(kind):
    logits, labels = np.random.default_rng(0).standard_normal((3, 4)), np.array([3, 0, 2]).astype(kind)
    labels.flags.writeable = False
    assert cross_entropy(logits, labels)[0] == cross_entropy(logits, np.array([3, 0, 2]))[0]


@pytest.mark.parametrize("shape", [(1,), (2,), (2, 3)])
def test_dloss_is_one_number(shape):
    for name, backward in [("cross_entropy", cross_entropy(Z, L)[1]), ("mse_loss", mse_loss(Z, Z + 1)[1])]:
        with pytest.raises(ValueError, match=rf"{name}: dloss has shape .*, the loss is one number: give it one"):
            backward(np.ones(shape))
        np.testing.assert_array_equal(backward(np.array(2.0)), backward(2))


def test_numpys_numbers_as_options_keep_the_dtype():
    logits = np.zeros((2, 3), np.float32)
    loss, backward = cross_entropy(logits, L, np.float64(0.1))
    assert loss.dtype == backward(np.float64(2)).dtype == np.float32


Z, L = np.zeros((2, 3)), np.array([0, 1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cross_entropy(Z, np.array([0, 3])), "label 3 is out of range for 3 classes: labels must be 0 to 2"),
        (lambda: cross_entropy(Z, np.array([-1, 0])), "label -1 is out of range for 3 classes: labels must be 0 to 2"),
        (lambda: cross_entropy(Z, np.array([0, 1, 2])), r"must be 2 integers, shape \(2,\).*got int.. of shape \(3,\)"),
        (lambda: cross_entropy(Z, L[:, None]), r"labels must be 2 integers.*got int.. of shape \(2, 1\)"),
        (lambda: cross_entropy(Z, L > 0), "labels must be 2 integers.*got bool"),
        (lambda: cross_entropy(Z, L * 1.0), r"soft labels have shape \(2,\), logits \(2, 3\): must be equal"),
        (lambda: cross_entropy(Z, np.zeros((2, 4))), r"soft labels have shape \(2, 4\), logits \(2, 3\)"),
        (lambda: cross_entropy(Z[0], L), r"logits must have shape \(N, classes\), got \(3,\)"),
        (lambda: cross_entropy(Z[:0], L[:0]), r"cross_entropy: empty batch, x has shape \(0, 3\)"),
        (lambda: cross_entropy(Z.astype(np.int64), L), "cross_entropy: needs floating-point arrays, got int64"),
        (lambda: cross_entropy(Z, L, 1.5), r"label_smoothing must be in \[0, 1\], got 1.5"),
        (lambda: cross_entropy(Z, L, -0.1), r"label_smoothing must be in \[0, 1\], got -0.1"),
        (lambda: cross_entropy(Z, L - 100), "label -99 is out of range"),
        (lambda: cross_entropy(Z, L * 0 - 100), "every label is ignore_index, -100, and the mean of no items"),
        (lambda: cross_entropy(Z, Z, ignore_index=1), "ignore_index 1 is for integer labels .*: give an item"),
        (
            lambda: cross_entropy(Z, L, weight=np.ones(2)),
            r"weight has shape \(2,\), expected \(3,\): a number for each",
        ),
        (lambda: cross_entropy(Z, L, weight=np.array([1, -1, 1.0])), "weight must be 0 or more for each class"),
        (lambda: cross_entropy(Z, L, weight=np.array([1, np.nan, 1.0])), "weight must be 0 or more for each class"),
        (lambda: cross_entropy(Z, L, weight=np.array([0, 0, 1.0])), "the weights of all labels are 0"),
        (lambda: mse_loss(Z, Z[:, :1]), r"prediction has shape \(2, 3\), target \(2, 1\): must be equal"),
        (lambda: mse_loss(Z, Z.astype(np.float32)), "mse_loss: arrays of different dtypes"),
        (lambda: mse_loss(Z.astype(np.int64), Z.astype(np.int64)), "mse_loss: needs floating-point arrays, got int64"),
        (lambda: mse_loss(Z[:0], Z[:0]), "mse_loss: empty batch"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
