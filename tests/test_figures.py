"""The numbers of the live figures are minires's, and every figure stands on its pages, in both languages."""

import base64
import io
import itertools
import re
import runpy
import sys

import numpy as np
import pytest
from PIL import Image
from test_docs import ROOT

sys.path.append(str(ROOT / "docs" / "_static"))

from live.figures import batch_norm, conv, cross_entropy, grad_cam, pooling, residual, schedules, training, weights_file
from live.figures import chinese as figures_in_chinese

import minires.schedules as library_schedules
from minires import layers, losses, models, pretrained
from minires.gradcheck import gradcheck
from minires.inspection import explain
from minires.pretrained.readings import ASSUMED

DOCS = ROOT / "docs"
FIGURES = sorted(path.stem for path in (DOCS / "_static/live/figures").glob("*.py") if path.with_suffix(".js").exists())


def as_image(values):
    return np.array(values, np.float64)[None, :, :, None]


# Pages ----------------------------------------------------------------------------------------------------------------


def pages_of(name):
    """The pages that show it, each the picture in its own language."""

    def shows(page):
        language = "zh/" if page.startswith("zh/") else ""
        used = rf"!\[[^\]]+\]\((\.\./)*images/figures/{language}{name}\.png\)"
        return re.search(used, (DOCS / page).read_text(encoding="utf-8"))

    return set(filter(shows, (page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))))


@pytest.mark.parametrize("name", FIGURES)
def test_figures_stand_in_both_languages(name):
    for picture in ("{}.png", "{}-narrow.webp", "zh/{}.png", "zh/{}-narrow.webp"):
        drawn = DOCS / "images" / "figures" / picture.format(name)
        assert drawn.is_file() and drawn.stat().st_size < 60_000, f"python tests/draw_figures.py {name}"
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
    added = sum(found["parts"])  # with the padding, whose gradients are thrown away
    assert added.shape == (4 + 2 * padding, 4 + 2 * padding)
    np.testing.assert_allclose(added[padding : padding + 4, padding : padding + 4], found["dx"], atol=1e-12)
    assert added.sum() == pytest.approx(dy.sum() * weight.sum())  # all that came back, before that
    assert all(np.count_nonzero(part) <= 4 for part in found["parts"])
    assert found["products"][0] == pytest.approx(found["products"][1])


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm(training):
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal(5) * 3 + 1, rng.standard_normal(5)
    found = batch_norm.numbers(x.tolist(), dy.tolist(), 1.5, training)
    y, backward = layers.batch_norm(
        x[:, None], np.zeros(1), np.ones(1), np.array([1.5]), np.zeros(1), training=training
    )
    dx, dweight, dbias = backward(dy[:, None])
    np.testing.assert_allclose(found["y"], y[:, 0])
    np.testing.assert_allclose(found["dx"], dx[:, 0])
    np.testing.assert_allclose(found["direct"] + found["mean"] + found["variance"], dx[:, 0], atol=1e-12)
    assert (found["dweight"], found["dbias"]) == pytest.approx((dweight[0], dbias[0]))
    np.testing.assert_allclose(found["x_hat"], (x - found["mu"]) / found["sigma"])
    assert found["dy_mean"] == pytest.approx(dy.mean())
    assert found["dyx_hat_mean"] == pytest.approx((dy * found["x_hat"]).mean())
    pixels, std, names = (0,), found["sigma"], {"np": np, "weight": 1.5, "dy": dy, "x_hat": np.array(found["x_hat"])}
    exec(found["code"], {}, shown := {**names, "std": std, "pixels": pixels})  # the line that is shown computes dx
    np.testing.assert_allclose(shown["dx"], dx[:, 0], atol=1e-12)
    assert np.any(found["mean"]) == np.any(found["variance"]) == training
    if training:  # and each way by itself, with the others held
        eps = 1e-6
        held = (x - x.mean()) / found["sigma"]
        for place in range(5):
            moved = x.copy()
            moved[place] += eps
            through_mean = -1.5 * (moved.mean() - x.mean()) / eps / found["sigma"] * dy.sum()
            std = np.sqrt(((moved - moved.mean()) ** 2).mean() + batch_norm.EPS)
            through_var = 1.5 * ((x - x.mean()) * (1 / std - 1 / found["sigma"]) / eps) @ dy
            assert found["mean"][place] == pytest.approx(through_mean, rel=1e-4)
            assert found["variance"][place] == pytest.approx(through_var, rel=1e-3, abs=1e-5)
        assert abs(held @ found["dx"]) < 1e-4


@pytest.mark.parametrize("smoothing", [0, 0.25])
def test_cross_entropy(smoothing):
    z = np.array([2, 1, 0.5, -1, -2])
    found = cross_entropy.numbers(z.tolist(), 1, smoothing)
    loss, backward = losses.cross_entropy(z[None], np.array([1]), label_smoothing=smoothing)
    p = np.exp(z) / np.exp(z).sum()
    np.testing.assert_allclose(found["p"], p)
    assert found["loss"] == pytest.approx(float(loss))
    np.testing.assert_allclose(found["dlogits"], np.asarray(backward())[0])
    targets = np.full(5, smoothing / 5) + (1 - smoothing) * np.eye(5)[1]
    np.testing.assert_allclose(found["dlogits"], p - targets, atol=1e-12)
    assert found["loss"] == pytest.approx(-(targets * np.log(p)).sum())
    assert abs(found["sum"]) < 1e-12
    np.testing.assert_allclose(found["targets"], targets, atol=1e-12)
    if not smoothing:
        names = {"np": np, "log_p": np.log(p), "one_hot": targets, "dloss": 1.0, "N": 1}
        np.testing.assert_allclose(eval(found["code"].removeprefix("return "), names), found["dlogits"], atol=1e-12)


@pytest.mark.parametrize("kind", ["max", "average"])
@pytest.mark.parametrize("window", [(2, 2, 0), (3, 1, 1), (3, 2, 1), (2, 3, 1)])
def test_pooling(kind, window):
    rng = np.random.default_rng(0)
    x, dy = rng.permutation(25).reshape(5, 5), rng.standard_normal(49)
    found = pooling.numbers(kind, x.tolist(), dy.tolist(), *window)
    y, backward = {"max": layers.max_pool2d, "average": layers.avg_pool2d}[kind](as_image(x), *window)
    dy = np.resize(dy, y.shape)
    np.testing.assert_allclose(found["y"], y[0, :, :, 0])
    np.testing.assert_allclose(found["dx"], backward(dy)[0, :, :, 0])
    np.testing.assert_allclose(sum(found["parts"]), found["dx"], atol=1e-12)
    for share, value in zip(found["shares"], found["y"].ravel(), strict=True):
        assert np.vdot(share, x) == pytest.approx(value)
        assert np.count_nonzero(share) == 1 or kind == "average"


@pytest.mark.parametrize("kind", residual.KINDS)
def test_residual_block(kind):
    rng = np.random.default_rng(0)
    C = residual.CHANNELS
    weights = rng.standard_normal((2, C, C, 3, 3)) / 6
    gradcheck(lambda x: residual.block(x, weights, *residual.KINDS[kind]), rng.standard_normal((2, 3, 3, C)))


def test_residual():
    """What the page says of the figure."""
    found = residual.numbers(20, 1.0)
    first = {kind: lines["gradients"][0] for kind, lines in found.items()}
    assert all(lines["gradients"][-1] == 1 and len(lines["gradients"]) == 21 for lines in found.values())
    assert first["shortcut"] > 100 and first["norm"] > 100 and first["both"] < 20
    assert residual.chain(20, 0.7, False, False)[0][0] < 1e-4
    sizes = found["shortcut"]["sizes"]
    assert sizes[-1] > 100 * sizes[0]
    depth = residual.numbers(10, 1.0)
    assert depth["norm"]["gradients"][0] < first["norm"]


@pytest.mark.parametrize("kind", schedules.KINDS)
def test_schedules(kind):
    for warmup in (0, 100):
        found = schedules.numbers(kind, 0.2, 300, warmup)
        schedule = eval(found["code"], dict(vars(library_schedules)))
        assert found["rates"] == [schedule(iteration) for iteration in range(schedules.STEPS + 1)]
        assert ("LinearWarmup" in found["code"]) == bool(warmup)
    assert found["rates"][0] < found["rates"][40]


@pytest.mark.parametrize("shortcut", ["A", "none"])
def test_training(shortcut):
    started = training.begin(shortcut, 0.1)
    assert np.shape(started["images"]) == (12, 16, 16) and len(started["classes"]) == 6
    run = started["run"]
    first = training.test(run)
    assert np.sum(first["confusion"]) == training.TEST and first["accuracy"] < 0.5
    found = training.steps(run, 60)
    assert len(found["losses"]) == 60 and np.mean(found["losses"][-10:]) < 0.7 * np.mean(found["losses"][:10])
    assert len(found["gradients"]) == len(started["layers"]) and min(found["gradients"]) > 0
    second = training.test(run)
    assert second["accuracy"] == pytest.approx(np.trace(second["confusion"]) / training.TEST)
    other = training.begin(shortcut, 0.1)["run"]
    assert training.test(other)["loss"] == first["loss"]
    assert training.steps(other, 3)["losses"] == found["losses"][:3]  # the same seed, the same run
    assert training.steps(run, 3) == training.test(run) == training.LOST  # the run before is no more


def test_steps_of_training_end_with_the_schedule(monkeypatch):
    monkeypatch.setattr(training, "STEPS", 5)
    run = training.begin("A", 0.1)["run"]
    assert [len(training.steps(run, count)["losses"]) for count in (2, 2, 2)] == [2, 2, 1]


def test_a_look_at_the_test_images_changes_no_run():
    looked, other = training.begin("A", 0.1), None
    losses = []
    for _ in range(3):
        training.test(looked["run"])
        losses += training.steps(looked["run"], 2)["losses"]
    other = training.begin("A", 0.1)
    assert training.steps(other["run"], 6)["losses"] == losses


def test_the_test_loss_jumps_because_of_the_running_statistics():
    """What the figure says of the jumps: the same weights are good with the statistics of the test images."""
    run = training.begin("A", 0.1)["run"]
    looks = [training.test(run)]
    for _ in range(training.STEPS // 20):
        training.steps(run, 20)
        looks.append(training.test(run))
    jumped = [look for look in looks[2:] if look["loss"] > 1.5 * look["own"]["loss"]]
    assert len(jumped) >= 3 and max(look["loss"] for look in jumped) > 2
    own = [look["own"]["loss"] for look in looks]
    assert all(after < before + 0.3 for before, after in itertools.pairwise(own))  # no jumps
    slow = training.begin("A", 0.02)["run"]
    for _ in range(training.STEPS // 20):
        training.steps(slow, 20)
        assert training.test(slow)["loss"] < 2  # no jumps at a low rate, as the page says
    last = looks[-1]
    assert last["accuracy"] > 0.9 and abs(last["loss"] - last["own"]["loss"]) < 0.1  # the two meet


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_weights_file(here):
    example = weights_file.example()
    path = here / example["name"]
    assert path.stat().st_size == example["bytes"]
    text = pretrained.identify(example["name"])
    assert weights_file.identify(example["name"]) == {"text": text, "error": None}
    assert not path.exists() and "resnet20" in text


CHINESE = re.compile(r"[\u4e00-\u9fff]")


@pytest.mark.parametrize("name", ["resnet20", "resnet50", "resnet50d", "inception_v3"])
def test_weights_file_in_chinese(here, name):
    np.savez("weights.npz", **models.build(name, rng=0).state_dict())
    english = pretrained.identify("weights.npz").split("\n")
    chinese = weights_file.identify("weights.npz", "zh")["text"].split("\n")
    assert len(chinese) == len(english)
    for before, after in zip(english, chinese, strict=True):
        field, said = before.split(maxsplit=1)
        label, in_chinese = after[:4].strip("\u3000"), after[4:]
        assert label == figures_in_chinese.FIELDS[field]
        assert CHINESE.search(in_chinese) or (field, in_chinese) == ("source", said)
        assert not re.search("parameters|classes|assumed|scaling|variant", in_chinese)
        assert re.findall(r"[\d.,]*\d", said) == re.findall(r"[\d.,]*\d", in_chinese)  # the same numbers


def test_every_assumption_has_its_chinese():
    assert figures_in_chinese.SENTENCES.keys() == ASSUMED.keys()
    for name, sentence in ASSUMED.items():
        eps = "1e-05" if "{eps}" in sentence else None
        said = figures_in_chinese.in_chinese(f"assumed        {sentence.format(eps=eps)}")
        assert said == f"假定\u3000\u3000{figures_in_chinese.SENTENCES[name].format(eps=eps)}"
    assert (
        figures_in_chinese.in_chinese("note           its head is left out") == "说明\u3000\u3000its head is left out"
    )


@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\x03\x04 and nothing more", b"\x80\x02}q\x00."])
def test_files_that_hold_no_weights(here, content):
    for ending in (".pth", ".npz", ".safetensors", ""):
        path = here / f"dropped{ending}"
        path.write_bytes(content)
        found = weights_file.identify(path.name)
        assert found["text"] is None and len(found["error"]) > 10 and not path.exists()
    assert weights_file.identify("not there.pth")["error"]


def test_grad_cam(here):
    model = models.resnet8(rng=0)
    np.savez("weights.npz", **model.state_dict())
    grad_cam._network = None
    assert grad_cam.explained("shape.png") == {"lost": True}  # as after Python was ended
    known = grad_cam.weights("weights.npz", "zh")
    assert known["classes"][9] == "class 9" and not known["ours"] and "个参数" in known["text"]
    name = grad_cam.example()
    model, metadata = grad_cam._network
    found = grad_cam.explained(name)
    assert found["explained"]["label"] == found["likeliest"][0]["label"]
    other = grad_cam.explained(name, found["likeliest"][2]["label"])
    assert other["explained"] == {key: found["likeliest"][2][key] for key in ("label", "name")}
    mean, std = (np.array(metadata["preprocessing"][key], np.float32) for key in ("mean", "std"))
    x = (np.asarray(Image.open(name).convert("RGB").resize((32, 32), 2), np.float32)[None] / 255 - mean) / std
    np.testing.assert_allclose(found["maps"]["saliency"], explain.saliency(model, x)[0], rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(found["maps"]["grad_cam"], explain.grad_cam(model, x)[0], rtol=1e-3, atol=1e-6)
    for address in found["pictures"].values():
        assert Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))).size == (192, 192)
    assert sum(one["p"] for one in found["likeliest"]) <= 1
    assert found["cut"] is None
    wide = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(wide).save("wide.png"), Image.fromarray(wide[:, 10:50]).save("middle.png")
    wide, middle = grad_cam.explained("wide.png"), grad_cam.explained("middle.png")
    assert (wide["cut"], middle["cut"]) == ([60, 40], None)
    np.testing.assert_array_equal(wide["maps"]["grad_cam"], middle["maps"]["grad_cam"])
    for content in (b"", b"no picture"):
        (here / "other.png").write_bytes(content)
        assert grad_cam.explained("other.png")["error"]
    (here / "other.pth").write_bytes(b"no weights")
    assert grad_cam.weights("other.pth")["error"] and grad_cam._network[0] is model  # the network stays


def test_weights_that_travel_with_the_site(here):
    make = runpy.run_path(str(DOCS / "weights.py"))["make"]
    pytest.importorskip("safetensors")
    make(here / "folder" / "shapes.safetensors", steps=4, test=20)
    path = here / "folder" / "shapes.safetensors"
    assert path.stat().st_size < 400_000
    found = grad_cam.weights(path)
    assert found["ours"] and found["source"].startswith("trained on 128 drawn shapes")
    script = (DOCS / "_static/live/figures/grad_cam.js").read_text(encoding="utf-8")
    ours = re.search(r"^const OURS = /(.*)/;$", script, re.M)[1]  # what the page translates
    assert re.fullmatch(ours, found["source"])
    names = re.search(r"names: \{\s+(.*?)\}", script, re.S)[1]
    assert re.findall(r"(\w+): \"", names) == found["classes"]
