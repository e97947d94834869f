"""The gradient checks that go with a changed piece of the library: "try a change" runs them."""

from functools import partial

import numpy as np

from minires import layers, losses
from minires.exercises.catalogue import EXERCISES
from minires.models.blocks import BasicBlock, Bottleneck
from minires.models.preact import PreActBlock

X = (3, 6, 5, 4)  # N, H, W, C
LABELS = np.array([2, 0, 1, 4, 1])


def _norm(function, *leading, **options):
    """A normalisation of x, weight and bias; what stands between x and weight is given."""

    def norm(x, weight, bias):
        between = (part.astype(x.dtype) if isinstance(part, np.ndarray) else part for part in leading)
        return function(x, *between, weight, bias, **options)

    return norm


def _batch_norm_relu(x, weight, bias, shortcut):
    return layers.batch_norm_relu(x, None, None, weight, bias, shortcut, training=True)


def _distillation(logits, labels):
    return losses.distillation(logits, labels, np.full_like(logits, 1 / 6), temperature=4.0, alpha=0.9)


def _mse_loss(prediction):
    return losses.mse_loss(prediction, np.ones_like(prediction))


def _giou_loss(distances):
    """Of distances that are positive, and boxes of one size."""
    targets, weights = np.full_like(distances, 0.7), np.ones_like(distances[..., 0])
    loss, backward = losses.giou_loss(abs(distances), targets, weights)
    return loss, lambda dloss=1: backward(dloss) * np.sign(distances)


# (name, function, shapes of its arrays, what follows them)
LIBRARY = [
    ("relu", layers.relu, [X]),
    ("sigmoid", layers.sigmoid, [X]),
    ("tanh", layers.tanh, [X]),
    ("leaky_relu", layers.leaky_relu, [X]),
    ("silu", layers.silu, [X]),
    ("gelu", layers.gelu, [X]),
    ("gelu, approximate", partial(layers.gelu, approximate="tanh"), [X]),
    ("hardswish", layers.hardswish, [X]),
    ("conv2d", partial(layers.conv2d, padding=1), [X, (7, 4, 3, 3), (7,)]),
    ("conv2d, stride 2", partial(layers.conv2d, stride=2, padding=1), [X, (7, 4, 3, 3), (7,)]),
    ("conv2d, 1 x 1", layers.conv2d, [X, (7, 4, 1, 1)]),
    ("conv2d, 2 groups", partial(layers.conv2d, padding=1, groups=2), [X, (6, 2, 3, 3), (6,)]),
    ("conv2d, depthwise", partial(layers.conv2d, padding=1, groups=4), [X, (4, 1, 3, 3)]),
    ("conv_transpose2d", partial(layers.conv_transpose2d, padding=1), [X, (4, 3, 3, 3), (3,)]),
    ("conv_transpose2d, stride 2", partial(layers.conv_transpose2d, stride=2, padding=1), [X, (4, 3, 3, 2)]),
    ("upsample_bilinear2d", partial(layers.upsample_bilinear2d, scale_factor=2), [X]),
    ("upsample_bilinear2d, corners", partial(layers.upsample_bilinear2d, size=(9, 4), align_corners=True), [X]),
    ("max_pool2d", partial(layers.max_pool2d, kernel_size=3, stride=2, padding=1), [X]),
    ("avg_pool2d", partial(layers.avg_pool2d, kernel_size=3, stride=2, padding=1), [X]),
    ("global_avg_pool2d", layers.global_avg_pool2d, [X]),
    ("adaptive_avg_pool2d", partial(layers.adaptive_avg_pool2d, output_size=(4, 7)), [X]),
    ("batch_norm", _norm(layers.batch_norm, None, None, training=True), [X, (4,), (4,)]),
    (
        "batch_norm, running statistics",
        _norm(layers.batch_norm, np.zeros(4), np.ones(4), training=False),
        [X, (4,), (4,)],
    ),
    ("batch_norm_relu", _batch_norm_relu, [X, (4,), (4,), X]),
    ("group_norm", _norm(layers.group_norm, 2), [X, (4,), (4,)]),
    ("layer_norm", layers.layer_norm, [X, (4,), (4,)]),
    ("linear", layers.linear, [(3, 5), (2, 5), (2,)]),
    ("flatten", layers.flatten, [X]),
    ("dropout", partial(layers.dropout, p=0.4, rng=3), [X]),
    ("squeeze_excitation", layers.squeeze_excitation, [X, (2, 4, 1, 1), (2,), (4, 2, 1, 1), (4,)]),
    ("stochastic_depth", partial(layers.stochastic_depth, p=0.4, rng=3), [X]),
    ("scale", layers.scale, [X, (1,)]),
    ("add", layers.add, [X, X]),
    ("concat", layers.concat, [X, (3, 6, 5, 2)]),
    ("pad_shortcut", partial(layers.pad_shortcut, out_channels=8, stride=2), [X]),
    ("cross_entropy", losses.cross_entropy, [(5, 6)], LABELS),
    ("cross_entropy, smoothed", partial(losses.cross_entropy, label_smoothing=0.1), [(5, 6)], LABELS),
    ("distillation", _distillation, [(5, 6)], LABELS),
    ("mse_loss", _mse_loss, [X]),
    ("pixel_cross_entropy", losses.pixel_cross_entropy, [(2, 3, 2, 4)], np.arange(12).reshape(2, 3, 2) % 4),
    ("sigmoid_focal_loss", losses.sigmoid_focal_loss, [(5, 6)], np.arange(30).reshape(5, 6) % 2),
    ("giou_loss", _giou_loss, [(5, 2, 4)]),
]
BLOCKS = [  # (what makes a module, the shape of its input)
    (lambda: BasicBlock(4, 6, 2, "B", rng=0), X),
    (lambda: Bottleneck(4, 2, 2, "torchvision", rng=0), X),
    (lambda: PreActBlock(4, 6, 2, rng=0), X),
]


def checks_of(path):
    """-> [(name, function, inputs)] for gradcheck: of what an object is, of all operations in its file, or of all."""
    module, _, name = path.partition(":")
    if module == "minires.textbook":
        return _textbook(name)
    rng = np.random.default_rng(0)
    operations = [
        (title, function, [*(rng.standard_normal(shape) for shape in shapes), *others])
        for title, function, shapes, *others in LIBRARY
    ]
    here = [operation for operation in operations if module_of(operation[0]) == module]
    if not here and module.startswith("minires.models."):
        blocks = [make() for make, _ in BLOCKS]
        here = [
            (type(block).__name__, block, [rng.standard_normal(shape)])
            for block, (_, shape) in zip(blocks, BLOCKS, strict=True)
            if type(block).__module__ == module
        ]
    if not here and module.startswith(("minires.layers", "minires.losses", "minires.backend")):
        return operations
    return here


def module_of(title):
    """Where the operation of a title is defined."""
    name = title.partition(",")[0]
    return (getattr(layers, name, None) or getattr(losses, name)).__module__


def _textbook(name):
    """The cases of the exercise of this name, but for kinks, where there is no derivative to compare with."""
    cases = zip(EXERCISES[name].cases, textbook_calls(name), strict=True)
    return [(title, function, arrays) for case, (title, function, arrays, *_) in cases if case.values != "ties"]


def textbook_calls(name):
    """-> [(title, function of what has a gradient, these arrays, (), their names)] for each case of the exercise."""
    exercise = EXERCISES[name]
    found = []
    for case in exercise.cases:
        inputs = exercise.inputs(case)
        checked = [key for key in inputs if f"d{key}" in exercise.gradients]
        fixed = {key: value for key, value in inputs.items() if key not in checked}

        def function(*arrays, checked=checked, fixed=fixed):
            return exercise.function(**dict(zip(checked, arrays, strict=True)), **fixed)

        sizes = " ".join(f"{axis}={size}" for axis, size in case.sizes.items())
        found.append((f"{name}, {sizes}", function, [inputs[key] for key in checked], (), checked))
    return found
