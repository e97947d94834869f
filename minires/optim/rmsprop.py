"""The gradient divided by a running root mean square of itself."""

from minires.backend import array_module
from minires.optim.formulas import moved, penalised
from minires.optim.optimizer import Optimizer, Params


class RMSprop(Optimizer):
    """The gradient divided by a running root mean square of itself, element by element.

        v <- alpha * v + (1 - alpha) * g^2           v is "square_avg"
        a <- alpha * a + (1 - alpha) * g             a is "grad_avg", for centered only; 0 otherwise
        u  = g / (sqrt(v - a^2) + eps)
        b <- momentum * b + u                        b is "momentum_buffer", for momentum > 0; u otherwise
        w <- w - lr * b

    v - a^2 is a variance; where rounding takes it below 0, it counts as 0.

    Source: Tieleman & Hinton 2012, Coursera lecture 6.5; centered: Graves 2013, Generating sequences with
    recurrent neural networks, equations 38-41, with eps outside the root as in PyTorch.
    """

    counts_steps = False

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        l1: float = 0.0,
        decay_bias_and_norm: bool = True,
    ) -> None:
        penalties = {"weight_decay": weight_decay, "l1": l1, "decay_bias_and_norm": decay_bias_and_norm}
        super().__init__(params, lr, alpha=alpha, eps=eps, momentum=momentum, centered=centered, **penalties)

    def _state_names(self, momentum, centered, **_):
        names = {"square_avg": True, "grad_avg": centered, "momentum_buffer": momentum > 0}
        return tuple(name for name, needed in names.items() if needed)

    def _update(self, w, g, lr, alpha, eps, momentum, centered, weight_decay, l1, square_avg, **rest):
        xp = array_module(w)
        g = penalised(w, g, weight_decay, l1)
        square_avg *= alpha
        square_avg += (1 - alpha) * g * g
        mean_square = square_avg
        if centered:
            grad_avg = rest["grad_avg"]
            grad_avg *= alpha
            grad_avg += (1 - alpha) * g
            mean_square = xp.maximum(square_avg - grad_avg * grad_avg, 0)
        u = g / (xp.sqrt(mean_square) + eps)
        if momentum:
            momentum_buffer = rest["momentum_buffer"]
            momentum_buffer *= momentum
            momentum_buffer += u
            u = momentum_buffer
        return moved(w, lr, u)
