"""The curves on the pages are what docs/_pictures/plots.py draws today, and every one is shown in both languages."""

import importlib.util
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from test_docs import ROOT

SCRIPT = ROOT / "docs" / "_pictures" / "plots.py"
IMAGES = ROOT / "docs" / "images"
NAMES = re.findall(r'^    "([\w-]+)": \w+,$', SCRIPT.read_text(encoding="utf-8"), re.M)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    pytest.importorskip("matplotlib")
    out = tmp_path_factory.mktemp("plots")
    subprocess.run([sys.executable, SCRIPT, "--out", out], check=True, cwd=out)
    return out


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def apart(one, other):
    """The share of pixels that differ clearly: fonts and edges differ between machines, curves do not."""
    return 1.0 if one.shape != other.shape else np.mean(np.abs(one - other).max(axis=2) > 96)


@pytest.mark.parametrize("name", NAMES)
def test_the_picture_shown_is_the_one_that_is_drawn(name, drawn):
    assert apart(pixels(drawn / f"{name}.png"), pixels(IMAGES / f"{name}.png")) < 0.015


def test_a_moved_curve_would_be_seen():
    shown = pixels(IMAGES / "optim-bowl.png")
    assert apart(shown, shown) == 0 and apart(shown, np.roll(shown, 4, axis=0)) > 0.015


@pytest.mark.parametrize("name", NAMES)
def test_every_picture_is_on_a_page_in_both_languages(name):
    pages = [page for page in (ROOT / "docs").rglob("*.md") if f"images/{name}.png)" in page.read_text("utf-8")]
    assert [page.name for page in pages if "zh" in page.parts] == [p.name for p in pages if "zh" not in p.parts] != []


def test_an_unknown_name_is_said(capsys):
    spec = importlib.util.spec_from_file_location("plots", SCRIPT)
    plots = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(plots)
    assert list(plots.PICTURES) == NAMES
    with pytest.raises(SystemExit):
        plots.main(["bowls"])
    assert "no picture is called bowls: there are optim-bowl" in capsys.readouterr().err
