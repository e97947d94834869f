"""What a backward pass does not need is let go of: the pages say what is kept, and this is what is not."""

import gc
import weakref

import numpy as np
import pytest

from minires.layers import (
    BatchNormReLU2d,
    Conv2d,
    adaptive_avg_pool2d,
    add,
    avg_pool2d,
    batch_norm_relu,
    concat,
    conv2d,
    flatten,
    global_avg_pool2d,
    pad_shortcut,
)
from minires.losses import cross_entropy, mse_loss
from minires.models.blocks import conv_norm_relu


def normal(*shape):
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def image():
    return normal(2, 6, 6, 4)


def norm_with(shortcut):
    return batch_norm_relu(image(), *np.ones((4, 4), np.float32), shortcut, training=True)


def conv_norm_with(shortcut):
    return conv_norm_relu(Conv2d(4, 4, 3, padding=1, rng=0), BatchNormReLU2d(4), image(), shortcut)


LET_GO = {
    "avg_pool2d": (image, lambda x: avg_pool2d(x, 2)),
    "adaptive_avg_pool2d": (image, lambda x: adaptive_avg_pool2d(x, 4)),
    "global_avg_pool2d": (image, global_avg_pool2d),
    "flatten": (image, flatten),
    "add": (image, lambda x: add(x, image())),
    "concat": (image, lambda x: concat(x, image())),
    "pad_shortcut": (image, lambda x: pad_shortcut(x, 8, 2)),
    "the shortcut of batch_norm_relu": (image, norm_with),
    "the shortcut of conv_norm_relu": (image, conv_norm_with),
    "the logits of cross_entropy": (lambda: normal(8, 4), lambda x: cross_entropy(x, np.arange(8) % 4)),
    "the prediction of mse_loss": (image, lambda x: mse_loss(x, image())),
    "the target of mse_loss": (image, lambda x: mse_loss(image(), x)),
}


def is_kept(make, function):
    """Whether the array lives as long as the backward pass, with nothing else to hold it."""
    x = make()
    kept = weakref.ref(x)
    _, backward = function(x)
    del x, _
    gc.collect()
    alive = kept() is not None
    del backward
    return alive


@pytest.mark.parametrize("name", LET_GO)
def test_is_let_go(name):
    assert not is_kept(*LET_GO[name])


def test_what_is_needed_is_kept():
    assert is_kept(image, lambda x: conv2d(x, np.ones((3, 4, 3, 3), np.float32)))
