"""Try a change: an edited function or class takes the place of the library's, wherever that is used.

A function's code is exchanged, not the function, so that everything that has imported it has the change.
"""

import ast
import contextlib
import functools
import importlib
import inspect
import sys
import textwrap
import types

from live.checks import checks_of
from live.results import differences, trials_of
from live.running import NAMESPACES, remember, where_raised
from minires.gradcheck import gradcheck

MOST = 12  # names of what is equal

_originals = {}  # path: the text of the library's
_before = {}  # path: [(function, what it was made of)] of what was changed
_edited = {}  # path: the text in its place, and what tracebacks call it
_answers = {}  # path: what the library's own gives in its trials

WORDS = {  # the page's script gives its own
    "unchecked": "In its place. There is nothing here to check it by: run the code of the page.",
    "same": "On the same inputs, equal to the library's own: {names}",
    "value": "{title}: {place} is {given}, where the library's own code gives {own} ({count} of {size} numbers differ)",
    "form": "{title}: {place} is {given}, where the library's own code gives {own}",
    "error": "{title}: {error}",
    "line": " (line {line} of the change: {text})",
}


# Places ---------------------------------------------------------------------------------------------------------------


def _found(path):
    """-> the module, and the object as it stands in its class: a property is one, not its value."""
    module, _, name = path.partition(":")
    module = importlib.import_module(module)
    return module, functools.reduce(inspect.getattr_static, name.split("."), module)


def _plain(thing):
    """The function in a property, in a static or class method, or in what functools wraps; a class as it is."""
    thing = getattr(thing, "fget", None) or getattr(thing, "__func__", None) or thing
    return inspect.unwrap(thing) if callable(thing) else thing


def source(path):
    """The text of "package.module:name" as the library has it."""
    if path not in _originals:
        _originals[path] = textwrap.dedent(inspect.getsource(_plain(_found(path)[1])))
    return _originals[path]


def put(path, text, called=None, namespace="page"):
    """Puts an edited text in place; the page sees it under its name, unless it has something else of that name.

    called: what tracebacks call it.
    """
    source(path)
    module, old = _found(path)
    *classes, name = path.partition(":")[2].split(".")
    called = called or f"The edited {name}"
    new, helpers = _made(text, called, name, classes, module)
    if type(new) is not type(old):
        raise NameError(f"the text no longer defines {name}, which is to take the place of the library's")
    for helper, value in helpers.items():
        setattr(module, helper, value)
    _before.setdefault(path, [(function, _made_of(function)) for function in _functions(old)])
    exchange(old, new)
    _edited[path] = text, called
    _forget_results()
    if not classes:
        NAMESPACES.setdefault(namespace, {"__name__": "__main__"}).setdefault(name, old)


def _made(text, called, name, classes, module):
    """-> what a text defines under a name, a method within a class as super() needs it; and what else it defines."""
    remember(text, called)
    tree = ast.parse(text, called)
    if classes:
        inside = [node for node in tree.body if getattr(node, "name", None) == name]
        (around,) = ast.parse(f"class {classes[-1]}: pass").body
        around.body = inside or around.body
        tree.body = [*(node for node in tree.body if node not in inside), around]
    names = {known: value for known, value in vars(module).items() if known != name}
    before = dict(names)
    exec(compile(tree, called, "exec"), names)
    new = vars(names[classes[-1]]).get(name) if classes else names.get(name)
    return new, {helper: names[helper] for helper in names.keys() - before.keys() - {name, "__builtins__"}}


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
    del _edited[path]
    _forget_results()


@contextlib.contextmanager
def library():
    """Within it everything is the library's own."""
    edited = dict(_edited)
    for path in edited:
        put_back(path)
    try:
        yield
    finally:
        for path, (text, called) in edited.items():
            put(path, text, called)


def _functions(thing):
    """A function itself, or a class's methods."""
    thing = _plain(thing)
    methods = [thing] if isinstance(thing, types.FunctionType) else map(_plain, vars(thing).values())
    return [method for method in methods if isinstance(method, types.FunctionType)]


def _made_of(function):
    return function.__code__, function.__defaults__, function.__kwdefaults__


def exchange(old, new):
    """Gives a function the code of another, or each method of a class that of another class."""
    old, new = _plain(old), _plain(new)
    if isinstance(old, types.FunctionType):
        old.__code__, old.__defaults__, old.__kwdefaults__ = _made_of(new)
        return
    for name, method in vars(new).items():
        if not isinstance(_plain(method), types.FunctionType):
            continue
        if isinstance(_plain(vars(old).get(name)), types.FunctionType):
            exchange(vars(old)[name], method)
        else:
            setattr(old, name, method)


def _forget_results():
    """What functions of minires have kept of earlier calls."""
    for name, module in list(sys.modules.items()):
        if name.startswith("minires."):
            for value in vars(module).values():
                if callable(forget := getattr(value, "cache_clear", None)):
                    forget()


# Checks ---------------------------------------------------------------------------------------------------------------


def check(path, words=WORDS):
    """Checks the gradients of what the object is part of, then compares what comes out with the library's own.

    Prints what it finds, and what is wrong as a warning.
    """
    found, trials = checks_of(path), trials_of(path)
    passed = [_gradcheck(title, function, inputs, words) for title, function, inputs in found]
    if all(passed) and trials:
        _compare(path, trials, words)
    elif not found:
        print(words["unchecked"])


def _gradcheck(title, function, inputs, words):
    try:
        print(f"{title}: {gradcheck(function, *inputs, max_elements=40)}", flush=True)
        return True
    except Exception as error:
        _say_error(title, error, words)
        return False


def _compare(path, trials, words):
    """Says the first difference of the first trial that has one, or what is equal in all."""
    if path not in _answers:
        with library():
            _answers[path] = [trial() for _, trial in trials]
    names = []
    for (title, trial), own in zip(trials, _answers[path], strict=True):
        try:
            given = trial()
        except Exception as error:
            return _say_error(title, error, words)
        for kind, about in differences(own, given):
            return print(words[kind].format(title=title, **about), file=sys.stderr, flush=True)
        names += [name for name in own if name not in (*names, "dtypes")]
    print(words["same"].format(names=", ".join(names[:MOST]) + ", ..." * (len(names) > MOST)), flush=True)


def _say_error(title, error, words):
    said = words["error"].format(title=title, error=f"{type(error).__name__}: {error}")
    place = where_raised(error)
    print(said + (words["line"].format(**place) if place else ""), file=sys.stderr, flush=True)
