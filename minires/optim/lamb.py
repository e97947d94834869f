"""Layer-wise adaptive moments: Adam for large batches."""

from minires.backend import array_module, elementwise_each
from minires.optim.formulas import layer_ratio, length, moved, penalised
from minires.optim.optimizer import Optimizer, Params


class LAMB(Optimizer):
    """Adam in which each array takes steps as long as lr times its own length.

        m <- beta1 * m + (1 - beta1) * g             m is "exp_avg"
        v <- beta2 * v + (1 - beta2) * g^2           v is "exp_avg_sq"
        u  = (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps) + weight_decay * w
        w <- w - lr * |w| / |u| * u

    |.| is the norm of an array as one long vector. Arrays of fewer than two dimensions take the step -lr * u, and so
    does one where |w| or |u| is 0. l1 is part of g.

    Source: You et al. 2020, Large batch optimization for deep learning: training BERT in 76 minutes, algorithm 2, with
    phi(z) = z.
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        *,
        l1: float = 0.0,
        decay_bias_and_norm: bool = True,
    ) -> None:
        penalties = {"weight_decay": weight_decay, "l1": l1, "decay_bias_and_norm": decay_bias_and_norm}
        super().__init__(params, lr, betas=betas, eps=eps, **penalties)

    def _state_names(self, **_):
        return ("exp_avg", "exp_avg_sq")

    def _step_together(self, parameters, t, options, where):  # where: None, since steps are counted
        sets = [self._arrays_of(parameter, options) for parameter in parameters]
        directions = elementwise_each(self._direction, sets, t=t, **options)
        for parameter, u in zip(parameters, directions, strict=True):
            w = parameter.data
            ratio = 1.0 if w.ndim < 2 else layer_ratio(w, length(w), length(u))
            (parameter.data,) = elementwise_each(self._move, [((w, u), {})], ratio=ratio, lr=options["lr"])
            self.state[parameter]["step"] = t

    def _direction(self, w, g, t, betas, eps, weight_decay, l1, exp_avg, exp_avg_sq, **_):
        """u, before it is given its length."""
        g, (beta1, beta2) = penalised(w, g, 0.0, l1), betas
        exp_avg *= beta1
        exp_avg += (1 - beta1) * g
        exp_avg_sq *= beta2
        exp_avg_sq += (1 - beta2) * g * g
        denominator = array_module(w).sqrt(exp_avg_sq / (1 - beta2**t)) + eps
        return penalised(w, exp_avg / (1 - beta1**t) / denominator, weight_decay, 0.0)

    @staticmethod
    def _move(w, u, ratio, lr):
        return moved(w, lr, ratio * u)
