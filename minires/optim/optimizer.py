"""What all optimizers share: groups of parameters, their options, their state, and the step."""

from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np

from minires.backend import array_module, device_of, elementwise_each, known_at_once, lies_well, to_device, to_numpy
from minires.module import Parameter
from minires.names import misfits
from minires.optim.fitting import check_fits
from minires.optim.options import check_ranges, plain
from minires.types import Array

Params: TypeAlias = Iterable[Parameter | dict[str, Any]]


class Optimizer:
    """What all optimizers share: groups of parameters, their options, their state.

    params: Parameters, as from `model.parameters()`; or groups of them, dicts that override the options given to
    the optimizer:

        SGD([{"params": model.fc.parameters()}, {"params": body, "lr": 0.01, "weight_decay": 0.0}], lr=0.1)

    `param_groups` holds the groups, a dict of options each. A group's "lr_multiplier" is its learning rate
    relative to the optimizer's (here 0.1 for the body; it may be given in place of "lr"), and assigning
    `optimizer.lr` keeps it.

    l1: factor of the penalty l1 * |w|_1.   decay_bias_and_norm: False leaves parameters with fewer than two
    dimensions (biases, batch norm's scale and shift) out of weight_decay and l1.

    Raises ValueError for an option out of its range or unknown, for no parameters at all and for one given
    twice, TypeError for what is no Parameter.

    A subclass names its arrays of state in `_state_names` and gives the new w of one step in `_update`,
    which changes its arrays of state and neither w nor g. counts_steps: whether that depends on the step's number t.
    """

    counts_steps = True

    def __init__(self, params: Params, lr: float, **defaults: Any) -> None:
        self.kind = type(self).__name__
        self._check({"lr": lr, **defaults})
        self._lr = float(lr)
        self.state: dict[Parameter, dict] = {}  # Parameter: {"step": t, name: array}
        if isinstance(params, (Parameter, dict)) or not hasattr(params, "__iter__"):
            raise TypeError(f"{self.kind}: params is a {type(params).__name__}: pass model.parameters() or a list")
        groups = list(params)
        if not any(isinstance(group, dict) for group in groups):
            groups = [{"params": groups}]
        self.param_groups: list[dict[str, Any]] = [self._group(group, defaults) for group in groups]
        if not self.parameters:
            raise ValueError(f"{self.kind}: no parameters, at least 1 is needed: pass model.parameters()")
        if len(set(self.parameters)) < len(self.parameters):
            raise ValueError(f"{self.kind}: a parameter is given twice, once is the limit: keep it in one group only")

    def _group(self, group, defaults):
        """A group with all its options, from what the caller gave for it."""
        if not isinstance(group, dict):
            raise TypeError(f"{self.kind}: a {type(group).__name__} among groups: give dicts only, or Parameters only")
        options = {"lr_multiplier": 1.0, **defaults, **group}
        unknown = set(options) - {"params", "lr", "lr_multiplier", *defaults}
        if unknown or "params" not in options or ("lr" in group and "lr_multiplier" in group):
            raise ValueError(
                f"{self.kind}: group with {', '.join(map(repr, group))}: it takes 'params', one of 'lr' and "
                f"'lr_multiplier', and any of {', '.join(map(repr, defaults))}"
            )
        parameters = options.pop("params")
        parameters = [parameters] if isinstance(parameters, Parameter) else list(parameters)
        for parameter in parameters:
            if not isinstance(parameter, Parameter):
                kind = type(parameter).__name__
                raise TypeError(f"{self.kind}: expected Parameters, got a {kind}: pass model.parameters()")
        self._check(options)
        if "lr" not in group:
            options["lr"] = self._lr * options["lr_multiplier"]
        elif group["lr"] != self._lr:
            if self._lr == 0:
                raise ValueError(f"{self.kind}: no ratio of a group's lr {group['lr']} to lr 0: give 'lr_multiplier'")
            options["lr_multiplier"] = group["lr"] / self._lr
        return {"params": parameters, **{name: plain(value) for name, value in options.items()}}

    def _check(self, options):
        """ValueError for an option out of its range."""
        check_ranges(self.kind, options)

    @property
    def parameters(self) -> list[Parameter]:
        """All parameters in order: the position is a parameter's index in a state_dict."""
        return [parameter for group in self.param_groups for parameter in group["params"]]

    @property
    def lr(self) -> float:
        """The optimizer's learning rate; assigning gives every group `lr * group["lr_multiplier"]`."""
        return self._lr

    @lr.setter
    def lr(self, value: float) -> None:
        self._check({"lr": value})
        self._lr = float(value)
        for group in self.param_groups:
            group["lr"] = self._lr * group["lr_multiplier"]

    # The step -------------------------------------------------------------------------------------------------

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for parameter in self.parameters:
            parameter.grad = None

    def step(self, where: Array | None = None) -> None:
        """Give every parameter that has a gradient a new array; the one before and the gradient are left as they are.

        A backward pass keeps the array that its forward pass saw, so it gives the same after a step as before.
        where: None, or an array () of truth; where it is false the step is not taken. Only an optimizer whose update
        depends on the number of steps, Adam's does, waits for a GPU to know; others leave it to the GPU.
        """
        if where is not None and (self.counts_steps or known_at_once(where)):
            if not where:
                return
            where = None
        for group in self.param_groups:
            options = {name: plain(value) for name, value in group.items() if name != "params"}
            alike: dict[Any, list[Parameter]] = {}  # those whose update differs in nothing but the arrays
            for parameter in group["params"]:
                if parameter.grad is not None:
                    plainly = parameter.data.ndim < 2 and not options["decay_bias_and_norm"]
                    steps = self.state[parameter]["step"] if parameter in self.state else 0
                    alike.setdefault((plainly, steps + 1), []).append(parameter)
            for (plainly, t), parameters in alike.items():
                undecayed = {"weight_decay": 0.0, "l1": 0.0} if plainly else {}
                self._step_together(parameters, t, {**options, **undecayed}, where)

    def _step_together(self, parameters, t, options, where):
        """Step number t of parameters that have the same options."""
        sets = [self._arrays_of(parameter, options) for parameter in parameters]
        if where is None:
            updated = elementwise_each(self._update, sets, t=t, **options)
        else:
            names = tuple(sets[0][1])
            updated = elementwise_each(self._update_where, sets, where=where, state=names, t=t, **options)
        for parameter, data in zip(parameters, updated, strict=True):  # one by one: each frees what it replaces
            self.state[parameter]["step"] = t
            parameter.data = data

    def _update_where(self, w, g, where, state, **named):
        """`_update` where `where` is true, and nothing where it is not.   state: names of the arrays of state."""
        xp, before = array_module(w), {name: 1 * named[name] for name in state}
        updated = self._update(w, g, **named)
        for name in state:
            named[name][...] = xp.where(where, named[name], before[name])
        return xp.where(where, updated, w)

    def _arrays_of(self, parameter, options):
        """((data, gradient), its arrays of state by name)"""
        w, g = parameter.data, parameter.grad
        if g.shape != w.shape:
            raise ValueError(f"{self.kind}: gradient of shape {g.shape}, its parameter is {w.shape}: they must agree")
        array_module(w, g)  # TypeError unless both are on one device, which is where the following is computed
        if g.dtype != w.dtype or not lies_well(g):  # a transposed view would be slow in each line
            g = g.astype(w.dtype, order="C")
        state = self._state_of(parameter, options)
        arrays = {name: array for name, array in state.items() if name != "step"}
        return (w, g), arrays

    def _state_of(self, parameter, options):
        """This parameter's state with exactly the arrays that the options call for, zeros where they are new.

        They are of the parameter's dtype and on its device, wherever `Module.to` has taken it since the last step.
        """
        old, w = self.state.get(parameter, {"step": 0}), parameter.data
        state = {"step": old["step"]}
        for name in self._state_names(**options):
            array = to_device(old[name], device_of(w)) if name in old else array_module(w).zeros_like(w)
            state[name] = array if array.dtype == w.dtype else array.astype(w.dtype)
        self.state[parameter] = state
        return state

    def _state_names(self, *args: Any, **options: Any) -> tuple[str, ...]:
        raise NotImplementedError(f"{self.kind} must define _state_names(**options) -> names of its arrays of state")

    def _update(self, *arrays: Any, **options: Any) -> Any:
        raise NotImplementedError(f"{self.kind} must define _update(w, g, t, ...) -> the new w")

    # State ----------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on, besides parameters and gradients.

        {"kind": "Adam", "lr": ..., "steps": [t of each parameter], "param_groups": [options, with the indices of
        the parameters as "params"], "arrays": {"exp_avg.3": NumPy array}}. Arrays are copies, named as in
        PyTorch, with the index of the parameter; all the rest can be written as JSON.
        """
        parameters = self.parameters
        steps = [self.state.get(parameter, {"step": 0})["step"] for parameter in parameters]
        groups, arrays = self._groups_by_index(), dict[str, np.ndarray]()
        for group in groups:
            for index in group["params"]:
                if steps[index] > 0:
                    state = self._state_of(parameters[index], group)
                    arrays |= {f"{name}.{index}": np.array(to_numpy(state[name])) for name in state if name != "step"}
        return {"kind": self.kind, "lr": self._lr, "steps": steps, "param_groups": groups, "arrays": arrays}

    def _groups_by_index(self):
        """The groups as JSON has them: parameters as indices, tuples as lists."""
        groups, start = [], 0
        for group in self.param_groups:
            options = {name: plain(value) for name, value in group.items() if name != "params"}
            lists = {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}
            groups.append({"params": list(range(start, start + len(group["params"]))), **lists})
            start += len(group["params"])
        return groups

    def load_state_dict(self, state: dict[str, Any]) -> "Optimizer":
        """Take up a `state_dict`, options included: the next steps have the same bits as if never interrupted.

        Arrays are copied and moved to their parameter's device and dtype. Raises one ValueError that lists what
        does not fit (another optimizer, other groups, missing, unexpected and misshapen arrays), before anything
        is changed. Returns self.
        """
        parameters = self.parameters
        check_fits(self.kind, state, self._groups_by_index())
        groups = [{name: plain(value) for name, value in group.items()} for group in state["param_groups"]]
        for group in groups:
            self._check(group)
        shapes: dict = {}
        for group in groups:
            for index in group["params"]:
                if state["steps"][index] > 0:
                    shapes |= {f"{name}.{index}": parameters[index].shape for name in self._state_names(**group)}
        arrays = state["arrays"]
        found = {key: array.shape for key, array in arrays.items()}
        if problems := misfits(found, shapes, "the parameter"):
            raise ValueError(f"state does not fit {self.kind}: {problems}")

        self._lr = float(state["lr"])
        for own_group, options in zip(self.param_groups, groups, strict=True):
            own_group.update({name: value for name, value in options.items() if name != "params"})
        self.state = {
            parameter: {"step": int(step)} for parameter, step in zip(parameters, state["steps"], strict=True) if step
        }
        for key in shapes:
            name, index = key.split(".")
            w = parameters[int(index)].data
            array = np.array(to_numpy(arrays[key]), dtype=w.dtype)
            self.state[parameters[int(index)]][name] = to_device(array, device_of(w))
        return self
