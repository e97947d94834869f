"""The textbook's operations: right by gradcheck, and the same as the fast ones."""

import numpy as np
import pytest

from minires import layers, losses, textbook
from minires.gradcheck import gradcheck
from minires.models.blocks import BasicBlock

rng = np.random.default_rng(0)


def random(*shape):
    return rng.standard_normal(shape)


LABELS = np.array([2, 0, 3])
CASES = {  # name: inputs, fast version of the same arguments, options
    "relu": ((random(3, 4),), layers.relu, {}),
    "sigmoid": ((random(3, 4),), layers.sigmoid, {}),
    "tanh": ((random(3, 4),), layers.tanh, {}),
    "linear": ((random(3, 4), random(5, 4), random(5)), layers.linear, {}),
    "global_avg_pool2d": ((random(2, 4, 6, 3),), layers.global_avg_pool2d, {}),
    "avg_pool2d": ((random(2, 4, 6, 3),), layers.avg_pool2d, {"K": 2}),
    "max_pool2d": ((random(2, 4, 6, 3),), layers.max_pool2d, {"K": 2}),
    "add": ((random(2, 3), random(2, 3)), layers.add, {}),
    "concat": ((random(2, 3), random(2, 4)), layers.concat, {}),
    "pad_shortcut": ((random(2, 5, 4, 3),), layers.pad_shortcut, {"out_channels": 6, "stride": 2}),
    "conv2d": (
        (random(2, 5, 6, 3), random(4, 3, 3, 3), random(4)),
        layers.conv2d,
        {"stride": 2, "padding": 1},
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
