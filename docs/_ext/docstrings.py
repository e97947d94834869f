"""The reference shows every docstring as it is written: its formulas and tables of shapes are plain text."""

import inspect


def as_written(app, what, name, obj, options, lines):
    text = [f"   {line}" for line in inspect.cleandoc("\n".join(lines)).splitlines()]
    lines[:] = [".. code-block:: text", "   :class: docstring", "", *text, ""] if text else []


def setup(app):
    app.connect("autodoc-process-docstring", as_written)
    return {"parallel_read_safe": True}
