"""Optimizers: what a step does with the gradients. Names, defaults and formulas are PyTorch's.

In every formula w is a parameter's array, g its gradient, t the number of steps this parameter has taken, the
present one included. Both penalties come first, and mean the same in each optimizer:

    g <- g + weight_decay * w + l1 * sign(w)

(AdamW alone keeps weight_decay out of g.) Arrays of state start at zero and have the shape, dtype and device of w.
Derivations: docs/optim.md.
"""

import math

import numpy as np

from minires.backend import array_module, device_of, sum_blocks, to_device, to_numpy
from minires.module import Parameter

_RANGES = {  # option: (smallest value, first value too large, what to give instead)
    "lr": (0, math.inf, "0.1 is a usual start for SGD, 0.001 for Adam"),
    "lr_multiplier": (0, math.inf, "1 gives the group the optimizer's own learning rate"),
    "momentum": (0, math.inf, "0.9 is usual, 0 turns it off"),
    "betas": (0, 1, "(0.9, 0.999) is usual"),
    "alpha": (0, 1, "0.99 is usual"),
    "eps": (0, math.inf, "1e-8 is usual"),
    "weight_decay": (0, math.inf, "1e-4 is usual, 0 turns it off"),
    "l1": (0, math.inf, "1e-5 is usual, 0 turns it off"),
}


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

    A subclass names its arrays of state in `_state_names` and does one step on arrays in `_update`.
    """

    def __init__(self, params, lr, **defaults):
        self.kind = type(self).__name__
        self._check({"lr": lr, **defaults})
        self._lr = float(lr)
        self.state = {}  # Parameter: {"step": t, name: array}
        if isinstance(params, (Parameter, dict)) or not hasattr(params, "__iter__"):
            raise TypeError(f"{self.kind}: params is a {type(params).__name__}: pass model.parameters() or a list")
        groups = list(params)
        if not any(isinstance(group, dict) for group in groups):
            groups = [{"params": groups}]
        self.param_groups = [self._group(group, defaults) for group in groups]
        if not self._parameters():
            raise ValueError(f"{self.kind}: no parameters, at least 1 is needed: pass model.parameters()")
        if len(set(self._parameters())) < len(self._parameters()):
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
        return {"params": parameters, **{name: _plain(value) for name, value in options.items()}}

    def _check(self, options):
        """ValueError for an option out of its range."""
        for name in [name for name in options if name in _RANGES]:
            low, high, cure = _RANGES[name]
            values = options[name] if name == "betas" else [options[name]]
            if not all(low <= value < high for value in values):  # so that NaN fails, too
                limit = f"at least {low} and " + ("finite" if high == math.inf else f"below {high}")
                raise ValueError(f"{self.kind}: {name} is {options[name]}, must be {limit}: {cure}")

    def _parameters(self):
        """All parameters in order: the position is a parameter's index in a state_dict."""
        return [parameter for group in self.param_groups for parameter in group["params"]]

    @property
    def lr(self):
        """The optimizer's learning rate; assigning gives every group `lr * group["lr_multiplier"]`."""
        return self._lr

    @lr.setter
    def lr(self, value):
        self._check({"lr": value})
        self._lr = float(value)
        for group in self.param_groups:
            group["lr"] = self._lr * group["lr_multiplier"]

    # The step -------------------------------------------------------------------------------------------------

    def zero_grad(self):
        """Forget the gradients of all parameters."""
        for parameter in self._parameters():
            parameter.grad = None

    def step(self):
        """Move every parameter that has a gradient, in place; the gradients are left as they are."""
        for group in self.param_groups:
            options = {name: _plain(value) for name, value in group.items() if name != "params"}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._step_one(parameter, options)

    def _step_one(self, parameter, options):
        w, g = parameter.data, parameter.grad
        if g.shape != w.shape:
            raise ValueError(f"{self.kind}: gradient of shape {g.shape}, its parameter is {w.shape}: they must agree")
        g = g.astype(w.dtype, order="C", copy=False)  # a transposed view would be slow in every line of the update
        if w.ndim < 2 and not options["decay_bias_and_norm"]:
            options = {**options, "weight_decay": 0.0, "l1": 0.0}
        state = self._state_of(parameter, options)
        arrays = {name: array for name, array in state.items() if name != "step"}
        array_module(w, g, *arrays.values())  # TypeError unless all are on one device
        state["step"] += 1
        self._update(w, g, t=state["step"], **arrays, **options)

    def _state_of(self, parameter, options):
        """This parameter's state with exactly the arrays that the options call for, zeros where they are new."""
        old, w = self.state.get(parameter, {"step": 0}), parameter.data
        state = {"step": old["step"]}
        for name in self._state_names(**options):
            state[name] = old[name] if name in old else array_module(w).zeros_like(w)
        self.state[parameter] = state
        return state

    def _state_names(self, **options):
        raise NotImplementedError(f"{self.kind} must define _state_names(**options) -> names of its arrays of state")

    def _update(self, w, g, t, **arrays_and_options):
        raise NotImplementedError(f"{self.kind} must define _update(w, g, t, ...), which changes w in place")

    # State ----------------------------------------------------------------------------------------------------

    def state_dict(self):
        """All that the next step depends on, besides parameters and gradients.

        {"kind": "Adam", "lr": ..., "steps": [t of each parameter], "param_groups": [options, with the indices of
        the parameters as "params"], "arrays": {"exp_avg.3": NumPy array}}. Arrays are copies, named as in
        PyTorch, with the index of the parameter; all the rest can be written as JSON.
        """
        parameters = self._parameters()
        steps = [self.state.get(parameter, {"step": 0})["step"] for parameter in parameters]
        groups, arrays = self._groups_by_index(), {}
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
            options = {name: _plain(value) for name, value in group.items() if name != "params"}
            lists = {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}
            groups.append({"params": list(range(start, start + len(group["params"]))), **lists})
            start += len(group["params"])
        return groups

    def load_state_dict(self, state):
        """Take up a `state_dict`, options included: the next steps have the same bits as if never interrupted.

        Arrays are copied and moved to their parameter's device and dtype. Raises one ValueError that lists what
        does not fit (another optimizer, other groups, missing, unexpected and misshapen arrays), before anything
        is changed. Returns self.
        """
        needed = ("kind", "lr", "steps", "param_groups", "arrays")
        if state.get("kind") != self.kind or set(state) != set(needed):
            raise ValueError(
                f"state of kind {state.get('kind')!r} with keys {', '.join(state)} does not fit {self.kind}, which "
                f"needs {', '.join(needed)}: load what {self.kind}.state_dict() returned"
            )
        parameters, own = self._parameters(), self._groups_by_index()
        if [_outline(group) for group in state["param_groups"]] != [_outline(group) for group in own]:
            saved, present = ([len(group["params"]) for group in each] for each in (state["param_groups"], own))
            raise ValueError(
                f"state does not fit {self.kind}: groups of {saved} parameters, this optimizer has {present}: "
                "build it with the same parameters, groups and version as when the state was saved"
            )
        if len(state["steps"]) != len(parameters):
            raise ValueError(
                f"state does not fit {self.kind}: steps of {len(state['steps'])} parameters, this optimizer has "
                f"{len(parameters)}: load what {self.kind}.state_dict() returned"
            )
        groups = [{name: _plain(value) for name, value in group.items()} for group in state["param_groups"]]
        for group in groups:
            self._check(group)
        shapes = {}
        for group in groups:
            for index in group["params"]:
                if state["steps"][index] > 0:
                    shapes |= {f"{name}.{index}": parameters[index].shape for name in self._state_names(**group)}
        arrays = state["arrays"]
        problems = {
            "missing": [key for key in shapes if key not in arrays],
            "unexpected": [key for key in arrays if key not in shapes],
            "misshapen": [
                f"{key} has {arrays[key].shape}, the parameter {shape}"
                for key, shape in shapes.items()
                if key in arrays and arrays[key].shape != shape
            ],
        }
        if any(problems.values()):
            lines = [f"{problem}: {', '.join(keys)}" for problem, keys in problems.items() if keys]
            raise ValueError(f"state does not fit {self.kind}: {'; '.join(lines)}")

        self._lr = float(state["lr"])
        for group, saved in zip(self.param_groups, groups, strict=True):
            group.update({name: value for name, value in saved.items() if name != "params"})
        self.state = {
            parameter: {"step": int(step)} for parameter, step in zip(parameters, state["steps"], strict=True) if step
        }
        for key in shapes:
            name, index = key.split(".")
            w = parameters[int(index)].data
            array = np.array(to_numpy(arrays[key]), dtype=w.dtype)
            self.state[parameters[int(index)]][name] = to_device(array, device_of(w))
        return self


def _plain(value):
    """Python's numbers for NumPy's: a float leaves float32 arrays float32, where an np.float64 makes them float64."""
    if isinstance(value, (tuple, list)):
        return tuple(_plain(item) for item in value)
    return value.item() if hasattr(value, "item") else value


def _outline(group):
    """What must agree between two groups: the parameters' indices and the names of the options."""
    return list(group["params"]), sorted(group)


def _penalised(w, g, weight_decay, l1):
    """g + weight_decay * w + l1 * sign(w): the gradient of loss + weight_decay/2 * |w|_2^2 + l1 * |w|_1."""
    if weight_decay:
        g = g + weight_decay * w
    if l1:
        g = g + l1 * array_module(w).sign(w)
    return g


class SGD(Optimizer):
    """Stochastic gradient descent with momentum.

        b <- momentum * b + g                        b is "momentum_buffer"
        w <- w - lr * b                              plain momentum
        w <- w - lr * (g + momentum * b)             nesterov

    Without momentum w <- w - lr * g. Raises ValueError for nesterov without momentum.

    Source: Sutskever et al. 2013, On the importance of initialization and momentum in deep learning, section 2,
    in PyTorch's form (lr outside b); momentum 0.9 and weight_decay 1e-4 are those of He et al. 2016, section 3.4.
    """

    def __init__(self, params, lr, momentum=0.0, *, weight_decay=0.0, nesterov=False, l1=0.0, decay_bias_and_norm=True):
        penalties = {"weight_decay": weight_decay, "l1": l1, "decay_bias_and_norm": decay_bias_and_norm}
        super().__init__(params, lr, momentum=momentum, nesterov=nesterov, **penalties)

    def _check(self, options):
        super()._check(options)
        if options.get("nesterov") and options["momentum"] == 0:
            raise ValueError(f"{self.kind}: momentum is 0, nesterov needs more: give momentum=0.9, or nesterov=False")

    def _state_names(self, momentum, **_):
        return ("momentum_buffer",) if momentum else ()

    def _update(self, w, g, lr, momentum, nesterov, weight_decay, l1, momentum_buffer=None, **_):
        g = _penalised(w, g, weight_decay, l1)
        if momentum:
            momentum_buffer *= momentum
            momentum_buffer += g
            g = g + momentum * momentum_buffer if nesterov else momentum_buffer
        w -= lr * g


class Adam(Optimizer):
    """Adam: steps as long as lr in the direction of the mean gradient, element by element.

        m <- beta1 * m + (1 - beta1) * g             m is "exp_avg"
        v <- beta2 * v + (1 - beta2) * g^2           v is "exp_avg_sq"
        w <- w - lr * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)

    Source: Kingma & Ba 2015, Adam: a method for stochastic optimization, algorithm 1.
    """

    def __init__(
        self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, *, l1=0.0, decay_bias_and_norm=True
    ):
        penalties = {"weight_decay": weight_decay, "l1": l1, "decay_bias_and_norm": decay_bias_and_norm}
        super().__init__(params, lr, betas=betas, eps=eps, **penalties)

    def _state_names(self, **_):
        return ("exp_avg", "exp_avg_sq")

    def _update(self, w, g, t, lr, betas, eps, weight_decay, l1, exp_avg, exp_avg_sq, **_):
        g = _penalised(w, g, weight_decay, l1)
        self._adam(w, g, t, lr, betas, eps, exp_avg, exp_avg_sq)

    @staticmethod
    def _adam(w, g, t, lr, betas, eps, exp_avg, exp_avg_sq):
        beta1, beta2 = betas
        exp_avg *= beta1
        exp_avg += (1 - beta1) * g
        exp_avg_sq *= beta2
        exp_avg_sq += (1 - beta2) * g * g
        denominator = array_module(w).sqrt(exp_avg_sq)
        denominator /= math.sqrt(1 - beta2**t)
        denominator += eps
        w -= lr / (1 - beta1**t) * exp_avg / denominator


class AdamW(Adam):
    """Adam with weight decay beside the gradient, not in it, where Adam would rescale it.

        w <- w - lr * weight_decay * w, then Adam's step

    l1 remains part of the gradient, as in the other optimizers.

    Source: Loshchilov & Hutter 2019, Decoupled weight decay regularization, algorithm 2, with
    lr in the decay as well, as in PyTorch.
    """

    def __init__(
        self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2, *, l1=0.0, decay_bias_and_norm=True
    ):
        super().__init__(params, lr, betas, eps, weight_decay, l1=l1, decay_bias_and_norm=decay_bias_and_norm)

    def _update(self, w, g, t, lr, betas, eps, weight_decay, l1, exp_avg, exp_avg_sq, **_):
        g = _penalised(w, g, 0.0, l1)
        w *= 1 - lr * weight_decay
        self._adam(w, g, t, lr, betas, eps, exp_avg, exp_avg_sq)


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

    def __init__(
        self,
        params,
        lr=1e-2,
        alpha=0.99,
        eps=1e-8,
        weight_decay=0.0,
        momentum=0.0,
        centered=False,
        *,
        l1=0.0,
        decay_bias_and_norm=True,
    ):
        penalties = {"weight_decay": weight_decay, "l1": l1, "decay_bias_and_norm": decay_bias_and_norm}
        super().__init__(params, lr, alpha=alpha, eps=eps, momentum=momentum, centered=centered, **penalties)

    def _state_names(self, momentum, centered, **_):
        names = {"square_avg": True, "grad_avg": centered, "momentum_buffer": momentum > 0}
        return tuple(name for name, needed in names.items() if needed)

    def _update(self, w, g, lr, alpha, eps, momentum, centered, weight_decay, l1, square_avg, **rest):
        xp = array_module(w)
        g = _penalised(w, g, weight_decay, l1)
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
        w -= lr * u


def clip_grad_norm_(parameters, max_norm):
    """Scale all gradients by one factor so that their common norm is at most max_norm; returns the norm before.

        norm = sqrt(sum of g^2 over all elements of all gradients)      summed in float64
        g <- g * min(1, max_norm / (norm + 1e-6))

    A parameter without gradient is left out. Scaled gradients are new arrays in `parameter.grad`. A norm of inf
    or nan is returned for the caller to judge. Raises ValueError for a negative max_norm.

    Source: Pascanu et al. 2013, On the difficulty of training recurrent neural networks, algorithm 1; the 1e-6
    is PyTorch's.
    """
    if not max_norm >= 0:
        raise ValueError(f"clip_grad_norm_: max_norm is {max_norm}, must be at least 0: 1.0 is usual")
    with_grad = [parameter for parameter in parameters if parameter.grad is not None]
    if not with_grad:
        return 0.0
    squares = [array_module(p.grad).square(p.grad).sum(dtype=np.float64) for p in with_grad]
    norm = math.sqrt(float(to_numpy(sum_blocks(squares))))
    scale = float(max_norm) / (norm + 1e-6)
    if scale < 1:
        for parameter in with_grad:
            parameter.grad = parameter.grad * scale
    return norm
