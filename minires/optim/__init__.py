"""Optimizers: what a step does with the gradients. Names, defaults and formulas are PyTorch's.

In every formula w is a parameter's array, g its gradient, t the number of steps this parameter has taken, the
present one included. Both penalties come first, and mean the same in each optimizer:

    g <- g + weight_decay * w + l1 * sign(w)

(AdamW and LAMB alone keep weight_decay out of g.) Arrays of state start at zero and have the shape, dtype and device
of w.
Derivations: docs/optim.md.
"""

from minires.optim.adam import Adam, AdamW
from minires.optim.clip import clip_grad_norm_, clip_to_norm
from minires.optim.lamb import LAMB
from minires.optim.lars import LARS
from minires.optim.optimizer import Optimizer
from minires.optim.rmsprop import RMSprop
from minires.optim.sgd import SGD

__all__ = ["LAMB", "LARS", "SGD", "Adam", "AdamW", "Optimizer", "RMSprop", "clip_grad_norm_", "clip_to_norm"]
