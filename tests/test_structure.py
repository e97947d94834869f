"""The house: imports run one way, and a file of the core is read in one sitting."""

import ast
import graphlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in (ROOT / "minires").rglob("*.py")
}
CORE = ("layers", "models", "backend", "optim", "module", "modes", "parameter", "sequential", "losses", "schedules")
CORE += ("training", "trainer", "recorded_step", "calling", "recomputed", "recompute")


def imported(tree):
    """Modules of minires that a file imports, wherever in it. A package that only hands names on is not among them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in FILES)
        elif isinstance(node, ast.ImportFrom) and node.module in FILES:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in FILES else node.module


def test_no_two_files_import_each_other_in_a_circle():
    graph = {name: set(imported(ast.parse(path.read_text(encoding="utf-8")))) for name, path in FILES.items()}
    assert len(graph) > 100 and sum(map(len, graph.values())) > 300
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1][::-1])}: move what both need below them")


def test_files_of_the_core_have_at_most_250_lines():
    core = {name: path for name, path in FILES.items() if name.split(".")[1:2] and name.split(".")[1] in CORE}
    assert len(core) > 45
    lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in core.items()}
    assert not {name: count for name, count in lines.items() if count > 250}
