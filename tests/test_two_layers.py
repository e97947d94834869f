"""The picture of docs/two_layers.md is drawn from the page's own program. (The page's blocks: tests/test_docs.py.)"""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from test_docs import ROOT, blocks_of

IMAGES = ROOT / "docs" / "images"
SCRIPT = ROOT / "docs" / "_pictures" / "two_layers.py"


def picture(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    pytest.importorskip("matplotlib")
    out = tmp_path_factory.mktemp("two_layers")
    done = subprocess.run([sys.executable, SCRIPT, "--out", out], check=True, cwd=out, stderr=subprocess.PIPE)
    return out, b"no font of this machine draws" not in done.stderr


@pytest.mark.parametrize(("name", "page"), [("two-layers", "two_layers.md"), ("two-layers-zh", "zh/two_layers.md")])
def test_the_picture_is_the_one_that_the_script_draws(name, page, drawn):
    out, has_chinese = drawn
    assert f"images/{name}.png)" in (ROOT / "docs" / page).read_text(encoding="utf-8")
    if name.endswith("-zh") and not has_chinese:
        pytest.skip("no font of this machine has Chinese characters")
    drawn, shown = picture(out / f"{name}.png"), picture(IMAGES / f"{name}.png")
    assert drawn.shape == shown.shape
    assert np.mean(np.abs(drawn - shown).max(axis=2) > 64) < 0.02  # fonts and edges differ between machines


def test_the_whole_program_fits_on_a_screen():
    first = next(block for block in blocks_of((ROOT / "docs" / "two_layers.md").read_text("utf-8")) if block.prints)
    assert len(first.code.splitlines()) <= 56 and first.code.count("import") == 1
