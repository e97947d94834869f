"""The rows that `minires.robustness.accuracy` counts, as shares and as tables in Markdown."""

import math
from collections.abc import Iterable, Sequence

from minires.robustness.accuracy import CLEAN, Row

MEAN, RELATIVE = "mean", "relative"


def summary(rows: Sequence[Row], model: str) -> dict[str, dict[int | str, float]]:
    """Accuracies of one model: {corruption: {strength: accuracy, "mean": of the strengths, "relative": mean / clean}}.

    "none" has the accuracy on the images as they are for its "mean"; "mean" is that of all corruptions, strength by
    strength. "relative" is NaN where nothing is known as it is.
    """
    found: dict[str, dict[int | str, float]] = {}
    for row in rows:
        if row["model"] == model:
            found.setdefault(row["corruption"], {})[row["strength"]] = row["correct"] / row["images"]
    clean = found.pop(CLEAN)[0]
    if found:
        strengths = next(iter(found.values()))
        found[MEAN] = {strength: _mean(kind[strength] for kind in found.values()) for strength in strengths}
    for kind in found.values():
        kind[MEAN] = _mean(list(kind.values()))
        kind[RELATIVE] = kind[MEAN] / clean if clean else math.nan
    return {CLEAN: {MEAN: clean, RELATIVE: 1.0}, **found}


def corruption_table(rows: Sequence[Row]) -> list[str]:
    """Lines: for each model and corruption accuracies in % by strength, their mean, its share of clean."""
    strengths = sorted({row["strength"] for row in rows} - {0})
    lines = _head(["model", "corruption", *strengths, "mean", "of clean"])
    for model in _models(rows):
        for kind, found in summary(rows, model).items():
            cells = [f"{100 * found[key]:.1f}" if key in found else "" for key in (*strengths, MEAN)]
            share = "-" if math.isnan(found[RELATIVE]) else f"{found[RELATIVE]:.2f}"
            lines.append(_line([model, _words(kind), *cells, share]))
    return lines


def means_table(rows: Sequence[Row]) -> list[str]:
    """Lines: for each model the mean accuracy over the strengths in %, a column for each corruption."""
    found = {model: summary(rows, model) for model in _models(rows)}
    kinds = list(next(iter(found.values())))
    lines = _head(["model", "as they are", *map(_words, kinds[1:]), "of clean"])
    for model, by_kind in found.items():
        share = by_kind[kinds[-1]][RELATIVE]
        cells = [f"{100 * by_kind[kind][MEAN]:.1f}" for kind in kinds]
        lines.append(_line([model, *cells, "-" if math.isnan(share) else f"{share:.2f}"]))
    return lines


def attack_table(rows: Sequence[Row]) -> list[str]:
    """Lines: for each model and attack the accuracies by eps in %."""
    epsilons = sorted({row["eps"] for row in rows})
    lines = _head(["model", "attack", *(f"eps {eps:g}" for eps in epsilons)])
    for model in _models(rows):
        own = [row for row in rows if row["model"] == model]
        for attack in dict.fromkeys((row["attack"], row["norm"], row["steps"]) for row in own):
            right = {
                row["eps"]: row["correct"] / row["images"]
                for row in own
                if (row["attack"], row["norm"], row["steps"]) == attack
            }
            cells = [f"{100 * right[eps]:.1f}" if eps in right else "" for eps in epsilons]
            lines.append(_line([model, attack_words(*attack), *cells]))
    return lines


def attack_words(attack: str, norm: str, steps: int) -> str:
    """ "PGD, 10 steps, linf" """
    return f"{attack.upper()}, {f'{steps} steps, ' if attack == 'pgd' else ''}{norm}"


def _models(rows):
    return list(dict.fromkeys(row["model"] for row in rows))


def _words(kind):
    return kind.replace("_", " ")


def _head(names):
    return [_line(names), "|---" * len(names) + "|"]


def _line(cells: Iterable) -> str:
    return f"| {' | '.join(str(cell).replace('|', '/') for cell in cells)} |"


def _mean(values):
    values = list(values)
    return sum(values) / len(values)
