"""Losses: `loss, backward = cross_entropy(logits, labels)`; `backward()` gives dlogits of the mean loss.

Derivation: docs/losses.md, docs/distillation.md.
"""

from minires.losses.cross_entropy import cross_entropy
from minires.losses.distillation import distillation
from minires.losses.mse_loss import mse_loss

__all__ = ["cross_entropy", "distillation", "mse_loss"]
