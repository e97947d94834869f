"""Losses: `loss, backward = cross_entropy(logits, labels)`; `backward()` gives dlogits of the mean loss.

Derivation: docs/losses.md, docs/distillation.md, docs/detection.md,
docs/segmentation.md.
"""

from minires.losses.cross_entropy import cross_entropy
from minires.losses.distillation import distillation
from minires.losses.focal_loss import sigmoid_focal_loss
from minires.losses.giou_loss import giou_loss
from minires.losses.mse_loss import mse_loss
from minires.losses.pixel_cross_entropy import pixel_cross_entropy

__all__ = ["cross_entropy", "distillation", "giou_loss", "mse_loss", "pixel_cross_entropy", "sigmoid_focal_loss"]
