"""batch_norm_relu and BatchNormReLU2d: against the operations they stand for, differences and PyTorch."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minires.gradcheck import gradcheck
from minires.layers import BatchNorm2d, BatchNormReLU2d, add, batch_norm, batch_norm_relu, relu
from minires.models import fold, resnet8

SHAPES = [(4, 1), (3, 2), (1, 2, 2, 3), (3, 1, 1, 2), (2, 3, 5, 3), (3, 5, 3, 1), (1, 1, 7, 2), (5, 7, 6, 4)]
both_modes = pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
with_and_without = pytest.mark.parametrize("with_shortcut", [True, False], ids=["shortcut", "alone"])


def one_by_one(x, mean, var, weight, bias, shortcut=None, training=False, momentum=0.1, eps=1e-5):
    """The same function from three operations, each with tests of its own."""
    y, norm_backward = batch_norm(x, mean, var, weight, bias, training, momentum, eps)
    y, add_backward = (y, None) if shortcut is None else add(y, shortcut)
    y, relu_backward = relu(y)

    def backward(dy):
        dy = relu_backward(dy)
        if shortcut is None:
            return norm_backward(dy)
        dz, dshortcut = add_backward(dy)
        return (*norm_backward(dz), dshortcut)

    return y, backward


def case(shape, seed=0, dtype=np.float64):
    """x, running_mean, running_var, weight, bias, shortcut, dy"""
    rng, C = np.random.default_rng(seed), shape[-1]
    x = rng.standard_normal(shape) * 2 + rng.standard_normal(C)
    vectors = rng.standard_normal(C), rng.uniform(0.5, 2, C), rng.standard_normal(C), rng.standard_normal(C)
    arrays = [x, *vectors, rng.standard_normal(shape), rng.standard_normal(shape)]
    return [array.astype(dtype) for array in arrays]


LAYOUTS = {
    "as it is": lambda x: x,
    "every second": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
    "columns first": np.asfortranarray,
    "backwards": lambda x: x[::-1].copy()[::-1],
}


@given(
    shape=st.sampled_from(SHAPES),
    seed=st.integers(0, 1000),
    dtype=st.sampled_from([np.float32, np.float64]),
    with_shortcut=st.booleans(),
    training=st.booleans(),
    layouts=st.tuples(*[st.sampled_from(list(LAYOUTS))] * 3),
    size=st.sampled_from([1, 200, 2**30]),
)
@example((5, 7, 6, 4), 0, np.float32, True, True, ("as it is",) * 3, 2**30)
def test_equals_the_operations_one_by_one(block_bytes, shape, seed, dtype, with_shortcut, training, layouts, size):
    """The output, every gradient and the running statistics, whatever the strides and the blocks."""
    x, mean, var, weight, bias, shortcut, dy = case(shape, seed, dtype)
    shortcut = shortcut if with_shortcut else None
    their_mean, their_var = mean.copy(), var.copy()
    theirs, their_backward = one_by_one(x, their_mean, their_var, weight, bias, shortcut, training, 0.3, 1e-3)
    laid_x, laid_shortcut, laid_dy = (
        array if array is None else LAYOUTS[layout](array)
        for array, layout in zip((x, shortcut, dy), layouts, strict=True)
    )
    with block_bytes(size):
        ours, backward = batch_norm_relu(laid_x, mean, var, weight, bias, laid_shortcut, training, 0.3, 1e-3)
        gradients = backward(laid_dy)
    tolerance = 1e-4 if dtype == np.float32 else 1e-11
    pairs = zip([ours, mean, var, *gradients], [theirs, their_mean, their_var, *their_backward(dy)], strict=True)
    for mine, other in pairs:
        assert mine.dtype == dtype
        np.testing.assert_allclose(mine, other, rtol=tolerance, atol=tolerance)


@st.composite
def away_from_the_kink(draw, with_shortcut, training):
    """(x, running_mean, running_var, weight, bias, shortcut or None) with no sum near 0, and sums on both sides of it.

    With a shortcut, it is what takes the normalised x there; without, each channel's bias lies between two values.
    """
    shape = draw(st.sampled_from(SHAPES[:-1]))
    x, mean, var, weight, bias, target, _ = case(shape, draw(st.integers(0, 1000)))
    weight += 0.5 * np.sign(weight)
    target += 0.1 * np.sign(target)
    if with_shortcut:
        z, _ = batch_norm(x, mean.copy(), var.copy(), weight, bias, training)
        return x, mean, var, weight, bias, target - z
    z, _ = batch_norm(x, mean.copy(), var.copy(), weight, None, training)
    for c, column in enumerate(np.sort(z.reshape(-1, shape[-1]), axis=0).T):
        gap = np.argmax(np.diff(column))
        bias[c] = -(column[gap] + column[gap + 1]) / 2
    return x, mean, var, weight, bias, None


@both_modes
@with_and_without
@given(data=st.data())
def test_gradient_and_purity(check_operation, training, with_shortcut, data):
    x, mean, var, weight, bias, shortcut = data.draw(away_from_the_kink(with_shortcut, training))

    def operation(x, weight, bias, *shortcut):
        running = mean.astype(x.dtype), var.astype(x.dtype)
        return batch_norm_relu(x, *running, weight, bias, *shortcut, training=training)

    y, _ = operation(x, weight, bias, *([shortcut] if with_shortcut else []))
    assert 0 < (y > 0).sum() < y.size or y.size < 10
    check_operation(operation, x, weight, bias, *([shortcut] if with_shortcut else []))


@both_modes
@with_and_without
@pytest.mark.parametrize("shape", [(7, 5, 3, 2), (11, 4), (1, 9, 7, 3)])
def test_blocks(check_blocks, training, with_shortcut, shape):
    x, mean, var, weight, bias, shortcut, _ = case(shape)

    def operation(x, weight, bias, *shortcut):
        return batch_norm_relu(x, mean.copy(), var.copy(), weight, bias, *shortcut, training=training)

    check_blocks(operation, x, weight, bias, *([shortcut] if with_shortcut else []), sizes=(1, 400, 900))


def test_by_hand():
    """Inference with mean 1, variance 4 and eps 0: x_hat is (-1, 0, 1, 2), the sums -1.5, -1, 2.5, 2, and two pass."""
    x, shortcut = np.array([[-1.0], [1.0], [3.0], [5.0]]), np.array([[1.5], [0.0], [1.5], [-1.0]])
    one = np.ones(1)
    y, backward = batch_norm_relu(x, one, 4 * one, 2 * one, -one, shortcut, eps=0)
    np.testing.assert_array_equal(y, [[0], [0], [2.5], [2]])
    dx, dweight, dbias, dshortcut = backward(np.array([[1.0], [2.0], [3.0], [4.0]]))
    np.testing.assert_array_equal(dshortcut, [[0], [0], [3], [4]])
    np.testing.assert_array_equal(dx, [[0], [0], [3], [4]])  # weight / std is 1
    np.testing.assert_array_equal(dweight, [3 * 1 + 4 * 2])
    np.testing.assert_array_equal(dbias, [3 + 4])


def test_at_its_kink():
    """The gradient where the sum is 0 is 0, as relu's."""
    x, one = np.zeros((2, 1)), np.ones(1)
    y, backward = batch_norm_relu(x, 0 * one, one, one, 0 * one, np.array([[0.0], [-0.0]]))
    np.testing.assert_array_equal(y, 0)
    for gradient in backward(np.ones((2, 1))):
        np.testing.assert_array_equal(gradient, 0)


def test_without_running_statistics():
    x, _, _, weight, bias, shortcut, dy = case((3, 4, 5, 2))
    y, backward = batch_norm_relu(x, None, None, weight, bias, shortcut, training=True)
    theirs, their_backward = one_by_one(x, None, None, weight, bias, shortcut, training=True)
    np.testing.assert_allclose(y, theirs, rtol=1e-12)
    for mine, other in zip(backward(dy), their_backward(dy), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-11, atol=1e-12)


def test_the_gradients_are_the_callers_own():
    """A network adds to them in place; a second backward pass is none the wiser."""
    x, mean, var, weight, bias, shortcut, dy = case((3, 4, 5, 2))
    y, backward = batch_norm_relu(x, mean, var, weight, bias, shortcut, training=True)
    first = backward(dy)
    kept = [gradient.copy() for gradient in first]
    for gradient in first:
        gradient[...] = 7
    for again, before in zip(backward(dy), kept, strict=True):
        np.testing.assert_array_equal(again, before)
    assert not any(np.shares_memory(gradient, array) for gradient in first for array in (x, y, shortcut, dy))


def test_backward_is_of_the_statistics_that_forward_saw():
    x, mean, var, weight, bias, shortcut, dy = case((6, 3))
    _, backward = batch_norm_relu(x, mean, var, weight, bias, shortcut)
    before = backward(dy)
    mean += 5
    var += 5
    for now, then in zip(backward(dy), before, strict=True):
        np.testing.assert_array_equal(now, then)


X, V = np.ones((2, 3, 3, 4)), np.ones(4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((X, V, V, V, V, X[:1]), r"batch_norm_relu: shortcut has shape \(1, 3, 3, 4\), x \(2, 3, 3, 4\): they must be"),
        ((X, V, V, V, V, X[..., :1]), r"batch_norm_relu: shortcut has shape \(2, 3, 3, 1\)"),
        ((X, V, V, V, V, X.astype(np.float32)), "batch_norm_relu: arrays of different dtypes.*float32, float64"),
        ((X, np.ones(3), np.ones(3), V, V), r"batch_norm_relu: 4 input channels, running_mean has shape \(3,\)"),
        ((X, V, V, np.ones(5), V), r"batch_norm_relu: 4 input channels, weight has shape \(5,\)"),
        ((X, V, V, V, np.ones((4, 1))), r"batch_norm_relu: 4 input channels, bias has shape \(4, 1\)"),
        ((X, V, None, V, V), "running_mean and running_var go together: give both or neither"),
        ((X, None, None, V, V), "batch_norm_relu: inference needs running_mean and running_var"),
        ((X[:1, :1, :1], V, V, V, V, None, True), r"at least two values a channel, x \(1, 1, 1, 4\) has one"),
        ((X[:0], V, V, V, V), "batch_norm_relu: empty batch, x has shape"),
        ((X.astype(np.int64), *[V.astype(np.int64)] * 4), "batch_norm_relu: needs floating-point arrays, got int64"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        batch_norm_relu(*arguments)


def test_a_shortcut_that_does_not_fit_leaves_the_running_statistics():
    x, mean, var, weight, bias, shortcut, _ = case((2, 3, 3, 4))
    before = mean.copy(), var.copy()
    with pytest.raises(ValueError, match="shortcut has shape"):
        batch_norm_relu(x, mean, var, weight, bias, shortcut[:1], training=True)
    np.testing.assert_array_equal((mean, var), before)


class TestModule:
    def test_state_is_that_of_batch_norm(self):
        norm, fused = BatchNorm2d(3, eps=1e-4, momentum=0.2), BatchNormReLU2d(3, eps=1e-4, momentum=0.2)
        rng = np.random.default_rng(0)
        for _ in range(3):
            x = rng.standard_normal((2, 4, 5, 3)).astype(np.float32)
            norm(x)
            fused(x, x)
        state = norm.state_dict()
        assert list(fused.state_dict()) == list(state)
        for key, value in fused.state_dict().items():
            assert value.dtype == np.float32
            np.testing.assert_array_equal(value, state[key])
        assert [name for name, _ in fused.named_parameters()] == [name for name, _ in norm.named_parameters()]
        x = rng.standard_normal((2, 4, 5, 3)).astype(np.float32)
        loaded = BatchNorm2d(3, eps=1e-4).load_state_dict(fused.state_dict()).eval()
        np.testing.assert_array_equal(fused.eval()(x)[0], np.maximum(loaded(x)[0], 0))

    @both_modes
    @with_and_without
    def test_gradients_of_parameters(self, training, with_shortcut):
        x, _, _, weight, bias, shortcut, _ = case((3, 2, 5, 4))
        module = BatchNormReLU2d(4).train(training)
        module.weight.data, module.bias.data = weight, bias
        gradcheck(module, x, *([shortcut] if with_shortcut else []))

    @with_and_without
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_pytorch_over_training_steps_and_then_in_inference(self, torch, dtype, with_shortcut):
        """Outputs, gradients and running statistics of three training steps, then of inference with what they left."""
        rng = np.random.default_rng(0)
        ours = BatchNormReLU2d(5, eps=1e-3, momentum=0.3).to(dtype)
        theirs = torch.nn.BatchNorm2d(5, eps=1e-3, momentum=0.3).to(getattr(torch, np.dtype(dtype).name))
        ours.weight.data, ours.bias.data = rng.standard_normal((2, 5)).astype(dtype)
        with torch.no_grad():
            theirs.weight.copy_(torch.tensor(ours.weight.data))
            theirs.bias.copy_(torch.tensor(ours.bias.data))
        tolerance = {"rtol": 1e-4, "atol": 1e-4} if dtype == np.float32 else {"rtol": 1e-11, "atol": 1e-11}

        for step in range(4):
            ours.train(step < 3)
            theirs.train(step < 3)
            x, shortcut, dy = (rng.standard_normal((3, 3, 6, 7, 5)) * 2 + 1).astype(dtype)
            ours.zero_grad()
            theirs.zero_grad()
            their_x, their_shortcut = (torch.tensor(array, requires_grad=True) for array in (x, shortcut))
            their_z = theirs(their_x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            their_y = torch.relu(their_z + their_shortcut if with_shortcut else their_z)
            their_y.backward(torch.tensor(dy))
            y, backward = ours(x, shortcut) if with_shortcut else ours(x)
            dx, *dshortcut = backward(dy) if with_shortcut else (backward(dy),)
            assert len(dshortcut) == with_shortcut
            pairs = [(y, their_y.detach()), (dx, their_x.grad), *((d, their_shortcut.grad) for d in dshortcut)]
            pairs += [(ours.weight.grad, theirs.weight.grad), (ours.bias.grad, theirs.bias.grad)]
            pairs += [(ours.running_mean, theirs.running_mean), (ours.running_var, theirs.running_var)]
            for mine, other in pairs:
                np.testing.assert_allclose(mine, other.numpy(), **tolerance)


def test_without_weight_and_bias():
    """As in `batch_norm`, each may be left out, and its gradient with it."""
    x, _, _, weight, bias, shortcut, _ = case((3, 2, 5, 4))
    dy = np.random.default_rng(1).standard_normal(x.shape)
    for parameters in ((None, bias), (weight, None), (None, None)):
        y, backward = batch_norm_relu(x, None, None, *parameters, shortcut, training=True)
        z, norm_backward = batch_norm(x, None, None, *parameters, training=True)
        np.testing.assert_allclose(y, np.maximum(z + shortcut, 0), rtol=1e-12, atol=1e-12)
        dz = dy * (y > 0)
        for ours, expected in zip(backward(dy), (*norm_backward(dz), dz), strict=True):
            np.testing.assert_allclose(ours, expected, rtol=1e-11, atol=1e-11)


class Doubled(BatchNormReLU2d):
    """A norm that somebody put in the place of another."""

    def forward(self, x, shortcut=None):
        y, backward = super().forward(x, *(() if shortcut is None else (shortcut,)))
        return 2 * y, lambda dy: backward(2 * dy)


def test_nothing_is_folded_that_was_put_in_a_norms_place():
    model = resnet8(rng=0).to(np.float64)
    model.layer1[0].bn1 = Doubled(16).to(np.float64)
    model.eval()
    x = np.random.default_rng(0).standard_normal((2, 8, 8, 3))
    np.testing.assert_allclose(fold(model)(x)[0], model(x)[0], rtol=1e-10)
