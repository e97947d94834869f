"""What pieces of minires give for known inputs: "try a change" compares that with the library's own answers.

gradcheck holds a backward pass to its forward pass, whatever that computes. A trial says what comes out: y and all
gradients, and what a call leaves behind in running statistics, weights and buffers.
"""

import importlib
import inspect

import numpy as np

from live.checks import BLOCKS, LIBRARY, module_of, textbook_calls

TRIALS = {}  # the beginning of a path: [(title, function without arguments -> {name: value})]


def of(*paths):
    """A decorator: the function is a trial of what lies in these modules, or of these objects."""

    def enter(function):
        for path in paths:
            TRIALS.setdefault(path, []).append((function.__name__.replace("_", " ").strip(), function))
        return function

    return enter


def trials_of(path):
    """-> [(title, function)]: of the object, of all that is in its file, or, in the backend, of all operations."""
    module, _, name = path.partition(":")
    if module == "minires.textbook":
        return [(title, _passes(*call)) for title, *call in textbook_calls(name)]
    anywhere = module.startswith(("minires.backend", "minires.layers", "minires.losses"))
    importlib.import_module("live.trials" if anywhere else "live.trials_further")
    found = TRIALS.get(module, []) + TRIALS.get(path, [])
    operations = _operations()
    here = [(title, trial) for title, trial in operations if module_of(title) == module]
    return (operations if anywhere and not here else here) + found


def _operations():
    rng = np.random.default_rng(0)
    found = []
    for title, function, shapes, *others in LIBRARY:
        arrays = [rng.standard_normal(shape) for shape in shapes]
        found.append((title, _passes(function, arrays, others)))
    return found


def _passes(function, arrays, others=(), names=None):
    def trial():
        single = passes(function, *(array.astype(np.float32) for array in arrays), *others, names=names)
        kept = {f"{name} of float32": np.asarray(value).dtype.str for name, value in single.items()}
        return {**passes(function, *arrays, *others, names=names), "dtypes": kept}

    return trial


# What comes out -------------------------------------------------------------------------------------------------------


def passes(function, *given, names=None):
    """-> {"y", "dx", ...}: forward and backward pass of copies, for a random dy, and the arrays that were changed."""
    given = [np.array(x) if isinstance(x, np.ndarray) else x for x in given]
    before = [np.array(x) for x in given]
    y, backward = function(*given)
    names = names or [*inspect.signature(function).parameters]
    if not isinstance(y, tuple):
        return {"y": np.array(y), **_gradients(backward, _like(y), names), **_moved(names, given, before)}
    gradients = _gradients(backward, tuple(map(_like, y)), names)
    return {**{f"y[{i}]": np.array(part) for i, part in enumerate(y)}, **gradients, **_moved(names, given, before)}


def _like(y):
    """A random gradient for it."""
    dy = np.random.default_rng(1).standard_normal(np.shape(y))
    return dy.astype(np.asarray(y).dtype) if np.ndim(y) else float(dy)


def _gradients(backward, dy, names):
    gradients = backward(dy)
    gradients = gradients if isinstance(gradients, (tuple, list)) else (gradients,)
    return {f"d{name}": np.array(gradient) for name, gradient in zip(names, gradients, strict=False)}


def _moved(names, given, before):
    changed = zip(names, given, before, strict=False)
    return {name: np.array(x) for name, x, old in changed if isinstance(x, np.ndarray) and not np.array_equal(x, old)}


def module_passes(module, *inputs, calls=2):
    """-> the same of a module in float64, its parameters' gradients and its buffers after some calls in training."""
    module = module.to(np.float64).train()
    module.zero_grad()
    for _ in range(calls):
        found = passes(module, *inputs, names=["x"])
    buffers = {name: np.array(value) for name, value in module.state_dict().items()}
    gradients = {f"d{name}": np.array(p.grad) for name, p in module.named_parameters() if p.grad is not None}
    return {**found, **gradients, **buffers, "y of eval()": np.array(module.eval()(*inputs)[0])}


for _make, _shape in BLOCKS:
    _block = _make()

    @of(type(_block).__module__)
    def _trial(make=_make, shape=_shape):
        return module_passes(make(), np.random.default_rng(0).standard_normal(shape))

    TRIALS[type(_block).__module__][-1] = (type(_block).__name__, _trial)


# What differs ---------------------------------------------------------------------------------------------------------


def differences(own, given, name=""):
    """Yields (kind, what to say of it), the first place first: kind "value" of a number, "form" of anything else."""
    if isinstance(own, dict) and isinstance(given, dict) and own.keys() == given.keys():
        for key in own:
            yield from differences(own[key], given[key], f"{name}.{key}" if name else str(key))
    elif isinstance(own, (tuple, list)) and isinstance(given, (tuple, list)) and len(own) == len(given):
        for place, pair in enumerate(zip(own, given, strict=True)):
            yield from differences(*pair, f"{name}[{place}]")
    elif _numeric(own) and _numeric(given) and np.shape(own) == np.shape(given):
        yield from _numbers(np.asarray(own), np.asarray(given), name)
    elif isinstance(own, dict) and isinstance(given, dict):
        yield "form", {"place": name or "everything", "own": ", ".join(own), "given": ", ".join(given)}
    elif type(own) is not type(given) or _numeric(own) or own != given:
        yield "form", {"place": name, "own": _form(own), "given": _form(given)}


def _numeric(value):
    return isinstance(value, (bool, int, float, np.ndarray, np.generic)) and np.asarray(value).dtype.kind in "bifu"


def _form(value):
    return f"{np.asarray(value).dtype} {np.shape(value)}" if isinstance(value, np.ndarray) else repr(value)


def _numbers(own, given, name):
    finite = own[np.isfinite(own)] if own.dtype.kind == "f" else own
    largest = float(np.max(np.abs(finite), initial=0))
    wrong = ~np.isclose(given, own, rtol=1e-7, atol=1e-9 * largest, equal_nan=True)
    if not wrong.any():
        return
    index = tuple(int(i) for i in np.argwhere(wrong)[0])
    one, other = given[index], own[index]
    digits = 6 if f"{one:.6g}" != f"{other:.6g}" else 17
    place = f"{name}{list(index)}" if index else name
    said = {"given": f"{one:.{digits}g}", "own": f"{other:.{digits}g}"}
    yield "value", {"place": place, **said, "count": int(wrong.sum()), "size": own.size}
