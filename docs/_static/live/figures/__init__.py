"""The numbers of the live figures: NAME.py computes with minires what NAME.js draws and what the reader changes."""

import inspect


def code_line(function, start):
    """The line of a function's source that begins so."""
    lines = (line.strip() for line in inspect.getsource(function).splitlines())
    return next(line for line in lines if line.startswith(start))
