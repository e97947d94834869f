"""examples/exercise_sheet.py: its numbers against loops, in fractions; its files, its languages, bad input."""

import re
from fractions import Fraction
from html.parser import HTMLParser

import numpy as np
import pytest
import scripts
from test_docs import ROOT

script = scripts.load("exercise_sheet")
SEEDS = range(12)


@pytest.fixture(scope="module")
def sheets():
    """The problems of some seeds, by name."""
    return [{problem.name: problem for problem in script.problems(seed)} for seed in SEEDS]


def fractions(array):
    """An array as nested lists of exact numbers; it must consist of small fractions."""
    cells = np.asarray(array, float)
    return [[Fraction(cell).limit_denominator(100) for cell in line] for line in np.atleast_2d(cells)]


def same(array, wanted):
    assert fractions(array) == [list(line) for line in wanted]


# The numbers, computed a second time by loops over indices, in exact arithmetic --------------------------------------


def test_residual_sum(sheets):
    for problem in (sheet["residual"] for sheet in sheets):
        x, dy = ([line[0] for line in fractions(problem.given[name])] for name in ("x", "dy"))
        theta, r = fractions(problem.given["θ"]), problem.results
        f = [sum(theta[o][c] * x[c] for c in range(3)) for o in range(3)]
        s = [f[o] + x[o] for o in range(3)]
        ds = [dy[o] if s[o] > 0 else 0 for o in range(3)]
        through = [sum(ds[o] * theta[o][c] for o in range(3)) for c in range(3)]
        for name, numbers in {"f": f, "s": s, "y": [max(k, 0) for k in s], "ds": ds, "df": ds}.items():
            same(r[name], [[number] for number in numbers])
        same(r["dθ"], [[ds[o] * x[c] for c in range(3)] for o in range(3)])
        same(r["dx"], [[through[c] + ds[c]] for c in range(3)])
        assert problem.said["without"] == "(" + ", ".join(map(str, through)) + ")"
        assert sum(k < 0 for k in s) == 1, "the ReLU has something to do"
        wrong = [[sum(dy[o] * theta[o][c] for o in range(3)) + dy[c]] for c in range(3)]
        same(problem.mistake["dx"], wrong)


def windows():
    return [(i, j, [(i + k, j + m) for k in range(2) for m in range(2)]) for i in range(2) for j in range(2)]


def test_max_pooling(sheets):
    for problem in (sheet["max_pool"] for sheet in sheets):
        x, dy = fractions(problem.given["x"]), fractions(problem.given["dy"])
        y, dx, wrong = [[0, 0], [0, 0]], [[0] * 3 for _ in range(3)], [[0] * 3 for _ in range(3)]
        for i, j, window in windows():
            row, line = max(window, key=lambda at: x[at[0]][at[1]])
            y[i][j] = x[row][line]
            dx[row][line] += dy[i][j]
            wrong[row][line] = dy[i][j]
        same(problem.results["y"], y)
        same(problem.results["dx"], dx)
        same(problem.mistake["dx"], wrong)
        largest = y[0] + y[1]
        several = [number for number in set(largest) if largest.count(number) > 1]
        assert len(several) == 1, "one number is the largest of several windows, and only one: the sheet asks which"
        assert problem.said["largest"].endswith(f" = {several[0]}")
        assert problem.said["times"] == str(largest.count(several[0]))


def test_convolution(sheets):
    for problem in (sheet["conv"] for sheet in sheets):
        x, theta, dy = (fractions(problem.given[name]) for name in ("x", "θ", "dy"))
        b = fractions(problem.given["b"])[0][0]
        y, dx, wrong = [[b, b], [b, b]], [[0] * 3 for _ in range(3)], [[0] * 3 for _ in range(3)]
        dtheta = [[0, 0], [0, 0]]
        for i, j, window in windows():
            for row, line in window:
                k, m = row - i, line - j
                y[i][j] += x[row][line] * theta[k][m]
                dtheta[k][m] += x[row][line] * dy[i][j]
                dx[row][line] += theta[k][m] * dy[i][j]
                wrong[row][line] += theta[1 - k][1 - m] * dy[i][j]
        for name, numbers in {"y": y, "dθ": dtheta, "dx": dx, "db": [[sum(dy[0] + dy[1])]]}.items():
            same(problem.results[name], numbers)
        same(problem.mistake["dx"], wrong)


def test_cross_entropy(sheets):
    for problem in (sheet["cross_entropy"] for sheet in sheets):
        powers = [[Fraction(cell.removeprefix("ln ")) for cell in line] for line in problem.given["z"]]
        labels = [int(line[0]) for line in problem.given["labels"]]
        p = [[k / sum(line) for k in line] for line in powers]
        same(problem.results["p"], p)
        loss = -sum(np.log(float(p[n][labels[n]])) for n in range(2)) / 2
        assert problem.results["L"][0, 0] == f"{loss:.4f}"
        dz = [[(p[n][k] - (k == labels[n])) / 2 for k in range(3)] for n in range(2)]
        same(problem.results["dz"], dz)
        same(problem.mistake["dz"], [[2 * k for k in line] for line in dz])
        assert all(sum(line) == 0 for line in dz), "as the sheet's answer says"


def test_batch_norm(sheets):
    for problem in (sheet["batch_norm"] for sheet in sheets):
        (x,), (dy,) = fractions(problem.given["x"]), fractions(problem.given["dy"])
        gamma, beta = (fractions(problem.given[name])[0][0] for name in "γβ")
        mean = sum(x) / 5
        var = sum((k - mean) ** 2 for k in x) / 5
        assert var == 4, "the deviation, 2, is asked for by hand"
        x_hat = [(k - mean) / 2 for k in x]
        # dL/dx by the chain rule, through x_hat, then mean and var as functions of x; sigma is 2
        d_hat = [gamma * k for k in dy]
        dvar = sum(d * (k - mean) for d, k in zip(d_hat, x, strict=True)) * Fraction(-1, 2) / 8
        dmean = -sum(d_hat) / 2 + dvar * sum(-2 * (k - mean) for k in x) / 5
        dx = [d / 2 + dvar * 2 * (k - mean) / 5 + dmean / 5 for d, k in zip(d_hat, x, strict=True)]
        y = [gamma * k + beta for k in x_hat]
        for name, numbers in {"mean": [mean], "var": [var], "x_hat": x_hat, "y": y, "dβ": [sum(dy)], "dx": dx}.items():
            same(problem.results[name], [numbers])
        same(problem.results["dγ"], [[sum(a * b for a, b in zip(dy, x_hat, strict=True))]])
        same(problem.mistake["dx"], [[gamma * k / 2 for k in dy]])
        assert sum(dx) == 0 == sum(a * b for a, b in zip(dx, x_hat, strict=True)), "as the sheet's answer says"


def test_what_is_worked_out_is_true(sheets):
    """Each "a · b + c = d" and "(a + b) / c = d" of the solutions, evaluated; a line may go on in the next."""
    checked = 0
    for line in (line for sheet in sheets for problem in sheet.values() for line in problem.worked):
        *terms, result = re.split(r" = |    ", line)
        for term in terms:
            term = re.sub(r"^ *= *", "", term)
            if re.search("[a-zθγσβ]", term) or not re.search(r"[·+/]", term):
                continue
            term = term.replace("·", "*").replace("²", "**2")
            term = re.sub(r"(\d) \(", r"\1 * (", re.sub(r"(?<![\w*])(\d+)(?!\w)", r"Fraction(\1)", term))
            assert eval(term.replace(") (", ") * ("), {"Fraction": Fraction}) == Fraction(result.split()[-1]), line
            checked += 1
    assert checked >= 8 * len(SEEDS)


def test_the_same_seed_draws_the_same_sheet():
    first, again, other = (script.sheet(script.problems(seed), 0, "en") for seed in (3, 3, 4))
    assert first == again != other


@pytest.mark.parametrize("name", ["residual", "max_pool", "conv", "cross_entropy", "batch_norm"])
def test_a_mistake_that_does_not_show_is_drawn_again(name, sheets):
    assert all(sheet[name].tells() for sheet in sheets)
    problem = sheets[0][name]
    (key,) = problem.mistake
    silent = script.Problem(name, problem.given, problem.results, [], {key: problem.results[key]})
    draws = iter([silent, silent, problem])
    assert script.drawn_to_tell(lambda rng: next(draws), None) is problem


def test_what_is_no_small_fraction_is_refused():
    assert [script.exact(value) for value in (2.0, -0.0, 1 / 3, -7 / 16)] == ["2", "0", "1/3", "-7/16"]
    with pytest.raises(ValueError, match="no small fraction"):
        script.exact(np.log(2))


# The files ----------------------------------------------------------------------------------------------------------


PAGES = [("en", "docs"), ("zh", "docs/zh")]
OTHER = {"tasks": "exercise_sheet_solutions.md", "solutions": "exercise_sheet.md"}  # the page of the other part


@pytest.mark.parametrize(("lang", "folder"), PAGES)
@pytest.mark.parametrize(("part", "other"), OTHER.items())
def test_the_pages_are_what_the_script_writes(part, other, lang, folder, tmp_path, monkeypatch, capsys):
    out, page = tmp_path / "sheet.md", f"{folder}/{(set(OTHER.values()) - {other}).pop()}"
    flags = ["--lang", lang, "--part", part, "--link", other, "--out"]
    assert scripts.call(script, monkeypatch, capsys, *flags, out) == (0, "", f"wrote {out}\n")
    assert out.read_text(encoding="utf-8") == (ROOT / page).read_text(encoding="utf-8"), (
        f"python examples/exercise_sheet.py {' '.join(flags)} {page}, after rm {page}"
    )
    assert out.read_text(encoding="utf-8").count(f"]({other})") == 1


@pytest.mark.parametrize(("lang", "folder"), PAGES)
def test_solutions_have_a_page_of_their_own(lang, folder):
    """No number that is asked for stands among the tasks, where a pupil who scrolls would see it."""
    tasks, solutions = ((ROOT / folder / page).read_text(encoding="utf-8") for page in reversed(OTHER.values()))
    words, drawn = script.WORDS[lang], script.problems(0)
    assert len(re.findall("^## ", tasks, re.M)) == len(re.findall("^## ", solutions, re.M)) == len(drawn)
    for number, problem in enumerate(drawn, 1):
        says = words[problem.name]
        solved = [script.beside(problem.results), script.beside(problem.mistake), *problem.worked]
        solved += [f"## {words['solution'].format(number=number)}\n", says["mistake"]]
        assert [text for text in solved if text not in solutions] == [text for text in solved if text in tasks] == []
        assert f"## {number}. {says['title']}\n" in tasks and script.beside(problem.given) in tasks
        assert says["answer"].format(**problem.said)[:15] in solutions
    assert tasks.count('<div class="to-fill-in"></div>\n\n```text\n') == len(drawn), "what is larger on paper"
    assert "____" in tasks and "____" not in solutions


class Structure(HTMLParser):
    """The tags of a page in order, which must be closed as they were opened."""

    def __init__(self, text):
        super().__init__()
        self.found, self.open = [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_html(lang, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert scripts.call(script, monkeypatch, capsys, "--seed", 7, "--lang", lang)[0] == 0
    assert scripts.call(script, monkeypatch, capsys, "--seed", 7, "--lang", lang, "--part", "tasks")[0] == 0
    name = {"en": "exercise-sheet-7", "zh": "exercise-sheet-7-zh"}[lang]
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.html", f"{name}-tasks.html"}
    text = (tmp_path / f"{name}.html").read_text(encoding="utf-8")
    tags = Structure(text).found
    assert ("html", {"lang": {"en": "en", "zh": "zh-CN"}[lang]}) in tags
    assert sum(tag == "h2" for tag, _ in tags) == 6
    assert sum(attributes.get("class") == "blanks" for _, attributes in tags) == 5
    assert not re.search(r"https?:|src=|url\(|@import", text), "asks nobody for anything"
    before, after = text.split('<div class="page"></div>')
    assert ".page { break-before: page; }" in before
    assert "/ 2 = " in after and "/ 2 = " not in before, "solutions stand behind the break"


def test_html_shows_what_stands_in_the_sheet():
    text = script.as_html([("h1", "a < b"), ("h2", "1 & 2"), ("p", "`x < y` & z"), ("pre", "<x>")], "en")
    assert "<title>a &lt; b</title>" in text and "<h2>1 &amp; 2</h2>" in text
    assert "<p><code>x &lt; y</code> &amp; z</p>" in text and '<pre class="pre">&lt;x&gt;</pre>' in text


def test_parts(tmp_path, monkeypatch, capsys):
    texts = {}
    for part in ("all", "tasks", "solutions"):
        out = tmp_path / f"{part}.md"
        assert scripts.call(script, monkeypatch, capsys, "--part", part, "--out", out)[0] == 0
        texts[part] = out.read_text(encoding="utf-8")
    assert "Solution" not in texts["tasks"] and "____" not in texts["solutions"]
    tasks, solutions = texts["all"].split('<div style="break-after: page"></div>\n\n## Solutions\n')
    assert tasks.rstrip() == texts["tasks"].rstrip()
    words = texts["solutions"].replace(" --part solutions", "").split()  # how it was made
    assert words == ("# Exercise sheet: the solutions\n" + solutions.replace("\n### ", "\n## ")).split()


def test_a_link_to_the_other_part(tmp_path, monkeypatch, capsys):
    """On a screen, not on paper; any name of a file is an address."""
    texts = {}
    for part, name in (("tasks", "a.html"), ("tasks", "a.md"), ("solutions", "b.html"), ("solutions", "b.md")):
        flags = ["--part", part, "--link", 'x "(1)" & y.html', "--out", tmp_path / name]
        assert scripts.call(script, monkeypatch, capsys, *flags)[0] == 0
        texts[name] = (tmp_path / name).read_text(encoding="utf-8")
    address = "x%20%22%281%29%22%20%26%20y.html"
    for page, markdown in ((texts["a.html"], texts["a.md"]), (texts["b.html"], texts["b.md"])):
        assert re.search(rf'\n\n<div class="not-on-paper"></div>\n\n.+\]\({address}\)', markdown)
        links = [attributes for tag, attributes in Structure(page).found if tag == "a"]
        assert links == [{"href": address}] and ".link { display: none; }" in page
    assert texts["a.md"].endswith(f"Done? Compare with [the solutions]({address}).\n"), "the last of all"


def test_both_languages_say_the_same():
    english, chinese = script.WORDS["en"], script.WORDS["zh"]
    assert english.keys() == chinese.keys()
    for key, words in english.items():
        if isinstance(words, dict):
            assert words.keys() == chinese[key].keys()
            for part, text in words.items():
                for mark in ("`[^`]+`", r"\{\w+\}"):
                    assert set(re.findall(mark, text)) == set(re.findall(mark, chinese[key][part])), (key, part)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--seed", "-1"], "error: --seed must be at least 0, got -1"),
        (["--seed", "one"], "argument --seed: invalid int value: 'one'"),
        (["--out", "sheet.pdf"], "sheet.pdf: a sheet is written as .html or .md"),
        (["--out", "no/such/sheet.md"], "make the folder no/such first"),
        (["--out", "there.md"], "there.md is there already: name another file with --out, or remove it first"),
        (["--link", "other.md"], "error: --link names the file of the other part: it wants --part tasks or"),
        (["--lang", "fr"], "invalid choice: 'fr'"),
    ],
)
def test_bad_input(arguments, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.md").write_text("corrected by hand")
    code, out, err = scripts.call(script, monkeypatch, capsys, *arguments)
    assert code and not out and says in scripts.one_sentence(err)
    assert (tmp_path / "there.md").read_text() == "corrected by hand"
    assert [path.name for path in tmp_path.iterdir()] == ["there.md"]


def test_a_dead_link_is_not_written_through(tmp_path, monkeypatch, capsys):
    (tmp_path / "sheet.md").symlink_to(tmp_path / "elsewhere.md")
    assert scripts.call(script, monkeypatch, capsys, "--out", tmp_path / "sheet.md")[0]
    assert not (tmp_path / "elsewhere.md").exists()


def test_the_tasks_are_numbered_as_the_teachers_page_has_them():
    english = script.WORDS["en"]
    titles = [english[problem.name]["title"] for problem in script.problems(0)]
    assert titles == [
        "The residual sum",
        "Max pooling",
        "Convolution",
        "Softmax and cross-entropy",
        "Batch normalisation",
    ]
