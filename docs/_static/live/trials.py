"""Trials of layers and losses: what gradcheck does not look at, or not with all of their arguments.

A function's name is its title. live/trials_further.py has those of networks, steps and tasks.
"""

import numpy as np

from live.results import module_passes, of, passes
from minires import layers, losses

X = (3, 6, 5, 4)  # N, H, W, C
CPU = [f"minires.backend.cpu.{name}" for name in ("blocks", "memory", "patches", "winograd", "workers")]


def draw(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


# Layers and losses: what is kept from call to call, and further arguments ---------------------------------------------


@of("minires.layers.batch_norm", "minires.backend.primitives.channels")
def batch_norm_in_training():
    def function(x, running_mean, running_var, weight, bias):
        return layers.batch_norm(x, running_mean, running_var, weight, bias, True, momentum=0.3, eps=0.01)

    names = ["x", "weight", "bias"]
    mean, var = draw(4, seed=3), abs(draw(4, seed=4)) + 0.5
    y, backward = function(draw(*X), mean, var, draw(4, seed=5), draw(4, seed=6))
    gradients = dict(zip((f"d{name}" for name in names), backward(draw(*X, seed=7)), strict=True))
    return {"y": y, **gradients, "running_mean": mean, "running_var": var}


@of("minires.layers.batch_norm", "minires.backend.primitives.channels")
def batch_norm_far_from_zero():
    return passes(lambda x: layers.batch_norm(x, None, None, training=True), draw(*X) + 1e5)


@of("minires.layers.batch_norm")
def batch_norm_for_inference():
    def function(x, weight, bias):
        return layers.batch_norm(x, draw(4), abs(draw(4)) + 0.5, weight, bias, eps=0.01)

    return passes(function, draw(*X), draw(4), draw(4))


@of("minires.layers.batch_norm")
def BatchNorm2d():
    return module_passes(layers.BatchNorm2d(4, eps=0.01, momentum=0.3), draw(*X))


@of("minires.layers.batch_norm_relu", "minires.backend.primitives.channels")
def BatchNormReLU2d():
    return module_passes(layers.BatchNormReLU2d(4, eps=0.01, momentum=0.3), draw(*X))


@of("minires.layers.linear")
def Linear():
    return module_passes(layers.Linear(5, 2, rng=0), draw(3, 5))


@of("minires.layers.linear")
def Linear_without_bias():
    return module_passes(layers.Linear(5, 2, bias=False, rng=0), draw(3, 5))


@of("minires.layers.dropout")
def Dropout():
    return module_passes(layers.Dropout(0.4, rng=0), draw(*X))


@of("minires.layers.activations", "minires.layers.pooling")
def at_kinks_and_ties():
    x = np.round(draw(*X))  # many equal numbers, and zeros
    found = {"relu": passes(layers.relu, x)}
    found |= {"max_pool2d": passes(lambda x: layers.max_pool2d(x, 3, 2, 1), x)}
    return found


@of("minires.layers.activations", "minires.layers.gated_activations", "minires.layers.normal_distribution")
def far_out():
    x = np.array([-800.0, -40, -9, -4, -3, -1e-9, 0, 1e-9, 3, 4, 9, 40, 800])
    each = (layers.sigmoid, layers.tanh, layers.silu, layers.gelu, layers.hardswish)
    return {function.__name__: passes(function, x) for function in each}


@of("minires.layers.conv", "minires.backend.geometry", "minires.backend.primitives.convolution", *CPU)
def a_convolution_of_many_channels():
    return passes(lambda x, w: layers.conv2d(x, w, padding=1), draw(2, 19, 18, 32), draw(32, 32, 3, 3))


@of("minires.layers.dropout", "minires.layers.stochastic_depth")
def nothing_dropped():
    return {
        "dropout": passes(lambda x: layers.dropout(x, 0.4, training=False), draw(*X)),
        "stochastic_depth": passes(lambda x: layers.stochastic_depth(x, 0.4, training=False), draw(*X)),
    }


@of("minires.layers.residual", "minires.backend.primitives.images")
def a_shortcut_of_zero_channels():
    return passes(lambda x: layers.pad_shortcut(x, 10, stride=(2, 3)), draw(*X))


@of("minires.layers.gated_activations")
def leaky_relu_with_another_slope():
    return passes(lambda x: layers.leaky_relu(x, 0.3), draw(*X))


@of("minires.layers.group_norm", "minires.layers.layer_norm")
def norms_with_another_eps():
    return {
        "group_norm": passes(lambda x: layers.group_norm(x, 2, eps=0.1), draw(*X)),
        "layer_norm": passes(lambda x: layers.layer_norm(x, eps=0.1), draw(*X)),
    }


@of("minires.losses.cross_entropy", "minires.backend.primitives.classes")
def cross_entropy_with_weights():
    labels, soft = np.array([2, 0, 1, 4, 1]), abs(draw(5, 6, seed=1))
    options = {"label_smoothing": 0.1, "weight": np.arange(1.0, 7)}
    return {
        "labels": passes(lambda logits: losses.cross_entropy(logits, labels, **options), draw(5, 6)),
        "ignored": passes(lambda logits: losses.cross_entropy(logits, np.array([2, -100, 1, 4, 1])), draw(5, 6)),
        "soft labels": passes(lambda logits: losses.cross_entropy(logits, soft / soft.sum(1)[:, None]), draw(5, 6)),
        "large logits": passes(lambda logits: losses.cross_entropy(logits, labels), 1000 * draw(5, 6)),
    }
