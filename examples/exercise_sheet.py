"""An exercise sheet for pencil and paper: five forward and backward passes on small numbers, and their solutions.

    python examples/exercise_sheet.py                            writes exercise-sheet-0.html: open it, print it
    python examples/exercise_sheet.py --seed 7                   the same tasks with other numbers
    python examples/exercise_sheet.py --seed 7 --part tasks --out class-a.html       to hand out: without the solutions
    python examples/exercise_sheet.py --lang zh                  in Chinese
    python examples/exercise_sheet.py --out sheet.md             Markdown
    python examples/exercise_sheet.py --part tasks --link exercise_sheet_solutions.md --out docs/exercise_sheet.md
    python examples/exercise_sheet.py --part solutions --link exercise_sheet.md --out docs/exercise_sheet_solutions.md
                                                                 the site's two pages, which link to each other

The numbers are drawn so that every result is a whole number or a small fraction. The solutions are what the functions
of minires.layers and minires.losses return; each backward pass has gone through gradcheck, at the numbers of the sheet.
docs/teaching.md says how to use it.
"""

import functools
import html
import itertools
import json
import os
import re
import sys
import textwrap
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from urllib.parse import quote

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that a fresh clone runs without being installed

import numpy as np

from minires.cli import runs
from minires.cli.console import Parser
from minires.files import write_atomically
from minires.gradcheck import gradcheck
from minires.layers import add, batch_norm, conv2d, linear, max_pool2d, relu
from minires.losses import cross_entropy

WORDS = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))  # by language
BLANK = "____"


def main():
    """Run the command line; returns the exit code."""
    return runs.call(run, lambda: vars(command_line().parse_args()))


def run(options):
    """Draw a sheet, solve it, write it."""
    out = Path(options["out"] or usual_name(options))
    if options["seed"] < 0:
        raise ValueError(f"--seed must be at least 0, got {options['seed']}")
    if out.suffix not in WRITERS:
        raise ValueError(f"--out {out}: a sheet is written as {' or '.join(WRITERS)}: give a name that ends so")
    if os.path.lexists(out):
        raise ValueError(f"{out} is there already: name another file with --out, or remove it first")
    if options["link"] and options["part"] == "all":
        raise ValueError("--link names the file of the other part: it wants --part tasks or --part solutions")
    wanted = {name: options[name] for name in ("seed", "lang", "part", "link")}
    blocks = sheet(problems(options["seed"]), **wanted)
    write_atomically(out, WRITERS[out.suffix](blocks, options["lang"]).encode())
    print(f"wrote {out}", file=sys.stderr)
    return 0


def usual_name(options):
    """exercise-sheet-7.html, or exercise-sheet-7-zh-tasks.html: another name for all that makes it another sheet."""
    others = [options[name] for name, usual in (("lang", "en"), ("part", "all")) if options[name] != usual]
    return "-".join(["exercise-sheet", str(options["seed"]), *others]) + ".html"


def command_line():
    """The flags."""
    parser = Parser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of the numbers; default: 0")
    parser.add_argument("--lang", choices=["en", "zh"], default="en", help="default: en")
    parser.add_argument(
        "--part", choices=["all", "tasks", "solutions"], default="all", help="default: all, solutions on a new page"
    )
    parser.add_argument("--link", metavar="FILE", help="of the other part, for a link to it; default: none")
    parser.add_argument("--out", metavar="FILE", help="default: exercise-sheet-SEED.html; or a name that ends in .md")
    return parser


# The problems -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Problem:
    """What is given and asked for, some of it worked out, what the usual mistake gives, and numbers for the words."""

    name: str
    given: dict[str, np.ndarray]
    results: dict[str, np.ndarray]
    worked: list[str]
    mistake: dict[str, np.ndarray]
    said: dict[str, str] = field(default_factory=dict)

    def tells(self):
        """Whether the mistake shows in the numbers."""
        return all(not np.array_equal(self.results[name], wrong) for name, wrong in self.mistake.items())


def problems(seed):
    """The sheet's five problems, the same for the same seed."""
    rng = np.random.default_rng(seed)
    return [
        drawn_to_tell(make, rng)
        for make in (residual_sum, max_pooling, convolution, softmax_cross_entropy, batch_normalisation)
    ]


def drawn_to_tell(make, rng):
    """A problem of this kind in which the mistake shows."""
    while True:
        problem = make(rng)
        if problem.tells():
            return problem


def residual_sum(rng):
    """y = max(theta x + x, 0), of three numbers, one of which the ReLU cuts off."""
    while True:
        x, theta, dy = whole(rng, -3, 3, 3), whole(rng, -2, 2, 3, 3), whole(rng, -3, 3, 3)
        s = theta @ x + x
        if np.sum(s < 0) == 1 and np.all(s) and np.count_nonzero(theta) > 5 and len(set(np.abs(dy)) - {0}) == 3:
            break

    def block(x, theta):
        f, f_backward = linear(x, theta)
        s, s_backward = add(f, x)
        y, y_backward = relu(s)

        def backward(dy):
            ds = y_backward(dy)
            df, dx = s_backward(ds)
            dx_of_branch, dtheta = f_backward(df)
            return dx_of_branch + dx, dtheta

        return y, backward

    gradcheck(block, x[None], theta)
    y, backward = block(x[None], theta)
    dx, dtheta = backward(dy[None])
    ds = dy * (s > 0)
    without = exact_cells(ds @ theta)[0]
    given = {"x": column(x), "θ": theta, "dy": column(dy)}
    results = {"f": column(theta @ x), "s": column(s), "y": column(y), "ds": column(ds), "df": column(ds)}
    results |= {"dθ": dtheta, "dx": column(dx)}
    worked = [
        "f[0] = " + products(theta[0], x),
        "dx[0] = θ[0,0] df[0] + θ[1,0] df[1] + θ[2,0] df[2] + ds[0]",
        "      = " + products(theta[:, 0], ds, plus=ds[0], total=dx[0, 0]),
    ]
    mistake = {"dx": column(dy @ theta + dy)}
    return Problem("residual", given, results, worked, mistake, {"without": "(" + ", ".join(without) + ")"})


def max_pooling(rng):
    """Windows of 2x2 numbers of 3x3 that overlap, so that one number is the largest of several."""
    while True:
        x, dy = rng.permutation(np.arange(1.0, 10)).reshape(1, 3, 3, 1), whole(rng, -4, 4, 1, 2, 2, 1)
        y, backward = max_pool2d(x, 2, stride=1)
        winners, times = np.unique(y, return_counts=True)
        if sorted(times) in ([1, 1, 2], [1, 3]) and np.all(dy):
            break
    gradcheck(lambda x: max_pool2d(x, 2, stride=1), x)
    largest = winners[times.argmax()]
    row, line = np.argwhere(x[0, :, :, 0] == largest)[0]
    dx = backward(dy)[0, :, :, 0]
    terms = [f"dy[{i},{j}]" for i in range(2) for j in range(2) if y[0, i, j, 0] == largest]
    numbers = [dy[0, i, j, 0] for i in range(2) for j in range(2) if y[0, i, j, 0] == largest]
    worked = [
        "y[0,0] = max("
        + ", ".join(exact(number) for number in x[0, :2, :2, 0].ravel())
        + f") = {exact(y[0, 0, 0, 0])}",
        f"dx[{row},{line}] = {' + '.join(terms)} = {summed(numbers)} = {exact(dx[row, line])}",
    ]
    said = {"largest": f"x[{row},{line}] = {exact(largest)}", "times": str(times.max())}
    mistake = {"dx": np.where(x[0, :, :, 0] == largest, numbers[-1], dx)}
    x, dy, y = x[0, :, :, 0], dy[0, :, :, 0], y[0, :, :, 0]
    return Problem("max_pool", {"x": x, "dy": dy}, {"y": y, "dx": dx}, worked, mistake, said)


def convolution(rng):
    """A kernel of 2x2 over an image of 3x3, one channel, no padding."""
    while True:
        x, theta, b = whole(rng, -2, 3, 1, 3, 3, 1), whole(rng, -2, 2, 1, 2, 2, 1), whole(rng, 1, 3, 1)
        dy = whole(rng, -2, 2, 1, 2, 2, 1)
        if min(np.count_nonzero(theta), np.count_nonzero(dy)) > 2 and np.count_nonzero(x) > 6:
            break
    gradcheck(conv2d, x, theta.reshape(1, 1, 2, 2), b)
    y, backward = conv2d(x, theta.reshape(1, 1, 2, 2), b)
    x, theta, y, (dx, dtheta, db) = x[0, :, :, 0], theta[0, :, :, 0], y[0, :, :, 0], backward(dy)
    dx, dtheta, dy = dx[0, :, :, 0], dtheta[0, 0], dy[0, :, :, 0]
    dtheta_0 = products(x[:2, :2].ravel(), dy.ravel(), total=dtheta[0, 0])
    worked = [
        "y[0,0] = " + products(x[:2, :2].ravel(), theta.ravel(), plus=b[0], total=y[0, 0]),
        "dθ[0,0] = x[0,0] dy[0,0] + x[0,1] dy[0,1] + x[1,0] dy[1,0] + x[1,1] dy[1,1]",
        "        = " + dtheta_0,
        "dx[1,1] = dy[0,0] θ[1,1] + dy[0,1] θ[1,0] + dy[1,0] θ[0,1] + dy[1,1] θ[0,0]",
        "        = " + products(dy.ravel(), theta.ravel()[::-1], total=dx[1, 1]),
    ]
    given = {"x": x, "θ": theta, "b": b, "dy": dy}
    unturned, _ = conv2d(np.pad(dy, 1)[None, :, :, None], theta.reshape(1, 1, 2, 2))
    mistake = {"dx": unturned[0, :, :, 0]}
    return Problem("conv", given, {"y": y, "dθ": dtheta, "db": db, "dx": dx}, worked, mistake)


def softmax_cross_entropy(rng):
    """Two images, three classes; the logits are logarithms of whole numbers, so that probabilities are fractions."""
    powers = np.array([parts_of(rng, rng.choice([4, 5, 8, 10])) for _ in range(2)], float)
    labels = rng.permutation(3)[:2]
    gradcheck(cross_entropy, np.log(powers), labels)
    loss, backward = cross_entropy(np.log(powers), labels)
    dz = backward(1.0)
    p, sums = powers / powers.sum(axis=1, keepdims=True), powers.sum(axis=1)
    inverse = [exact(sums[n] / powers[n, labels[n]]) for n in range(2)]
    n, k = 0, labels[0]
    worked = [
        f"p[0,{k}] = {exact(powers[n, k])} / ({' + '.join(exact(number) for number in powers[n])}) = {exact(p[n, k])}",
        f"L = (ln {inverse[0]} + ln {inverse[1]}) / 2 = {loss:.4f}",
        f"dz[0,{k}] = (p[0,{k}] - 1) / 2 = ({exact(p[n, k])} - 1) / 2 = {exact(dz[n, k])}",
    ]
    logits = [[f"ln {exact(number)}" for number in row] for row in powers]
    given = {"z": np.array(logits), "labels": labels[:, None]}
    results = {"p": p, "L": np.array([[f"{loss:.4f}"]]), "dz": dz}
    return Problem("cross_entropy", given, results, worked, {"dz": 2 * dz})


def batch_normalisation(rng):
    """Five numbers of one channel whose standard deviation is 2, and an upstream gradient that keeps results simple."""
    deviation = np.array(deviations()[rng.integers(len(deviations()))], float)
    while True:
        dy = whole(rng, -4, 4, 5)
        if dy.sum() % 5 == 0 and dy @ deviation % 10 == 0 and dy @ deviation and np.ptp(dy):
            break
    x, gamma, beta = deviation + rng.integers(-2, 7), 2 * whole(rng, 1, 2, 1), whole(rng, -2, 3, 1)

    def function(x, gamma, beta):
        return batch_norm(x, None, None, gamma, beta, training=True, eps=0.0)

    gradcheck(function, x[:, None], gamma, beta)
    y, backward = function(x[:, None], gamma, beta)
    dx, dgamma, dbeta = backward(dy[:, None])
    x_hat = (x - x.mean()) / x.std()
    means = dy.mean(), (dy * x_hat).mean()
    given = {"x": row(x), "γ": gamma, "β": beta, "dy": row(dy)}
    results = {"mean": row(x.mean()), "var": row(x.var()), "x_hat": row(x_hat), "y": row(y)}
    results |= {"dγ": dgamma, "dβ": dbeta, "dx": row(dx)}
    worked = [
        f"var = ({summed([f'{signed(d)}²' for d in deviation])}) / 5 = {exact(x.var())}",
        f"mean(dy) = {exact(means[0])}    mean(dy x_hat) = {exact(means[1])}",
        "dx[0] = γ / σ (dy[0] - mean(dy) - x_hat[0] mean(dy x_hat))",
        f"      = {exact(gamma[0])} / 2 ({exact(dy[0])} - {signed(means[0])} - {signed(x_hat[0])} · {signed(means[1])})"
        f" = {exact(dx[0, 0])}",
    ]
    return Problem("batch_norm", given, results, worked, {"dx": row(gamma / x.std() * dy)})


@functools.cache
def deviations():
    """All lists of five small whole numbers, more than two of them different, of mean 0 and mean square 4."""
    drawn = itertools.product(range(-4, 5), repeat=5)
    return [d for d in drawn if sum(d) == 0 and sum(k * k for k in d) == 20 and len(set(d)) > 2]


# Numbers ------------------------------------------------------------------------------------------------------------


def whole(rng, low, high, *shape):
    """Whole numbers from low to high, both included, as float64."""
    return rng.integers(low, high + 1, shape).astype(float)


def parts_of(rng, total):
    """Three whole numbers from 1 up, not all alike, whose sum is total."""
    parts = [p for p in itertools.product(range(1, total), repeat=3) if sum(p) == total and len(set(p)) > 1]
    return parts[rng.integers(len(parts))]


def column(vector):
    """A vector as a matrix of one column."""
    return np.reshape(vector, (-1, 1))


def row(vector):
    """A vector as a matrix of one row."""
    return np.reshape(vector, (1, -1))


def exact(value):
    """A number as a whole number or a small fraction; raises ValueError where it is none."""
    fraction = Fraction(float(value)).limit_denominator(100)
    if abs(float(fraction) - value) > 1e-12:
        raise ValueError(f"{value} is no small fraction")
    return str(fraction)


def signed(value):
    """A number as it stands behind an operator: in brackets where it is negative."""
    text = value if isinstance(value, str) else exact(value)
    return f"({text})" if text.startswith("-") else text


def summed(numbers):
    """ "2 + (-1) + 3" """
    first, *rest = [number if isinstance(number, str) else exact(number) for number in numbers]
    return " + ".join([first, *map(signed, rest)])


def products(left, right, plus=None, total=None):
    """ "1 · 2 + 0 · (-1) = 2", or with `plus` added and `total` behind the sign."""
    first, *rest = zip(left, right, strict=True)
    terms = [f"{exact(first[0])} · {signed(first[1])}", *(f"{signed(a)} · {signed(b)}" for a, b in rest)]
    if plus is not None:
        terms.append(signed(plus))
    return " + ".join(terms) + f" = {exact(left @ right if total is None else total)}"


def exact_cells(array):
    """The rows of a matrix as lists of texts."""
    return [[cell if isinstance(cell, str) else exact(cell) for cell in line] for line in np.atleast_2d(array).tolist()]


# The sheet ----------------------------------------------------------------------------------------------------------


def sheet(problems, seed, lang, part="all", link=None):
    """The sheet as a list of (kind, text): h1, h2, h3, p, pre, blanks, link, and page for the beginning of a new one.

    link: the address of the other part, where that is a file of its own.
    """
    words = WORDS[lang]
    if part == "solutions":
        return [("h1", words["solutions_alone"]), *solutions(problems, seed, lang, "h2", link)]
    blocks = [("h1", words["title"]), ("p", words["name"]), ("p", words["intro"])]
    for number, problem in enumerate(problems, 1):
        says = words[problem.name]
        empty = {name: np.full_like(cells, BLANK, object) for name, cells in problem.results.items()}
        blocks += [
            ("h2", f"{number}. {says['title']}"),
            ("p", says["task"]),
            ("pre", beside(problem.given)),
            ("blanks", beside(empty)),
            ("p", says["question"]),
        ]
    if part == "all":
        blocks += [("page", ""), ("h2", words["solutions"]), *solutions(problems, seed, lang, "h3")]
    return blocks + linked(words["to_solutions"], link)


def solutions(problems, seed, lang, level, link=None):
    """The blocks of the solutions, below headings of a level."""
    words = WORDS[lang]
    options = (" --part solutions" if level == "h2" else "") + ("" if lang == "en" else f" --lang {lang}")
    blocks = [("p", words["made"].format(seed=seed, options=options))]
    blocks += linked(words["to_tasks"], link)
    for number, problem in enumerate(problems, 1):
        says = words[problem.name]
        blocks += [
            (level, words["solution"].format(number=number)),
            ("pre", beside(problem.results) + "\n\n" + "\n".join(problem.worked)),
            ("p", says["answer"].format(**problem.said)),
            ("p", says["mistake"]),
            ("pre", beside(problem.mistake)),
        ]
    return blocks


def linked(words, link):
    """A block with a link as Markdown has it; none without an address."""
    return [("link", words.format(link=quote(link, safe="/:#")))] if link else []


def beside(arrays, width=70):
    """Matrices by name, side by side, in as many rows of matrices as the width needs."""
    rows, used = [[]], 0
    for name, cells in arrays.items():
        block = matrix(name, exact_cells(cells))
        if used + len(block[0]) > width:
            rows, used = [*rows, []], 0
        rows[-1].append(block)
        used += len(block[0]) + 4
    return "\n\n".join(
        "\n".join("    ".join(line).rstrip() for line in itertools.zip_longest(*padded(blocks))) for blocks in rows
    )


def padded(blocks):
    """Blocks of lines, all as high as the highest."""
    height = max(map(len, blocks))
    return [block + [" " * len(block[0])] * (height - len(block)) for block in blocks]


def matrix(name, cells):
    """ "x = 1 -2", and further rows below the first."""
    width = max(len(cell) for line in cells for cell in line)
    lines = [" ".join(cell.rjust(width) for cell in line) for line in cells]
    return [(f"{name} = " if n == 0 else " " * (len(name) + 3)) + line for n, line in enumerate(lines)]


# As a file ----------------------------------------------------------------------------------------------------------

STYLE = """
body { font: 11pt/1.5 system-ui, sans-serif; max-width: 48em; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 18pt; }
h2 { font-size: 14pt; }
h3 { font-size: 12pt; }
pre, code { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: 10pt; }
pre { overflow-x: auto; }
pre.blanks { line-height: 2.6; }
@page { margin: 14mm; }
@media print {  /* blanks of 10 mm in lines of 9 mm; two tasks fill a page */
  body { margin: 0; padding: 0; max-width: none; }
  .link { display: none; }
  pre { overflow: visible; }
  section:has(> .blanks) pre { font-size: 11pt; }
  section > pre.blanks { font-size: 12.25pt; line-height: 9mm; }
  section:has(> .blanks) { min-height: 12cm; }
  section { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  .page { break-before: page; }
}
"""


def as_html(blocks, lang):
    """One file that needs no other and asks no server for anything; a problem stays on one page."""
    made, title, open_section = [], html.escape(blocks[0][1]), False
    for kind, text in blocks:
        if open_section and kind in ("h2", "h3", "page"):
            made.append("</section>")
            open_section = False
        if kind in ("h2", "h3"):
            made.append("<section>")
            open_section = True
        made.append(element(kind, html.escape(text, quote=False)))
    made.append("</section>")
    head = f'<meta charset="utf-8">\n<title>{title}</title>\n<style>{STYLE}</style>'
    body = "\n".join(made)
    return (
        f'<!DOCTYPE html>\n<html lang="{LANGUAGES[lang]}">\n<head>\n{head}\n</head>\n<body>\n{body}\n</body>\n</html>\n'
    )


def element(kind, text):
    """A block of the sheet as an HTML element."""
    if kind == "page":
        return '<div class="page"></div>'
    if kind in ("pre", "blanks"):
        return f'<pre class="{kind}">{text}</pre>'
    if kind == "link":
        return '<p class="link">' + re.sub(r"\[(.+)\]\((.+)\)", r'<a href="\2">\1</a>', text) + "</p>"
    return f"<{kind}>" + re.sub(r"`([^`]+)`", r"<code>\1</code>", text) + f"</{kind}>"


MARKED = {"blanks": "to-fill-in", "link": "not-on-paper"}  # by docs/_static/site.css


def as_markdown(blocks, lang):
    """For GitHub and for the site, where an empty block says what the next one is on paper."""
    marks = {"h1": "# ", "h2": "## ", "h3": "### "}
    made = []
    for kind, text in blocks:
        if kind in MARKED:
            made.append(f'<div class="{MARKED[kind]}"></div>')
        if kind == "page":
            made.append('<div style="break-after: page"></div>')
        elif kind in ("pre", "blanks"):
            made.append(f"```text\n{text}\n```")
        elif kind in ("p", "link"):
            made.append(wrapped(text))
        else:
            made.append(marks[kind] + text)
    return "\n\n".join(made) + "\n"


def wrapped(text, width=120):
    """A paragraph in lines that end at spaces outside of `code`, as English has them; Chinese has no such places."""
    text = re.sub(r"`[^`]+`", lambda code: code[0].replace(" ", "\0"), text)
    return textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False).replace("\0", " ")


WRITERS = {".html": as_html, ".md": as_markdown}
LANGUAGES = {"en": "en", "zh": "zh-CN"}


if __name__ == "__main__":
    sys.exit(main())
