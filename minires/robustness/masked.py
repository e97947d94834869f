"""Two defences that are none: networks whose gradients say nothing, while an attack that knows why goes through.

They are here to be caught by `check_gradients`. Page: docs/robustness.md.
"""

from minires.backend import array_module
from minires.module import Module
from minires.types import Array, Backward


class Quantised(Module):
    """x -> network(x in few shades), so that most small changes are rounded away.

    levels: shades from 0 to 255, the nearest of which each number becomes. The derivative is 0 wherever there is one,
    and that is what backward gives. straight_through: backward gives the network's own instead, as if nothing had been
    rounded, which is how it is attacked (BPDA: Athalye et al. 2018, section 4.1).
    """

    def __init__(self, network: Module, levels: int = 5, straight_through: bool = False) -> None:
        self.network, self.step, self.straight_through = network, 255 / (levels - 1), straight_through

    def forward(self, x: Array) -> tuple[Array, Backward]:
        logits, network_backward = self.network(self.step * array_module(x).rint(x / self.step))

        def backward(dlogits):
            dx = network_backward(dlogits)
            return dx if self.straight_through else 0 * dx

        return logits, backward


class Scaled(Module):
    """x -> factor * network(x): the same answers, so sure that softmax and with it the gradient are 1, 0 and nothing.

    `margin` as the attack's loss does not mind.
    """

    def __init__(self, network: Module, factor: float = 1e5) -> None:
        self.network, self.factor = network, factor

    def forward(self, x: Array) -> tuple[Array, Backward]:
        logits, network_backward = self.network(x)

        def backward(dlogits):
            return network_backward(self.factor * dlogits)

        return self.factor * logits, backward
