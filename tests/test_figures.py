"""The numbers of the live figures are minires's, and every figure stands on its pages, in both languages."""

import re
import sys

import numpy as np
import pytest
from test_docs import ROOT

sys.path.append(str(ROOT / "docs" / "_static"))

from live.figures import conv

from minires import layers

DOCS = ROOT / "docs"
FIGURES = sorted(path.stem for path in (DOCS / "_static/live/figures").glob("*.py") if path.stem != "__init__")


def as_image(values):
    return np.array(values, np.float64)[None, :, :, None]


# Pages ----------------------------------------------------------------------------------------------------------------


def pages_of(name):
    used = re.compile(rf"!\[[^\]]+\]\((\.\./)*images/figures/{name}\.png\)")
    return {
        page.relative_to(DOCS).as_posix()
        for page in DOCS.rglob("*.md")
        if used.search(page.read_text(encoding="utf-8"))
    }


@pytest.mark.parametrize("name", FIGURES)
def test_figures_stand_in_both_languages(name):
    assert (DOCS / "images" / "figures" / f"{name}.png").is_file(), f"python tests/draw_figures.py {name}"
    pages = pages_of(name)
    english = {page for page in pages if not page.startswith("zh/")}
    assert english and pages == english | {f"zh/{page}" for page in english}


@pytest.mark.parametrize("name", FIGURES)
def test_figures_speak_both_languages(name):
    script = (DOCS / "_static/live/figures" / f"{name}.js").read_text(encoding="utf-8")
    words = re.search(r"^export const words = \{(.*?)^\};", script, re.M | re.S)[1]
    english, chinese = re.search(r"^    en: \{(.*?)^    zh: \{(.*)", words, re.M | re.S).groups()
    keys = [re.findall(r"(?:^|[{,])\s*(\w+): [\"(`\[{]", part, re.M) for part in (english, chinese)]
    assert keys[0] and keys[0] == keys[1]
    assert re.search(r"[\u4e00-\u9fff]", chinese) and not re.search(r"[\u4e00-\u9fff]", english)


# Numbers --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", [0, 1])
def test_conv(stride, padding):
    rng = np.random.default_rng(0)
    x, weight, dy = rng.standard_normal((4, 4)), rng.standard_normal((2, 2)), rng.standard_normal(25)
    found = conv.numbers(x.tolist(), weight.tolist(), dy.tolist(), stride, padding)
    y, backward = layers.conv2d(as_image(x), weight[None, None], None, stride, padding)
    dy = np.resize(dy, y.shape)
    dx, dweight = backward(dy)
    np.testing.assert_allclose(found["y"], y[0, :, :, 0])
    np.testing.assert_allclose(found["dx"], dx[0, :, :, 0], atol=1e-12)
    np.testing.assert_allclose(found["dweight"], dweight[0, 0], atol=1e-12)
    np.testing.assert_allclose(found["P"] @ weight.ravel(), y.ravel(), atol=1e-12)
    np.testing.assert_allclose(found["P"].T @ dy.ravel(), dweight.ravel(), atol=1e-12)
    np.testing.assert_allclose(found["dP"], np.outer(dy, weight))
    np.testing.assert_allclose(sum(found["parts"]), found["dx"], atol=1e-12)
    assert all(np.count_nonzero(part) <= 4 for part in found["parts"])
    assert found["products"][0] == pytest.approx(found["products"][1])
