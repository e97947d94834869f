"""The picture of docs/two_layers.md is drawn from the page's own program. (The page's blocks: tests/test_docs.py.)"""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from test_docs import ROOT, blocks_of

SHOWN = ROOT / "docs" / "images" / "two-layers.png"
SCRIPT = ROOT / "docs" / "_pictures" / "two_layers.py"


def picture(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def test_the_picture_is_the_one_that_the_script_draws(tmp_path):
    pytest.importorskip("matplotlib")
    subprocess.run([sys.executable, SCRIPT, "--out", tmp_path / "two.png"], check=True, cwd=tmp_path)
    drawn, shown = picture(tmp_path / "two.png"), picture(SHOWN)
    assert drawn.shape == shown.shape
    assert np.mean(np.abs(drawn - shown).max(axis=2) > 64) < 0.02  # fonts and edges differ between machines


def test_the_whole_program_fits_on_a_screen():
    first = next(block for block in blocks_of((ROOT / "docs" / "two_layers.md").read_text("utf-8")) if block.prints)
    assert len(first.code.splitlines()) <= 56 and first.code.count("import") == 1
