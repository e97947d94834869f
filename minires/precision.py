"""How exactly a network computes: in float32, with products in TF32, or with activations of 16 bits.

Derivation and measured errors: docs/precision.md.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from minires.backend import all_finite, array_module, device_of, elementwise, elementwise_each, half, to_device
from minires.module import Module, Parameter
from minires.optim import Optimizer
from minires.types import Array

PRECISIONS = ("float32", "tf32", "float16", "bfloat16")
LEAST_SCALE = 2.0**-24  # of a loss: 40 halvings from where it begins


def activations(precision: str) -> np.dtype | None:
    """The dtype that images, activations and their gradients are kept in; None: as they come.

    Raises ValueError for a name that is none of PRECISIONS, and for bfloat16 where ml_dtypes is not installed.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision {precision!r}: choose one of {', '.join(PRECISIONS)}")
    return half(precision) if precision.endswith("16") else None


def use_tf32(model: Module, tf32: bool = True) -> Module:
    """Have every convolution and linear layer of a model round factors of its products to TF32; returns the model."""
    for module in model.modules():
        if hasattr(module, "tf32"):
            module.tf32 = tf32
    return model


def options_for(model: Module, precision: str) -> dict[str, Any]:
    """The `dtype` and `scaler` for `train_step` in this precision; whether it is tf32, the model's layers are told.

    Raises ValueError as `activations` does.
    """
    dtype = activations(precision)
    use_tf32(model, precision == "tf32")
    return {"dtype": dtype, "scaler": GradScaler() if precision == "float16" else None}


def unscale(parameters: Iterable[Parameter], scale: Array) -> None:
    """Divide all gradients by scale, an array (): on a GPU in one launch."""
    scaled = [parameter for parameter in parameters if parameter.grad is not None]
    gradients: list[Any] = [((parameter.grad,), {}) for parameter in scaled]
    for parameter, gradient in zip(scaled, elementwise_each(_divided, gradients, scale=scale), strict=True):
        parameter.grad = gradient


class GradScaler:
    """Dynamic loss scaling: the gradients of a loss times `scale`, so that float16 can hold the small ones.

    scale <- scale * backoff_factor where a gradient is infinite or NaN, and that step is not taken;
    scale <- scale * growth_factor after growth_interval steps in a row that were.

    scale and the count of those steps are arrays (), on the device of the gradients: nobody waits for them. scale stops
    where float32 does; where it has fallen below LEAST_SCALE, `check` raises, which a Trainer asks before each save.
    Unlike PyTorch's, its step expects gradients that are divided by scale already, as `loss_and_gradients` leaves them.
    Raises ValueError for numbers that cannot work.
    Source: Micikevicius et al. 2018, section 3.2; the numbers are PyTorch's.
    """

    def __init__(
        self,
        init_scale: float = 65536.0,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
    ) -> None:
        numbers = (init_scale, growth_factor, backoff_factor, growth_interval)
        if not (
            all(isinstance(number, (int, float, np.number)) and np.isfinite(number) for number in numbers)
            and _is_scale(init_scale)
            and growth_factor > 1 > backoff_factor > 0
            and growth_interval >= 1
        ):
            raise ValueError(
                f"GradScaler: init_scale {init_scale}, growth_factor {growth_factor}, backoff_factor {backoff_factor}, "
                f"growth_interval {growth_interval}: need an init_scale > 0 of float32, growth_factor > 1, "
                "0 < backoff_factor < 1, growth_interval >= 1"
            )
        self.scale: Array = np.asarray(np.float32(init_scale))
        self.taken: Array = np.asarray(np.float32(0))
        self._factors = {"growth": float(growth_factor), "backoff": float(backoff_factor)}
        self._interval = float(growth_interval)

    def to(self, device: str) -> "GradScaler":
        """Move its two numbers to "cpu" or "gpu"; returns self."""
        self.scale, self.taken = to_device(self.scale, device), to_device(self.taken, device)
        return self

    def step(self, optimizer: Optimizer) -> None:
        """Have the optimizer take its step if all gradients, divided by scale already, are finite; move scale."""
        gradients: list[Any] = [p.grad for p in optimizer.parameters if p.grad is not None]
        if not gradients:
            return  # all parameters are frozen
        self.to(device_of(gradients[0]))
        finite = all_finite(gradients)
        optimizer.step(where=finite)
        numbers = {**self._factors, "interval": self._interval}
        with np.errstate(over="ignore"):  # of a scale that grows
            self.scale, self.taken = elementwise(_moved, self.scale, self.taken, finite, **numbers)

    def check(self) -> "GradScaler":
        """Raise ValueError where so many steps have not been taken that scale has come to nothing; returns self."""
        if float(self.scale) < LEAST_SCALE:
            raise ValueError(
                f"the loss scale has fallen to {float(self.scale):.2g}, below {LEAST_SCALE:.2g}: in step after step "
                "gradients are infinite or NaN, and nothing is learned; lower the learning rate, or use bfloat16"
            )
        return self

    def state_dict(self) -> dict[str, float]:
        """{"scale", "taken"}: what the next steps depend on. Waits for a GPU."""
        return {"scale": float(self.scale), "taken": float(self.taken)}

    def load_state_dict(self, state: dict[str, Any]) -> "GradScaler":
        """Take up a `state_dict`. Raises ValueError for one that is not of this kind; returns self."""
        fits = set(state) == {"scale", "taken"} and all(isinstance(n, (int, float, np.number)) for n in state.values())
        if not fits or not _is_scale(state["scale"]) or not 0 <= state["taken"] < np.inf:
            raise ValueError(f"state {state} does not fit GradScaler: load what GradScaler.state_dict() returned")
        device = device_of(self.scale)
        self.scale, self.taken = (np.asarray(np.float32(state[name])) for name in ("scale", "taken"))
        return self.to(device)


def _is_scale(number):
    """Whether float32 has a number for it that is neither 0 nor infinite."""
    with np.errstate(over="ignore", under="ignore"):
        return bool(0 < np.float32(number) < np.inf)


def _divided(gradient, scale):
    return gradient / scale


def _moved(scale, taken, finite, growth, backoff, interval):
    """(scale, steps taken in a row) after a step whose gradients were finite or not."""
    xp = array_module(scale)
    in_a_row = taken + 1
    grows, grown = in_a_row >= interval, scale * growth
    larger = xp.where(grown < np.inf, grown, scale)  # if nothing ever overflows, it ends where float32 does
    scale = xp.where(finite, xp.where(grows, larger, scale), scale * backoff)
    return scale, xp.where(finite, xp.where(grows, 0, in_a_row), 0)
