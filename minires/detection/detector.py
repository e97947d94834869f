"""A detector: a backbone, two further stages, a pyramid over them, and one head for all levels.

Derivation: docs/detection.md.
"""

from typing import Any

import numpy as np

from minires import models
from minires.backend import array_module
from minires.detection.head import Head
from minires.detection.positions import STRIDES
from minires.detection.pyramid import FeaturePyramid
from minires.layers import BatchNormReLU2d, Conv2d, add
from minires.layers.checks import check_gradient
from minires.models.blocks import Identity
from minires.models.features import feature_maps
from minires.models.last_layer import replace_head
from minires.models.resnet import ResNet
from minires.models.staged import Staged
from minires.modes import no_grad
from minires.module import Module
from minires.sequential import Sequential
from minires.types import Array, Backward, Rng

CHANNELS = 64  # of the backbone's last map, of the further stages and of the pyramid


class Detector(Module):
    """y[n, m] = num_classes logits, and l, t, r, b in pixels, of position m: `positions` has their order.

    Input (N, H, W, 3), H and W multiples of 16, output (N, M, num_classes + 4).
    backbone: a ResNet for CIFAR, whose last map, C4, has a 4th of H and W; its fc is taken out. Two more stages, each a
    3x3 convolution of stride 2, batch norm and ReLU, make C5 and C6 of it. The pyramid makes P4 to P6 of C4 to C6, and
    the head, one for all, is called for each.
    """

    def __init__(self, backbone: Staged, num_classes: int, rng: Rng = None) -> None:
        rng = np.random.default_rng(rng)
        if not isinstance(backbone, ResNet):
            raise ValueError(f"Detector: the backbone is a {type(backbone).__name__}: give a ResNet for CIFAR")
        self.num_classes = num_classes
        self.backbone = backbone
        replace_head(backbone, Identity())
        backbone.return_features = True
        self.stage5, self.stage6 = (_stage(rng) for _ in range(2))
        self.pyramid = FeaturePyramid([CHANNELS] * len(STRIDES), CHANNELS, rng)
        self.head = Head(CHANNELS, num_classes, rng=rng)

    def forward(self, x: Array, lean: bool = False) -> tuple[Array, Backward]:
        """lean: a backbone of which nothing is trained keeps nothing and is not gone back through; dx is then None."""
        trained = not lean or any(parameter.requires_grad for parameter in self.backbone.parameters())
        C4, backbone_backward = self.last_map(x, trained)
        (C5, C6), stages_backward = feature_maps("Detector", [self.stage5, self.stage6], C4)
        levels, pyramid_backward = self.pyramid((C4, C5, C6))
        y, head_backward = self.every_level(levels)

        def backward(dy):
            dC4, dC5, dC6 = pyramid_backward(head_backward(dy))
            if not trained and not _trains(self.stage5, self.stage6):
                return None
            dC4, _ = add(dC4, stages_backward((dC5, dC6)))  # C4 was used twice: by the pyramid and by stage5
            return backbone_backward(dC4) if trained else None

        return y, backward

    def last_map(self, x: Array, trained: bool) -> tuple[Array, Backward]:
        """-> (C4, backward): of the backbone's maps the last."""
        if not trained:
            with no_grad():
                return self.backbone(x)[0][-1], lambda dC4: None
        maps, maps_backward = self.backbone(x)
        return maps[-1], lambda dC4: maps_backward((None,) * (len(maps) - 1) + (dC4,))

    def every_level(self, levels: tuple[Array, ...]) -> tuple[Array, Backward]:
        """-> (y, backward): the head called for each level, what it says in one array (N, M, num_classes + 4)."""
        said = [self.head(level, stride) for level, stride in zip(levels, STRIDES, strict=True)]
        xp = array_module(levels[0])
        y = xp.concatenate([of_level for of_level, _ in said], axis=1)
        ends = np.cumsum([of_level.shape[1] for of_level, _ in said]).tolist()
        shape, dtype = y.shape, y.dtype

        def backward(dy):
            check_gradient("Detector", dy, shape, dtype)
            parts = [xp.ascontiguousarray(dy[:, first:end]) for first, end in zip([0, *ends], ends, strict=False)]
            # each call adds its own gradients to the head's parameters
            return tuple(head_backward(part) for part, (_, head_backward) in zip(parts, said, strict=True))

        return y, backward


def build(name: str, num_classes: int, rng: Rng = None, **options: Any) -> Detector:
    """A Detector over the CIFAR ResNet of this name. Raises ValueError for another network.

    options: as in `models.build`.
    """
    rng = np.random.default_rng(rng)
    backbone: Any = models.build(name, rng=rng, **options)
    return Detector(backbone, num_classes, rng)


def _stage(rng):
    return Sequential(
        Conv2d(CHANNELS, CHANNELS, 3, stride=2, padding=1, bias=False, rng=rng), BatchNormReLU2d(CHANNELS)
    )


def _trains(*modules):
    return any(parameter.requires_grad for module in modules for parameter in module.parameters())
