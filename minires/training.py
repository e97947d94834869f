"""Training, in the open: one step, and what a model is worth. A whole run is `minires.trainer`."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from minires.backend import count_each, count_largest, device_of, to_numpy, widened
from minires.heads import loss_of_heads
from minires.losses import cross_entropy
from minires.models.fold import fold
from minires.modes import evaluating, no_grad
from minires.module import Module
from minires.optim import Optimizer, clip_to_norm
from minires.precision import GradScaler, unscale, use_tf32
from minires.ranks.alone import ALONE, Ranks
from minires.sequential import call
from minires.types import Array, Operation

Criterion: TypeAlias = Callable[[Array], Operation]  # x -> loss(logits, labels, **options of cross_entropy)


class DivergenceError(ValueError):
    """The loss, or a parameter, is no longer a finite number."""


class Interrupted(Exception):
    """Training was asked to stop; what had been done so far is saved."""


@dataclass(frozen=True)
class Evaluation:
    """Mean loss and share of right answers on a set, and for each class how many were right, of how many."""

    loss: float
    accuracy: float
    class_correct: tuple[int, ...]
    class_total: tuple[int, ...]

    @property
    def class_accuracy(self) -> list[float]:
        """Share of right answers for each class; NaN for a class without images."""
        pairs = zip(self.class_correct, self.class_total, strict=True)
        return [correct / total if total else float("nan") for correct, total in pairs]

    @property
    def balanced_accuracy(self) -> float:
        """Mean of the accuracies of the classes that have images: what guessing the commonest class cannot raise."""
        return float(np.nanmean(self.class_accuracy))


def train_step(
    model: Module,
    optimizer: Optimizer,
    x: Array,
    labels: Array,
    label_smoothing: float = 0.0,
    class_weights: Array | None = None,
    dtype: DTypeLike | None = None,
    scaler: GradScaler | None = None,
    clip_norm: float | None = None,
    criterion: Criterion | None = None,
) -> tuple[Array, Array]:
    """One step: forward, loss, backward, update. Returns the mean loss and the number of right answers, as arrays.

    A model whose forward has a parameter `lean` is told that its backward pass will be called once, and that dx is not
    wanted. One that gives a tuple, the logits of several heads, says by its attribute `head_weights` how much each
    counts in the loss; the first are its answer.
    labels: what cross_entropy takes; of soft ones the likeliest class counts as the right answer.
    class_weights: its weight.   dtype: None, or float16 or bfloat16, for what flows through the model; its parameters,
    their gradients, the loss and the update stay float32.   scaler: of the loss, which float16 needs.
    clip_norm: None, or what the gradients' common norm is at most when the update gets them.
    criterion: None, or x -> the loss of that batch, in place of `cross_entropy` and called as that is; a
    `minires.task.Task` also says what counts as right, and labels are what it takes.
    """
    scale = None if scaler is None else scaler.to(device_of(x)).scale
    found = loss_and_gradients(model, x, labels, label_smoothing, class_weights, dtype, scale, criterion)
    update(optimizer, scaler, clip_norm)
    return found


def update(optimizer: Optimizer, scaler: GradScaler | None = None, clip_norm: float | None = None) -> None:
    """The end of `train_step`, once the gradients are there, divided by the scaler's scale already."""
    if clip_norm is not None:
        clip_to_norm(optimizer.parameters, clip_norm)
    optimizer.step() if scaler is None else scaler.step(optimizer)


def loss_and_gradients(
    model: Module,
    x: Array,
    labels: Array,
    label_smoothing: float = 0.0,
    class_weights: Array | None = None,
    dtype: DTypeLike | None = None,
    scale: Array | None = None,
    criterion: Criterion | None = None,
) -> tuple[Array, Array]:
    """What `train_step` does before the update: the parameters' gradients are left in them, and it returns the same.

    scale: None, or an array () by which all gradients are multiplied on their way through the model.
    """
    of_logits = cross_entropy if criterion is None else criterion(x)
    model.zero_grad()
    y, model_backward = call(model, x if dtype is None else x.astype(dtype), lean=True)
    head_weights = getattr(model, "head_weights", (1.0,))
    options = {"label_smoothing": label_smoothing, "weight": class_weights}
    loss, loss_backward = loss_of_heads(y, labels, head_weights, of_logits, **options)
    if scale is None:
        model_backward(loss_backward())
    else:
        with np.errstate(over="ignore", invalid="ignore"):  # a scale that is too large is found in the gradients
            model_backward(loss_backward(scale))
            unscale(model.parameters(), scale)
    return loss, getattr(criterion, "count_right", _count_right)(y, labels)


def _count_right(y, labels):
    logits = y[0] if isinstance(y, tuple) else y
    right = labels if labels.ndim == 1 else labels.argmax(axis=1)
    return count_largest(logits.astype(widened(logits.dtype), copy=False), right)


def evaluate(
    model: Module,
    loader: Any,
    num_classes: int,
    should_stop: Callable[[], bool] = lambda: False,
    look: Callable[[Array, Array, Array], Any] = lambda x, logits, labels: None,
    take: Callable[[Any], Any] = lambda seen: None,
    ranks: Ranks = ALONE,
) -> Evaluation:
    """An Evaluation of `model` in inference mode on all batches of `loader`; leaves the model as it was.

    look(x, logits, labels) is called with every batch, take(what it returned) afterwards, in the batches' order.
    ranks: share the batches, rank r of W taking r, r + W, ...; all get all results, and the same bits as one alone.
    Raises Interrupted when should_stop() says so, on any rank.
    """
    own, stops = [], False
    share = loader.epoch(0) if ranks.size == 1 else loader.epoch(0, min(ranks.rank, len(loader)), ranks.size)
    with evaluating(model), no_grad():
        folded = use_tf32(fold(model), False)  # a result is one of float32, however the model was trained
        for x, labels in share:
            if stops := should_stop():
                break
            logits, _ = folded(x)
            loss, _ = cross_entropy(logits, labels)
            right, seen = to_numpy(logits.argmax(axis=1) == labels), look(x, logits, labels)
            own.append((float(loss), to_numpy(labels), right, seen))
    everybody = ranks.gather((stops, own))
    if any(stops for stops, _ in everybody):
        raise Interrupted
    loss_sum, correct, total = 0.0, np.zeros(num_classes, np.int64), np.zeros(num_classes, np.int64)
    for of_one_each in itertools.zip_longest(*(found for _, found in everybody)):
        for loss, labels, right, seen in filter(None, of_one_each):
            loss_sum += loss * len(labels)
            total += count_each(labels, num_classes)
            correct += count_each(labels[right], num_classes)
            take(seen)
    images = int(total.sum())
    return Evaluation(loss_sum / images, int(correct.sum()) / images, tuple(correct.tolist()), tuple(total.tolist()))
