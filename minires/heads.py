"""The loss of a network that has several heads, of which all but the first are there to help it learn."""

from collections.abc import Sequence
from typing import Any

from minires.backend import widened
from minires.losses import cross_entropy
from minires.types import Array, Backward, Operation


def loss_of_heads(
    y: Array | tuple[Array, ...],
    labels: Array,
    head_weights: Sequence[float] = (1.0,),
    of_logits: Operation = cross_entropy,
    **options: Any,
) -> tuple[Array, Backward]:
    """loss = sum over k of  head_weights[k] * of_logits(y[k], labels, **options)

    y: what a network gave: logits (N, classes), or a tuple of such, of which the first are its answer; those of halves
    count as float32.   head_weights: of a tuple's items; a model's attribute of this name says them, such as
    GoogLeNet's 1, 0.3 and 0.3.   of_logits: the loss of one head.
    Returns loss, and backward(dloss=1) -> dy, in the form and dtypes of y. Raises ValueError where there is not one
    weight for each item, and as of_logits does.
    Source: Szegedy et al. 2015, section 5.
    """
    heads, weights = (y, head_weights) if isinstance(y, tuple) else ((y,), (1.0,))
    if len(heads) != len(weights):
        raise ValueError(
            f"loss_of_heads: the model gives {len(heads)} outputs, its head_weights are {tuple(weights)}: give it "
            "an attribute head_weights with a number for each, or train one that gives logits alone"
        )
    terms = [of_logits(logits.astype(widened(logits.dtype), copy=False), labels, **options) for logits in heads]
    loss, *others = [term if weight == 1 else weight * term for weight, (term, _) in zip(weights, terms, strict=True)]
    for term in others:
        loss = loss + term

    def backward(dloss=1):
        dheads = []
        for logits, weight, (_, term_backward) in zip(heads, weights, terms, strict=True):
            dlogits = term_backward(dloss if weight == 1 else weight * dloss)
            dheads.append(dlogits.astype(logits.dtype, copy=False))
        return tuple(dheads) if isinstance(y, tuple) else dheads[0]

    return loss, backward
