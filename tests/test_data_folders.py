"""Folders of pictures as people have them: what is read, what is left out, and what is said about it."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from minires.data import DatasetError, Loader
from minires.data.folders import read_image_folder
from minires.data.images import Preprocessing
from minires.data.stream import Pictures
from minires.wording import readable

PLAIN = Preprocessing((0.5,) * 3, (0.5,) * 3, size=8, resize=8)


def draw(path, color):
    """A picture of 8x8 pixels in one color, which tells it from all others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), color).save(path)


def fill(root, classes=("cat", "dog"), count=10, blue=0):
    """Pictures (label, number, blue): red says the class, green which picture of it."""
    for label, name in enumerate(classes):
        for number in range(count):
            draw(root / name / f"{number:02d}.png", (100 * label, number, blue))
    return root


def read(folder, **options):
    """(dataset, what was told)"""
    told = []
    return read_image_folder(folder, PLAIN, tell=told.append, **options), told


def colors(images):
    """The set of the colors of pictures, and no color twice."""
    found = [tuple(image[0, 0].tolist()) for image in np.asarray(images)]
    assert len(found) == len(set(found))
    return set(found)


def expected(count, label=None, blue=0):
    labels = (0, 1) if label is None else (label,)
    return {(100 * each, number, blue) for each in labels for number in range(count)}


class TestParts:
    @pytest.mark.parametrize("names", [("train", "val", "test"), ("Train", "VALID", "Test"),
                                       ("training", "validation", "testing")])  # fmt: skip
    def test_three_parts(self, tmp_path, names):
        for blue, name in enumerate(names):
            fill(tmp_path / name, count=5 + blue, blue=blue)
        dataset, told = read(tmp_path)
        assert dataset.classes == ("cat", "dog")
        assert colors(dataset.train_images) == expected(5)
        assert colors(dataset.val_images) == expected(6, blue=1)
        assert colors(dataset.test_images) == expected(7, blue=2)
        for images, labels in (
            (dataset.train_images, dataset.train_labels),
            (dataset.val_images, dataset.val_labels),
            (dataset.test_images, dataset.test_labels),
        ):
            np.testing.assert_array_equal(images[:, 0, 0, 0], 100 * labels)
        assert all(name in told[0] for name in names) and "split already" in told[0]

    def test_train_and_val_draw_the_test(self, tmp_path):
        fill(tmp_path / "train"), fill(tmp_path / "val", count=3, blue=1)
        dataset, _ = read(tmp_path)
        assert colors(dataset.train_images) | colors(dataset.test_images) == expected(10)
        assert len(dataset.test_images) == 4
        assert colors(dataset.val_images) == expected(3, blue=1)

    def test_train_and_test(self, tmp_path):
        fill(tmp_path / "train"), fill(tmp_path / "test", count=3, blue=1)
        dataset, _ = read(tmp_path)
        assert dataset.val_images is None
        assert (colors(dataset.train_images), colors(dataset.test_images)) == (expected(10), expected(3, blue=1))

    def test_a_test_without_labels_is_left_out_and_said(self, tmp_path):
        fill(tmp_path / "train")
        draw(tmp_path / "test" / "1.png", (1, 2, 3))
        dataset, told = read(tmp_path)
        assert len(dataset.train_images) + len(dataset.test_images) == 20
        assert any("1 pictures that lie in no class's folder" in line for line in told)

    def test_a_test_folder_beats_the_part(self, tmp_path):
        fill(tmp_path / "a" / "train"), fill(tmp_path / "a" / "test", count=2, blue=1)
        fill(tmp_path / "b", count=4, blue=2)
        dataset, told = read(tmp_path / "a", test_folder=tmp_path / "b")
        assert colors(dataset.test_images) == expected(4, blue=2)
        assert any(line.startswith("left out: test") for line in told)

    @pytest.mark.parametrize("others", [("val", "cat"), ("test", "extra", "more"), ("Train2",)])
    def test_what_may_mean_two_things_is_asked(self, tmp_path, others):
        fill(tmp_path / "train")
        for name in others:
            fill(tmp_path / name)
        with pytest.raises(DatasetError, match=r"are .*train.* classes, or the parts .*splits='none'.*test_folder"):
            read(tmp_path)

    @pytest.mark.parametrize("names", [("val", "test"), ("train", "val", "valid"), ("train", "val")])
    def test_parts_that_lack_something_are_asked(self, tmp_path, names):
        for name in names:
            draw(tmp_path / name / "1.png", (1, 2, 3)) if names == ("train", "val") else fill(tmp_path / name)
        with pytest.raises(DatasetError, match="or the parts of a data set"):
            read(tmp_path)

    def test_classes_that_are_called_so(self, tmp_path):
        fill(tmp_path, classes=("train", "val"))
        assert read(tmp_path, splits="none")[0].classes == ("train", "val")
        fill(tmp_path / "vehicles", classes=("car", "train"))
        assert read(tmp_path / "vehicles")[0].classes == ("car", "train")

    def test_classes_that_a_part_lacks_or_has_more(self, tmp_path):
        fill(tmp_path / "train"), fill(tmp_path / "test", classes=("cat",), count=2, blue=1)
        dataset, told = read(tmp_path)
        assert set(dataset.test_labels.tolist()) == {0}
        assert any("no picture of dog in the test part" in line for line in told)
        fill(tmp_path / "test", classes=("zebra",), blue=2)
        with pytest.raises(DatasetError, match=r"not those of .*there is no zebra to learn from"):
            read(tmp_path)

    def test_capital_letters_of_a_part(self, tmp_path):
        fill(tmp_path / "train"), fill(tmp_path / "test", classes=("Cat", "DOG"), blue=1)
        dataset, told = read(tmp_path)
        assert colors(dataset.test_images) == expected(10, blue=1)
        assert sum("is taken for" in line for line in told) == 2

    def test_several_folders_are_one_set(self, tmp_path):
        fill(tmp_path / "a", count=4), fill(tmp_path / "b", count=3, blue=1)
        fill(tmp_path / "b", classes=("zebra",), count=2, blue=2)
        dataset, _ = read([tmp_path / "a", tmp_path / "b"])
        assert dataset.classes == ("cat", "dog", "zebra")
        assert len(dataset.train_images) + len(dataset.test_images) == 8 + 6 + 2

    def test_the_folder_above_is_told(self, tmp_path):
        fill(tmp_path / "archive")
        with pytest.raises(DatasetError, match=r"1 sub-folders, at least 2 .*archive holds more"):
            read(tmp_path)


class TestLeftOut:
    def test_leavings_at_every_depth(self, tmp_path):
        folder = fill(tmp_path)
        shutil.copytree(folder / "cat", folder / "dog" / ".ipynb_checkpoints")
        shutil.copytree(folder / "cat", folder / ".hidden" / "cat")
        shutil.copytree(folder / "cat", folder / "__MACOSX" / "cat")
        shutil.copytree(folder / "cat", folder / "dog" / "deep" / "@eaDir")
        for name in ("cat/Thumbs.db", "dog/desktop.ini", "dog/deep/._00.png", "cat/.DS_Store", ".DS_Store"):
            (folder / name).write_bytes(b"none of ours")
        dataset, told = read(folder)
        assert dataset.classes == ("cat", "dog")
        assert colors(dataset.train_images) | colors(dataset.test_images) == expected(10)
        assert told == [line for line in told if line.startswith("left out: 9 hidden or left by a system")]

    def test_what_is_no_picture_by_its_name(self, tmp_path):
        folder = fill(tmp_path)
        for name in ("cat/labels.csv", "cat/a.json", "dog/b.JSON", "README.txt", "dog/movie.mp4"):
            (folder / name).write_text("{}")
        dataset, told = read(folder)
        assert len(dataset.train_images) + len(dataset.test_images) == 20
        assert any(line.startswith("left out: 5 no pictures by their names (.json 2") for line in told)

    def test_endings_in_capitals_and_none_at_all(self, tmp_path):
        folder = fill(tmp_path)
        (folder / "cat" / "00.png").rename(folder / "cat" / "00.PNG")
        (folder / "cat" / "01.png").rename(folder / "cat" / "without")
        (folder / "cat" / "LICENSE").write_text("free")
        dataset, told = read(folder)
        assert colors(dataset.train_images) | colors(dataset.test_images) == expected(10)
        assert any("without an ending 1" in line for line in told)

    @pytest.mark.parametrize("content", [b"", b"<html>403</html>", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0 cut"])
    @pytest.mark.parametrize("room", [0, 2**20])
    def test_damaged_pictures_still_stop(self, tmp_path, monkeypatch, content, room):
        monkeypatch.setattr("minires.data.folders.ROOM", room)
        folder = fill(tmp_path)
        (folder / "cat" / "03.jpg").write_bytes(content)
        with pytest.raises(DatasetError, match="1 broken file, listed above"):
            read(folder, stream=True)
        dataset, told = read(folder, stream=True, skip_broken=True)
        assert len(dataset.train_images) + len(dataset.test_images) == 20
        assert any("03.jpg" in line for line in told)

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP"])
    def test_pictures_cut_short_are_found_without_decoding(self, tmp_path, monkeypatch, kind):
        monkeypatch.setattr("minires.data.folders.ROOM", 0)
        folder = fill(tmp_path)
        noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8))
        path = folder / "cat" / f"noise.{kind.lower()}"
        noise.save(path, kind)
        assert len(read(folder, stream=True)[0].train_images) == 17
        path.write_bytes(path.read_bytes()[:-400])
        with pytest.raises(DatasetError, match="1 broken file"):
            read(folder, stream=True)

    @pytest.mark.skipif(os.name == "nt", reason="links need rights there")
    def test_links_are_followed_once(self, tmp_path):
        folder, elsewhere = fill(tmp_path / "set"), fill(tmp_path / "other", blue=1)
        (folder / "cat" / "more").symlink_to(elsewhere / "cat")
        (folder / "cat" / "again").symlink_to(elsewhere / "cat")
        (folder / "cat" / "up").symlink_to(folder)
        (folder / "cat" / "round").symlink_to(folder / "cat")
        (folder / "cat" / "others").symlink_to(folder / "dog")
        (folder / "cat" / "nowhere.png").symlink_to(folder / "none.png")
        (folder / "cat" / "itself.png").symlink_to(folder / "cat" / "itself.png")
        (folder / "bird").symlink_to(fill(tmp_path / "third", blue=2) / "dog")
        dataset, told = read(folder)
        assert dataset.classes == ("bird", "cat", "dog")
        found = colors(dataset.train_images) | colors(dataset.test_images)
        assert found == expected(10) | expected(10, 0, blue=1) | expected(10, 1, blue=2)
        assert any(line.startswith("left out: 6 links that lead nowhere or in circles") for line in told)

    def test_an_empty_class_and_a_lone_picture(self, tmp_path):
        folder = fill(tmp_path)
        (folder / "zebra").mkdir()
        with pytest.raises(DatasetError, match="zebra: 0 pictures, at least 2 are needed: one is for the test"):
            read(folder)
        draw(folder / "zebra" / "1.png", (9, 9, 9))
        with pytest.raises(DatasetError, match="zebra: 1 pictures"):
            read(folder)


class TestNames:
    def test_not_ascii(self, tmp_path):
        fill(tmp_path, classes=("猫", "A\u0308pfel"))
        dataset, _ = read(tmp_path)
        assert dataset.classes == ("Äpfel", "猫")  # one letter, however the disk spells it

    @pytest.mark.skipif(os.name == "nt" or os.uname().sysname == "Darwin", reason="names are text there")
    def test_not_utf8(self, tmp_path):
        folder = fill(tmp_path / "set")
        os.rename(folder / "dog", os.fsencode(folder / "d") + b"\xf6g")
        os.rename(folder / "cat" / "00.png", os.fsencode(folder / "cat") + b"/\xe4.png")
        (folder / "cat" / "01.png").write_bytes(b"broken")
        with pytest.raises(DatasetError):
            read(folder)
        dataset, told = read(folder, skip_broken=True)
        assert dataset.classes == ("cat", "d\\xf6g")
        for text in (*told, *dataset.classes, dataset.label, dataset.fingerprint):
            text.encode("utf-8")
        assert colors(dataset.train_images) | colors(dataset.test_images) == expected(10) - {(0, 1, 0)}

    def test_twins(self, tmp_path):
        fill(tmp_path, classes=("cat", "dog")), fill(tmp_path, classes=("Cat",), blue=3)
        if len(os.listdir(tmp_path)) == 2:
            pytest.skip("this disk takes them for one")
        dataset, told = read(tmp_path)
        assert dataset.classes == ("Cat", "cat", "dog")
        assert any("Cat and cat differ in small and capital letters alone" in line for line in told)

    def test_very_long(self, tmp_path):
        long = "x" * 240
        fill(tmp_path, classes=(f"{long}a", f"{long}b"))
        (tmp_path / f"{long}a" / f"{long}.png").write_bytes(b"broken")
        assert len(readable("y" * 300)) < 90
        with pytest.raises(DatasetError):
            read(tmp_path)
        dataset, told = read(tmp_path, skip_broken=True)
        assert dataset.classes == (f"{long}a", f"{long}b") and all(len(line) < 700 for line in told)

    def test_letters_that_move_the_cursor_are_written_out(self):
        assert readable("a\nb\x1b[2J") == "a\\nb\\x1b[2J"


class TestCopies:
    def test_copies_stay_together(self, tmp_path):
        folder = fill(tmp_path)
        for number in range(10):
            shutil.copy(folder / "cat" / f"{number:02d}.png", folder / "cat" / f"{number:02d} (1).png")
        for seed in range(5):
            dataset, told = read(folder, seed=seed)
            train, test = ({tuple(image[0, 0].tolist()) for image in part}
                           for part in (dataset.train_images, dataset.test_images))  # fmt: skip
            assert not train & test and len(test & expected(10, 0)) == 2
            assert any("10 pictures are copies of others" in line and "00 (1).png = cat/00.png" in line
                       for line in told)  # fmt: skip

    def test_validation_keeps_them_together_too(self, tmp_path):
        from minires.data import split

        folder = fill(tmp_path)
        for number in range(10):
            shutil.copy(folder / "cat" / f"{number:02d}.png", folder / "cat" / f"{number:02d} (1).png")
        dataset, _ = read(folder)
        for seed in range(5):
            (train, _), (val, _) = split(dataset, 6, seed)
            assert 4 <= len(val) <= 6 and len(train) + len(val) == len(dataset.train_images)
            assert not {image.tobytes() for image in train} & {image.tobytes() for image in val}

    @pytest.mark.parametrize("limit", [None, 12])
    def test_given_parts(self, tmp_path, limit):
        fill(tmp_path / "train"), fill(tmp_path / "test", count=3), fill(tmp_path / "test", count=5, blue=1)
        (tmp_path / "test" / "cat" / "00.png").unlink()
        draw(tmp_path / "test" / "cat" / "old.png", (0, 7, 0))
        dataset, told = read(tmp_path, limit_train=limit)
        assert (0, 7, 0) in colors(dataset.test_images)
        assert not colors(dataset.train_images) & colors(dataset.test_images)
        if limit is None:
            assert len(dataset.train_images) == 19
            assert any("left out: 1 pictures to learn from" in line and "train/cat/07.png = test/cat/old.png" in line
                       for line in told)  # fmt: skip

    def test_two_classes(self, tmp_path):
        folder = fill(tmp_path)
        shutil.copy(folder / "cat" / "03.png", folder / "dog" / "a cat.png")
        for seed in range(5):
            dataset, told = read(folder, seed=seed)
            assert any("2 pictures" in line and "in two classes" in line and "cat/03.png = dog/a cat.png" in line
                       for line in told)  # fmt: skip
            sides = [any(tuple(image[0, 0]) == (0, 3, 0) for image in part)
                     for part in (dataset.train_images, dataset.test_images)]  # fmt: skip
            assert sum(sides) == 1

    def test_a_class_of_copies_alone(self, tmp_path):
        folder = fill(tmp_path)
        for number in range(1, 10):
            shutil.copy(folder / "dog" / "00.png", folder / "dog" / f"{number:02d}.png")
        with pytest.raises(DatasetError, match="dog: 0 pictures, at least 1 are needed: one is to learn from"):
            read(folder)


class TestUnequalClasses:
    def test_is_said_with_numbers(self, tmp_path):
        fill(tmp_path, classes=("common",), count=20)
        draw(tmp_path / "rare" / "1.png", (9, 1, 1)), draw(tmp_path / "rare" / "2.png", (9, 2, 1))
        _, told = read(tmp_path)
        assert any("from 1 pictures to learn from (rare) to 16 (common)" in line and "balance='loss'" in line
                   for line in told)  # fmt: skip
        assert read(fill(tmp_path / "equal"))[1] == []


class TestStream:
    def test_is_the_same_as_arrays(self, tmp_path, monkeypatch):
        folder = fill(tmp_path)
        for room in (0, 400, 2**20):
            monkeypatch.setattr("minires.data.folders.ROOM", room)
            monkeypatch.setattr("minires.data.stream.Kept.__init__.__defaults__", (room,))
            arrays, lazy = read(folder)[0], read(folder, stream=True)[0]
            assert isinstance(lazy.train_images, Pictures) and isinstance(arrays.train_images, np.ndarray)
            for part in ("train_images", "train_labels", "test_images", "test_labels"):
                np.testing.assert_array_equal(getattr(lazy, part), getattr(arrays, part))
            assert lazy.fingerprint == arrays.fingerprint

    def test_a_limit_opens_no_more_than_it_uses(self, tmp_path, monkeypatch):
        import builtins

        folder, opened, real = fill(tmp_path, count=50), set(), builtins.open

        def spy(file, *arguments, **options):
            if str(file).endswith(".png"):
                opened.add(str(file))
            return real(file, *arguments, **options)

        monkeypatch.setattr(builtins, "open", spy)
        dataset, _ = read(folder, limit_train=8, limit_test=5, stream=True)
        np.asarray(dataset.train_images), np.asarray(dataset.test_images)
        assert (len(dataset.train_images), len(dataset.test_images), len(opened)) == (8, 5, 13)
        whole, _ = read(folder)
        np.testing.assert_array_equal(dataset.train_images, whole.train_images[:8])
        np.testing.assert_array_equal(dataset.test_images, whole.test_images[:5])

    def test_the_fingerprint_is_of_names_and_bytes(self, tmp_path):
        first = fill(tmp_path / "a")
        again, other = fill(tmp_path / "b"), fill(tmp_path / "c")
        (other / "cat" / "00.png").rename(other / "cat" / "000.png")
        prints = [read(folder)[0].fingerprint for folder in (first, again, other)]
        assert prints[0] == prints[1] != prints[2]
        draw(again / "cat" / "00.png", (1, 1, 1))
        assert read(again)[0].fingerprint != prints[0]

    @pytest.mark.parametrize("workers", [1, 2, 5])
    def test_batches_do_not_depend_on_the_workers(self, tmp_path, monkeypatch, workers):
        folder = fill(tmp_path, count=30)
        arrays, lazy = read(folder)[0], read(folder, stream=True)[0].train_images
        lazy.workers = workers
        lazy.kept.pictures.clear()
        loaders = [Loader(images, arrays.train_labels, 7, (0.5,) * 3, (0.5,) * 3, shuffle=True, seed=3)
                   for images in (arrays.train_images, lazy)]  # fmt: skip
        for (x, labels), (x_lazy, labels_lazy) in zip(loaders[0].epoch(2, 1), loaders[1].epoch(2, 1), strict=True):
            np.testing.assert_array_equal(x, x_lazy)
            np.testing.assert_array_equal(labels, labels_lazy)
