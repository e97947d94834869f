"""Training with weights that are zero and stay zero, more of them as training goes on.

Derivation: docs/compression.md.
"""

from collections.abc import Callable, Iterable
from typing import Any

from minires.backend import device_of, to_device
from minires.compression.magnitude import check_sparsity, magnitude_prune
from minires.optim import SGD
from minires.optim.optimizer import Params
from minires.parameter import Parameter
from minires.types import Array


def gradual_sparsity(final: float, steps: int, initial: float = 0.0, begin: int = 0) -> Callable[[int], float]:
    """t -> s_t = final + (initial - final) * (1 - (t - begin) / steps)^3, from step `begin` on for `steps` steps.

    initial before, final afterwards. Raises ValueError for a sparsity outside [0, 1) and for no steps.
    Source: Zhu and Gupta 2017, equation 1, its n pruning steps of Delta t steps each being `steps` together.
    """
    check_sparsity(final)
    check_sparsity(initial)
    if steps < 1:
        raise ValueError(f"gradual_sparsity: steps must be at least 1, got {steps}")
    return lambda t: final + (initial - final) * (1 - min(max((t - begin) / steps, 0.0), 1.0)) ** 3


class PruningSGD(SGD):
    """SGD of which weights that are zero stay zero: those of `pruned`, a list of Parameters among `params`.

        m = [w != 0]        the mask: the zeros themselves
        g <- m * g          the gradient of L(m * v) with respect to v
        b <- m * b          what momentum remembers of weights pruned since

    and then SGD's step, which leaves w = 0 where g, b and w are. There is no state beside SGD's: a run that goes on
    from a checkpoint finds its mask in the weights.
    sparsity: None, or t -> a share; before every `every`-th step t, from 0 on, `magnitude_prune` raises that of the
    weights to it, in this scope.
    Source: Han et al. 2015, section 3; Zhu and Gupta 2017, section 3.
    """

    def __init__(
        self,
        params: Params,
        lr: float,
        momentum: float = 0.0,
        *,
        pruned: Iterable[Parameter],
        sparsity: Callable[[int], float] | None = None,
        every: int = 100,
        scope: str = "global",
        **options: Any,
    ) -> None:
        super().__init__(params, lr, momentum, **options)
        self.pruned, self.sparsity, self.every, self.scope = list(pruned), sparsity, every, scope
        if every < 1:
            raise ValueError(f"{self.kind}: every must be at least 1, got {every}")
        if strangers := set(self.pruned) - set(self.parameters):
            raise ValueError(
                f"{self.kind}: {len(strangers)} of `pruned` are not among its parameters: give those it trains"
            )

    def step(self, where: Array | None = None) -> None:
        t = self.state[self.pruned[0]]["step"] if self.pruned and self.pruned[0] in self.state else 0
        if self.sparsity is not None and t % self.every == 0:
            magnitude_prune(self.pruned, self.sparsity(t), self.scope)
        for weight in self.pruned:
            mask, state = weight.data != 0, self.state.get(weight, {})
            if weight.grad is not None:
                weight.grad = weight.grad * mask
            if "momentum_buffer" in state:
                state["momentum_buffer"] = to_device(state["momentum_buffer"], device_of(mask)) * mask
        super().step(where)
