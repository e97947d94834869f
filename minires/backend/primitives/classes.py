"""Rows of logits, one for each item: the mean cost of their softmax, its gradient, and how many are right."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from minires.backend.arrays import array_module
from minires.backend.gpu import classes as gpu
from minires.types import Array


class Rows(NamedTuple):
    """What the gradient of `mean_cost` is made from, all (N, classes) or (N, 1); N what the mean is over."""

    exponentials: Array
    total: Array
    t: Array
    N: Array | int


def mean_cost(
    cost: Callable[..., Array],
    target: Callable[..., Array],
    logits: Array,
    labels: Array,
    kept: Array | None,
    weight: Array | None,
    ignore_index: int,
    **named: Any,
) -> tuple[Array, Any]:
    """sum of cost(t, shifted, log_total) / N, and what `mean_cost_gradient` needs.

    shifted = logits - their largest, log_total = log sum_c exp(shifted), so that log softmax = shifted - log_total.
    t = target(one_hot, kept, weight, **named). Both functions are element-wise, as `elementwise` has it.
    logits (N, classes); labels: integers (N,), or in the place of one_hot an array (N, classes); kept (N,): which items
    count, None for all; weight (classes,) or None. N: the number of items that count; of integer labels with a weight,
    the sum of theirs. On a GPU nobody looks at the labels beforehand: kept is made there, of labels != ignore_index,
    and the one-hot row of a label that is out of range is NaN.
    """
    if array_module(logits) is not np:
        found = gpu.mean_cost(cost, target, logits, labels, weight, ignore_index, named)
        if found is not NotImplemented:
            return found
    return _mean_cost(cost, target, logits, labels, kept, weight, ignore_index, **named)


def _mean_cost(cost, target, logits, labels, kept, weight, ignore_index, **named):
    xp = array_module(logits)
    if labels.ndim == 1:
        labels = labels.astype(np.int64, copy=False)
        kept = kept if xp is np else labels != ignore_index
    one_hot = labels.astype(logits.dtype) if labels.ndim == 2 else _one_hot(xp, labels, kept, logits)
    t = target(one_hot, None if kept is None else kept[:, None], weight, **named)
    N = _count(xp, labels, kept, weight, logits)
    shifted = logits - logits.max(axis=1, keepdims=True)
    exponentials = xp.exp(shifted)
    total = exponentials.sum(axis=1, keepdims=True)
    loss = cost(t, shifted, xp.log(total)).sum() / N
    return loss, Rows(exponentials, total, t, N)


def mean_cost_gradient(derivative: Callable[..., Array], rows: Any, dloss: Any) -> Array:
    """derivative(softmax, t, sum of t over the classes, dloss / N), element-wise, in the logits' dtype.

    rows: what `mean_cost` returned.   dloss: a number, or an array () on the logits' device.
    """
    if not isinstance(rows, Rows):
        return gpu.mean_cost_gradient(derivative, rows, dloss)
    exponentials, total, t, N = rows
    return derivative(exponentials / total, t, t.sum(axis=1, keepdims=True), dloss / N).astype(exponentials.dtype)


def _one_hot(xp, labels, kept, logits):
    classes = logits.shape[1]
    t = (labels[:, None] == xp.arange(classes)).astype(logits.dtype)
    if xp is np:
        return t  # labels have been looked at
    others = xp.where(kept, labels, 0)
    return xp.where(((others >= 0) & (others < classes))[:, None], t, xp.nan)


def _count(xp, labels, kept, weight, logits):
    if weight is None or labels.ndim == 2:
        return len(logits) if kept is None else kept.sum().astype(logits.dtype)
    if kept is None:
        return weight[labels].sum()
    return xp.where(kept, weight[xp.where(kept, labels, 0)], 0).sum()


def count_largest(logits: Array, labels: Array) -> Array:
    """For how many rows of logits (N, classes) the largest, the first of equals, is at labels (N,): an integer, ()."""
    if array_module(logits, labels) is not np:
        found = gpu.count_largest(logits, labels)
        if found is not NotImplemented:
            return found
    return (logits.argmax(axis=1) == labels).sum()


def count_each(numbers: np.ndarray, kinds: int) -> np.ndarray:
    """(kinds,): how often each number from 0 to kinds - 1 stands in an array on the CPU, of integers of any size.

    NumPy's bincount does it for those of the size of an address: in a browser an int64 is larger.
    """
    return np.bincount(numbers.reshape(-1).astype(np.intp, copy=False), minlength=kinds)
