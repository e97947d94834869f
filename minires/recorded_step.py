"""`train_step`, of which a GPU is given all launches but the optimizer's at once.

Handing a step's launches over one by one takes Python several times as long as a GPU needs to do them
(docs/backends.md, "The GPU"), and they are the same in every step: same kernels, same places in memory.
"""

from typing import Any

from numpy.typing import DTypeLike

from minires.backend import DeviceError, device_of, gains_from_recording, out_of_memory, places, recorded
from minires.module import Module
from minires.optim import Optimizer
from minires.precision import GradScaler
from minires.training import Criterion, loss_and_gradients, update
from minires.types import Array


class RecordedStep:
    """`train_step(model, optimizer, x, labels, label_smoothing, ...)`, called with x and labels; the rest is as there.

    The results are the same to the last bit. On a GPU, the second of two calls alike (the shapes of x and labels, what
    is frozen, the modes, the places of the buffers) is recorded, and repeated from then on; other calls in between,
    such as an epoch's last and smaller batch, are plain steps. On a CPU all are. No gradients are left behind.

    What a model does on the host must not change from step to step: Modules that draw random numbers there, such as
    Dropout, are found, and then nothing is recorded. whynot: None, or the reason why steps are not recorded.
    """

    def __init__(
        self,
        model: Module,
        optimizer: Optimizer,
        label_smoothing: float = 0.0,
        class_weights: Array | None = None,
        dtype: DTypeLike | None = None,
        scaler: GradScaler | None = None,
        clip_norm: float | None = None,
        criterion: Criterion | None = None,
    ) -> None:
        self.model, self.optimizer, self.scaler, self.clip_norm = model, optimizer, scaler, clip_norm
        self._options: dict[str, Any] = {
            "label_smoothing": label_smoothing,
            "class_weights": class_weights,
            "dtype": dtype,
            "criterion": criterion,
        }
        draws = [path for path, module in model.named_modules() if hasattr(module, "rng")]
        self.whynot: str | None = f"its {draws[0]} draws random numbers on the host" if draws else None
        self._before: Any = None  # what the last call was like
        self._alike: Any = None  # what the recorded one was like
        self._repeat: Any = None

    def __call__(self, x: Array, labels: Array) -> tuple[Array, Array]:
        """One step. Returns the mean loss and the number of right answers, as arrays."""
        found = self.gradients(x, labels)
        update(self.optimizer, self.scaler, self.clip_norm)
        self.model.zero_grad()
        return found

    def gradients(self, x: Array, labels: Array) -> tuple[Array, Array]:
        """A step without the update: gradients are left in the parameters, where the next call writes over them."""
        parameters = self.model.parameters()
        alike = self._kind_of(x, labels, parameters) if gains_from_recording(x) and not self.whynot else None
        if alike is not None and alike == self._before != self._alike:
            self._record(x, labels, parameters, alike)
        self._before = alike
        if alike is None or alike != self._alike:
            scale = None if self.scaler is None else self.scaler.to(device_of(x)).scale
            return loss_and_gradients(self.model, x, labels, scale=scale, **self._options)
        loss, right, *gradients = self._repeat(*self._given(x, labels, parameters))
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        for parameter, gradient in zip(trained, gradients, strict=True):
            parameter.grad = gradient
        return loss.copy(), right.copy()

    def _given(self, x, labels, parameters):
        """What a recorded step is given."""
        scale = [] if self.scaler is None else [self.scaler.to(device_of(x)).scale]
        return [x, labels, *(parameter.data for parameter in parameters), *scale]

    def _kind_of(self, x, labels, parameters):
        """All that a recording depends on, other than the numbers in arrays that it is given."""
        buffers = places(self.model.buffers())
        modules = self.model.modules()
        modes = [(module.training, module.segment, getattr(module, "tf32", False)) for module in modules]
        trained = [(parameter.shape, parameter.requires_grad) for parameter in parameters]
        return x.shape, x.dtype.char, labels.shape, labels.dtype.char, buffers, modes, trained

    def _record(self, x, labels, parameters, alike):
        def step(x, labels, *rest):
            kept, weights = [parameter.data for parameter in parameters], rest[: len(parameters)]
            scale = None if self.scaler is None else rest[-1]
            for parameter, weight in zip(parameters, weights, strict=True):
                parameter.data = weight
            try:
                loss, right = loss_and_gradients(self.model, x, labels, scale=scale, **self._options)
                return [loss, right, *(parameter.grad for parameter in parameters if parameter.requires_grad)]
            finally:
                self.model.zero_grad()
                for parameter, data in zip(parameters, kept, strict=True):
                    parameter.data = data

        refusals: tuple[type[Exception], ...] = (DeviceError, *out_of_memory())
        self._repeat = self._alike = None  # its memory is free before the next is recorded
        try:
            self._repeat = recorded(step, self._given(x, labels, parameters))
            self._alike = alike
        except refusals as error:
            self.whynot = str(error)
