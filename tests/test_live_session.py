"""The Python side of pages that run, without a browser, and what the site's extension makes of blocks and files."""

import inspect
import json
import re
import shutil
import subprocess
import sys
import zipfile
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from test_docs import ROOT, blocks_of

sys.path.append(str(ROOT / "docs" / "_static"))

from blocks import INCLUDE, source_of
from live import changes, checks, results, running, show

from minires import layers, textbook
from minires.layers import batch_norm as library_batch_norm
from minires.textbook import relu as textbook_relu


@pytest.fixture
def page(tmp_path, monkeypatch):
    """page(code) -> (answer, what was sent) of a session of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(running, "NAMESPACES", {})
    monkeypatch.setattr(running, "EVERY", 0)

    def run(code, name="code 1", namespace="page"):
        sent = []
        answer = json.loads(running.run(code, name, namespace, lambda *message: sent.append(message)))
        return answer, sent

    return run


def printed(sent, kind="text"):
    return "".join(message[1] for message in sent if message[0] == kind)


def test_what_is_printed(page):
    answer, sent = page("import sys\nprint(1)\nprint('aside', file=sys.stderr)\nx = 2\nx + 1")
    assert answer == {"ok": True, "error": None}
    assert printed(sent) == "1\n3\n" and printed(sent, "warning") == "aside\n"
    assert printed(page("x")[1]) == "2\n"  # one namespace for all blocks
    assert page("x", namespace="other")[0]["error"]["type"] == "NameError"
    assert printed(page("None")[1]) == "" and printed(page("")[1]) == ""


def test_what_is_printed_has_an_end(page):
    _, sent = page("for _ in range(100_000): print('again and again')")
    assert len(printed(sent)) <= running.MOST + 10 and printed(sent).endswith("...\n")


def test_errors(page):
    page("def f(x):\n    return 1 / x\n", name="code 1")
    answer, sent = page("print('before')\nf(0)", name="code 2")
    error = answer["error"]
    assert not answer["ok"] and printed(sent) == "before\n"
    assert (error["kind"], error["type"], error["message"]) == ("python", "ZeroDivisionError", "division by zero")
    lines = error["traceback"].splitlines()
    assert [line.strip() for line in lines if "File" in line] == [
        'File "code 2", line 2, in <module>',
        'File "code 1", line 2, in f',
    ]
    assert "    return 1 / x" in lines and "running.py" not in error["traceback"]
    broken = page("x = (", name="code 3")[0]["error"]
    assert broken["type"] == "SyntaxError" and 'File "code 3", line 1' in broken["traceback"]
    assert "ast.py" not in broken["traceback"]
    assert page("raise SystemExit(3)")[0]["error"]["type"] == "SystemExit"
    chained = page("try:\n    1 / 0\nexcept ZeroDivisionError as error:\n    raise ValueError('b') from error")[0]
    assert "running.py" not in chained["error"]["traceback"]


def test_where_an_error_was_raised(page):
    """The last line of the page's own code on the way there."""
    page("def f(x):\n    return 1 / x\n", name="code 1")
    assert page("f(0)", name="code 2")[0]["error"]["where"] == {"name": "code 1", "line": 2, "text": "return 1 / x"}
    within = page("import numpy as np\nnp.linalg.inv(np.zeros((2, 2)))", name="code 3")[0]["error"]["where"]
    assert (within["name"], within["line"]) == ("code 3", 2)
    broken = page("x = 1\nx = (", name="code 4")[0]["error"]
    assert broken["where"] == {"name": "code 4", "line": 2, "text": "x = ("}
    assert broken["message"] == "'(' was never closed"
    assert json.loads(running.call("math:sqrt", "[-1]"))["error"]["where"] is None
    assert "\n    1/0\n    ~^~\n" in page("1/0")[0]["error"]["traceback"] or sys.version_info < (3, 11)


def test_an_error_within_the_library_ends_where_it_was_raised(page):
    answer, _ = page("import numpy as np\nfrom minires.layers import linear\nlinear(np.ones((2, 3)), np.ones((4, 5)))")
    assert answer["error"]["traceback"].rstrip().splitlines()[-1].startswith("ValueError: linear")


def pictures(sent):
    return [(np.asarray(Image.open(BytesIO(message[1]))), message[2]) for message in sent if message[0] == "picture"]


def test_pictures(page):
    _, sent = page(
        "from PIL import Image\nImage.new('RGB', (3, 2), (1, 2, 3)).save('b.png')\nImage.new('L', (5, 4), 7)"
    )
    (value, saved) = pictures(sent)
    assert value[0].shape == (4, 5) and (value[0] == 7).all()
    assert saved[0].shape == (2, 3, 3) and saved[1] == "b.png"
    assert not pictures(page("1")[1])  # once
    _, sent = page("import numpy as np\nfrom live import show\nshow(np.array([[-1.0, 0.0, 1.0]]), 'a line')")
    assert pictures(sent)[0][0].tolist() == [[0, 128, 255]] and pictures(sent)[0][1] == "a line"
    assert pictures(page("show(np.full((2, 2, 3), 9, np.uint8))")[1])[0][0].tolist() == [[[9] * 3] * 2] * 2
    assert pictures(page("show(np.zeros((2, 2)))")[1])[0][0].max() == 0
    assert show is running.show


def test_calls():
    def call(path, arguments):
        return json.loads(running.call(path, json.dumps(arguments)))

    assert call("math:hypot", [3, 4]) == {"ok": True, "value": 5.0}
    assert call("numpy:arange", {"start": 1, "stop": 4})["value"] == [1, 2, 3]
    assert call("numpy:float32", [0.5])["value"] == 0.5
    assert call("math:sqrt", [-1])["error"]["type"] == "ValueError"
    assert call("builtins:object", [])["error"]["type"] == "TypeError"  # no form in JSON
    assert call("math:nothing", [])["error"]["type"] == "AttributeError"
    assert call("nothing:nothing", [])["error"]["type"] == "ModuleNotFoundError"


# Changes --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def put(monkeypatch):
    """changes.put, after which the library is put back."""
    monkeypatch.setattr(running, "NAMESPACES", names := {})
    monkeypatch.setattr(changes, "NAMESPACES", names)
    changed = []

    def put(path, *wrong):
        changed.append(path)
        text = changes.source(path)
        assert text.count(wrong[0]) == 1
        changes.put(path, text.replace(*wrong))
        return names["page"]

    yield put
    for path in changed:
        changes.put_back(path)


def report(capsys, path):
    """What the check prints, and then what it finds wrong."""
    changes.check(path)
    found = capsys.readouterr()
    return found.out + found.err


def test_a_changed_function_is_used_everywhere(put, capsys):
    path = "minires.textbook:relu"
    assert report(capsys, path).count("gradcheck passed") == 2
    names = put(path, "return y, backward", "return y + 1, backward")
    assert textbook.relu(np.zeros(1))[0] == textbook_relu(np.zeros(1))[0] == names["relu"](np.zeros(1))[0] == 1
    changes.put_back(path)
    assert textbook_relu(np.zeros(1))[0] == 0
    assert inspect.getsource(textbook_relu) == changes.source(path)
    changes.put_back(path)  # what was never changed, or is back already, stays
    assert textbook_relu(np.zeros(1))[0] == 0


def test_gradcheck_sees_a_wrong_change(put, capsys):
    path = "minires.layers.batch_norm:gradient_sums"
    assert "GradcheckError" not in report(capsys, path)
    put(path, "b = -inverse_std", "b = inverse_std")
    assert library_batch_norm is layers.batch_norm
    assert "GradcheckError" in report(capsys, path)


def test_a_method_and_a_class(put):
    put(
        "minires.layers.scale:Scale",
        "class Scale(Module):",
        "class Scale(Module):\n    def more(self):\n        return 5\n",
    )
    assert layers.Scale(0.5).more() == 5
    changes.put_back("minires.layers.scale:Scale")
    assert not hasattr(layers.Scale, "more")
    put("minires.models.blocks:BasicBlock.forward", "def backward(dy):", "def backward(dy, more=3):")


# Changes that no gradcheck finds: (object, its text, the change, the beginning of what is said).
UNSEEN = [
    ("layers.batch_norm:move", "running_var +=", "running_var -=", "batch norm in training: running_var[0] is"),
    ("layers.batch_norm:factors", "-mean * scale if", "mean * scale if", "batch norm far from zero: y[0, 0, 0, 0]"),
    ("textbook:batch_norm", "return y, backward", "return y + 1, backward", "batch_norm, N=3 H=4 W=6 C=5: y[0,"),
    ("textbook:sigmoid", "/ 2  #", "/ np.full(1, 2.0)  #", "sigmoid, N=3 C=4: dtypes."),
    ("layers.dropout:dropout", "training or p == 0", "training and p == 0", "Dropout: y of eval()[0, 0, 0, 0] is"),
    ("layers.residual:pad_shortcut", "(out_channels - C) // 2", "1", "pad_shortcut: y[0, 0, 0, 1] is -0.49"),
    (
        "optim.sgd:SGD._update",
        "g + momentum * m",
        "g + 2 * momentum * m",
        "three steps of each optimizer: SGD, Nest",
    ),
    ("optim.adam:Adam._adam", "(1 - beta2**t) ** 0.5", "1", "three steps of each optimizer: Adam.weight[0, 0] is"),
    ("schedules:OneCycleLR.__call__", "max_lr / self.div_factor", "max_lr", "learning rates: OneCycleLR[0] is 0.1"),
    ("detection.boxes:nms", "> iou_threshold", ">= 0", "boxes that are kept: nms[0] is"),
    ("data.pieces:Piece.of_shard", "shard, mixing)", "9, mixing)", "drawn boxes and pieces: pieces[0].place[1] is 9"),
    ("compression.sparse_training:PruningSGD.step", "every == 0", "every != 0", "pruned weights: PruningSGD."),
]


@pytest.mark.parametrize(("path", "text", "change", "said"), UNSEEN, ids=lambda part: str(part)[:60])
def test_results_are_compared_with_the_library(capsys, path, text, change, said):
    """A change that leaves gradient and function together is found by what comes out, and said in one sentence."""
    path = f"minires.{path}"
    changes.put(path, changes.source(path).replace(text, change))
    try:
        found = report(capsys, path)
    finally:
        changes.put_back(path)
    assert "GradcheckError" not in found
    last = found.splitlines()[-1]
    assert last.startswith(said) and "where the library's own code gives" in last
    changes.check(path)
    assert "equal to the library's own: " in capsys.readouterr().out.splitlines()[-1]


PAGES = sorted((ROOT / "docs").rglob("*.md"))
FOUND = [source_of(include) for page in PAGES for include in INCLUDE.finditer(page.read_text(encoding="utf-8"))]
SHOWN = sorted({found["object"] for found in FOUND if found})
UNTRIED = {"minires.models.wide_resnet:wide_resnet28_10"}  # 36 million weights are too many for a browser


def test_every_shown_source_can_be_tried():
    """It takes its own place, whatever it is, and something is compared."""
    assert len(SHOWN) > 140
    for path in SHOWN:
        changes.put(path, changes.source(path))
        changes.put_back(path)
    assert {path for path in SHOWN if not results.trials_of(path)} == UNTRIED


def test_trials_give_the_same_again():
    results.trials_of("minires.training:train_step")
    each = {trial: title for entered in results.TRIALS.values() for title, trial in entered}
    assert len(each) > 45
    for trial, title in each.items():
        first = trial()
        assert first and not [*results.differences(first, trial())], title


OWN = {"a": np.arange(4.0).reshape(2, 2), "b": [1, "x", None], "c": np.array([1.0, np.nan])}
OTHERS = [
    ({**OWN, "a": np.array([[0, 1], [2, 4.0]])}, ("value", "a[1, 1]", "4", "3")),
    ({**OWN, "a": OWN["a"] * (1 + 1e-15)}, None),
    ({**OWN, "a": OWN["a"].ravel()}, ("form", "a", "float64 (4,)", "float64 (2, 2)")),
    ({**OWN, "b": [1.0, "x", None]}, None),
    ({**OWN, "b": [2, "x", None]}, ("value", "b[0]", "2", "1")),
    ({**OWN, "b": [1, "y", None]}, ("form", "b[1]", "'y'", "'x'")),
    ({**OWN, "b": [1, "x", 0]}, ("form", "b[2]", "0", "None")),
    ({**OWN, "b": [1, "x"]}, ("form", "b", "[1, 'x']", "[1, 'x', None]")),
    ({**OWN, "c": np.array([np.nan, np.nan])}, ("value", "c[0]", "nan", "1")),
    ({**OWN, "c": np.array([1.0 + 1e-6, np.nan])}, ("value", "c[0]", "1.0000009999999999", "1")),
    ({"a": OWN["a"]}, ("form", "everything", "a", "a, b, c")),
]


@pytest.mark.parametrize(("given", "said"), OTHERS)
def test_the_first_difference(given, said):
    found = next(results.differences(OWN, given), None)
    assert found == said or (found[0], *(found[1][key] for key in ("place", "given", "own"))) == said


def test_a_change_that_cannot_take_its_place():
    with pytest.raises(NameError, match="no longer defines relu"):
        changes.put("minires.textbook:relu", "def other(x):\n    return x")
    with pytest.raises(SyntaxError):
        changes.put("minires.textbook:relu", "def relu(x:")
    assert textbook.relu(np.zeros(1))[0] == 0


def test_every_operation_has_its_check():
    covered = {title.partition(",")[0] for title, *_ in checks.LIBRARY}
    from minires import losses

    assert covered == {*(name for name in layers.__all__ if name.islower()), *losses.__all__}


def test_checks_of_shown_source(capsys):
    assert "nothing here to check it by" in report(capsys, "minires.models.wide_resnet:wide_resnet28_10")
    for path in ("minires.textbook:cross_entropy", "minires.models.preact:PreActBlock.forward"):
        assert "gradcheck passed" in report(capsys, path)
    everything = checks.checks_of("minires.backend.primitives.channels:channel_moments")
    assert len(everything) == len(checks.LIBRARY)


# The site -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def extension():
    pytest.importorskip("sphinx", reason='pip install -e ".[docs]"')
    import live_blocks

    return live_blocks


def test_the_wheel_is_the_package(extension):
    wheel = extension.packed(extension.contents(ROOT / "minires", "minires"))
    assert wheel == extension.packed(extension.contents(ROOT / "minires", "minires"))
    with zipfile.ZipFile(BytesIO(wheel)) as files:
        assert files.testzip() is None
        for path in (ROOT / "minires").rglob("*.py"):
            assert files.read(path.relative_to(ROOT).as_posix()) == path.read_bytes()
        assert files.read("minires/data/names/cifar10.txt") == (ROOT / "minires/data/names/cifar10.txt").read_bytes()


def test_the_policy_names_inline_scripts(extension):
    page = '<script>one()</script><script src="a.js"></script><script>two()</script>'
    policy = extension.policy(page, "https://cdn.example/")
    assert policy.count("'sha256-") == 2 and "connect-src 'self' https://cdn.example/;" in policy
    assert "unsafe-eval'" not in policy.replace("wasm-unsafe-eval", "")
    assert "default-src 'self'; object-src 'none'" in policy


def test_blocks_that_need_more_than_a_browser():
    plain, other = blocks_of("```python\nx\n```\n\n```python needs=files\ny\n```\n\n```text\nz\n```\n")[:2]
    assert plain.needs is None and (other.needs, other.prints, other.code) == ("files", "z\n", "y\n")


SCRIPTS = [path for path in sorted((ROOT / "docs").glob("_*/**/*.js")) if "vendor" not in path.parts]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.relative_to(ROOT / "docs").as_posix())
def test_scripts_are_javascript(script):
    node = shutil.which("node")
    if not node:
        pytest.skip("node is not installed")
    check = [node, "--input-type=module", "--check"]
    done = subprocess.run(check, input=script.read_bytes(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def test_scripts_that_are_no_modules_leave_no_names():
    """All of a page share what stands at the top of such a script: a `seen` of ours once hid another's."""
    texts = {path.name: path.read_text(encoding="utf-8") for path in SCRIPTS if path.name != "worker.js"}
    plain = {name: text for name, text in texts.items() if not re.search("^(im|ex)port ", text, re.MULTILINE)}
    assert {"keyboard.js", "page.js", "search.js", "twin.js"} <= plain.keys()
    named = {
        name: re.findall(r"^(?:const|let|var|class|(?:async )?function)\b.*", text, re.M)
        for name, text in plain.items()
    }
    assert not any(named.values()), named


def test_what_the_editor_is_made_of_is_named():
    """Its licences stand beside it, in the versions that its script builds it from."""
    locked = json.loads((ROOT / "docs/_vendor/package-lock.json").read_text(encoding="utf-8"))["packages"]
    licences = (ROOT / "docs/_static/vendor/codemirror.LICENSE.txt").read_text(encoding="utf-8")
    wanted = json.loads((ROOT / "docs/_vendor/package.json").read_text(encoding="utf-8"))["devDependencies"]
    for name, version in wanted.items():
        assert locked[f"node_modules/{name}"]["version"] == version
        assert name == "esbuild" or f"{name} {version}, MIT" in licences
    assert licences.count("Permission is hereby granted") == licences.count(", MIT\n")
