"""A fully convolutional network: a classifier at each pixel of each stage, whose scores are added up.

Derivation: docs/segmentation.md.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from minires import models
from minires.backend import array_module
from minires.layers import Conv2d, add, upsample_bilinear2d
from minires.layers.checks import check_image
from minires.models.blocks import Identity
from minires.models.last_layer import replace_head
from minires.models.staged import Staged
from minires.modes import evaluating, no_grad
from minires.module import Module
from minires.sequential import Sequential
from minires.types import Array, Backward, Rng


class FCN(Module):
    """s_last = score_last(C_last),   s_k = score_k(C_k) + up(s_{k+1}),   logits = up(s_1)

    Input x (N, H, W, 3), output logits (N, H, W, num_classes).
    C_1 .. C_last: what the backbone's stages give. score_k: a convolution 1x1 to num_classes channels, a linear
    classifier at each pixel. up: bilinear upsampling to the size of C_k, at the end to that of x; none where the size
    is the same. backward(dlogits) -> dx.
    backbone: a network with stages, whose last layer is taken out.   channels: of its maps; of the last ones alone,
    the others have no score.
    Source: Long, Shelhamer, Darrell 2015, section 4.2 and figure 3.
    """

    head_name = "score"

    def __init__(self, backbone: Staged, num_classes: int, channels: Sequence[int], rng: Rng = None) -> None:
        rng = np.random.default_rng(rng)
        self.backbone = backbone
        replace_head(backbone, Identity())
        backbone.return_features = True
        self.score = Sequential(*(Conv2d(C, num_classes, 1, rng=rng) for C in channels))

    def forward(self, x: Array, lean: bool = False) -> tuple[Array, Backward]:
        """lean: a backbone of which nothing is trained keeps nothing and is not gone back through; dx is then None."""
        check_image("FCN", x)
        maps, backbone_backward = self.maps(x, lean)
        s: Any = None
        steps: list[tuple[Backward | None, Backward]] = []  # the deepest first
        for C, score in zip(reversed(maps), reversed([*self.score]), strict=False):
            up_backward = None
            if s is not None:
                s, up_backward = resized(s, C)
            own, score_backward = score(C)
            s = own if s is None else add(own, s)[0]
            steps.append((up_backward, score_backward))
        logits, to_image_backward = resized(s, x)

        def backward(dlogits):
            ds, dmaps = to_image_backward(dlogits), []
            for up_backward, score_backward in reversed(steps):
                dmaps.append(score_backward(ds))  # the sum hands ds to both that it was made of
                ds = None if up_backward is None else up_backward(ds)
            unused = (None,) * (len(maps) - len(dmaps))
            return backbone_backward((*unused, *dmaps))  # which adds what each map gets here and from the next stage

        return logits, backward

    def maps(self, x: Array, lean: bool) -> tuple[tuple[Array, ...], Backward]:
        """-> ((C_1, ...), backward) of the backbone."""
        if lean and not any(parameter.requires_grad for parameter in self.backbone.parameters()):
            with no_grad():
                return self.backbone(x)[0], lambda dmaps: None
        return self.backbone(x)


def resized(s: Array, like: Array) -> tuple[Array, Backward]:
    """-> (y, backward): s (N, h, w, K) upsampled to the H and W of `like`; s itself where it has these already."""
    size = like.shape[1:3]
    return (s, lambda ds: ds) if s.shape[1:3] == size else upsample_bilinear2d(s, size)


def build(
    name: str,
    num_classes: int,
    rng: Rng = None,
    backbone: Staged | None = None,
    skips: bool = True,
    **options: Any,
) -> FCN:
    """An FCN on the network of this name.

    backbone: given, it is not built.   skips: whether all stages have scores, or the last alone.   options: as in
    `models.build`.
    Raises ValueError for a network without stages of maps.
    """
    rng = np.random.default_rng(rng)
    body: Any = models.build(name, 10, rng=rng, **options) if backbone is None else backbone
    if not isinstance(body, Staged):
        raise ValueError(f"segmentation needs a network with stages of maps, and {name} has none: give a resnet")
    channels = channels_of(body)
    return FCN(body, num_classes, channels if skips else channels[-1:], rng)


def channels_of(backbone: Staged) -> list[int]:
    """How many channels each of its maps has, found by a small image."""
    weight = backbone.parameters()[0].data
    x = array_module(weight).zeros((1, 64, 64, 3), weight.dtype)
    before, backbone.return_features = backbone.return_features, True
    with evaluating(backbone), no_grad():
        maps, _ = backbone(x)
    backbone.return_features = before
    return [C.shape[3] for C in maps]
