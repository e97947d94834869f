"""Which reading of a file is right: the one by which it knows the images it should."""

import numpy as np
import pytest
import scripts
from PIL import Image
from safetensors.numpy import save_file
from scripts import one_sentence
from test_data_cifar import make_batches, write_binary
from test_networks import R8
from test_readings import R18S

from minires import no_grad, pretrained
from minires.data import normalize
from minires.data.images import Preprocessing
from minires.pretrained.probe import probe


def labelled(path, state, count, **overrides):
    """Writes a network whose answers differ from image to image; -> images, and what it says when it is read so."""
    save_file(state, path)
    images = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3)).astype(np.uint8)
    images[:, 8:24, 8:24] //= np.arange(1, count + 1, dtype=np.uint8)[:, None, None, None] % 7 + 1
    images[..., 0] //= np.arange(count, dtype=np.uint8)[:, None, None] % 3 + 1
    model, metadata = pretrained.build(path, overrides=overrides)
    preprocessing = Preprocessing(**metadata["preprocessing"])
    turned = images if preprocessing.order == "RGB" else images[..., ::-1]
    with no_grad():
        before, _ = model.eval()(normalize(turned, preprocessing.mean, preprocessing.std))
    logits = before - before.mean(axis=0)
    spread = logits.std(axis=0)
    dtype = state["fc.weight"].dtype
    weight, bias = state["fc.weight"] / spread[:, None], (state["fc.bias"] - before.mean(axis=0)) / spread
    save_file({**state, "fc.weight": weight.astype(dtype), "fc.bias": bias.astype(dtype)}, path)
    return images, (logits / spread).argmax(axis=1)


@pytest.fixture(scope="module")
def resnet8(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "resnet8.safetensors"
    save_file(R8, path)
    return path


@pytest.mark.parametrize(
    "truth",
    [
        {},
        {"preprocessing": "caffe"},
        {"preprocessing": "half", "order": "BGR"},
        {"preprocessing": "cifar10-images", "variant": ["pad-end"]},
    ],
    ids=str,
)
def test_the_reading_that_made_the_labels_comes_first(tmp_path, truth):
    path = tmp_path / "a.safetensors"
    images, labels = labelled(path, R8, 60, **truth)
    assert len(set(labels)) > 5
    rows = probe(path, images, labels)
    assert (rows[0].correct, rows[0].total) == (60, 60)
    first = [row for row in rows if row.correct == row.total == 60]
    metadata = pretrained.read(path, overrides=truth)[1]
    assert any(pretrained.read(path, overrides=row.overrides)[1]["preprocessing"] == metadata["preprocessing"]
               and pretrained.read(path, overrides=row.overrides)[1]["options"] == metadata["options"]
               for row in first)  # fmt: skip
    whole = [row.accuracy for row in rows if row.total == 60]
    assert whole == sorted(whole, reverse=True) and len(whole) < len(rows)
    assert {} in [row.overrides for row in rows if row.total == 60]


def test_a_max_pool_behind_a_small_stem(tmp_path):
    small = {key: array.astype(np.float32) for key, array in R18S.items()}
    images, labels = labelled(tmp_path / "a.safetensors", small, 24, variant="max-pool")
    rows = probe(tmp_path / "a.safetensors", images, labels)
    assert rows[0].correct == 24
    assert any(row.correct == row.total == 24 and "max-pool" in row.flags for row in rows)


def test_what_is_known_is_not_tried(tmp_path):
    images, labels = labelled(tmp_path / "a.safetensors", R8, 40)
    rows = probe(tmp_path / "a.safetensors", images, labels, overrides={"mean": (0.1,) * 3, "variant": ["pad-end"]})
    for row in rows:
        assert "preprocessing" not in row.overrides and row.overrides["mean"] == (0.1,) * 3
        assert "pad-end" in row.overrides["variant"]


def test_an_eps_that_is_known_is_the_only_one(tmp_path):
    images, labels = labelled(tmp_path / "a.safetensors", R8, 20)
    rows = probe(tmp_path / "a.safetensors", images, labels, overrides={"variant": ["eps=1e-3"]})
    found = {word for row in rows for word in row.overrides["variant"] if word.startswith("eps")}
    assert found == {"eps=1e-3"} and {row.overrides.get("order") for row in rows} == {None, "BGR"}


def test_labels_of_other_classes(resnet8, tmp_path):
    images, labels = np.zeros((20, 32, 32, 3), np.uint8), np.arange(20) % 10
    with pytest.raises(
        pretrained.WeightsError, match="has 10 classes, the labels go to 10: give images of the classes"
    ):
        probe(resnet8, images, np.arange(20) % 11)
    save_file({key: array for key, array in R8.items() if not key.startswith("fc.")}, tmp_path / "a.safetensors")
    with pytest.raises(pretrained.WeightsError, match="has no classes, the labels go to"):
        probe(tmp_path / "a.safetensors", images, labels)


@pytest.fixture
def convert(monkeypatch, capsys):
    return lambda *arguments: scripts.call(scripts.load("convert_weights"), monkeypatch, capsys, *arguments)


def rows_of(printed):
    table = printed.partition("the best first:\n")[2].splitlines()[1:-1]
    return [line.split(maxsplit=3) for line in table]


def test_the_table_of_the_script(resnet8, convert, tmp_path):
    write_binary(tmp_path, make_batches(12))
    code, printed, err = convert(resnet8, "-", "--probe", "--data-dir", tmp_path)
    assert code == 0, err
    assert "readings of it, by 62 training images" in printed
    rows = rows_of(printed)
    assert len(rows) > 15 and {row[1] for row in rows} == {"62", "15"}
    assert any("(as it is read here)" in row[3] for row in rows)
    flags = next(row[3] for row in rows if "--preprocessing" in row[3] and row[1] == "62").split()
    code, printed, err = convert(resnet8, tmp_path / "b.safetensors", *flags)
    assert code == 0, err


def test_pictures_of_a_folder(resnet8, convert, tmp_path):
    rng = np.random.default_rng(0)
    for name in "abcdefghij":
        (tmp_path / name).mkdir()
        for index in range(5):
            pixels = rng.integers(0, 256, (36, 40, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{index}.png")
    code, printed, err = convert(resnet8, "-", "--probe", "--image-folder", tmp_path, "--probe-images", 30)
    assert code == 0, err
    assert "by 30 training images of" in printed and rows_of(printed)[0][1] == "30"


def test_wrong_flags(resnet8, convert, tmp_path):
    for arguments, message in [
        ((resnet8, tmp_path / "a.safetensors", "--probe"), "--probe writes nothing: give - in the place of"),
        ((resnet8, "-", "--probe", "--probe-images", 3), "--probe-images 3: give 20 or more"),
    ]:
        code, _, err = convert(*arguments)
        assert (code, message in one_sentence(err)) == (1, True)
