"""Losses: `loss, backward = cross_entropy(logits, labels)`; `backward()` gives dlogits of the mean loss.

Derivation: docs/losses.md.
"""

from minires.losses.cross_entropy import cross_entropy
from minires.losses.mse_loss import mse_loss

__all__ = ["cross_entropy", "mse_loss"]
