"""What in an image speaks for a class, asked of the backward pass: saliency, Grad-CAM, and whether to believe them.

x = normalize(images, mean, std)                 as the weights want it, (N, H, W, 3)
heat = grad_cam(model, x, labels)                (N, h, w)

All functions leave the model as it was, its gradients included, run it in inference mode, and return arrays on its
device. Derivations and what such maps do not show: docs/pictures.md.
"""

import copy
import itertools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from minires.backend import array_module, count_each, to_numpy
from minires.inspection.watching import watching
from minires.layers import AdaptiveAvgPool2d, Flatten, GlobalAvgPool2d
from minires.layers.checks import check_image
from minires.models.last_layer import extra_heads
from minires.modes import evaluating, gradients_kept, no_grad
from minires.module import Module
from minires.names import unknown
from minires.types import Array

Labels: TypeAlias = int | Sequence[int] | np.ndarray | None


def input_gradient(model: Module, x: Array, labels: Labels = None) -> tuple[Array, Array, np.ndarray]:
    """dx[n] = d logits[n, labels[n]] / d x[n].

    x (N, H, W, C), as the model wants it.   labels: N integers or one for all; None: each image's likeliest class.
    Returns (dx, logits, labels): dx as x, logits (N, classes), labels as a NumPy array (N,).
    Images do not mix in inference mode, so that one backward pass gives every image its own gradient.
    Raises ValueError for an x that is no batch of images, and for a label that is no class.
    """
    dx, logits, explained, _ = _watched_gradient(model, x, labels, ())
    return dx, logits, explained


def saliency(model: Module, x: Array, labels: Labels = None) -> Array:
    """s[n, h, w] = max over c of |d logits[n, labels[n]] / d x[n, h, w, c]|,  (N, H, W).

    How much the class's logit would change if a pixel were changed a little. Arguments and errors: `input_gradient`.
    Source: Simonyan, Vedaldi, Zisserman 2013, section 3.
    """
    return abs(input_gradient(model, x, labels)[0]).max(axis=-1)


def grad_cam(model: Module, x: Array, labels: Labels = None, layer: str | None = None) -> Array:
    """heat[n, h, w] = max(sum_k alpha[n, k] * A[n, h, w, k], 0),  alpha[n, k] = mean over h, w of dA[n, h, w, k]

    A (N, h, w, K): the maps that `layer` gives.   dA: the gradient of logits[n, labels[n]] there.
    layer: the path of a module, such as "layer2"; None: `last_maps(model)`.   The rest: `input_gradient`.
    Returns (N, h, w), at the resolution of the maps. Raises ValueError for an unknown layer, or one without maps.
    Source: Selvaraju et al. 2017, section 3.
    """
    layer = last_maps(model) if layer is None else _known(model, layer)
    *_, call = _watched_gradient(model, x, labels, (layer,))
    maps, dmaps = call.y, call.dy
    if not hasattr(maps, "ndim") or maps.ndim != 4:
        raise ValueError(f"layer {layer!r} gives no maps (N, H, W, C): name one before the pooling, or leave it out")
    alpha = dmaps.mean(axis=(1, 2), keepdims=True)  # (N, 1, 1, K)
    return array_module(maps).maximum((alpha * maps).sum(axis=-1), 0)


def feature_maps(model: Module, x: Array, layer: str | None = None) -> Array:
    """What `layer` gives for x: (N, h, w, K).   layer: the path of a module; None: `last_maps(model)`."""
    check_image("feature_maps", x)
    layer = last_maps(model) if layer is None else _known(model, layer)
    with evaluating(model), watching(model, (layer,)) as calls:
        model(x)
    return calls[-1].y


def last_maps(model: Module) -> str:
    """The name of the module that gives the last maps: what stands before the global pooling or the flattening.

    Raises ValueError for a model that has neither among its own modules.
    """
    children = [(name, child) for name, child in model.children() if name not in extra_heads(model)]
    for (name, _), (_, following) in itertools.pairwise(children):
        if isinstance(following, (GlobalAvgPool2d, AdaptiveAvgPool2d, Flatten)):
            return name
    raise ValueError(f"{type(model).__name__} has no GlobalAvgPool2d or Flatten after its maps: name the layer")


def _watched_gradient(model, x, labels, names):
    """(dx, logits, labels, last call of the module in `names`, or None) for the gradient of each image's logit."""
    check_image("input_gradient", x)
    with evaluating(model), gradients_kept(model), watching(model, names) as calls:
        logits, backward = model(x)
        if getattr(logits, "ndim", None) != 2:
            raise ValueError(f"{type(model).__name__} gives no logits (N, classes): build it with its last layer")
        labels = to_numpy(logits.argmax(axis=1)) if labels is None else _checked(labels, logits.shape)
        dlogits = array_module(logits).zeros_like(logits)
        for n, label in enumerate(labels.tolist()):
            dlogits[n, label] = 1  # d logits[n, label] / d logits
        dx = backward(dlogits)
    return dx, logits, labels, calls[-1] if calls else None


def _checked(labels, shape):
    N, classes = shape
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu" or labels.shape not in ((), (N,)):
        raise ValueError(
            f"labels of {labels.dtype} and shape {labels.shape}: give {N} integers, or one for all {N} images"
        )
    if labels.size and not (labels.min() >= 0 and labels.max() < classes):
        raise ValueError(f"labels from {labels.min()} to {labels.max()}: the model has classes 0 to {classes - 1}")
    return np.broadcast_to(labels, (N,)).copy()


def _known(model, layer):
    names = [name for name, _ in model.named_modules() if name]
    if layer not in names:
        raise ValueError(unknown("layer", layer, names))
    return layer


# Whether to believe a map -------------------------------------------------------------------------------------------


def randomisation_check(
    method: Callable[[Module, Array, Any], Array],
    model: Module,
    random_model: Module,
    x: Array,
    labels: Labels = None,
) -> list[tuple[str | None, Array, np.ndarray]]:
    """How alike the maps stay when a model's layers are made random, the last first, one after another.

    method: `saliency`, `grad_cam` or another function (model, x, labels) -> maps.   random_model: of the model's
    shapes and not trained; layer by layer its state takes the place of the model's.   labels: as in `input_gradient`;
    None: what the whole model finds likeliest, at every stage.
    Returns [(name of the layer replaced last, maps, correlations (N,) with the whole model's)], the first of them
    (None, maps, ones). A method whose maps stay as they are does not show what the model has learned.
    Source: Adebayo et al. 2018, "cascading randomization", with the rank correlation of absolute values.
    """
    if labels is None:
        with evaluating(model), no_grad():
            labels = to_numpy(model(x)[0].argmax(axis=1))
    mixed, random_state = copy.deepcopy(model), random_model.state_dict()
    original = method(mixed, x, labels)
    stages: list[tuple[str | None, Array, np.ndarray]] = [(None, original, np.ones(len(x)))]
    names = [name for name, module in model.children() if module.parameters()]
    for name in reversed(names):
        state = mixed.state_dict()
        mixed.load_state_dict({k: random_state[k] if k.startswith(f"{name}.") else v for k, v in state.items()})
        maps = method(mixed, x, labels)
        stages.append((name, maps, rank_correlation(maps, original)))
    return stages


def rank_correlation(a: Array, b: Array) -> np.ndarray:
    """Spearman's correlation of |a[n]| and |b[n]| for each n: that of their numbers' ranks, equals sharing theirs.

    a, b: arrays of one shape (N, ...). Returns a NumPy array (N,); 0 where all numbers of one are equal.
    """
    return np.array([_correlation(_ranks(p), _ranks(q)) for p, q in zip(to_numpy(a), to_numpy(b), strict=True)])


def _ranks(values):
    _, place, counts = np.unique(np.abs(values), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)  # equals take the places last - counts + 1 .. last; each gets their mean
    return (last - (counts - 1) / 2)[place.ravel()]


def _correlation(a, b):
    a, b = a - a.mean(), b - b.mean()
    norm = np.sqrt((a @ a) * (b @ b))
    return a @ b / norm if norm > 0 else 0.0


# What it gets wrong -------------------------------------------------------------------------------------------------


def confusion_matrix(
    labels: Sequence[int] | np.ndarray, predicted: Sequence[int] | np.ndarray, num_classes: int
) -> np.ndarray:
    """counts[i, j] = how many images of class i were taken for class j.   labels, predicted: integers (N,)."""
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    if labels.shape != predicted.shape:
        raise ValueError(f"{labels.shape} labels, {predicted.shape} predictions: there must be one for each image")
    for name, values in (("labels", labels), ("predicted", predicted)):
        if values.size and not (values.min() >= 0 and values.max() < num_classes):
            raise ValueError(f"{name} from {values.min()} to {values.max()}: expected 0 to {num_classes - 1}")
    return count_each(labels * num_classes + predicted, num_classes**2).reshape(num_classes, num_classes)


def confident_mistakes(probabilities: np.ndarray, labels: Sequence[int] | np.ndarray, count: int) -> np.ndarray:
    """The numbers of the images that are wrong with the highest probability, at most `count`, the surest first.

    probabilities (N, classes), as softmax gives them; labels (N,).
    """
    predicted = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    return wrong[np.argsort(-probabilities[wrong, predicted[wrong]], kind="stable")[:count]]
