"""Parameters, and modules that hold them: a thin layer over the pure functions in `minires.layers`.

A module is called as its function is, `y, backward = module(x)`; its `backward(dy)` adds the parameters' gradients
to `parameter.grad` and returns `dx`.
"""

import contextlib
import contextvars

import numpy as np

from minires.backend import device_of, to_device, to_numpy

_keep_backward = contextvars.ContextVar("minires_keep_backward", default=True)
_lean_backward = contextvars.ContextVar("minires_lean_backward", default=False)
_wants_input_gradient = contextvars.ContextVar("minires_wants_input_gradient", default=True)


@contextlib.contextmanager
def no_grad():
    """Within this block modules keep nothing for a backward pass: memory is that of a block, not of the network."""
    token = _keep_backward.set(False)
    try:
        yield
    finally:
        _keep_backward.reset(token)


@contextlib.contextmanager
def lean_backward():
    """Within this block networks prepare for ONE backward pass, which gives the gradients of parameters alone.

    It returns None for dx, which the first layer need not compute, and lets go of each layer's arrays as soon as it
    has been gone back through, so that the peak of memory is where the backward pass begins. The first layers, where
    they are frozen, keep nothing and are not gone back through at all.
    """
    lean, input_gradient = _lean_backward.set(True), _wants_input_gradient.set(False)
    try:
        yield
    finally:
        _lean_backward.reset(lean)
        _wants_input_gradient.reset(input_gradient)


def keeps_backward():
    """Whether a forward pass is to keep what its backward pass needs: not under no_grad()."""
    return _keep_backward.get()


def wants_input_gradient():
    """Whether the module in whose forward pass this is asked shall give dx."""
    return _wants_input_gradient.get()


@contextlib.contextmanager
def evaluating(model):
    """Within this block all modules are in inference mode; afterwards each is in the mode it was in before."""
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


def no_backward(dy):
    """The backward pass of a forward pass under no_grad()."""
    raise RuntimeError("this forward pass ran under no_grad() and kept nothing: call the module outside it")


class Parameter:
    """An array that is learned, and its gradient.

    data: the values.   grad: what backward passes have added up since `zero_grad`, or None.
    requires_grad: False for one that is frozen, whose grad stays None, so that optimizers leave it as it is.
    """

    def __init__(self, data):
        self.data = data
        self.grad = None
        self.requires_grad = True

    @property
    def shape(self):
        return self.data.shape

    @property
    def size(self):
        return self.data.size

    def add_grad(self, gradient):
        """grad += gradient, unless frozen. A parameter used twice receives both gradients, as the sum rule says."""
        if self.requires_grad:
            self.grad = gradient if self.grad is None else self.grad + gradient

    def __repr__(self):
        return f"Parameter(shape={self.shape}, dtype={self.data.dtype}, device={device_of(self.data)})"


class Module:
    """A function with parameters. Subclasses define `forward(x) -> (y, backward)`.

    Attributes that are Parameters or Modules are found by name; arrays that belong to the state but are not
    learned (batch norm's running statistics) are announced with `register_buffer`. Names are PyTorch's:
    `layer1.0.conv1.weight`.
    """

    training = True
    frozen = False

    def __call__(self, *inputs):
        """-> (y, backward), with backward(dy) -> dx, which also fills `parameter.grad`; usually of one input x."""
        y, backward = self.forward(*inputs)
        return (y, backward) if keeps_backward() else (y, no_backward)

    def forward(self, x):
        raise NotImplementedError(f"{type(self).__name__} must define forward(x) -> (y, backward)")

    # What is inside -------------------------------------------------------------------------------------------

    def register_buffer(self, name, array):
        """An array that is saved and moved with the module but not learned; None where there is none."""
        self.__dict__.setdefault("_buffers", []).append(name)
        setattr(self, name, array)

    def children(self):
        """(name, module) for each module directly inside this one, in order of definition."""
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield name, value
            elif isinstance(value, (list, tuple, dict)):
                inside = value.values() if isinstance(value, dict) else value
                if any(isinstance(item, (Module, Parameter)) for item in inside):
                    raise ValueError(
                        f"{type(self).__name__}.{name} is a {type(value).__name__} of modules, whose parameters would "
                        "be neither trained nor saved: wrap them in Sequential, or give each an attribute of its own"
                    )

    def named_modules(self, prefix=""):
        """(path, module) for this module and all inside it."""
        yield prefix, self
        for name, child in self.children():
            yield from child.named_modules(f"{prefix}.{name}" if prefix else name)

    def modules(self):
        """This module and all inside it."""
        return [module for _, module in self.named_modules()]

    def named_parameters(self):
        """(path, Parameter) for every parameter, in order of definition; one with two names once, by its first."""
        seen = set()
        for path, module in self.named_modules():
            for name, value in vars(module).items():
                if isinstance(value, Parameter) and id(value) not in seen:
                    seen.add(id(value))
                    yield (f"{path}.{name}" if path else name), value

    def parameters(self):
        """Every parameter, in the order of `named_parameters`."""
        return [parameter for _, parameter in self.named_parameters()]

    def zero_grad(self):
        """Forget every gradient."""
        for parameter in self.parameters():
            parameter.grad = None

    # Modes ----------------------------------------------------------------------------------------------------

    def train(self, mode=True):
        """Training mode: batch norm uses the batch's statistics, dropout drops; what is frozen stays as in eval().

        Returns self.
        """
        for module in self.modules():
            module.training = mode and not module.frozen
        return self

    def eval(self):
        """Inference mode: batch norm uses its running statistics, dropout does nothing. Returns self."""
        return self.train(False)

    def freeze(self):
        """Train this module no longer: not a bit of its state changes until `unfreeze`. Returns self.

        Its parameters receive no gradients, and it is in inference mode whatever the mode of the network: otherwise
        batch norm's running statistics would go on to follow the batches. Under `lean_backward`, modules frozen from
        the network's input on run no backward pass and keep nothing for it.
        """
        for module in self.modules():
            module.frozen, module.training = True, False
        for parameter in self.parameters():
            parameter.requires_grad, parameter.grad = False, None
        return self

    def unfreeze(self):
        """Train this module again, from the next `train()` on. Returns self."""
        for module in self.modules():
            module.frozen = False
        for parameter in self.parameters():
            parameter.requires_grad = True
        return self

    def to(self, target):
        """Move to a device (`"cpu"`, `"gpu"`) or cast to a dtype (`np.float64`). Returns self.

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

    def state_dict(self):
        """{key: NumPy array}: a copy of every parameter and buffer under PyTorch's names."""
        return {key: np.array(to_numpy(_value(module, name))) for key, (module, name) in self._state().items()}

    def load_state_dict(self, state, strict=True):
        """Copy arrays into parameters and buffers, cast to their dtype and moved to their device.

        strict: every key must be there and none besides. Raises one ValueError that lists every missing,
        unexpected and misshapen key, before anything is changed. A missing or unexpected
        `num_batches_tracked`, which some writers leave out, is not an error.
        """
        own = self._state()
        optional = {key for key in {*own, *state} if key.endswith("num_batches_tracked")}
        missing = [key for key in own if key not in state and key not in optional]
        unexpected = [key for key in state if key not in own and key not in optional]
        arrays = {key: to_numpy(state[key]) for key in own if key in state}
        shapes = {key: (array.shape, _value(*own[key]).shape) for key, array in arrays.items()}
        misshapen = [f"{key} has {got}, the model {want}" for key, (got, want) in shapes.items() if got != want]
        problems = {"misshapen": misshapen}
        if strict:
            problems = {"missing": missing, "unexpected": unexpected, **problems}
        if any(problems.values()):
            lines = [f"{kind}: {', '.join(keys)}" for kind, keys in problems.items() if keys]
            raise ValueError(f"state does not fit {type(self).__name__}: {'; '.join(lines)}")
        for key, array in arrays.items():
            module, name = own[key]
            old = _value(module, name)
            new = to_device(np.array(array, dtype=old.dtype), device_of(old))
            if isinstance(getattr(module, name), Parameter):
                getattr(module, name).data = new
            else:
                setattr(module, name, new)
        return self


def _state_names(module):
    """Names of a module's own parameters and buffers, parameters first."""
    parameters = [name for name, value in vars(module).items() if isinstance(value, Parameter)]
    return parameters + vars(module).get("_buffers", [])


def _value(module, name):
    value = getattr(module, name)
    return value.data if isinstance(value, Parameter) else value


def _moved(array, target):
    if isinstance(target, str):
        if target not in ("cpu", "gpu"):
            raise ValueError(f"unknown device {target!r}: choose cpu or gpu, or give a dtype such as np.float64")
        return to_device(array, target)
    if target is None or np.dtype(target).kind != "f":
        raise ValueError(f"to: {target!r} is no floating-point dtype: use np.float32 or np.float64")
    return array.astype(target) if array.dtype.kind == "f" else array


class Sequential(Module):
    """Modules one after another: y = f_n(... f_2(f_1(x))); backward runs them in reverse order.

    Children are named "0", "1", ... as in PyTorch. `sequential[i]` and `len(sequential)` work.
    """

    def __init__(self, *modules):
        for index, module in enumerate(modules):
            setattr(self, str(index), module)

    def __getitem__(self, index):
        return [child for _, child in self.children()][index]

    def __len__(self):
        return sum(1 for _ in self.children())

    def forward(self, x):
        return in_sequence([(module, [module]) for _, module in self.children()], x)


def in_sequence(steps, x):
    """y = f_n(... f_2(f_1(x))) for `steps`, pairs of a function x -> (y, backward) and the modules that it uses.

    Returns (y, backward); backward(dy) -> dx runs the steps in reverse order. Where dx is not wanted, steps before
    the first parameter to be trained keep nothing, and backward ends after them.
    """
    backwards, wanted = [], wants_input_gradient()
    for function, modules in steps:
        token = _wants_input_gradient.set(wanted)
        try:
            wanted = wanted or any(parameter.requires_grad for module in modules for parameter in module.parameters())
            with contextlib.nullcontext() if wanted else no_grad():
                x, backward = function(x)
        finally:
            _wants_input_gradient.reset(token)
        if wanted:
            backwards.append(backward)
    number = len(backwards)

    def backward_all(dy):
        for backward in reversed(backwards):
            dy = backward(dy)
        return dy

    def backward_once(dy):
        if len(backwards) < number:
            raise RuntimeError("backward was called twice under lean_backward(), which lets go of what it used")
        while backwards:
            dy = backwards.pop()(dy)
        return dy

    return x, backward_once if _lean_backward.get() else backward_all
