"""Try a change: an edited function or class takes the place of the library's, wherever that is used.

A function's code is exchanged, not the function, so that everything that has imported it has the change.
"""

import functools
import importlib
import inspect
import textwrap
import types

from live.checks import checks_of
from live.running import NAMESPACES
from minires.gradcheck import gradcheck

_originals = {}  # path: the text of the library's
_before = {}  # path: [(function, what it was made of)] of what was changed


def _found(path):
    module, _, name = path.partition(":")
    return importlib.import_module(module), functools.reduce(getattr, name.split("."), importlib.import_module(module))


def source(path):
    """The text of "package.module:name" as the library has it."""
    if path not in _originals:
        _originals[path] = textwrap.dedent(inspect.getsource(inspect.unwrap(_found(path)[1])))
    return _originals[path]


def put(path, text, namespace="page"):
    """Puts an edited text in place; the page sees it under its name, unless it has something else of that name."""
    source(path)
    module, old = _found(path)
    name = path.rpartition(":")[2].rpartition(".")[2]
    names = {known: value for known, value in vars(module).items() if known != name}
    exec(compile(text, f"{name}, edited", "exec"), names)
    new = names.get(name)
    if type(new) is not type(old):
        raise NameError(f"the text no longer defines {name}, which is to take the place of the library's")
    for helper in names.keys() - vars(module).keys() - {name}:
        setattr(module, helper, names[helper])
    _before.setdefault(path, [(function, _made_of(function)) for function in _functions(old)])
    exchange(old, new)
    if "." not in path.rpartition(":")[2]:
        NAMESPACES.setdefault(namespace, {"__name__": "__main__"}).setdefault(name, old)


def put_back(path):
    """The library's own again, as if it had never been changed: its source can still be found."""
    if path not in _before:
        return
    changed, (_, old) = dict(_before.pop(path)), _found(path)
    for function in _functions(old):
        if function in changed:
            function.__code__, function.__defaults__, function.__kwdefaults__ = changed[function]
        else:
            delattr(old, function.__name__)


def _functions(thing):
    """A function itself, or a class's methods."""
    thing = inspect.unwrap(thing)
    methods = [thing] if isinstance(thing, types.FunctionType) else vars(thing).values()
    return [method for method in methods if isinstance(method, types.FunctionType)]


def _made_of(function):
    return function.__code__, function.__defaults__, function.__kwdefaults__


def exchange(old, new):
    """Gives a function the code of another, or each method of a class that of another class."""
    old, new = inspect.unwrap(old), inspect.unwrap(new)
    if isinstance(old, types.FunctionType):
        old.__code__, old.__defaults__, old.__kwdefaults__ = _made_of(new)
        return
    for name, method in vars(new).items():
        if isinstance(method, types.FunctionType) and isinstance(vars(old).get(name), types.FunctionType):
            exchange(vars(old)[name], method)
        elif isinstance(method, types.FunctionType):
            setattr(old, name, method)


def check(path, nothing="nothing to check"):
    """Checks the gradients of what the object is part of, and prints what comes out, or `nothing`."""
    found = checks_of(path)
    for title, function, inputs in found:
        try:
            print(f"{title}: {gradcheck(function, *inputs, max_elements=40)}", flush=True)
        except Exception as error:
            print(f"{title}: {type(error).__name__}: {error}", flush=True)
    if not found:
        print(nothing)
