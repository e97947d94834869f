"""examples/segment.py, on drawn scenes and people's folders, to masks of new pictures; bad files are one sentence."""

import json
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from scripts import EXAMPLES, call, load, one_sentence, picture, table

from minires import checkpoint, models, pretrained
from minires.data.dataset import DatasetError
from minires.data.scenes import IGNORE, SCENE_CLASSES, draw_scenes
from minires.inspection.pictures.masks import class_colours, draw_masks, overlay
from minires.segmentation.colours import read_colours
from minires.segmentation.folders import read_mask, read_masked

SMALL = ("--model", "resnet8", "--size", 32, "--limit-train", 24, "--limit-test", 8, "--batch-size", 8)
SMALL += ("--epochs", 2, "--threads", 1, "--no-progress")


@pytest.fixture(scope="module")
def script():
    return load("segment")


@pytest.fixture
def segment(script, monkeypatch, capsys):
    return lambda *arguments: call(script, monkeypatch, capsys, *arguments)


@pytest.fixture
def folders(tmp_path):
    """Ten pictures and their masks, of classes 0 to 2 and some pixels that do not count."""
    rng = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for number in range(10):
        mask = np.zeros((40, 48), np.uint8)
        mask[5:20, 5:30] = 1
        mask[22:38, 20:44] = 2
        mask[0] = IGNORE
        pixels = rng.integers(0, 60, (40, 48, 3), np.uint8)
        pixels[mask == 1, 0] += 150
        pixels[mask == 2, 2] += 150
        Image.fromarray(pixels).save(tmp_path / "images" / f"photo{number}.jpg")
        Image.fromarray(mask).save(tmp_path / "masks" / f"photo{number}.png")
    return tmp_path


def own(folders):
    return "--images", folders / "images", "--masks", folders / "masks"


# Whole runs ----------------------------------------------------------------------------------------------------------


def test_a_run_on_drawn_scenes_and_what_it_says_of_a_picture(segment, tmp_path):
    out = tmp_path / "run"
    code, stdout, _ = segment(*SMALL, "--out", out)
    assert code == 0 and "scenes drawn by code" in stdout and "val IoU" in stdout and "mean IoU" in stdout
    result = json.loads((out / "result.json").read_text())
    assert [name for name, _ in result["class_iou"]] == list(SCENE_CLASSES)
    known = [iou for _, iou in result["class_iou"] if iou is not None]
    assert result["mean_iou"] == pytest.approx(np.mean(known)) and "best_val_iou" in result
    rows = table(out / "log.csv")
    assert len(rows) == 2 and all(0 < float(row["train_acc"]) < 1 for row in rows)
    for name in ("overlays.png", "curves.png"):
        picture(out / name)

    code, again, stderr = segment("--evaluate", out, "--device", "cpu")
    assert code == 0, stderr
    assert stdout.splitlines()[-len(SCENE_CLASSES) - 3 : -1] == again.splitlines()[-len(SCENE_CLASSES) - 2 :]
    code, fewer, _ = segment("--evaluate", out / "last.safetensors", "--limit-test", 3)
    assert code == 0 and "on 3 test images of scenes drawn by code" in fewer

    photo = tmp_path / "photo.png"
    Image.fromarray(draw_scenes(1, 96, rng=5).images[0][:80]).save(photo)
    code, stdout, stderr = segment(
        "--predict", photo, "--weights", out / "best.safetensors", "--out", tmp_path / "seen"
    )
    assert code == 0 and "%" in stdout and "photo-mask.png" in stderr
    mask = picture(tmp_path / "seen" / "photo-mask.png")
    assert mask.mode == "P" and mask.size == (96, 80) and np.asarray(mask).max() < len(SCENE_CLASSES)
    picture(tmp_path / "seen" / "photo-overlay.png")
    assert segment("--predict", photo, "--weights", out, "--out", tmp_path / "seen")[0] == 0, "its own are replaced"


def test_a_run_that_is_stopped_goes_on_with_the_same_bits(segment, script, tmp_path, monkeypatch):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert segment(*SMALL, "--out", whole)[0] == 0
    steps = []

    def step(self, *arguments, before=script.runs.Trainer._step):
        before(self, *arguments)
        steps.append(1)
        if len(steps) == 4:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(script.runs.Trainer, "_step", step)
        code, stdout, _ = segment(*SMALL, "--out", stopped)
    assert code == 130 and "stopped and saved" in stdout
    assert segment("--resume", stopped)[0] == 0
    first, second = (checkpoint.load(folder / "best.safetensors") for folder in (whole, stopped))
    assert checkpoint.digest(first.model) == checkpoint.digest(second.model)
    rows = [table(folder / "log.csv") for folder in (whole, stopped)]
    for name in ("train_loss", "train_acc", "val_loss", "val_acc"):
        assert [row[name] for row in rows[0]] == [row[name] for row in rows[1]]
    assert "differ: --seed 7 (was 0)" in one_sentence(segment("--resume", stopped, "--seed", 7)[2])


def test_own_pictures_are_learnt(segment, folders):
    names = folders / "names.txt"
    names.write_text("background\nred\nblue\n")
    code, stdout, _ = segment(
        *own(folders), *SMALL, "--epochs", 15, "--lr", 0.05, "--classes", names, "--balance", "loss",
        "--no-augment", "--batch-size", 2, "--out", folders / "run",
    )  # fmt: skip
    assert code == 0 and "pictures in images, 3 classes, 8 to train, 0 to validate, 2 to test" in stdout
    result = json.loads((folders / "run" / "result.json").read_text())
    assert result["mean_iou"] > 0.7 and [name for name, _ in result["class_iou"]] == ["background", "red", "blue"]
    code, again, stderr = segment("--evaluate", folders / "run")
    assert code == 0, stderr
    assert next(line for line in stdout.splitlines() if line.startswith("mean IoU ")) in again
    assert "which were trained on: leave it out" in refused(segment, "--evaluate", folders / "run", "--seed", 1)
    code, elsewhere, _ = segment("--evaluate", folders / "run", *own(folders))
    assert code == 0 and elsewhere == again
    names.write_text("background\nred\ngreen\n")
    assert "its classes are not the data's" in refused(segment, "--evaluate", folders / "run")
    names.write_text("background\nred\nblue\n")
    mask = folders / "masks" / "photo3.png"
    changed = np.asarray(picture(mask)).copy()
    changed[10, 10] = 2
    Image.fromarray(changed).save(mask)
    assert "images or their labels are not those" in one_sentence(segment("--resume", folders / "run")[2])


def refused(segment, *arguments):
    """The sentence by which it ends."""
    code, _, stderr = segment(*arguments)
    assert code == 1
    return one_sentence(stderr)


@pytest.mark.parametrize("freeze", [False, True])
def test_a_backbone_from_a_file_of_weights(segment, tmp_path, freeze):
    file = tmp_path / "classifier.safetensors"
    save_classifier(file)
    arguments = [
        *SMALL[2:],
        "--weights",
        file,
        "--out",
        tmp_path / "run",
        *(["--freeze", "backbone"] if freeze else []),
    ]
    code, stdout, _ = segment(*arguments)
    assert code == 0 and "weights: resnet8, 7 classes" in stdout
    state, _ = pretrained.read(file)
    trained = checkpoint.load(tmp_path / "run" / "best.safetensors").model
    same = [(trained[f"backbone.{name}"] == array).all() for name, array in state.items() if not name.startswith("fc")]
    assert all(same) if freeze else not all(same)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["normalisation"]["mean"] == [0.1, 0.2, 0.3]
    assert segment("--resume", tmp_path / "run")[0] == 0


def save_classifier(file):
    metadata = {"model": "resnet8", "classes": None, "source": "tests", "options": {"shortcut": "A"}, "assumed": False}
    preprocessing = {"mean": [0.1, 0.2, 0.3], "std": [0.3] * 3, "order": "RGB", "size": 32, "resize": 32}
    metadata["preprocessing"] = {**preprocessing, "interpolation": "bilinear"}
    pretrained.write(file, models.resnet8(7, rng=3).state_dict(), metadata)


def test_the_help_runs_as_a_process(tmp_path):
    command = [sys.executable, EXAMPLES / "segment.py", "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "--masks DIR" in done.stdout and not list(tmp_path.iterdir())


# Bad input -----------------------------------------------------------------------------------------------------------


def spoil(folders, what):
    """Make one thing wrong with the folders."""
    mask, image = folders / "masks" / "photo3.png", folders / "images" / "photo3.jpg"
    pixels = np.asarray(picture(mask)).copy()
    if what == "value 77":
        pixels[7, 7] = 77
        Image.fromarray(pixels).save(mask)
    elif what == "size":
        Image.fromarray(pixels[:, :-3]).save(mask)
    elif what == "no mask":
        mask.unlink()
    elif what == "no image":
        image.unlink()
    elif what == "colours":
        Image.fromarray(np.stack([pixels] * 3, axis=-1)).save(mask)
    elif what == "jpeg":
        mask.unlink()
        Image.fromarray(pixels).save(mask.with_suffix(".jpg"))
    elif what == "nothing counts":
        Image.fromarray(np.full_like(pixels, IGNORE)).save(mask)
    elif what == "damaged":
        mask.write_bytes(mask.read_bytes()[:60])
    elif what == "no picture":
        image.write_text("no picture")
    elif what == "empty":
        for file in (folders / "images").iterdir():
            file.unlink()
    elif what == "no folder":
        for file in (folders / "masks").iterdir():
            file.unlink()
        (folders / "masks").rmdir()
    elif what == "16 bits":
        Image.fromarray(pixels.astype(np.uint16) + 300).save(mask)
    elif what == "twice":
        Image.fromarray(pixels).save(mask.with_suffix(".bmp"))


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("value 77", r"photo3.png: has the value 77, and no mask has 3: mend it, make it 255 .* with --classes FILE"),
        ("size", r"photo3.png: has 45x40 pixels, its image photo3.jpg 48x40: make them of one size"),
        ("no mask", r"photo3.jpg: has no mask of its name in .*masks: add it"),
        ("no image", r"photo3.png: has no image of its name in .*images: add it"),
        ("colours", r"photo3.png: is a picture of colours \(RGB\), .* give --colors FILE"),
        ("jpeg", r"photo3.jpg: is a JPEG, .* give masks as PNG"),
        ("nothing counts", r"photo3.png: no pixel of it counts"),
        ("damaged", r"photo3.png: is damaged"),
        ("no picture", r"photo3.jpg: is not a picture of a format"),
        ("empty", r"images: holds no pictures"),
        ("no folder", r"masks: is no folder"),
        ("16 bits", r"photo3.png: has the value 555, expected classes from 0 and 255"),
        ("twice", r"photo3.png: photo3.bmp has the same name"),
    ],
)
def test_bad_folders_are_one_sentence_and_leave_nothing(segment, folders, what, message):
    spoil(folders, what)
    code, _, stderr = segment(*own(folders), *SMALL, "--out", folders / "run")
    assert code == 1
    sentence = one_sentence(stderr)
    assert re.search(message, sentence), sentence
    assert not (folders / "run").exists()


def test_a_value_beyond_the_named_classes_is_refused(segment, folders):
    (folders / "names.txt").write_text("one\ntwo\n")
    _, _, stderr = segment(*own(folders), *SMALL, "--classes", folders / "names.txt", "--out", folders / "run")
    assert "has the value 2, and there are 2 classes, 0 to 1, and 255" in one_sentence(stderr)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--images", "x"), "--images goes with --masks"),
        (("--masks", "x"), "--masks goes with --images"),
        (("--colors", "x"), "--colors goes with --images"),
        (("--images", "x", "--masks", "x", "--dataset", "shapes"), "name two data sets"),
        (("--freeze", "backbone"), "random layers that are frozen learn nothing"),
        (("--size", "16"), "--size must be at least 32, got 16"),
        (("--model", "simple_cnn", "--limit-train", 10, "--limit-test", 1), "give a resnet"),
        (("--model", "resnet21"), "unknown model 'resnet21'"),
        (("--weights", "nowhere.pth"), "nowhere.pth"),
        (("--predict", "x.png"), "--predict IMAGE goes with --weights"),
        (("--predict", "x.png", "--weights", "y", "--lr", "1"), "leave --lr out"),
        (("--evaluate", "x", "--lr", "1"), "--evaluate tests, and trains nothing: leave --lr out"),
        (("--evaluate", "nowhere"), "nowhere: no such checkpoint"),
        (("--resume", "nowhere"), "no run there"),
    ],
)
def test_flags_that_mean_nothing_are_refused(segment, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, _, stderr = segment(*arguments)
    assert code == 1 and message in one_sentence(stderr) and not list(tmp_path.iterdir())


def test_weights_of_another_network_and_pictures_that_are_none(segment, tmp_path):
    save_classifier(tmp_path / "classifier.safetensors")
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "text.pth").write_text("no weights")
    for file in ("classifier.safetensors", "text.pth", "nowhere"):
        code, _, stderr = segment("--predict", tmp_path / "text.png", "--weights", tmp_path / file)
        assert code == 1 and file in one_sentence(stderr)
    out = tmp_path / "run"
    assert segment(*SMALL, "--epochs", 1, "--out", out)[0] == 0
    code, _, stderr = segment("--predict", tmp_path / "text.png", "--weights", out, "--out", tmp_path / "seen")
    assert code == 1 and "text.png: is not a picture" in one_sentence(stderr) and not (tmp_path / "seen").exists()
    (tmp_path / "seen").mkdir()
    (tmp_path / "seen" / "long-mask.png").write_text("mine")
    Image.new("RGB", (20, 500)).save(tmp_path / "long.png")
    code, _, stderr = segment("--predict", tmp_path / "long.png", "--weights", out, "--out", tmp_path / "seen")
    assert code == 1 and "not a picture of this script" in one_sentence(stderr)
    assert (tmp_path / "seen" / "long-mask.png").read_text() == "mine"
    code, _, stderr = segment("--predict", tmp_path / "long.png", "--weights", out, "--out", tmp_path / "other")
    assert code == 1 and "more than 16 times as long as wide" in one_sentence(stderr)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "I;16"])
def test_pictures_of_every_kind_are_looked_at(segment, folders, tmp_path_factory, mode, cache={}):  # noqa: B006
    if "run" not in cache:
        cache["run"] = tmp_path_factory.mktemp("run") / "run"
        assert segment(*SMALL, "--epochs", 1, "--out", cache["run"])[0] == 0
    Image.new(mode, (50, 40)).save(folders / "grey.png")
    code, *_ = segment("--predict", folders / "grey.png", "--weights", cache["run"], "--out", folders / "seen")
    assert code == 0 and picture(folders / "seen" / "grey-mask.png").size == (50, 40)


# Masks of colours ----------------------------------------------------------------------------------------------------


def test_colours_are_classes(folders, tmp_path):
    table = tmp_path / "colours.txt"
    table.write_text("0 0 0 background\n255 0 0 car\n200 0 0 car\n255 255 255 ignore\n0 0 255 tree house\n")
    colours = read_colours(table)
    assert colours.classes == ("background", "car", "tree house")
    pixels = np.array([[[0, 0, 0], [255, 0, 0], [200, 0, 0]], [[255, 255, 255], [0, 0, 255], [0, 0, 0]]], np.uint8)
    wanted = [[0, 1, 1], [IGNORE, 2, 0]]
    made = Image.fromarray(pixels)
    for mask in (made, made.convert("RGBA"), made.quantize(8)):
        mask.save(tmp_path / "mask.png")
        assert read_mask(tmp_path / "mask.png", colours).tolist() == wanted
    pixels[1, 1] = (1, 2, 3)
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    with pytest.raises(DatasetError, match=r"mask.png: has the colour 1 2 3, of which no line says what it is"):
        read_mask(tmp_path / "mask.png", colours)
    Image.new("RGBA", (3, 2), (255, 0, 0, 100)).save(tmp_path / "mask.png")
    with pytest.raises(DatasetError, match="is transparent in places"):
        read_mask(tmp_path / "mask.png", colours)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 0 0 a\n1 1 b\n", "line 2 is '1 1 b': expected"),
        ("0 0 256 a\n", "line 1 is"),
        ("0 0 0 a\n0 0 0 b\n", "line 2 has the colour 0 0 0 again"),
        ("0 0 0 a\n1 1 1 a\n", "names 1 classes, expected 2 to 254"),
        ("", "names 0 classes"),
    ],
)
def test_tables_of_colours_that_are_none_are_refused(tmp_path, text, message):
    (tmp_path / "colours.txt").write_text(text)
    with pytest.raises(DatasetError, match=message):
        read_colours(tmp_path / "colours.txt")


def test_image_and_mask_are_cut_alike(tmp_path):
    """A picture whose red channel is its mask, wide and high: after scaling they still agree but at edges."""
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for number, shape in enumerate([(60, 100), (100, 60), (64, 64), (40, 40)]):
        mask = (np.indices(shape).sum(axis=0) // 20 % 3).astype(np.uint8)
        Image.fromarray(mask).save(tmp_path / "masks" / f"{number}.png")
        Image.fromarray(np.stack([mask * 100] * 3, axis=-1)).save(tmp_path / "images" / f"{number}.png")
    found = read_masked(tmp_path / "images", tmp_path / "masks", 64)
    assert found.images.shape == (4, 64, 64, 3) and found.masks.shape == (4, 64, 64) and found.masks.dtype == np.uint8
    agree = np.abs(found.images[..., 0].astype(int) - 100 * found.masks.astype(int)) < 50
    assert agree.mean() > 0.95 and found.classes == ("class 0", "class 1", "class 2")


# Pictures ------------------------------------------------------------------------------------------------------------


def test_the_overlay_by_hand():
    image = np.full((1, 3, 3), 100, np.uint8)
    image[0, 0] = (10, 20, 30)
    made = overlay(image, np.array([[0, 1, IGNORE]]), ("background", "car"), 0.5)
    colour = class_colours(1)[0].astype(int)
    assert made[0, 0].tolist() == [10, 20, 30]
    np.testing.assert_array_equal(made[0, 1], np.round(50 + colour / 2))
    assert made[0, 2].tolist() == [50, 50, 50]


def test_every_class_has_a_colour_of_its_own_and_a_place_in_the_legend():
    assert len({tuple(colour) for colour in class_colours(60).tolist()}) == 60
    figure = draw_masks(
        [np.zeros((8, 8, 3), np.uint8)], {"it": [np.zeros((8, 8), int)]}, ("background", "$a", "b" * 90)
    )
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts[:2] == ["background", r"\$a"] and len(texts[2]) < 30
