"""Filters taken out of residual blocks, the least by a score, until so much work is left.

Derivation: docs/compression.md.
"""

import copy
from collections.abc import Sequence

import numpy as np

from minires.backend import to_numpy
from minires.inspection.summary import multiply_adds
from minires.layers import BatchNorm2d
from minires.models.narrow import inner_channels, keep_channels
from minires.module import Module

CRITERIA = ("l1", "gamma")
HALVINGS = 16  # of the share that is taken out: finer than a channel


def filter_scores(model: Module, criterion: str = "l1") -> list[np.ndarray]:
    """For each place of `inner_channels` a score of each channel: the least are taken out first.

    "l1": sum |w| of the filter that makes it (Li et al. 2017, section 3.1).
    "gamma": |gamma| of its batch norm (Liu et al. 2017, section 3).
    Raises ValueError for another criterion, and as `inner_channels` does.
    """
    if criterion not in CRITERIA:
        raise ValueError(f"filter_scores: unknown criterion {criterion!r}: choose one of {', '.join(CRITERIA)}")
    modules, scores = dict(model.named_modules()), []
    for convolution, norm, _ in inner_channels(model):
        if not isinstance(modules[norm], BatchNorm2d):
            raise ValueError(f"{norm} is no batch norm, it was folded away: prune the network before it is folded")
        weights = modules[convolution if criterion == "l1" else norm].weight.data  # type: ignore[attr-defined]
        scores.append(np.abs(to_numpy(weights).astype(np.float64)).reshape(len(weights), -1).sum(axis=1))
    return scores


def prune_filters(
    model: Module,
    keep_macs: float,
    input_shape: tuple[int, int, int] = (32, 32, 3),
    criterion: str = "l1",
    stages: Sequence[float] | None = None,
    multiple: int = 4,
) -> tuple[Module, list[np.ndarray]]:
    """(pruned, kept): a copy of `model` whose blocks have fewer inner channels, and the numbers of those that stay.

    keep_macs: the share of the multiply-adds, for an image of this shape (H, W, C), that is left at most.
    stages: for each stage how large the share taken from its blocks is, relative to the others'; None: alike.
    multiple: widths are rounded to multiples of it, and never to none.
    Raises ValueError for a share outside (0, 1) or below what is left at the narrowest, for another number of stages,
    and as `filter_scores` does.
    """
    if not 0 < keep_macs < 1:
        raise ValueError(f"keep_macs must be above 0 and below 1, got {keep_macs}: 0.5 halves the multiply-adds")
    if multiple < 1:
        raise ValueError(f"multiple must be at least 1, got {multiple}")
    scores, relative = filter_scores(model, criterion), _relative_shares(model, stages)
    work = multiply_adds(model, input_shape)

    def kept_of(share):
        return [_highest(score, 1 - share * r, multiple) for score, r in zip(scores, relative, strict=True)]

    def left(share):
        return _left(work, inner_channels(model), scores, kept_of(share))

    low, high = 0.0, 1 / min(r for r in relative if r > 0)
    if left(high) > keep_macs:
        raise ValueError(f"keep_macs {keep_macs}: {left(high):.3f} is the least that can be left: give more than that")
    for _ in range(HALVINGS):
        share = (low + high) / 2
        low, high = (low, share) if left(share) <= keep_macs else (share, high)
    kept = kept_of(high)
    return keep_channels(copy.deepcopy(model), kept), kept


def _left(work, places, scores, kept):
    """The share of the multiply-adds {layer: number} that is left with these channels: a filter less is a filter's work
    less, and a channel less for who reads it.
    """
    left = dict(work)
    for (convolution, _, reader), score, channels in zip(places, scores, kept, strict=True):
        left[convolution] *= len(channels) / len(score)
        left[reader] *= len(channels) / len(score)
    return sum(left.values()) / sum(work.values())


def _relative_shares(model, stages):
    """For each place the number of its stage, the largest being 1."""
    names = [convolution.partition(".")[0] for convolution, _, _ in inner_channels(model)]
    known = list(dict.fromkeys(names))
    stages = [1.0] * len(known) if stages is None else list(stages)
    if len(stages) != len(known) or min(stages) < 0 or not 0 < max(stages) < np.inf:
        raise ValueError(
            f"stages: {stages} for the {len(known)} stages {', '.join(known)}: give a number from 0 up for each"
        )
    return [stages[known.index(name)] / max(stages) for name in names]


def _highest(score, share, multiple):
    """The numbers, in their order, of about this share of the channels, those of the highest score."""
    count = multiple * round(max(share, 0) * len(score) / multiple)
    count = min(max(count, min(multiple, len(score))), len(score))
    return np.sort(np.argsort(-score, kind="stable")[:count])
