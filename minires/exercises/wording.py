"""How numbers and hints are put into words."""

import re
from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations
from math import prod

from minires.exercises.exercise import Case
from minires.exercises.language import Several, Text


def together(hints: Sequence[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    """(gradient, hint) of each wrong one -> (hint, gradients), where several have the same but for their name."""
    groups: dict[str, tuple[str, list[str]]] = {}
    for name, hint in hints:
        nameless = re.sub(rf"\b{name}\b", "it", hint)
        said, about = groups.setdefault(nameless, (hint, []))
        about.append(name)
    return [(_of_all(said, about), about) for said, about in groups.values()]


def _of_all(hint, names):
    if len(names) == 1 or not re.search(rf"\b{names[0]}\b", hint):
        return hint
    return Text("{hint} The same holds for {names}.", hint=hint, names=Several(names[1:]))


def fraction_text(number: float) -> str:
    """5 / 3 as "5/3", what is no fraction of small numbers as a decimal."""
    fraction = Fraction(number).limit_denominator(200)
    if fraction.denominator > 1 and abs(fraction - number) < 1e-9 * number:
        return str(fraction)
    return f"{number:.6g}"


def plain_factor(k: int, way: str) -> Text:
    """What may be missing where a gradient is k times too large or small, whatever the shapes are."""
    if way == "large":
        if k == 2:
            return Text("Is a 1/2 missing, the derivative of an inner function perhaps?")
        return Text("Is a 1/{k} missing?", k=k)
    if k == 2:
        return Text("Is a factor of 2 missing, the derivative of a square perhaps?")
    return Text("Is a factor of {k} missing?", k=k)


def constants(size: float, case: Case) -> list[str]:
    """Names of a number: products of sizes, the shortest first."""
    sizes = [(letter, n) for letter, n in case.sizes.items() if letter.isalpha() and n > 1]
    named = {"1 / (1 - p)": 1 / (1 - case.options["p"])} if "p" in case.options else {}
    for count in (1, 2, 3, 4):
        for some in combinations(sizes, count):
            named[" * ".join(letter for letter, _ in some)] = float(prod(n for _, n in some))
    named |= {f"{letter} * {letter}": float(n * n) for letter, n in sizes}
    named |= {f"{product} / ({product} - 1)": n / (n - 1) for product, n in named.items() if n.is_integer()}
    named |= {f"{one} / {other}": n / m for one, n in sizes for other, m in sizes if one != other}
    return [name for name, value in named.items() if abs(value - size) < 1e-6 * size]
