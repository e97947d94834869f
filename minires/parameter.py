"""An array that is learned, and its gradient."""

from minires.backend import array_module, device_of, lies_well
from minires.types import Array


class Parameter:
    """An array that is learned, and its gradient.

    data: the values, a floating-point array. Nobody writes into it: closures of past forward passes hold it. To change
    the values, assign a new array, as optimizers do.
    grad: what backward passes have added up since `zero_grad`, or None; an array of its own, shared with nobody.
    requires_grad: False for one that is frozen, whose grad stays None, so that optimizers leave it as it is.
    Raises TypeError for data that is no floating-point array.
    """

    def __init__(self, data: Array) -> None:
        device_of(data)
        if data.dtype.kind != "f":
            raise TypeError(f"Parameter: data is of {data.dtype}, which has no gradients: use astype(np.float32)")
        self.data = data
        self.grad: Array | None = None
        self.requires_grad = True

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def size(self) -> int:
        return self.data.size

    def add_grad(self, gradient: Array, new: bool = False) -> None:
        """grad += gradient, unless frozen. A parameter used twice receives both gradients, as the sum rule says.

        The first is copied: it may be the very dy that a backward pass was given, which is its caller's. new: it is an
        array that nobody else has, and is kept as it is: on a CPU where it lies in memory as the parameter does, on a
        GPU however it lies, since there a copy of all gradients at once is quicker than one of each.
        Raises ValueError for a gradient of another shape or dtype, TypeError for what is no array.
        """
        xp, dtype = array_module(gradient, self.data), self.data.dtype
        if not self.requires_grad:
            return
        if gradient.shape != self.shape:
            raise ValueError(f"add_grad: gradient has shape {gradient.shape}, parameter {self.shape}: must be equal")
        if gradient.dtype != dtype:
            raise ValueError(f"add_grad: gradient is {gradient.dtype}, parameter {dtype}: use gradient.astype({dtype})")
        if self.grad is None:
            self.grad = gradient if new and lies_well(gradient) else xp.array(gradient, order="C")
        else:
            self.grad = self.grad + gradient

    def __repr__(self) -> str:
        return f"Parameter(shape={self.shape}, dtype={self.data.dtype}, device={device_of(self.data)})"
