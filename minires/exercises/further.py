"""The second hint, of `check --more`: how the result depends on each array, and a case small enough for paper.

It says where an array stands in the forward pass, not what the backward pass is; and it gives numbers, not code.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from minires.exercises.exercise import Case, Exercise
from minires.exercises.finding import Finding
from minires.exercises.language import Text

_PIXELS = {
    "dweight": "weight[c] multiplies the normalised x at every pixel of every image, so dweight[c] is a sum over "
    "these.",
    "dbias": "bias[c] is added at every pixel of every image, so dbias[c] is a sum over these.",
}
_LAST = (
    "Go through the lines of the forward pass from the last to the first, and hand on what each backward pass gives."
)

DEPENDENCE: dict[str, dict[str, str]] = {
    "relu": {"dx": "y[i] depends on x[i] alone. Move x[i] a little: does y[i] move as much, or not at all?"},
    "sigmoid": {
        "dx": "With e = exp(-x) it is y = 1 / (1 + e). Derive that as a quotient, then get rid of e: what is 1 - y?"
    },
    "tanh": {"dx": "y = sinh(x) / cosh(x). As a quotient its slope is 1 less a square: the square of what?"},
    "silu": {"dx": "x stands in y twice: it is what goes through, and it moves s. Derive x * s as a product."},
    "add": {
        "dx1": "Let x1[i] grow by 0.1: by how much does y[i] grow?",
        "dx2": "Let x2[i] grow by 0.1: by how much does y[i] grow?",
    },
    "linear": {
        "dx": "x[n, c] stands in y[n, o] for every o, times weight[o, c]. So dx[n, c] is a sum over o.",
        "dweight": "weight[o, c] stands in y[n, o] for every n, times x[n, c]. So dweight[o, c] is a sum over n.",
        "dbias": "bias[o] is added to y[n, o] for every n. So dbias[o] is a sum over n.",
    },
    "mse_loss": {
        "dprediction": "The loss is a sum of squares over their number, and each prediction stands in one "
        "square. Derive (prediction - target)**2 / number.",
        "dtarget": "target stands in the same square as prediction, with a minus.",
    },
    "softmax": {
        "dlogits": "logits[n, k] moves every p[n, c] of its row: up where c is k, down through the denominator "
        "for all c. Derive p[n, c] with respect to logits[n, k] as a quotient, multiply by dp[n, c], and add up "
        "over c."
    },
    "cross_entropy": {
        "dlogits": "For one row the loss is log(sum of exp(logits)) - logits[label]. Derive the first term with "
        "respect to each logit: what have you got? The second has one logit in it. Then comes the mean over the rows."
    },
    "dropout": {"dx": "y[i] is x[i] times a number that the forward pass has drawn, and that still stands there."},
    "concat": {
        "dx1": "y[..., k] is x1[..., k] for the first C1 channels.",
        "dx2": "y[..., C1 + k] is x2[..., k].",
    },
    "global_avg_pool2d": {"dx": "y[n, c] is a sum of H * W pixels divided by their number. Each stands in it once."},
    "avg_pool2d": {
        "dx": "x[n, h, w, c] stands in one window only, (h // K, w // K), and what comes out of that is a mean "
        "of K * K."
    },
    "max_pool2d": {
        "dx": "y[n, oh, ow, c] is one pixel of its window, and winner says which. What does that one get, what "
        "the others?"
    },
    "adaptive_avg_pool2d": {
        "dx": "y[n, oh, ow, c] is a mean of its window's pixels, and not every window has as many. Which windows does "
        "a pixel stand in, and what does it count for in each?"
    },
    "im2col": {
        "dx": "patches[n, oh, ow, i, j] was read at the padded pixel (oh * stride + i, ow * stride + j). Go "
        "through the same loop and write there what was read. And a pixel that several windows have read?"
    },
    "conv2d": {
        "dx": "The product of P and weight_matrix is a linear layer: first the gradient of P, as there. From "
        "patches to x leads im2col's backward pass.",
        "dweight": "The gradient of weight_matrix, whose axes are (K K C, O), is a product of P and dY. Split "
        "its first axis into three, and only then change their order.",
        "dbias": "bias[o] is added at every pixel of every image, so dbias[o] is a sum over these.",
    },
    "grouped_conv2d": {
        "dx": "Each group is a convolution of its own, and its product with P a linear layer: first the gradient of P, "
        "of all groups at once. Then its axes must stand as in patches, in which the groups lie side by side.",
        "dweight": "The gradient of a group's matrix, whose axes are (K K C, O), is a product of its P and its part of "
        "dy. Split its first axis into three, and only then change their order.",
    },
    "batch_norm_inference": {"dx": "With all else constant, y is a straight line in x. What is its slope?", **_PIXELS},
    "batch_norm": {
        "dx": "x reaches y three ways: directly, over std; through mean, which is taken off every pixel; and "
        "through var, which divides every pixel. Write down the three, with sums over the channel's pixels, and "
        "add them up.",
        **_PIXELS,
    },
    "batch_norm_relu": {
        "dx": "Backwards: ReLU, sum, batch norm. Each one's backward pass has its name in the forward pass.",
        "dweight": "It comes out of batch norm's backward pass, which wants what has come back as far as that, not dy.",
        "dbias": "It comes out of batch norm's backward pass, which wants what has come back as far as that, not dy.",
        "dshortcut": "The sum hands on what reaches it, to both of its terms alike.",
    },
    "pad_shortcut": {
        "dx": "y[n, oh, ow, before + c] is x[n, oh * stride, ow * stride, c]. All other numbers of y are 0 "
        "whatever x is."
    },
    "basic_block": {
        "dx": f"x goes two ways: into the first convolution, and into the sum. {_LAST}",
        "dweight1": _LAST,
        "dgamma1": _LAST,
        "dbeta1": _LAST,
        "dweight2": "Between it and y lie the second batch norm, the sum and the last ReLU, and nothing else.",
        "dgamma2": "Between it and y lie the sum and the last ReLU, and nothing else: make it right first.",
        "dbeta2": "Between it and y lie the sum and the last ReLU, and nothing else: make it right first.",
    },
    "shard_mean": {
        "dx": "An image is in one shard, and moves that one's loss_s. Let loss_s grow by 0.1: by how much does loss "
        "grow?",
        "dweight": "weight moves the loss_s of every shard. Let one grow by 0.1: by how much does loss grow? And where "
        "several of them move?",
    },
    "broadcast": {
        "dweight": "weight[o, c] is y[s, o, c] for every s. Write the terms in a row, and below every two of them "
        "their sum; below an odd one itself. Do the same with that row, until one number is left.",
    },
    "batch_norm_of_shards": {
        "dx": "A pixel of shard s moves the mean and the variance of s, and so what comes out for the images of s. "
        "What comes out for the others stays as it is.",
        "dweight": "weight[c] multiplies the normalised x at every pixel of every image of every shard, so dweight[c] "
        "is a sum over these.",
        "dbias": "bias[c] is added at every pixel of every image of every shard, so dbias[c] is a sum over these.",
    },
    "group_norm": {
        "dx": "As in batch norm x reaches y three ways: directly, through mean and through var, which are now those of "
        "a group. What comes back to the normalised x is weight * dy, and weight differs from channel to channel of a "
        "group: does it go into the means, or stand before them?",
        **_PIXELS,
    },
    "preact_block": {
        "dx": f"x goes two ways: into the first batch norm, and into the sum, after which nothing comes. {_LAST}",
        "dgamma1": _LAST,
        "dbeta1": _LAST,
        "dweight1": _LAST,
        "dgamma2": "Between it and y lie ReLU, the second convolution and the sum: make dweight2 right first.",
        "dbeta2": "Between it and y lie ReLU, the second convolution and the sum: make dweight2 right first.",
        "dweight2": "Between it and y lies the sum, and nothing else: make it right first.",
    },
    "dense_block": {
        "dx": "x stands in y as it is, and goes into each of the three layers: four ways. Go back layer by layer, and "
        "add to what came through the concatenation what this layer asks for.",
        "dweight1": "x1 stands in y as it is, and goes into the second and the third layer: its gradient is a sum of "
        "three, and must be complete before it goes back through the first convolution.",
        "dweight2": "x2 stands in y as it is, and goes into the third layer: its gradient is a sum of two.",
        "dweight3": "x3 stands in y and nowhere else: its gradient is the last part of dy. Make it right first.",
    },
    "squeeze_excitation": {
        "dx": f"x goes two ways: it is multiplied by the gate, and the gate is made of its means. {_LAST}",
        "dweight1": _LAST,
        "dbias1": _LAST,
        "dweight2": "gate[n, c] multiplies x[n, h, w, c] at every pixel: what is dgate[n, c]? Make dbias2 right first.",
        "dbias2": "Between it and y lie the sigmoid and the product with x. gate[n, c] multiplies x[n, h, w, c] at "
        "every pixel: what is dgate[n, c]?",
    },
}


_NUMBERS, _WINDOWS = Case("N=1 C=3", "short"), Case("N=1 H=2 W=4 C=1 K=2 OH=1 OW=2", "short")
_NORM = Case("N=4 H=1 W=1 C=1", "short")

SMALL = {  # arrays so small that one can do them by hand
    "relu": _NUMBERS,
    "sigmoid": _NUMBERS,
    "tanh": _NUMBERS,
    "silu": _NUMBERS,
    "add": _NUMBERS,
    "linear": Case("N=2 C=3 O=1", "short"),
    "mse_loss": _NUMBERS,
    "softmax": Case("N=1 classes=3", "short"),
    "cross_entropy": Case("N=2 classes=3", "short"),
    "dropout": Case("N=1 C=4", "short", p=0.5, rng=1),
    "concat": Case("N=1 C1=2 C2=1", "short"),
    "global_avg_pool2d": Case("N=1 H=2 W=2 C=1", "short"),
    "avg_pool2d": _WINDOWS,
    "max_pool2d": _WINDOWS,
    "adaptive_avg_pool2d": Case("N=1 H=3 W=1 C=1 OH=2 OW=1", "short"),
    "im2col": Case("N=1 H=3 W=3 C=1 K=2 OH=2 OW=2", "short", stride=1, padding=0),
    "conv2d": Case("N=1 H=3 W=3 C=1 O=1 K=2 OH=2 OW=2", "short", stride=1, padding=0),
    "grouped_conv2d": Case("N=1 H=2 W=2 C=1 K=2 OH=1 OW=1 channels=2 outputs=2 G=2 O=1", "short", groups=2, padding=0),
    "batch_norm_inference": _NORM,
    "batch_norm": _NORM,
    "batch_norm_relu": _NORM,
    "pad_shortcut": Case("N=1 H=3 W=3 C=1 OH=2 OW=2 out_channels=3", "short", stride=2),
    "basic_block": Case("N=1 H=2 W=2 C=1 3=3", "short"),
    "shard_mean": Case("N=3 C=1 classes=2 S=2", "short", shards=(2, 1)),
    "broadcast": Case("S=5 O=1 C=1", "short"),
    "group_norm": Case("N=1 H=1 W=2 C=2 G=1", "short"),
    "preact_block": Case("N=1 H=2 W=2 C=1 3=3", "short"),
    "dense_block": Case("N=1 H=1 W=2 C=1 G=1 C+G=2 C+2G=3 3=3", "short"),
    "squeeze_excitation": Case("N=1 H=1 W=2 C=2 S=1", "short"),
    "batch_norm_of_shards": Case("N=5 H=1 W=1 C=1 S=2", "short", shards=(2, 3)),
}


def further(exercise: Exercise, wrong: Sequence[str], run: Any) -> list[Text]:
    """The lines of the second hint.

    wrong: names of the gradients it is about.   run: the reader's pass at SMALL's case, or None where it cannot be.
    """
    hints: dict[str, list[str]] = {}
    for name in wrong:
        hints.setdefault(DEPENDENCE[exercise.name][name], []).append(name)
    lines = [Text("One hint further.")]
    lines += [Text("  {names}: {hint}", names=", ".join(names), hint=Text(hint)) for hint, names in hints.items()]
    return [*lines, *(_small_case(wrong, run) if run else [])]


def _small_case(wrong, run):
    digits = 17 if run.exercise.exact else 4
    given = [*run.inputs.items(), ("y", run.y), (run.exercise.upstream, run.dy)]
    yield Text("  A small case: {arrays}", arrays="; ".join(f"{name} = {_text(value)}" for name, value in given))
    try:
        yours = dict(zip(run.exercise.gradients, run.gradients(), strict=True))
    except Finding:
        yours = {}
    for name in wrong:
        right = _text(run.expected()[name], digits)
        if name in yours:
            given = _text(yours[name], digits)
            yield Text("  {name}: right is {right}, yours {given}", name=name, right=right, given=given)
        else:
            yield Text("  {name}: right is {right}", name=name, right=right)


def _text(value, digits=4):
    """An array as lists of numbers of so many digits, axes of length 1 left out."""
    if np.asarray(value).dtype.kind in "iub":
        return str(np.squeeze(value).tolist())
    try:
        rounded = [float(f"{number:.{digits}g}") + 0.0 for number in np.ravel(np.asarray(value, np.float64))]
    except (TypeError, ValueError):
        return Text("no array of numbers")
    return str(np.reshape(rounded, np.squeeze(value).shape).tolist())
