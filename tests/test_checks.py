"""What every operation refuses in its backward pass, a dy unlike its y; and what modules refuse when they are made."""

import numpy as np
import pytest

from minires import layers

X = np.random.default_rng(0).standard_normal((2, 6, 6, 4))
W = np.ones((3, 4, 3, 3))
ONES = np.ones(4)

OPERATIONS = {
    "relu": lambda: layers.relu(X),
    "sigmoid": lambda: layers.sigmoid(X),
    "tanh": lambda: layers.tanh(X),
    "leaky_relu": lambda: layers.leaky_relu(X),
    "silu": lambda: layers.silu(X),
    "gelu": lambda: layers.gelu(X),
    "gelu, tanh": lambda: layers.gelu(X, "tanh"),
    "hardswish": lambda: layers.hardswish(X),
    "conv2d": lambda: layers.conv2d(X, W),
    "conv2d, stride 2": lambda: layers.conv2d(X, W, stride=2),
    "conv2d, no input gradient": lambda: layers.conv2d(X, W, input_gradient=False),
    "batch_norm": lambda: layers.batch_norm(X, None, None, ONES, ONES, training=True),
    "batch_norm_relu": lambda: layers.batch_norm_relu(X, None, None, ONES, ONES, training=True),
    "batch_norm_relu, shortcut": lambda: layers.batch_norm_relu(X, ONES, ONES, ONES, ONES, X),
    "max_pool2d": lambda: layers.max_pool2d(X, 2),
    "avg_pool2d": lambda: layers.avg_pool2d(X, 2),
    "avg_pool2d, border not counted": lambda: layers.avg_pool2d(X, 3, 2, 1, True, False),
    "adaptive_avg_pool2d": lambda: layers.adaptive_avg_pool2d(X, (4, 5)),
    "global_avg_pool2d": lambda: layers.global_avg_pool2d(X),
    "linear": lambda: layers.linear(X[:, 0, 0], np.ones((3, 4))),
    "flatten": lambda: layers.flatten(X),
    "dropout": lambda: layers.dropout(X, 0.5, rng=0),
    "group_norm": lambda: layers.group_norm(X, 2, ONES, ONES),
    "layer_norm": lambda: layers.layer_norm(X, ONES, ONES),
    "squeeze_excitation": lambda: layers.squeeze_excitation(
        X, np.ones((3, 4, 1, 1)), np.ones(3), np.ones((4, 3, 1, 1)), ONES
    ),
    "stochastic_depth": lambda: layers.stochastic_depth(X, 0.5, rng=0),
    "stochastic_depth, p is 0": lambda: layers.stochastic_depth(X, 0),
    "scale": lambda: layers.scale(X, np.ones(1)),
    "add": lambda: layers.add(X, X),
    "concat": lambda: layers.concat(X, X),
    "pad_shortcut": lambda: layers.pad_shortcut(X, 6, 2),
}


def wrong(shape):
    """Shapes that NumPy would broadcast, or take a part of, or fail on with a message of its own."""
    yield (shape[0] + 3, *shape[1:])
    yield (1, *shape[1:])
    yield (*shape[:-1], 1)
    yield shape[1:]


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_gradient_of_another_shape_is_refused(name):
    y, backward = OPERATIONS[name]()
    backward(np.ones(y.shape))
    for shape in wrong(y.shape):
        with pytest.raises(ValueError, match=rf"^{name.split(',')[0]}: dy has shape .*they must be equal"):
            backward(np.ones(shape))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: layers.Conv2d(0, 4, 3), "Conv2d: in_channels must be at least 1, got 0"),
        (lambda: layers.Conv2d(3, -4, 3), "Conv2d: out_channels must be at least 1, got -4"),
        (lambda: layers.Linear(0, 3), "Linear: in_features must be at least 1, got 0"),
        (lambda: layers.BatchNorm2d(3, eps="1"), "BatchNorm2d: eps must be a number from 0 to inf, got '1'"),
        (lambda: layers.BatchNorm2d(3, momentum=5), "BatchNorm2d: momentum must be a number from 0 to 1, got 5"),
        (lambda: layers.BatchNormReLU2d(3, momentum=None), "BatchNorm2d: momentum must be a number from 0 to 1"),
        (lambda: layers.BatchNorm2d(0), "BatchNorm2d: num_features must be at least 1, got 0"),
        (
            lambda: layers.conv2d(X, W, padding=(1, (0, 3))),
            r"padding must be .* or \(\(top, bottom\), \(left, right\)\)",
        ),
        (lambda: layers.conv2d(X, np.ones((3, 4, 9, 9))), "^conv2d: kernel 9x9 is larger than the padded image 6x6"),
        (lambda: layers.concat(np.array(1.0)), "concat: arrays must have a last axis"),
        (
            lambda: layers.batch_norm(np.ones(3), None, None, training=True),
            r"batch_norm: x must have shape \(N, ..., C\)",
        ),
    ],
)
def test_bad_sizes_get_a_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("call", [lambda: layers.relu([1.0]), lambda: layers.conv2d([[1.0]], W)])
def test_a_list_is_no_array(call):
    with pytest.raises(TypeError, match=r"got list: wrap it in np\.asarray"):
        call()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.Conv2d(3, 4, 3, padding="same"), "Conv2d: padding must be a whole number or a pair of them"),
        (lambda: layers.Conv2d(3, 4, 3, padding=-1), "Conv2d: padding must be at least 0, got -1"),
        (lambda: layers.Conv2d(3, 4, 3, stride=0), "Conv2d: stride must be at least 1, got 0"),
        (lambda: layers.Conv2d(3, 4, 3, algorithm="fft"), "Conv2d: unknown algorithm 'fft': choose auto"),
        (lambda: layers.Conv2d(3, 4, 0), "Conv2d: kernel_size must be at least 1, got 0"),
        (lambda: layers.MaxPool2d(0), "MaxPool2d: kernel_size must be at least 1, got 0"),
        (lambda: layers.MaxPool2d(2, 0), "MaxPool2d: stride must be at least 1, got 0"),
        (lambda: layers.AvgPool2d(2, padding=2), "AvgPool2d: padding 2 is more than half of kernel_size 2"),
        (lambda: layers.AvgPool2d(1.5), "AvgPool2d: kernel_size must be a whole number or a pair of them, got 1.5"),
        (lambda: layers.AdaptiveAvgPool2d(0), "AdaptiveAvgPool2d: output_size must be at least 1, got 0"),
        (lambda: layers.Dropout(1.0), r"Dropout: p must be in \[0, 1\), got 1.0"),
        (lambda: layers.Linear(0, 3), "Linear: in_features must be at least 1, got 0"),
        (lambda: layers.BatchNorm2d(0), "BatchNorm2d: num_features must be at least 1, got 0"),
    ],
)
def test_modules_refuse_when_they_are_made(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("name", OPERATIONS)
def test_no_gradient_at_all_is_refused(name):
    _, backward = OPERATIONS[name]()
    with pytest.raises(TypeError, match="dy is None: a layer that is told of lean=True gives no dx"):
        backward(None)
