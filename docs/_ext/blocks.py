"""The Python blocks of a page: which they are, in which order they run, what they print and where they cannot run.

In docs/**/*.md

    ```{literalinclude} ../minires/module.py  source: the file, the object and the lines that its options name
    ```python                                 a python block is run, a page's blocks in order in one namespace
    ```python needs=REASON                    the same, but not in a reader's browser: REASONS says why
    ```text                                   right after a python block: what the block prints, where "..." is anything
"""

import re
from dataclasses import dataclass

FENCE = re.compile(r"^```(?P<language>\S*)(?P<more>[^\n]*)\n(?P<code>.*?)^```$", re.M | re.S)
INCLUDE = re.compile(r"^( *)```\{literalinclude\} (?P<file>\S+)\n(?P<options>.*?)^\1```$", re.M | re.S)
OPTION = re.compile(r"^ *:([\w-]+):[ \t]*(.*?)[ \t]*$", re.M)
CUTS = {"start-at", "start-after", "end-at", "end-before", "lines"}
NEEDS = re.compile(r"\bneeds=(\S+)")

REASONS = {"processes", "threads", "files", "network", "packages"}  # docs/_static/live/texts.js says them to readers


@dataclass
class Block:
    language: str
    code: str
    line: int  # of the block's first line of code
    prints: str | None = None
    needs: str | None = None  # what a browser does not have


def blocks_of(text):
    """The fenced blocks of a page in order, each python block with what stands around it."""
    found, end = [], 0
    for match in FENCE.finditer(text):
        between, end = text[end : match.start()], match.end()
        needs = NEEDS.search(match["more"])
        block = Block(match["language"], match["code"], text[: match.start()].count("\n") + 2, needs=needs and needs[1])
        if block.language == "text" and found and found[-1].language == "python" and not between.strip():
            found[-1].prints = block.code
        found.append(block)
    return found


def python_blocks(text):
    return [block for block in blocks_of(text) if block.language == "python"]


def source_of(include):
    """Which object of minires a match of INCLUDE shows, and whether a part of it: {"object", "cut"}, or None."""
    options = dict(OPTION.findall(include["options"]))
    found = re.search(r"(?:^|/)(minires/.*)\.py$", include["file"])
    if not (found and "pyobject" in options):
        return None
    module = found[1].replace("/", ".").removesuffix(".__init__")
    return {"object": f"{module}:{options['pyobject']}", **({"cut": ""} if CUTS & options.keys() else {})}
