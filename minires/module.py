"""Modules, which hold parameters: a thin layer over the pure functions in `minires.layers`.

A module is called as its function is, `y, backward = module(x)`; its `backward(dy)` adds the parameters' gradients
to `parameter.grad` and returns `dx`.
"""

from collections import deque
from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np

from minires.backend import array_module, device_of, is_device, to_device, to_numpy
from minires.modes import keeps_backward, no_backward
from minires.names import misfits
from minires.parameter import Parameter
from minires.types import Array, Backward

_Self = TypeVar("_Self", bound="Module")
_CONTAINERS = (dict, list, tuple, set, frozenset, deque)


class Module:
    """A function with parameters. Subclasses define `forward(x) -> (y, backward)`.

    Attributes that are Parameters or Modules are found by name; arrays that belong to the state but are not
    learned (batch norm's running statistics) are announced with `register_buffer`. Names are PyTorch's:
    `layer1.0.conv1.weight`.
    """

    training = True
    frozen = False
    segment: int | None = None  # of those that are computed a second time, as minires.recompute marks them

    def __call__(self, *inputs: Any, **options: Any) -> tuple[Any, Backward]:
        """-> (y, backward), with backward(dy) -> dx, which also fills `parameter.grad`; usually of one input x."""
        given, kept = self.forward(*inputs, **options), keeps_backward()
        if not (isinstance(given, tuple) and len(given) == 2 and (callable(given[1]) or not kept)):
            kind = f"a tuple of {len(given)}" if isinstance(given, tuple) else f"a {type(given).__name__} alone"
            raise TypeError(f"{type(self).__name__}: forward must return y and the function backward, and gave {kind}")
        y, backward = given
        return y, backward if kept else no_backward

    def forward(self, x: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define forward(x) -> (y, backward)")

    def __setattr__(self, name, value):
        if isinstance(value, np.ndarray) or (hasattr(value, "dtype") and hasattr(value, "shape")):
            _refuse_plain_array(self, name, value)
        object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        """The structure, a line for each module, as PyTorch prints it."""
        lines = [f"({name}): " + repr(child).replace("\n", "\n  ") for name, child in self.children()]
        inside = "\n  ".join(["", *lines]) + "\n" if lines else self.extra_repr()
        return f"{type(self).__name__}({inside})"

    def extra_repr(self) -> str:
        """What `print` shows between the brackets of a module without others inside; subclasses say more."""
        return ", ".join(f"{name}={value.shape}" for name, value in vars(self).items() if isinstance(value, Parameter))

    # What is inside -------------------------------------------------------------------------------------------

    def register_buffer(self, name: str, array: Array | None) -> None:
        """An array that is saved and moved with the module but not learned; None where there is none."""
        if array is not None:
            device_of(array)
        buffers = self.__dict__.setdefault("_buffers", [])
        if name not in buffers:
            buffers.append(name)
        setattr(self, name, array)

    def children(self) -> Iterator[tuple[str, "Module"]]:
        """(name, module) for each module directly inside this one, in order of definition."""
        for name, value in list(vars(self).items()):  # another thread may set an attribute meanwhile
            if isinstance(value, Module):
                yield name, value
            elif isinstance(value, _CONTAINERS) and _hides_modules(value):
                raise ValueError(
                    f"{type(self).__name__}.{name} is a {type(value).__name__} of modules, whose parameters would be "
                    "neither trained nor saved: wrap them in Sequential, or give each an attribute of its own"
                )

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, "Module"]]:
        """(path, module) for this module and all inside it."""
        yield prefix, self
        for name, child in self.children():
            yield from child.named_modules(f"{prefix}.{name}" if prefix else name)

    def modules(self) -> list["Module"]:
        """This module and all inside it."""
        return [module for _, module in self.named_modules()]

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """(path, Parameter) for every parameter, in order of definition; one with two names once, by its first."""
        seen = set()
        for path, module in self.named_modules():
            for name, value in vars(module).items():
                if isinstance(value, Parameter) and id(value) not in seen:
                    seen.add(id(value))
                    yield (f"{path}.{name}" if path else name), value

    def parameters(self) -> list[Parameter]:
        """Every parameter, in the order of `named_parameters`."""
        return [parameter for _, parameter in self.named_parameters()]

    def buffers(self) -> list[Array]:
        """Every buffer that is there, module by module."""
        found = [getattr(module, name) for module in self.modules() for name in vars(module).get("_buffers", [])]
        return [buffer for buffer in found if buffer is not None]

    def zero_grad(self) -> None:
        """Forget every gradient."""
        for parameter in self.parameters():
            parameter.grad = None

    # Modes ----------------------------------------------------------------------------------------------------

    def train(self: _Self, mode: bool = True) -> _Self:
        """Training mode: batch norm uses the batch's statistics, dropout drops; what is frozen stays as in eval().

        Returns self.
        """
        for module in self.modules():
            module.training = mode and not module.frozen
        return self

    def eval(self: _Self) -> _Self:
        """Inference mode: batch norm uses its running statistics, dropout does nothing. Returns self."""
        return self.train(False)

    def freeze(self: _Self) -> _Self:
        """Train this module no longer: not a bit of its state changes until `unfreeze`. Returns self.

        Its parameters receive no gradients, and it is in inference mode whatever the mode of the network: otherwise
        batch norm's running statistics would go on to follow the batches. In `train_step`, modules of a network of ours
        that are frozen from its input on run no backward pass and keep nothing for it.
        """
        for module in self.modules():
            module.frozen, module.training = True, False
        for parameter in self.parameters():
            parameter.requires_grad, parameter.grad = False, None
        return self

    def unfreeze(self: _Self) -> _Self:
        """Train this module again, from the next `train()` on. Returns self."""
        for module in self.modules():
            module.frozen = False
        for parameter in self.parameters():
            parameter.requires_grad = True
        return self

    def to(self: _Self, target: Any) -> _Self:
        """Move to a device (`"cpu"`, `"gpu"`, `"gpu:1"`) or cast to a dtype (`np.float64`). Returns self.

        Casting touches floating-point arrays only; gradients are dropped, since they belong to the old arrays.
        """
        for module in self.modules():
            for name in _state_names(module):
                value = getattr(module, name)
                if isinstance(value, Parameter):
                    value.data, value.grad = _moved(value.data, target), None
                elif value is not None:
                    setattr(module, name, _moved(value, target))
        return self

    # State ----------------------------------------------------------------------------------------------------

    def _state(self):
        """{key: (module, attribute)} for every parameter and buffer, in PyTorch's order."""
        state = {}
        for path, module in self.named_modules():
            for name in _state_names(module):
                if getattr(module, name) is not None:
                    state[f"{path}.{name}" if path else name] = (module, name)
        return state

    def state_dict(self) -> dict[str, np.ndarray]:
        """{key: NumPy array}: a copy of every parameter and buffer under PyTorch's names."""
        return {key: np.array(to_numpy(_value(module, name))) for key, (module, name) in self._state().items()}

    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """{key: shape} of what `state_dict` copies."""
        return {key: tuple(_value(module, name).shape) for key, (module, name) in self._state().items()}

    def load_state_dict(self: _Self, state: dict[str, Any], strict: bool = True) -> _Self:
        """Copy arrays into parameters and buffers, cast to their dtype and moved to their device.

        strict: every key must be there and none besides. Raises one ValueError that lists every missing,
        unexpected and misshapen key, before anything is changed. A missing or unexpected
        `num_batches_tracked`, which some writers leave out, is not an error.
        """
        own = self._state()
        arrays = {key: to_numpy(state[key]) for key in own if key in state}
        matters = own.keys() | state.keys() if strict else own.keys() & state.keys()
        matters -= {key for key in own.keys() ^ state.keys() if key.endswith("num_batches_tracked")}
        found = {key: arrays[key].shape if key in arrays else None for key in state if key in matters}
        shapes = {key: _value(*own[key]).shape for key in own if key in matters}
        if problems := misfits(found, shapes, "the model"):
            raise ValueError(f"state does not fit {type(self).__name__}: {problems}")
        for key, array in arrays.items():
            module, name = own[key]
            old = _value(module, name)
            new = to_device(np.array(array, dtype=old.dtype), device_of(old))
            if isinstance(getattr(module, name), Parameter):
                getattr(module, name).data = new
            else:
                setattr(module, name, new)
        return self


def _hides_modules(value):
    """Whether a container holds a Module or a Parameter, however deep."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, _CONTAINERS) else ()
    return isinstance(value, (Module, Parameter)) or any(_hides_modules(item) for item in inside)


def _refuse_plain_array(module, name, array):
    """Raise TypeError where an array is assigned that would be neither trained nor saved."""
    if name in vars(module).get("_buffers", []) or array.dtype.kind != "f" or isinstance(array, np.generic):
        return
    where = f"{type(module).__name__}.{name}"
    if isinstance(vars(module).get(name), Parameter):
        raise TypeError(f"{where} is a Parameter, and a plain array would not be trained: assign to {name}.data")
    raise TypeError(
        f"{where}: a plain array is neither trained nor saved nor moved: wrap it in Parameter(...), or announce it "
        f"with register_buffer({name!r}, ...)"
    )


def _state_names(module):
    """Names of a module's own parameters and buffers, parameters first."""
    parameters = [name for name, value in vars(module).items() if isinstance(value, Parameter)]
    return parameters + vars(module).get("_buffers", [])


def _value(module, name):
    value = getattr(module, name)
    return value.data if isinstance(value, Parameter) else value


def _moved(array, target):
    if isinstance(target, str):
        if not is_device(target):
            raise ValueError(f"unknown device {target!r}: choose cpu or gpu, or give a dtype such as np.float64")
        return to_device(array, target)
    if target is None or np.dtype(target).kind != "f":
        raise ValueError(f"to: {target!r} is no floating-point dtype: use np.float32 or np.float64")
    array_module(array)  # of several GPUs its own casts it
    return array.astype(target) if array.dtype.kind == "f" else array
