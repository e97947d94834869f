"""batch_norm and BatchNorm2d: against loops, differences and PyTorch, in training and in inference."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minires.gradcheck import gradcheck
from minires.layers import BatchNorm2d, batch_norm


def naive_batch_norm(x, mean, var, weight, bias, eps=1e-5):
    """The formula, a channel at a time; mean and var None: the batch's own."""
    y = np.empty_like(x)
    for c in range(x.shape[-1]):
        values = x[..., c]
        m = sum(values.ravel()) / values.size if mean is None else mean[c]
        v = sum((values.ravel() - m) ** 2) / values.size if var is None else var[c]
        y[..., c] = weight[c] * (values - m) / (v + eps) ** 0.5 + bias[c]
    return y


@st.composite
def cases(draw):
    """(x, weight, bias, running_mean, running_var), at least three values a channel: two are always
    normalised to +-1, whatever they are."""
    shapes = [(4, 1), (3, 2), (1, 2, 2, 3), (3, 1, 1, 2), (2, 3, 5, 3), (3, 5, 3, 1), (1, 1, 7, 2)]
    shape = draw(st.sampled_from(shapes))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    C = shape[-1]
    x = rng.standard_normal(shape) * 2 + rng.standard_normal(C)
    return x, rng.standard_normal(C), rng.standard_normal(C), rng.standard_normal(C), rng.uniform(0.5, 2, C)


@given(cases(), st.booleans(), st.booleans())
def test_gradient_and_purity_in_training(check_operation, drawn, scaled, shifted):
    x, weight, bias, _, _ = drawn

    def operation(x, *rest):
        rest = list(rest)
        w = rest.pop(0) if scaled else None
        b = rest.pop(0) if shifted else None
        return batch_norm(x, None, None, w, b, training=True)

    check_operation(operation, x, *([weight] if scaled else []), *([bias] if shifted else []))


@given(cases(), st.booleans(), st.booleans())
def test_gradient_and_purity_in_inference(check_operation, drawn, scaled, shifted):
    x, weight, bias, mean, var = drawn

    def operation(x, *rest):
        rest = list(rest)
        w = rest.pop(0) if scaled else None
        b = rest.pop(0) if shifted else None
        return batch_norm(x, mean.astype(x.dtype), var.astype(x.dtype), w, b)

    check_operation(operation, x, *([weight] if scaled else []), *([bias] if shifted else []))


@given(cases())
def test_naive_loop(drawn):
    x, weight, bias, mean, var = drawn
    trained, _ = batch_norm(x, None, None, weight, bias, training=True)
    np.testing.assert_allclose(trained, naive_batch_norm(x, None, None, weight, bias), rtol=1e-11, atol=1e-11)
    inferred, _ = batch_norm(x, mean, var, weight, bias)
    np.testing.assert_allclose(inferred, naive_batch_norm(x, mean, var, weight, bias), rtol=1e-11, atol=1e-11)


@given(cases())
def test_output_is_normalised(drawn):
    x = drawn[0]
    y, backward = batch_norm(x, None, None, training=True, eps=0)
    axes = tuple(range(x.ndim - 1))
    np.testing.assert_allclose(y.mean(axis=axes), 0, atol=1e-10)
    np.testing.assert_allclose(y.var(axis=axes), 1, rtol=1e-10)
    (dx,) = backward(np.random.default_rng(0).standard_normal(x.shape))
    # neither a shift nor a scaling of x changes y, so dx has no part in either direction
    np.testing.assert_allclose(dx.sum(axis=axes), 0, atol=1e-10)
    np.testing.assert_allclose((dx * (x - x.mean(axis=axes))).sum(axis=axes), 0, atol=1e-9)


@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize("shape", [(7, 5, 3, 2), (11, 4), (1, 9, 7, 3)])
def test_blocks(check_blocks, training, shape):
    rng = np.random.default_rng(0)
    x, (weight, bias, mean) = rng.standard_normal(shape) + 3, rng.standard_normal((3, shape[-1]))
    var = rng.uniform(0.5, 2, shape[-1])

    def operation(x, weight, bias):
        return batch_norm(x, mean.copy(), var.copy(), weight, bias, training)

    check_blocks(operation, x, weight, bias, sizes=(1, 400, 900))


def test_running_statistics_move_in_place_by_the_formula():
    x = np.arange(12.0).reshape(2, 3, 1, 2)
    mean, var = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    batch_norm(x, mean, var, training=True, momentum=0.25)
    values = x.reshape(6, 2)
    np.testing.assert_allclose(mean, 0.75 * np.array([1.0, 2.0]) + 0.25 * values.mean(axis=0))
    np.testing.assert_allclose(var, 0.75 * np.array([3.0, 4.0]) + 0.25 * values.var(axis=0, ddof=1))


def test_inference_leaves_the_running_statistics():
    mean, var = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    batch_norm(np.ones((2, 2)), mean, var)
    assert mean.tolist() == [1, 2]
    assert var.tolist() == [3, 4]


def test_backward_is_of_the_statistics_that_forward_saw():
    """Running statistics may move between the two, when a module is used twice."""
    x, dy = np.random.default_rng(0).standard_normal((2, 6, 3))
    mean, var = np.zeros(3), np.ones(3)
    _, backward = batch_norm(x, mean, var, np.ones(3), np.zeros(3))
    before = backward(dy)
    mean += 5
    var += 5
    for now, then in zip(backward(dy), before, strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pytorch_over_training_steps_and_then_in_inference(torch, dtype):
    """Outputs, gradients and running statistics of three training steps, then of inference with what they left."""
    rng = np.random.default_rng(0)
    ours = BatchNorm2d(5, eps=1e-3, momentum=0.3).to(dtype)
    theirs = torch.nn.BatchNorm2d(5, eps=1e-3, momentum=0.3).to(getattr(torch, np.dtype(dtype).name))
    ours.weight.data, ours.bias.data = rng.standard_normal((2, 5)).astype(dtype)
    with torch.no_grad():
        theirs.weight.copy_(torch.tensor(ours.weight.data))
        theirs.bias.copy_(torch.tensor(ours.bias.data))
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if dtype == np.float32 else {"rtol": 1e-11, "atol": 1e-11}

    for step in range(4):
        if step == 3:
            ours.eval()
            theirs.eval()
        x, dy = (rng.standard_normal((2, 3, 6, 7, 5)) * 2 + 1).astype(dtype)
        ours.zero_grad()
        theirs.zero_grad()
        their_x = torch.tensor(x, requires_grad=True)
        y, backward = ours(x)
        their_y = theirs(their_x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        their_y.backward(torch.tensor(dy))
        np.testing.assert_allclose(y, their_y.detach().numpy(), **tolerance)
        np.testing.assert_allclose(backward(dy), their_x.grad.numpy(), **tolerance)
        np.testing.assert_allclose(ours.weight.grad, theirs.weight.grad.numpy(), **tolerance)
        np.testing.assert_allclose(ours.bias.grad, theirs.bias.grad.numpy(), **tolerance)
        np.testing.assert_allclose(ours.running_mean, theirs.running_mean.numpy(), **tolerance)
        np.testing.assert_allclose(ours.running_var, theirs.running_var.numpy(), **tolerance)


@pytest.mark.parametrize("mean", [100, 1000])
def test_far_from_zero_float32_keeps_its_digits(block_bytes, mean):
    """The variance is taken around the mean, not as E[x^2] - E[x]^2, which would lose all digits here."""
    x = (np.random.default_rng(0).standard_normal((16, 8, 8, 3)) + mean).astype(np.float32)
    exact = naive_batch_norm(x.astype(np.float64), None, None, np.ones(3), np.zeros(3))
    for size in (2**40, 500):
        with block_bytes(size):
            y, _ = batch_norm(x, None, None, training=True)
        np.testing.assert_allclose(y, exact, atol=mean * 1e-6)


def test_a_constant_channel_stays_finite():
    y, backward = batch_norm(np.full((4, 2), 7.0), None, None, training=True)
    np.testing.assert_allclose(y, 0, atol=1e-9)
    assert np.isfinite(backward(np.ones((4, 2)))[0]).all()


X, V = np.ones((2, 3, 3, 4)), np.ones(4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((X, np.ones(3), np.ones(3)), r"batch_norm: 4 input channels, running_mean has shape \(3,\): expected \(4,\)"),
        ((X, V, V, np.ones(5)), r"4 input channels, weight has shape \(5,\)"),
        ((X, V, V, V, np.ones((4, 1))), r"4 input channels, bias has shape \(4, 1\)"),
        ((X, V, None), "running_mean and running_var go together: give both or neither"),
        ((X, None, None), "inference needs running_mean and running_var: give both, or training=True"),
        ((X[:1, :1, :1], V, V, V, V, True), r"at least two values a channel, x \(1, 1, 1, 4\) has one.*larger batch"),
        ((X[:0], V, V), "empty batch, x has shape"),
        ((X.astype(np.float32), V, V), "different dtypes.*float32, float64"),
        ((X.astype(np.int64), V.astype(np.int64), V.astype(np.int64)), "needs floating-point arrays, got int64"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        batch_norm(*arguments)
    assert V.tolist() == [1, 1, 1, 1]


class TestModule:
    def test_gradients_of_parameters(self):
        x = np.random.default_rng(0).standard_normal((3, 2, 5, 4))
        module = BatchNorm2d(4)
        module.weight.data = np.array([0.5, -1, 2, 1.5])
        gradcheck(module, x)
        gradcheck(module.eval(), x)

    def test_defaults_are_pytorchs(self, torch):
        ours, theirs = BatchNorm2d(3), torch.nn.BatchNorm2d(3)
        assert (ours.eps, ours.momentum) == (theirs.eps, theirs.momentum)
        expected = {key: value.numpy() for key, value in theirs.state_dict().items() if key != "num_batches_tracked"}
        state = ours.state_dict()
        assert list(state) == list(expected)
        for key, value in state.items():
            np.testing.assert_array_equal(value, expected[key])
            assert value.dtype == np.float32

    def test_one_image_is_enough(self):
        y, _ = BatchNorm2d(2)(np.random.default_rng(0).standard_normal((1, 4, 4, 2)).astype(np.float32))
        np.testing.assert_allclose(y.mean(axis=(0, 1, 2)), 0, atol=1e-6)
