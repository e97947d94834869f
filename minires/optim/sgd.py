"""Stochastic gradient descent."""

from minires.optim.formulas import moved, penalised
from minires.optim.optimizer import Optimizer, Params


class SGD(Optimizer):
    """Stochastic gradient descent with momentum.

        b <- momentum * b + g                        b is "momentum_buffer"
        w <- w - lr * b                              plain momentum
        w <- w - lr * (g + momentum * b)             nesterov

    Without momentum w <- w - lr * g. Raises ValueError for nesterov without momentum.

    Source: Sutskever et al. 2013, On the importance of initialization and momentum in deep learning, section 2,
    in PyTorch's form (lr outside b); momentum 0.9 and weight_decay 1e-4 are those of He et al. 2016, section 3.4.
    """

    counts_steps = False

    def __init__(
        self,
        params: Params,
        lr: float,
        momentum: float = 0.0,
        *,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        l1: float = 0.0,
        decay_bias_and_norm: bool = True,
    ) -> None:
        penalties = {"weight_decay": weight_decay, "l1": l1, "decay_bias_and_norm": decay_bias_and_norm}
        super().__init__(params, lr, momentum=momentum, nesterov=nesterov, **penalties)

    def _check(self, options):
        super()._check(options)
        if options.get("nesterov") and options["momentum"] == 0:
            raise ValueError(f"{self.kind}: momentum is 0, nesterov needs more: give momentum=0.9, or nesterov=False")

    def _state_names(self, momentum, **_):
        return ("momentum_buffer",) if momentum else ()

    def _update(self, w, g, lr, momentum, nesterov, weight_decay, l1, momentum_buffer=None, **_):
        g = penalised(w, g, weight_decay, l1)
        if momentum:
            momentum_buffer *= momentum
            momentum_buffer += g
            g = g + momentum * momentum_buffer if nesterov else momentum_buffer
        return moved(w, lr, g)
