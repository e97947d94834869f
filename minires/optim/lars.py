"""Layer-wise adaptive rate scaling: SGD for large batches."""

from minires.optim.formulas import layer_ratio, length, moved, penalised
from minires.optim.optimizer import Optimizer, Params


class LARS(Optimizer):
    """SGD with momentum in which each array takes steps as long as a share of its own length.

        ratio = trust_coefficient * |w| / (|g| + weight_decay * |w|)
        b <- momentum * b + ratio * (g + weight_decay * w)              b is "momentum_buffer"
        w <- w - lr * b

    |.| is the norm of an array as one long vector. ratio is 1 for arrays of fewer than two dimensions (biases, batch
    norm's scale and shift), as is usual since Goyal et al., and where |w| or |g| is 0. l1 is part of g.

    Source: You et al. 2017, Large batch training of convolutional networks, algorithm 1, with lr outside b, as in SGD.
    """

    counts_steps = False

    def __init__(
        self,
        params: Params,
        lr: float,
        momentum: float = 0.9,
        *,
        weight_decay: float = 0.0,
        trust_coefficient: float = 1e-3,
        l1: float = 0.0,
        decay_bias_and_norm: bool = True,
    ) -> None:
        penalties = {"weight_decay": weight_decay, "l1": l1, "decay_bias_and_norm": decay_bias_and_norm}
        super().__init__(params, lr, momentum=momentum, trust_coefficient=trust_coefficient, **penalties)

    def _state_names(self, momentum, **_):
        return ("momentum_buffer",) if momentum else ()

    def _step_together(self, parameters, t, options, where):
        for parameter in parameters:
            (w, g), _ = self._arrays_of(parameter, options)
            ratio = self._ratio(w, g, **options)
            super()._step_together([parameter], t, {**options, "ratio": ratio}, where)

    def _ratio(self, w, g, trust_coefficient, weight_decay, l1, **_):
        if w.ndim < 2:
            return 1.0
        of_w, of_g = length(w), length(penalised(w, g, 0.0, l1))
        return layer_ratio(w, trust_coefficient * of_w, of_g, weight_decay * of_w)

    def _update(self, w, g, lr, momentum, weight_decay, l1, ratio, momentum_buffer=None, **_):
        g = penalised(w, g, weight_decay, l1) * ratio
        if momentum:
            momentum_buffer *= momentum
            momentum_buffer += g
            g = momentum_buffer
        return moved(w, lr, g)
