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
CHINESE = sorted({path.stem for path in IMAGES.glob("*-zh.png")} - {"two-layers-zh"})  # that one: test_two_layers.py


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    pytest.importorskip("matplotlib")
    out = tmp_path_factory.mktemp("plots")
    done = subprocess.run([sys.executable, SCRIPT, "--out", out], check=True, cwd=out, stderr=subprocess.PIPE)
    return out, b"no font of this machine draws" not in done.stderr


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def apart(one, other):
    """The share of pixels that differ clearly: fonts and edges differ between machines, curves do not."""
    return 1.0 if one.shape != other.shape else np.mean(np.abs(one - other).max(axis=2) > 96)


@pytest.mark.parametrize("name", NAMES + CHINESE)
def test_the_picture_shown_is_the_one_that_is_drawn(name, drawn):
    out, has_chinese = drawn
    if name in CHINESE and not has_chinese:
        pytest.skip("no font of this machine has Chinese characters")
    assert apart(pixels(out / f"{name}.png"), pixels(IMAGES / f"{name}.png")) < 0.015


def test_a_moved_curve_would_be_seen():
    shown = pixels(IMAGES / "optim-bowl.png")
    assert apart(shown, shown) == 0 and apart(shown, np.roll(shown, 4, axis=0)) > 0.015


@pytest.mark.parametrize("name", NAMES)
def test_every_picture_is_on_a_page_in_both_languages(name):
    chinese = f"{name}-zh" if f"{name}-zh" in CHINESE else name
    english_pages = [page.name for page in pages_with(name) if "zh" not in page.parts]
    chinese_pages = [page.name for page in pages_with(chinese) if "zh" in page.parts]
    assert chinese_pages == english_pages != []
    assert chinese == name or len(pages_with(name) + pages_with(chinese)) == len(chinese_pages + english_pages)


def pages_with(name):
    return sorted(p for p in (ROOT / "docs").rglob("*.md") if f"images/{name}.png)" in p.read_text("utf-8"))


def test_an_unknown_name_is_said(capsys):
    spec = importlib.util.spec_from_file_location("plots", SCRIPT)
    plots = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(plots)
    assert list(plots.PICTURES) == NAMES and sorted(plots.ALL.keys() - plots.PICTURES.keys()) == CHINESE
    with pytest.raises(SystemExit):
        plots.main(["bowls"])
    assert "no picture is called bowls: there are optim-bowl" in capsys.readouterr().err
