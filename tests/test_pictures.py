"""The pictures: written, of the right size, not blank, with what they shall show; the scripts that make them."""

import csv
import subprocess
import sys

import numpy as np
import pytest
import scripts
from PIL import Image
from safetensors.numpy import save_file
from test_data_cifar import make_batches, write_binary

from minires import models
from minires.inspection import pictures
from minires.inspection.summary import summary
from minires.layers import Conv2d, Linear, ReLU, relu
from minires.module import Module

RNG = np.random.default_rng(0)
PHOTOS = RNG.integers(0, 256, (2, 12, 10, 3), np.uint8)


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in (*axes.texts, axes.title)]


def layer_rows(model, shape):
    """{name: shape} as summary prints them."""
    rows = [line.split("  ") for line in summary(model, shape).splitlines()[2:-2]]
    return {row[0].strip(): next(cell for cell in row[1:] if cell).strip().replace(" ", "") for row in rows}


STAGES = [(None, RNG.random((2, 12, 10)), np.ones(2)), ("fc", RNG.random((2, 4, 3)), np.zeros(2))]
PICTURES = {
    "network": lambda: pictures.draw_network(models.simple_cnn(rng=0), (32, 32, 3)),
    "im2col": lambda: pictures.draw_im2col([[1, 2, 0], [0, 1, 3], [2, 1, 1]], [[1, -1], [2, 0]]),
    "filters": lambda: pictures.draw_filters(RNG.standard_normal((4, 3, 3, 3)), columns=3),
    "grey filters": lambda: pictures.draw_filters(RNG.standard_normal((1, 1, 5, 5))),
    "feature maps": lambda: pictures.draw_feature_maps(RNG.standard_normal((6, 6, 3))),
    "saliency": lambda: pictures.draw_saliency(PHOTOS, RNG.random((2, 12, 10)), ["a", "b"]),
    "grad_cam": lambda: pictures.draw_grad_cam(PHOTOS, RNG.random((2, 4, 3)), ["a", "b"]),
    "randomisation": lambda: pictures.draw_randomisation(PHOTOS[0], STAGES, "a"),
    "confusion": lambda: pictures.draw_confusion_matrix([[3, 1], [0, 0]], ["a", "b"]),
    "images": lambda: pictures.draw_images(PHOTOS, ["a", "b"]),
}


@pytest.mark.parametrize("name", PICTURES)
def test_is_written_and_shows_something(name, tmp_path):
    figure = PICTURES[name]()
    pictures.write_png(figure, tmp_path / "a.png")
    written = scripts.picture(tmp_path / "a.png")
    assert written.format == "PNG"
    np.testing.assert_allclose(written.size, 110 * figure.get_size_inches(), atol=1)
    assert np.asarray(written.convert("L")).std() > 5


def test_few_colours_make_a_smaller_file(tmp_path):
    figure = PICTURES["images"]()
    pictures.write_png(figure, tmp_path / "a.png")
    pictures.write_png(figure, tmp_path / "b.png", colours=32)
    assert len(scripts.picture(tmp_path / "b.png").getcolors()) <= 32
    assert (tmp_path / "b.png").stat().st_size < (tmp_path / "a.png").stat().st_size


def test_nothing_imports_matplotlib_before_it_draws():
    code = "import sys, minires.inspection.pictures; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=scripts.EXAMPLES.parent)


class TestNetwork:
    def test_every_layer_and_its_shape(self):
        """Against the table of summary: unfolded, each layer is there under its name, and each shape as often."""
        model = models.resnet8(shortcut="B", rng=0)
        found = texts(pictures.draw_network(model, (32, 32, 3), fold=False))
        rows = layer_rows(model, (32, 32, 3))
        for name, shape in rows.items():
            block = ".".join(name.split(".")[:2]) if name.startswith("layer") else ""
            assert name.removeprefix(f"{block}.") in found and block in [*found, ""]
            assert found.count(shape) >= list(rows.values()).count(shape)
        assert found.count("conv2") == 3 and found.count("batch norm, +, ReLU") == 3
        assert found.count("1x1 convolution, / 2") == 2  # the two projections
        assert found.count("shortcut") == 1  # of the block that does not change the shape

    def test_blocks_that_are_alike_are_folded(self):
        model = models.resnet20(rng=0)
        folded = texts(pictures.draw_network(model, (32, 32, 3)))
        assert {"32x32x3", "32x32x16", "16x16x32", "8x8x64", "64", "10"} <= set(folded)
        assert [text for text in folded if text.startswith("to ")] == [
            "to layer1.2, alike", "to layer2.2, alike", "to layer3.2, alike"
        ]  # fmt: skip
        assert folded.count("conv2") == 5
        assert folded.count("shortcut, made 16x16x32") == 1
        assert texts(pictures.draw_network(model, (32, 32, 3), fold=False)).count("conv2") == 9

    def test_the_plain_twin_has_no_shortcut(self):
        assert not any("shortcut" in text for text in texts(pictures.draw_network(models.plain8(rng=0), (32, 32, 3))))

    def test_a_function_between_two_layers(self):
        class Net(Module):
            def __init__(self):
                self.first, self.second = Linear(4, 3, rng=0), Linear(3, 2, rng=0)

            def forward(self, x):
                y, _ = self.first(x.reshape(1, -1))
                y, _ = relu(y)
                return self.second(y)

        found = texts(pictures.draw_network(Net(), (2, 2, 1)))
        assert {"first", "second", "3", "2", "2x2x1"} <= set(found)

    def test_what_cannot_be_drawn(self):
        with pytest.raises(ValueError, match="aside of the chain"):
            pictures.draw_network(Fork(), (2, 2, 1))
        with pytest.raises(ValueError, match="calls no module"):
            pictures.draw_network(Idle(), (2, 2, 1))


class Fork(Module):
    """Two layers beside each other, of which only one leads on."""

    def __init__(self):
        self.one, self.other, self.last = ReLU(), ReLU(), ReLU()

    def forward(self, x):
        y, _ = self.one(x)
        self.other(x)
        return self.last(y)


class Idle(Module):
    """Has a layer and does not call it."""

    def __init__(self):
        self.layer = ReLU()

    def forward(self, x):
        return x, lambda dy: dy


class TestIm2col:
    def test_rows_and_results(self):
        """The last panel holds P and y in full: of the example in docs/layers/conv.md, less its bias of 1."""
        figure = PICTURES["im2col"]()
        *_, last = figure.axes
        numbers = [text.get_text() for text in last.texts if text.get_text().lstrip("-").isdigit()]
        image, rest = numbers[:9], numbers[9:-4]
        assert image == ["1", "2", "0", "0", "1", "3", "2", "1", "1"]
        rows = [" ".join(rest[5 * row : 5 * row + 5]) for row in range(4)]  # a row of P, then its y
        assert rows == ["1 2 0 1 -1", "2 0 1 3 4", "0 1 2 1 3", "1 3 1 1 0"]
        first_panel = [text.get_text() for text in figure.axes[0].texts if text.get_text().lstrip("-").isdigit()]
        assert len(first_panel) == 9 + 5 + 4

    def test_gif(self, tmp_path):
        frames = pictures.im2col_frames([[1, 2, 0], [0, 1, 3]], [[1, -1]])
        pictures.write_gif(frames, tmp_path / "a.gif", 0.5)
        with Image.open(tmp_path / "a.gif") as written:
            assert (written.n_frames, written.info["duration"], written.info["loop"]) == (4, 500, 0)

    @pytest.mark.parametrize(
        ("image", "weight", "message"),
        [
            (np.ones((5, 5)), np.ones((1, 1)), "25 windows, at most 12"),
            (np.ones((2, 5)), np.ones((3, 1)), r"image \(2, 5\), weight \(3, 1\)"),
            (np.ones(5), np.ones((1, 1)), r"image \(5,\)"),
        ],
    )
    def test_errors(self, image, weight, message):
        with pytest.raises(ValueError, match=message):
            pictures.draw_im2col(image, weight)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pictures.draw_filters(Conv2d(16, 4, 3).weight.data), r"expected \(O, 3, KH, KW\)"),
        (lambda: pictures.draw_feature_maps(np.ones((1, 2, 2, 3))), "give those of one image"),
        (lambda: pictures.draw_confusion_matrix(np.ones((2, 2)), ["a"]), "1 classes"),
        (lambda: pictures.draw_images([], []), "no images"),
        (lambda: pictures.write_gif([], "a.gif"), "no figures"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two pictures, a file that is none, names of classes, and weights as another program would leave them."""
    folder = tmp_path_factory.mktemp("explain")
    for name, pixels in zip(("a.png", "b.jpg"), RNG.integers(0, 256, (2, 40, 50, 3), np.uint8), strict=True):
        Image.fromarray(pixels).save(folder / name)
    (folder / "broken.png").write_bytes(b"hello")
    (folder / "names.txt").write_text("\n".join(f"thing {label}" for label in range(10)))
    save_file(models.resnet8(rng=5).state_dict(), folder / "weights.safetensors")
    return folder


class TestExplainScript:
    @pytest.fixture
    def explain(self, monkeypatch, capsys):
        return lambda *arguments: scripts.call(scripts.load("explain"), monkeypatch, capsys, *arguments)

    def test_a_row_for_each_picture_that_can_be_read(self, explain, folder, tmp_path):
        out = tmp_path / "out.png"
        names = [folder / name for name in ("a.png", "broken.png", "b.jpg")]
        code, printed, err = explain(*names, "--weights", folder / "weights.safetensors", "--out", out,
                                     "--classes", folder / "names.txt", "--class", "thing 3")  # fmt: skip
        assert code == 1
        assert "broken.png: is not a picture" in err
        assert printed.count("explained is thing 3") == 2
        assert printed.count("%  thing") == 10
        assert scripts.picture(out).size == (1210, 627)
        assert np.asarray(scripts.picture(out).convert("L")).std() > 20

    @pytest.mark.parametrize(
        ("flags", "message"),
        [
            (("--class", "class 11"), "unknown class 'class 11': did you mean 'class 1'"),
            (("--classes", "nowhere.txt"), "nowhere.txt"),
            (("--classes", "twins.txt", "--class", "b"), "--class b: 9 classes have this name"),
            (("--out", "nowhere/out.png"), "make the folder nowhere first"),
        ],
    )
    def test_errors(self, explain, folder, flags, message):
        (folder / "twins.txt").write_text("a\n" + 9 * "b\n")
        flags = [folder / flag if flag == "twins.txt" else flag for flag in flags]
        code, _, err = explain(folder / "a.png", "--weights", folder / "weights.safetensors", *flags)
        assert code == 1
        assert message in scripts.one_sentence(err)


def test_the_experiment(tmp_path, monkeypatch, capsys):
    write_binary(tmp_path / "cifar", make_batches(12))
    save_file(models.resnet8(rng=5).state_dict(), tmp_path / "weights.safetensors")
    script, out = scripts.load("experiments/pictures"), tmp_path / "out"
    flags = ("--weights", tmp_path / "weights.safetensors", "--data-dir", tmp_path / "cifar", "--out", out, "--quick")
    code, printed, err = scripts.call(script, monkeypatch, capsys, *flags)
    assert code == 0, err
    made = {path.name for path in out.iterdir()}
    assert {"network.png", "im2col.gif", "filters.png", "maps-layer3.png", "grad_cam.png", "mistakes.png"} <= made
    assert "rank correlation" in printed
    counts = [list(map(int, row[1:])) for row in list(csv.reader((out / "confusion.csv").read_text().splitlines()))[1:]]
    mistakes = scripts.table(out / "mistakes.csv")
    total, right = np.sum(counts), np.trace(counts)
    assert f"right: {right} of {total}" in printed
    assert len(mistakes) == total - right
    probabilities = [float(row["probability"]) for row in mistakes]
    assert probabilities == sorted(probabilities, reverse=True)
    assert all(row["it is"] != row["the network says"] for row in mistakes)
    rows = scripts.table(out / "randomisation.csv")
    assert [float(row["mean correlation"]) for row in rows if row["layers made random, down to"] == "none"] == [1, 1]


class TestFonts:
    LETTER = "\u732b"  # a cat, in Chinese

    @pytest.fixture(autouse=True)
    def few_fonts(self, monkeypatch):
        """Matplotlib's own alone, whatever this machine has."""
        from matplotlib.font_manager import fontManager

        from minires.inspection.pictures import fonts

        own = [entry for entry in fontManager.ttflist if "DejaVu" in entry.name]
        monkeypatch.setattr(fontManager, "ttflist", own)
        fonts._families_for.cache_clear()
        yield
        fonts._families_for.cache_clear()

    @pytest.fixture
    def font(self, few_fonts, tmp_path, monkeypatch):
        """A font that draws nothing but that letter, as a square, and is installed while the test runs."""
        builder = pytest.importorskip("fontTools.fontBuilder").FontBuilder(1000, isTTF=True)
        pen = pytest.importorskip("fontTools.pens.ttGlyphPen").TTGlyphPen(None)
        for place, point in enumerate([(100, 0), (100, 800), (900, 800), (900, 0)]):
            (pen.lineTo if place else pen.moveTo)(point)
        pen.closePath()
        square = pen.glyph()
        builder.setupGlyphOrder([".notdef", "cat"])
        builder.setupCharacterMap({ord(self.LETTER): "cat"})
        builder.setupGlyf({".notdef": square, "cat": square})
        builder.setupHorizontalMetrics({".notdef": (1000, 0), "cat": (1000, 0)})
        builder.setupHorizontalHeader(ascent=800, descent=-200)
        builder.setupNameTable({"familyName": "One Letter", "styleName": "Regular"})
        builder.setupOS2()
        builder.setupPost()
        builder.save(tmp_path / "one.ttf")
        from matplotlib.font_manager import fontManager

        from minires.inspection.pictures import fonts

        before = list(fontManager.ttflist)
        fontManager.addfont(tmp_path / "one.ttf")
        fonts._families_for.cache_clear()
        yield
        fontManager.ttflist[:] = before
        fontManager._findfont_cached.cache_clear()
        fonts._families_for.cache_clear()

    def draw(self, path, names):
        pictures.write_png(pictures.draw_confusion_matrix([[3, 1], [0, 2]], names), path)
        return np.asarray(scripts.picture(path).convert("L"))

    def test_a_letter_that_no_font_draws_is_named_in_one_line(self, tmp_path, capsys):
        self.draw(tmp_path / "a.png", [self.LETTER * 3, "dog"])
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and err.startswith(f"note: a.png: no font of this machine draws {self.LETTER}: ")

    def test_a_font_that_draws_it_is_found(self, font, tmp_path, capsys):
        drawn = self.draw(tmp_path / "a.png", [self.LETTER * 3, "dog"])
        assert capsys.readouterr().err == ""
        other = self.draw(tmp_path / "b.png", ["dog", "dog"])
        assert (drawn[: len(drawn) // 2] < 50).sum() > (
            other[: len(other) // 2] < 50
        ).sum() + 200  # three black squares

    def test_names_with_dollars_are_no_formulas(self, tmp_path, capsys):
        self.draw(tmp_path / "a.png", ["$5 or $x^", "\\frac$$"])
        assert capsys.readouterr().err == ""

    def test_many_classes_stay_a_picture_of_bounded_size(self, tmp_path):
        counts = np.eye(300, dtype=int)
        figure = pictures.draw_confusion_matrix(counts, [f"class {number}" for number in range(300)])
        assert max(figure.get_size_inches()) <= 12 and len(figure.axes[0].get_xticks()) <= 40


def test_weights_whose_answers_are_no_numbers(folder, tmp_path, monkeypatch, capsys):
    """Each is finite, and JSON has no word for what comes out."""
    state = dict(models.resnet8(rng=5).state_dict())
    state["fc.bias"] = np.full(10, 3e38, np.float32)
    state["fc.weight"] = np.full_like(state["fc.weight"], 3e38)
    save_file(state, tmp_path / "weights.safetensors")
    flags = ("--weights", tmp_path / "weights.safetensors", "--json")
    code, printed, err = scripts.call(scripts.load("predict"), monkeypatch, capsys, folder / "a.png", *flags)
    assert (code, printed) == (1, "")
    assert "the network's answer is no number" in err
