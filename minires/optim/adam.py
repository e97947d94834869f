"""Adam, and AdamW with its decay beside the gradient."""

from minires.backend import array_module, empty
from minires.optim.formulas import penalised
from minires.optim.optimizer import Optimizer, Params


class Adam(Optimizer):
    """Adam: steps as long as lr in the direction of the mean gradient, element by element.

        m <- beta1 * m + (1 - beta1) * g             m is "exp_avg"
        v <- beta2 * v + (1 - beta2) * g^2           v is "exp_avg_sq"
        w <- w - lr * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)

    Source: Kingma & Ba 2015, Adam: a method for stochastic optimization, algorithm 1.
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        l1: float = 0.0,
        decay_bias_and_norm: bool = True,
    ) -> None:
        penalties = {"weight_decay": weight_decay, "l1": l1, "decay_bias_and_norm": decay_bias_and_norm}
        super().__init__(params, lr, betas=betas, eps=eps, **penalties)

    def _state_names(self, **_):
        return ("exp_avg", "exp_avg_sq")

    def _update(self, w, g, t, lr, betas, eps, weight_decay, l1, exp_avg, exp_avg_sq, **_):
        g = penalised(w, g, weight_decay, l1)
        return self._adam(w, g, t, lr, betas, eps, exp_avg, exp_avg_sq)

    @staticmethod
    def _adam(w, g, t, lr, betas, eps, exp_avg, exp_avg_sq):
        beta1, beta2 = betas
        exp_avg *= beta1
        exp_avg += (1 - beta1) * g
        exp_avg_sq *= beta2
        exp_avg_sq += (1 - beta2) * g * g
        xp = array_module(w)
        denominator = xp.sqrt(exp_avg_sq, out=empty(w.shape, like=w))
        denominator /= (1 - beta2**t) ** 0.5
        denominator += eps
        y = empty(w.shape, like=w)
        xp.multiply(exp_avg, lr / (1 - beta1**t), out=y)
        xp.divide(y, denominator, out=y)
        return xp.subtract(w, y, out=y)


class AdamW(Adam):
    """Adam with weight decay beside the gradient, not in it, where Adam would rescale it.

        w <- w - lr * weight_decay * w, then Adam's step

    l1 remains part of the gradient, as in the other optimizers.

    Source: Loshchilov & Hutter 2019, Decoupled weight decay regularization, algorithm 2, with
    lr in the decay as well, as in PyTorch.
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        *,
        l1: float = 0.0,
        decay_bias_and_norm: bool = True,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, l1=l1, decay_bias_and_norm=decay_bias_and_norm)

    def _update(self, w, g, t, lr, betas, eps, weight_decay, l1, exp_avg, exp_avg_sq, **_):
        g = penalised(w, g, 0.0, l1)
        w = w * (1 - lr * weight_decay)
        return self._adam(w, g, t, lr, betas, eps, exp_avg, exp_avg_sq)
