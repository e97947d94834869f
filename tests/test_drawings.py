"""The drawings on the pages of the operations are what docs/_pictures draws of the library's own numbers."""

import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest
from test_docs import ROOT

IMAGES = ROOT / "docs" / "images" / "drawings"
DRAWN = sorted(file.name for file in IMAGES.glob("*.svg"))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    out = tmp_path_factory.mktemp("drawings")
    subprocess.run([sys.executable, ROOT / "docs" / "_pictures" / "draw.py", "--out", out], check=True, cwd=ROOT)
    return out


def test_all_are_drawn(drawn):
    assert DRAWN and sorted(file.name for file in drawn.iterdir()) == DRAWN


def words(text):
    return [part.text for part in ElementTree.fromstring(text).iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize("name", DRAWN)
def test_what_stands_in_the_pages_is_what_is_drawn(name, drawn):
    """The same text but for its places: their last digits are a matter of the machine."""
    here, there = ((folder / name).read_text(encoding="utf-8") for folder in (IMAGES, drawn))
    assert words(here) == words(there)
    assert re.sub(r"[\d.]+", "0", here) == re.sub(r"[\d.]+", "0", there)


def test_every_drawing_is_on_a_page_in_both_languages():
    for folder, without in ((ROOT / "docs", "zh/"), (ROOT / "docs" / "zh", "")):
        pages = [page for page in folder.rglob("*.md") if not without or "zh" not in page.parts]
        used = {name for page in pages for name in re.findall(r"drawings/([\w-]+\.svg)\)", page.read_text("utf-8"))}
        used |= {f"narrow-{name}" for name in used} & set(DRAWN)  # which stands in its place on a phone
        chinese = {name for name in DRAWN if name.endswith("-zh.svg")}
        english = {name.replace("-zh.svg", ".svg") for name in chinese}
        assert set(DRAWN) - used == (chinese if folder.name == "docs" else english)
        assert english <= set(DRAWN)


@pytest.mark.parametrize("name", DRAWN)
def test_words_are_in_the_language_of_the_page(name):
    """What is drawn in Chinese has Chinese words; what has a Chinese twin differs from it in its words alone."""
    text = (IMAGES / name).read_text(encoding="utf-8")
    assert bool(re.search("[\u4e00-\u9fff]", text)) == name.endswith("-zh.svg")
    if name.endswith("-zh.svg"):
        twin = words((IMAGES / name.replace("-zh.svg", ".svg")).read_text(encoding="utf-8"))
        assert [word for word in words(text) if not re.search("[A-Za-z\u4e00-\u9fff]", word)] == [
            word for word in twin if not re.search("[A-Za-z]", word)
        ]


@pytest.mark.parametrize("name", DRAWN)
def test_links_in_a_drawing_lead_to_pages(name):
    for target in re.findall(r'href="([^"]+)"', (IMAGES / name).read_text(encoding="utf-8")):
        assert (IMAGES / target).resolve().is_file(), target
