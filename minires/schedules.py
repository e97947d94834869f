"""Learning rates as functions of the iteration: lr = schedule(iteration), iterations counted from 0.

A schedule keeps nothing but its constants, so a resumed run needs the iteration only. Past its end a schedule
holds its last value. A training loop says, before each step,

    optimizer.lr = schedule(iteration)

To step by epoch, as papers do, multiply epochs by the number of iterations in one. Names and formulas are PyTorch's,
from `torch.optim.lr_scheduler`. A picture of all: docs/optim.md.
"""

import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass

from minires.optim.options import plain


def _check(schedule, name, low, high=math.inf):
    """ValueError unless low <= schedule.name <= high, and finite. Keeps it as a number of Python's."""
    value = plain(getattr(schedule, name))
    object.__setattr__(schedule, name, value)
    if not (low <= value <= high and math.isfinite(value)):  # so that NaN fails, too
        limit = f"at least {low} and finite" if high == math.inf else f"between {low} and {high}"
        raise ValueError(f"{type(schedule).__name__}: {name} is {value}, must be {limit}")


def _cosine(start, end, fraction):
    """Half a cosine from start, at fraction 0, to end, at fraction 1: flat at both."""
    return end + (start - end) * (1 + math.cos(math.pi * fraction)) / 2


@dataclass(frozen=True)
class ConstantLR:
    """lr, always. Raises ValueError for a negative lr."""

    lr: float

    def __post_init__(self):
        _check(self, "lr", 0)

    def __call__(self, iteration: int) -> float:
        return self.lr


@dataclass(frozen=True)
class StepLR:
    """A factor gamma every step_size iterations.

        lr * gamma^floor(iteration / step_size)

    Raises ValueError for lr or gamma below 0, step_size below 1.
    """

    lr: float
    step_size: int
    gamma: float = 0.1

    def __post_init__(self):
        _check(self, "lr", 0)
        _check(self, "step_size", 1)
        _check(self, "gamma", 0)

    def __call__(self, iteration: int) -> float:
        return self.lr * self.gamma ** (iteration // self.step_size)


@dataclass(frozen=True)
class MultiStepLR:
    """A factor gamma at each milestone.

        lr * gamma^(number of milestones <= iteration)

    Raises ValueError for lr or gamma below 0, milestones that do not ascend.

    Source: He et al. 2016, Deep residual learning, section 4.2: on CIFAR-10 lr 0.1, milestones 32000 and 48000.
    """

    lr: float
    milestones: tuple[int, ...]
    gamma: float = 0.1

    def __post_init__(self):
        _check(self, "lr", 0)
        _check(self, "gamma", 0)
        object.__setattr__(
            self, "milestones", plain(tuple(self.milestones))
        )  # a list would leave the instance unhashable
        if list(self.milestones) != sorted(self.milestones):
            raise ValueError(f"MultiStepLR: milestones are {self.milestones}, must ascend: sort them")

    def __call__(self, iteration: int) -> float:
        return self.lr * self.gamma ** bisect_right(self.milestones, iteration)


@dataclass(frozen=True)
class CosineAnnealingLR:
    """Half a cosine from lr, at iteration 0, to min_lr, at iteration total_steps (PyTorch's T_max) and after.

        min_lr + (lr - min_lr) * (1 + cos(pi * iteration / total_steps)) / 2

    Raises ValueError for lr below 0, min_lr outside 0 to lr, total_steps below 1.

    Source: Loshchilov & Hutter 2017, SGDR: stochastic gradient descent with warm restarts, equation 5, one period.
    """

    lr: float
    total_steps: int
    min_lr: float = 0.0

    def __post_init__(self):
        _check(self, "lr", 0)
        _check(self, "total_steps", 1)
        _check(self, "min_lr", 0, self.lr)

    def __call__(self, iteration: int) -> float:
        return _cosine(self.lr, self.min_lr, min(iteration, self.total_steps) / self.total_steps)


@dataclass(frozen=True)
class CosineAnnealingWarmRestarts:
    """Half a cosine from lr to min_lr, again and again: cycle i has first_steps * factor^i iterations.

        min_lr + (lr - min_lr) * (1 + cos(pi * t / T)) / 2    at iteration t, from 0, of a cycle of T iterations

    first_steps and factor are PyTorch's T_0 and T_mult. A cycle's last iteration has the rate one step before min_lr;
    the next is at lr again. There is no end. Raises ValueError for lr below 0, min_lr outside 0 to lr, first_steps or
    factor below 1, and a factor that is no whole number.

    Source: Loshchilov & Hutter 2017, SGDR, equation 5; with factor 1 Huang et al. 2017, Snapshot ensembles, equation 2.
    """

    lr: float
    first_steps: int
    factor: int = 1
    min_lr: float = 0.0

    def __post_init__(self):
        _check(self, "lr", 0)
        _check(self, "first_steps", 1)
        _check(self, "factor", 1)
        _check(self, "min_lr", 0, self.lr)
        if self.factor != int(self.factor):
            raise ValueError(f"CosineAnnealingWarmRestarts: factor is {self.factor}, must be a whole number")

    def __call__(self, iteration: int) -> float:
        steps = self.first_steps
        if self.factor == 1:
            iteration %= steps
        while iteration >= steps:
            iteration, steps = iteration - steps, steps * self.factor
        return _cosine(self.lr, self.min_lr, iteration / steps)


@dataclass(frozen=True)
class OneCycleLR:
    """Up to max_lr on half a cosine, then down on another, to far below the start.

        from  max_lr / div_factor                      at iteration 0
        to    max_lr                                   at iteration peak = pct_start * total_steps - 1
        to    max_lr / div_factor / final_div_factor   at iteration total_steps - 1 and after

    The learning rate only; the paper moves momentum the other way. Raises ValueError for max_lr below 0,
    total_steps below 1, pct_start outside 0 to 1, a factor below 1.

    Source: Smith & Topin 2018, Super-convergence: very fast training of neural networks using large learning
    rates, section 3; the cosine and the defaults are PyTorch's.
    """

    max_lr: float
    total_steps: int
    pct_start: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4

    def __post_init__(self):
        _check(self, "max_lr", 0)
        _check(self, "total_steps", 1)
        _check(self, "pct_start", 0, 1)
        _check(self, "div_factor", 1)
        _check(self, "final_div_factor", 1)

    def __call__(self, iteration: int) -> float:
        start = self.max_lr / self.div_factor
        peak, last = self.pct_start * self.total_steps - 1, self.total_steps - 1
        iteration = min(iteration, last)
        if iteration <= peak and peak > 0:
            return _cosine(start, self.max_lr, iteration / peak)
        if last == peak:  # a single step that is the peak
            return self.max_lr
        return _cosine(self.max_lr, start / self.final_div_factor, (iteration - peak) / (last - peak))


@dataclass(frozen=True)
class LinearWarmup:
    """Another schedule with its first iterations turned down, from start_factor up to 1.

        schedule(iteration) * (start_factor + (1 - start_factor) * min(1, iteration / steps))

    The other schedule is not shifted: its iteration counts from the start of training, warm-up included, so its
    milestones and total_steps stay as they are. Over a constant stretch the ramp is a straight line.

    Raises TypeError for a schedule that cannot be called, ValueError for steps below 1, start_factor outside 0 to 1.

    Source: Goyal et al. 2017, Accurate, large minibatch SGD: training ImageNet in 1 hour, section 2.2 (gradual
    warm-up); start_factor is PyTorch's `LinearLR`.
    """

    schedule: Callable[[int], float]
    steps: int
    start_factor: float = 1 / 3

    def __post_init__(self):
        if not callable(self.schedule):
            kind = type(self.schedule).__name__
            raise TypeError(f"LinearWarmup: schedule is a {kind}, must be callable: ConstantLR({self.schedule!r})?")
        _check(self, "steps", 1)
        _check(self, "start_factor", 0, 1)

    def __call__(self, iteration: int) -> float:
        if iteration >= self.steps:
            return self.schedule(iteration)
        return self.schedule(iteration) * (self.start_factor + (1 - self.start_factor) * iteration / self.steps)
