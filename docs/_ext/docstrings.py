"""The reference shows every docstring as it is written: its formulas and tables of shapes are plain text."""

import ast
import functools
import inspect
import sys


def as_written(app, what, name, obj, options, lines):
    text = [f"   {line}" for line in inspect.cleandoc("\n".join(lines)).splitlines()]
    lines[:] = [".. code-block:: text", "   :class: docstring", "", *text, ""] if text else []


@functools.cache
def own_constants(module):
    """The names in capitals that a module assigns itself, as opposed to those it imports."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    names = (node for statement in tree.body if isinstance(statement, ast.Assign) for node in ast.walk(statement))
    return {node.id for node in names if isinstance(node, ast.Name) and node.id.isupper()}


def skip(app, what, name, obj, skip, options):
    """Of what is neither a function nor a class, a module's own constants are shown, and nothing else."""
    if what == "module" and not inspect.isclass(obj) and not inspect.isroutine(obj):
        return name not in own_constants(app.env.temp_data["autodoc:module"])
    return None


def setup(app):
    app.connect("autodoc-process-docstring", as_written)
    app.connect("autodoc-skip-member", skip)
    return {"parallel_read_safe": True}
