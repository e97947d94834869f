"""The loss of a network that has several heads, of which all but the first are there to help it learn."""

from collections.abc import Sequence
from typing import Any

from minires.losses import cross_entropy
from minires.types import Array, Backward


def loss_of_heads(
    heads: Sequence[Array], labels: Array, head_weights: Sequence[float] = (1.0,), **options: Any
) -> tuple[Array, Backward]:
    """loss = sum over k of  head_weights[k] * cross_entropy(heads[k], labels, **options)

    heads: logits (N, classes) each; the first are the network's answer.   head_weights: a model's attribute of this
    name says them, such as GoogLeNet's 1, 0.3 and 0.3; those of a model without it are (1.0,).
    Returns loss, and backward(dloss=1) -> a tuple of the gradients of the heads. Raises ValueError where there is not
    one weight for each head, and as `cross_entropy` does.
    Source: Szegedy et al. 2015, section 5.
    """
    if len(heads) != len(head_weights):
        raise ValueError(
            f"loss_of_heads: the model gives {len(heads)} outputs, its head_weights are {tuple(head_weights)}: give it "
            "an attribute head_weights with a number for each, or train one that gives logits alone"
        )
    terms = [cross_entropy(logits, labels, **options) for logits in heads]
    loss, *others = [
        term if weight == 1 else weight * term for weight, (term, _) in zip(head_weights, terms, strict=True)
    ]
    for term in others:
        loss = loss + term

    def backward(dloss=1):
        pairs = zip(head_weights, terms, strict=True)
        return tuple(term_backward(dloss if weight == 1 else weight * dloss) for weight, (_, term_backward) in pairs)

    return loss, backward
