"""The textbook's operations: right by gradcheck, and the same as the fast ones."""

import numpy as np
import pytest

from minires import layers, losses, textbook
from minires.gradcheck import gradcheck
from minires.models.blocks import BasicBlock
from minires.models.preact import PreActBlock
from minires.shards import TreeSum

rng = np.random.default_rng(0)


def random(*shape):
    return rng.standard_normal(shape)


LABELS = np.array([2, 0, 3])
CASES = {  # name: inputs, fast version of the same arguments, options
    "relu": ((random(3, 4),), layers.relu, {}),
    "sigmoid": ((random(3, 4),), layers.sigmoid, {}),
    "tanh": ((random(3, 4),), layers.tanh, {}),
    "silu": ((random(3, 4),), layers.silu, {}),
    "linear": ((random(3, 4), random(5, 4), random(5)), layers.linear, {}),
    "global_avg_pool2d": ((random(2, 4, 6, 3),), layers.global_avg_pool2d, {}),
    "avg_pool2d": ((random(2, 4, 6, 3),), layers.avg_pool2d, {"K": 2}),
    "max_pool2d": ((random(2, 4, 6, 3),), layers.max_pool2d, {"K": 2}),
    "adaptive_avg_pool2d": (
        (random(2, 5, 6, 3),),
        lambda x, OH, OW: layers.adaptive_avg_pool2d(x, (OH, OW)),
        {"OH": 3, "OW": 4},
    ),
    "add": ((random(2, 3), random(2, 3)), layers.add, {}),
    "concat": ((random(2, 3), random(2, 4)), layers.concat, {}),
    "pad_shortcut": ((random(2, 5, 4, 3),), layers.pad_shortcut, {"out_channels": 6, "stride": 2}),
    "conv2d": (
        (random(2, 5, 6, 3), random(4, 3, 3, 3), random(4)),
        layers.conv2d,
        {"stride": 2, "padding": 1},
    ),
    "grouped_conv2d": (
        (random(2, 5, 6, 6), random(4, 3, 3, 3)),
        lambda x, weight, groups, padding: layers.conv2d(x, weight, padding=padding, groups=groups),
        {"groups": 2, "padding": 1},
    ),
    "batch_norm": (
        (random(2, 3, 4, 5), random(5), random(5)),
        lambda x, weight, bias: layers.batch_norm(x, None, None, weight, bias, training=True),
        {},
    ),
    "batch_norm_inference": (
        (random(2, 3, 4, 5), random(5), random(5) ** 2 + 0.1, random(5), random(5)),
        layers.batch_norm,
        {},
    ),
}


def fast_group_norm(x, weight, bias, G):
    return layers.group_norm(x, G, weight, bias)


def fast_squeeze_excitation(x, weight1, bias1, weight2, bias2):
    """The fast one, whose weights are those of 1x1 convolutions."""
    y, backward = layers.squeeze_excitation(x, weight1[..., None, None], bias1, weight2[..., None, None], bias2)
    return y, lambda dy: tuple(g[..., 0, 0] if g.shape[2:] == (1, 1) else g for g in backward(dy))


CASES |= {
    "group_norm": ((random(2, 3, 4, 6), random(6), random(6)), fast_group_norm, {"G": 2}),
    "squeeze_excitation": (
        (random(2, 3, 4, 6), random(2, 6), random(2), random(6, 2), random(6)),
        fast_squeeze_excitation,
        {},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_same_as_the_fast_one(name):
    inputs, fast, options = CASES[name]
    positional = list(options.values())
    y, backward = getattr(textbook, name)(*inputs, **options)
    expected, fast_backward = fast(*inputs, *positional)
    np.testing.assert_allclose(y, expected, atol=1e-12)
    dy = random(*y.shape)
    gradients, fast_gradients = backward(dy), fast_backward(dy)
    if not isinstance(gradients, tuple):
        gradients, fast_gradients = (gradients,), (fast_gradients,)
    for ours, theirs in zip(gradients, fast_gradients, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in CASES if name != "batch_norm_inference"])
def test_gradients(name):
    inputs, _, options = CASES[name]
    gradcheck(lambda *inputs: getattr(textbook, name)(*inputs, **options), *inputs)


def test_gradients_of_what_has_other_arguments():
    gradcheck(lambda x: textbook.dropout(x, 0.4, 0), random(4, 5))
    gradcheck(textbook.softmax, random(3, 4))
    gradcheck(textbook.mse_loss, random(3, 4), random(3, 4))
    gradcheck(lambda logits: textbook.cross_entropy(logits, LABELS), random(3, 4))
    gradcheck(lambda x: textbook.im2col(x, 3, 2, 1), random(2, 5, 6, 3))
    gradcheck(textbook.batch_norm_relu, random(2, 3, 4, 5), random(5), random(5), random(2, 3, 4, 5))
    inputs = CASES["batch_norm_inference"][0]
    gradcheck(lambda x, *affine: textbook.batch_norm_inference(x, *inputs[1:3], *affine), inputs[0], *inputs[3:])
    gradcheck(lambda x, weight: textbook.shard_mean(x, weight, LABELS, (1, 2)), random(3, 5), random(4, 5))
    gradcheck(lambda weight: textbook.broadcast(weight, 5), random(2, 3))
    gradcheck(lambda *inputs: textbook.batch_norm_of_shards(*inputs, (2, 3)), random(5, 3, 2, 4), random(4), random(4))


def test_losses():
    logits = random(3, 4)
    loss, backward = textbook.cross_entropy(logits, LABELS)
    expected, fast_backward = losses.cross_entropy(logits, LABELS)
    np.testing.assert_allclose(loss, expected)
    np.testing.assert_allclose(backward(2.0), fast_backward(2.0))
    loss, backward = textbook.mse_loss(logits, -logits)
    expected, fast_backward = losses.mse_loss(logits, -logits)
    np.testing.assert_allclose(loss, expected)
    np.testing.assert_allclose(backward(2.0)[0], fast_backward(2.0))


def test_dropout_keeps_the_mean():
    y, _ = textbook.dropout(np.ones((200, 200)), 0.3, 0)
    assert abs(y.mean() - 1) < 0.01
    assert set(np.unique(y)) == {0, 1 / 0.7}


def test_basic_block_is_that_of_the_resnets():
    block = BasicBlock(4, 4, 1, "A", np.random.default_rng(0)).to(np.float64)
    state = dict(block.named_parameters())
    names = ["conv1.weight", "bn1.weight", "bn1.bias", "conv2.weight", "bn2.weight", "bn2.bias"]
    for name in names[1:3] + names[4:]:
        state[name].data[...] = random(4)
    x = random(3, 5, 6, 4)
    inputs = [x, *(state[name].data for name in names)]
    y, backward = textbook.basic_block(*inputs)
    expected, block_backward = block.train()(x)
    np.testing.assert_allclose(y, expected, atol=1e-12)
    dy = random(*y.shape)
    dx, *gradients = backward(dy)
    np.testing.assert_allclose(dx, block_backward(dy), atol=1e-10)
    for name, gradient in zip(names, gradients, strict=True):
        np.testing.assert_allclose(gradient, state[name].grad, atol=1e-10, err_msg=name)
    gradcheck(textbook.basic_block, *inputs, max_elements=30)


def test_preact_block_is_that_of_the_networks():
    block = PreActBlock(4, 4, 1, np.random.default_rng(0)).to(np.float64)
    state = dict(block.named_parameters())
    names = ["bn1.weight", "bn1.bias", "conv1.weight", "bn2.weight", "bn2.bias", "conv2.weight"]
    for name in names[:2] + names[3:5]:
        state[name].data[...] = random(4)
    x = random(3, 5, 6, 4)
    inputs = [x, *(state[name].data for name in names)]
    y, backward = textbook.preact_block(*inputs)
    expected, block_backward = block.train()(x)
    np.testing.assert_allclose(y, expected, atol=1e-12)
    dy = random(*y.shape)
    dx, *gradients = backward(dy)
    np.testing.assert_allclose(dx, block_backward(dy), atol=1e-10)
    for name, gradient in zip(names, gradients, strict=True):
        np.testing.assert_allclose(gradient, state[name].grad, atol=1e-10, err_msg=name)
    gradcheck(textbook.preact_block, *inputs, max_elements=30)


def test_dense_block_is_its_equation():
    """Each layer written out, with everything made before it side by side."""
    x, *weights = random(2, 4, 5, 3), random(2, 3, 3, 3), random(2, 5, 3, 3), random(2, 7, 3, 3)
    made = [x]
    for weight in weights:
        seen = np.maximum(np.concatenate(made, axis=3), 0)
        made.append(layers.conv2d(seen, weight, padding=1)[0])
    y, backward = textbook.dense_block(x, *weights)
    np.testing.assert_allclose(y, np.concatenate(made, axis=3), atol=1e-12)
    assert [gradient.shape for gradient in backward(y)] == [array.shape for array in (x, *weights)]
    gradcheck(textbook.dense_block, x, *weights, max_elements=60)


@pytest.mark.parametrize("shards", [(7,), (2, 5), (1, 3, 1, 2), (1,) * 7])
def test_a_mean_over_shards_is_that_of_the_batch(shards):
    x, weight, labels = random(7, 5), random(4, 5), rng.integers(0, 4, 7)
    loss, backward = textbook.shard_mean(x, weight, labels, shards)
    logits, linear_backward = layers.linear(x, weight, np.zeros(4))
    expected, loss_backward = losses.cross_entropy(logits, labels)
    np.testing.assert_allclose(loss, expected, rtol=1e-13)
    dx, dweight, _ = linear_backward(loss_backward(0.3))
    for ours, theirs in zip(backward(0.3), (dx, dweight), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-13)


def brackets(first, last):
    """The tree by another rule, from the top: the largest power of two below their number comes first."""
    if last - first == 1:
        return str(first)
    left = max(2**k for k in range(10) if 2**k < last - first)
    return f"({brackets(first, first + left)}+{brackets(first + left, last)})"


class Said:
    """A term that says how it was added."""

    def __init__(self, said):
        self.said = said

    def __add__(self, other):
        return Said(f"({self.said}+{other.said})")


@pytest.mark.parametrize("S", range(1, 18))
def test_the_order_of_the_sum_of_broadcast(S):
    y, backward = textbook.broadcast(random(2, 3), S)
    assert y.shape == (S, 2, 3)
    assert backward([Said(str(s)) for s in range(S)]).said == brackets(0, S)
    dy = (rng.standard_normal((S, 40)) * 10.0 ** rng.integers(0, 9, (S, 40))).astype(np.float32)
    bits = backward(dy)
    assert bits.dtype == np.float32
    for parts in (2, 4, 8):  # whoever adds which of them: blocks of a power of two, and then the tree of their sums
        summed = [backward(dy[first : first + parts]) for first in range(0, S, parts)]
        assert np.array_equal(backward(summed), bits)
    tree = TreeSum()
    for s, term in enumerate(dy):
        tree.put(s, [term])
    assert np.array_equal(tree.total()[0], bits)


def test_batch_norm_of_shards_is_batch_norm_of_each_and_not_of_the_batch():
    x, weight, bias, shards = random(7, 3, 2, 4) + 5 * random(7, 1, 1, 1), random(4), random(4), (2, 1, 4)
    y, backward = textbook.batch_norm_of_shards(x, weight, bias, shards)
    dy, sums = random(*x.shape), [0, 0]
    dx, *gradients = backward(dy)
    for first, n in ((0, 2), (2, 1), (3, 4)):
        s = slice(first, first + n)
        expected, fast_backward = layers.batch_norm(x[s], None, None, weight, bias, training=True)
        dx_s, *gradients_s = fast_backward(dy[s])
        np.testing.assert_allclose(y[s], expected, atol=1e-12)
        np.testing.assert_allclose(dx[s], dx_s, atol=1e-12)
        sums = [total + gradient for total, gradient in zip(sums, gradients_s, strict=True)]
    np.testing.assert_allclose(gradients, sums, atol=1e-12)
    assert np.abs(y - textbook.batch_norm(x, weight, bias)[0]).max() > 0.1
    one, one_backward = textbook.batch_norm_of_shards(x, weight, bias, (7,))
    whole, whole_backward = textbook.batch_norm(x, weight, bias)
    assert np.array_equal(one, whole)
    assert all(map(np.array_equal, one_backward(dy), whole_backward(dy)))
