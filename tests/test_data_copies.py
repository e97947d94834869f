"""CIFAR as it is really found: packed anew, one folder deeper, as arrays, as pictures; and CIFAR-100."""

import io
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image
from test_data_cifar import BATCHES, make_batches, planar, write_binary, write_python

from minires.data import (
    CIFAR100,
    CIFAR100_COARSE,
    CLASSES,
    DatasetError,
    DatasetUnavailable,
    find_cifar10,
    load,
    read_cifar,
    read_cifar10,
)

FINE, COARSE = [f"fine_{number:03d}" for number in range(100)], [f"coarse_{number:02d}" for number in range(20)]
IMAGES = make_batches()


@pytest.fixture(autouse=True)
def nowhere_else(tmp_path_factory, monkeypatch):
    """No copy in the user's cache or environment is found, and nothing is downloaded."""
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr("pooch.os_cache", lambda name: cache / name)
    monkeypatch.delenv("MINIRES_DATA", raising=False)


def holds(dataset, batches=IMAGES):
    train = [batches[name] for name in BATCHES[:5]]
    np.testing.assert_array_equal(dataset.train_images, np.concatenate([images for images, _ in train]))
    assert dataset.train_labels.tolist() == [label for _, labels in train for label in labels]
    np.testing.assert_array_equal(dataset.test_images, batches["test_batch"][0])
    assert dataset.test_labels.tolist() == batches["test_batch"][1]
    return True


# CIFAR-100 ------------------------------------------------------------------------------------------------------------


def hundred(seed=0):
    """{"train": (images, fine labels, coarse labels), "test": ...}"""
    rng = np.random.default_rng(seed)
    return {
        part: (rng.integers(0, 256, (n, 32, 32, 3), np.uint8), rng.integers(0, 100, n), rng.integers(0, 20, n))
        for part, n in (("train", 12), ("test", 5))
    }


def write_hundred(parent, form, content):
    folder = parent / ("cifar-100-binary" if form == "binary" else "cifar-100-python")
    folder.mkdir(parents=True)
    for part, (images, fine, coarse) in content.items():
        if form == "binary":
            records = [bytes([c, f]) + planar(image) for image, f, c in zip(images, fine, coarse, strict=True)]
            (folder / f"{part}.bin").write_bytes(b"".join(records))
        else:
            pixels = np.frombuffer(b"".join(map(planar, images)), np.uint8).reshape(-1, 3072)
            batch = {b"data": pixels, b"fine_labels": fine.tolist(), b"coarse_labels": coarse.tolist()}
            (folder / part).write_bytes(pickle.dumps({**batch, b"filenames": [b"a.png"] * len(fine)}, 2))
    if form == "binary":
        (folder / "fine_label_names.txt").write_text("\n".join(FINE) + "\n\n")
        (folder / "coarse_label_names.txt").write_text("\n".join(COARSE) + "\n")
    else:
        meta = {b"fine_label_names": [name.encode() for name in FINE], b"coarse_label_names": COARSE}
        (folder / "meta").write_bytes(pickle.dumps(meta, 2))
    return folder


@pytest.mark.parametrize("form", ["binary", "python"])
@pytest.mark.parametrize(
    ("name", "kind", "column", "names"),
    [("cifar100", CIFAR100, 1, FINE), ("cifar100-coarse", CIFAR100_COARSE, 2, COARSE)],
)
def test_cifar100(tmp_path, form, name, kind, column, names):
    content = hundred()
    folder = write_hundred(tmp_path, form, content)
    for place in (folder, tmp_path):
        dataset = read_cifar(place, kind)
        assert (dataset.name, dataset.classes) == (name, tuple(names))
        for part in ("train", "test"):
            np.testing.assert_array_equal(getattr(dataset, f"{part}_images"), content[part][0])
            np.testing.assert_array_equal(getattr(dataset, f"{part}_labels"), content[part][column])
    assert "CIFAR-100" in dataset.label and "not verified" in dataset.label
    assert load(name, data_dir=tmp_path)[0].classes == tuple(names)
    with pytest.raises(DatasetUnavailable):
        load("cifar10", data_dir=tmp_path, download=False)


@pytest.mark.parametrize("form", ["binary", "python"])
def test_cifar100_from_an_archive_gives_both_kinds_of_classes(tmp_path, form):
    folder = write_hundred(tmp_path / "source", form, hundred())
    (tmp_path / "mine").mkdir()
    with tarfile.open(tmp_path / "mine" / f"cifar-100-{form}.tar.gz", "w:gz") as tar:
        tar.add(folder, arcname=folder.name)
    for name, names in (("cifar100-coarse", COARSE), ("cifar100", FINE)):
        assert load(name, data_dir=tmp_path / "mine", download=False)[0].classes == tuple(names)


def test_cifar100_that_is_damaged(tmp_path):
    folder = write_hundred(tmp_path, "binary", hundred())
    (folder / "fine_label_names.txt").write_text("apple\n")
    with pytest.raises(DatasetError, match=r"fine_label_names.txt: expected 100 class names, found 1: apple"):
        read_cifar(folder, CIFAR100)
    assert read_cifar(folder, CIFAR100_COARSE).classes == tuple(COARSE)
    (folder / "test.bin").write_bytes(bytes(3073))
    with pytest.raises(DatasetError, match=r"test.bin: 3073 bytes are no whole number of images of 3074 bytes"):
        read_cifar(folder, CIFAR100_COARSE)


def test_files_called_train_and_test_alone_are_no_cifar100(tmp_path):
    (tmp_path / "train").write_text("a list of something")
    (tmp_path / "test").write_text("another")
    with pytest.raises(DatasetUnavailable):
        find_cifar10(tmp_path, download=False, kind=CIFAR100)


# Arrays and pictures --------------------------------------------------------------------------------------------------


def arrays(shape="NHWC"):
    train = [IMAGES[name] for name in BATCHES[:5]]
    parts = {"train": (np.concatenate([i for i, _ in train]), [label for _, labels in train for label in labels])}
    parts["test"] = IMAGES["test_batch"]
    found = {}
    for part, (images, labels) in parts.items():
        found[f"x_{part}"] = images if shape == "NHWC" else images.transpose(0, 3, 1, 2)
        found[f"y_{part}"] = np.array(labels, np.uint8)[:, None] if shape == "NHWC" else np.array(labels)
    return found


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("shape", ["NHWC", "NCHW"])
def test_cifar10_npz(tmp_path, save, shape):
    (tmp_path / "deeper").mkdir()
    save(tmp_path / "deeper" / "cifar10.npz", **arrays(shape))
    for place in (tmp_path, tmp_path / "deeper"):
        dataset, notice = load("cifar10", data_dir=place, download=False)
        assert holds(dataset) and notice is None
        assert (dataset.name, dataset.label, dataset.classes) == ("cifar10", "CIFAR-10 (copy, not verified)", CLASSES)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"x_test": None}, "lacks x_test, it holds x_train, y_test, y_train"),
        ({"x_train": np.zeros((3, 32, 32, 3))}, r"x_train is float64 of shape \(3, 32, 32, 3\), expected uint8"),
        ({"x_train": np.zeros((3, 28, 28), np.uint8)}, r"x_train is uint8 of shape \(3, 28, 28\)"),
        ({"y_test": np.zeros(2, np.int64)}, r"y_test is int64 of shape \(2,\), expected 3 integers"),
        ({"y_test": np.array([1, 10, 0])}, "y_test holds the label 10, expected 0 to 9"),
        ({"y_test": np.array(["a", "b", "c"], object)}, "no array of numbers"),
    ],
)
def test_an_npz_of_something_else(tmp_path, change, match):
    content = {key: value for key, value in {**arrays(), **change}.items() if value is not None}
    np.savez(tmp_path / "cifar10.npz", **content)
    with pytest.raises(DatasetError, match=rf"cifar10\.npz: .*{match}"):
        load("auto", data_dir=tmp_path)
    (tmp_path / "cifar10.npz").write_bytes((tmp_path / "cifar10.npz").read_bytes()[:-100])
    with pytest.raises(DatasetError, match=r"cifar10\.npz: "):
        load("auto", data_dir=tmp_path)


def test_folders_of_pictures(tmp_path):
    for part in ("train", "test"):
        for label, name in enumerate(CLASSES):
            (tmp_path / "cifar10" / part / name).mkdir(parents=True)
            image = Image.new("RGB", (32, 32), (label, 5 if part == "train" else 6, 7))
            image.save(tmp_path / "cifar10" / part / name / "0.png")
    dataset, notice = load("cifar10", data_dir=tmp_path, download=False)
    assert (dataset.name, dataset.classes, notice) == ("cifar10", CLASSES, None)
    assert sorted(dataset.train_labels.tolist()) == sorted(dataset.test_labels.tolist()) == list(range(10))
    for images, labels, green in ((dataset.train_images, dataset.train_labels, 5), (dataset.test_images,
                                  dataset.test_labels, 6)):  # fmt: skip
        np.testing.assert_array_equal(images[:, 3, 9], [(label, green, 7) for label in labels])


# Archives that were packed anew ---------------------------------------------------------------------------------------


def pack(path, folder, prefix=""):
    """An archive, of the kind that its name says, of a folder below prefix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith(".zip"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in folder.iterdir():
                archive.write(file, f"{prefix}{folder.name}/{file.name}")
        return path
    mode = "w:gz" if path.name.endswith("gz") else "w:xz" if path.name.endswith("xz") else "w"
    with tarfile.open(path, mode) as tar:
        tar.add(folder, arcname=f"{prefix}{folder.name}")
    return path


@pytest.mark.parametrize("write", [write_binary, write_python])
@pytest.mark.parametrize("prefix", ["", "./", "cifar10/", "home/me/data/"])
@pytest.mark.parametrize(
    "name",
    ["cifar-10-python.tar.gz", "cifar10.tar", "CIFAR-10-images.tgz", "cifar-10.zip", "my cifar10 copy.tar.xz",
     "deeper/cifar10.tar"],
)  # fmt: skip
def test_packed_anew(tmp_path, name, prefix, write):
    archive = pack(tmp_path / "mine" / name, write(tmp_path / "source", IMAGES), prefix)
    before = archive.read_bytes()
    folder = find_cifar10(tmp_path / "mine", download=False)
    assert holds(read_cifar10(folder)) and "not verified" in read_cifar10(folder).label
    assert archive.read_bytes() == before, "it is the user's file and stays"
    assert find_cifar10(tmp_path / "mine", download=False) == folder


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickled_anew(tmp_path, protocol):
    write_python(tmp_path / "cifar10", IMAGES, lambda content: pickle.dumps(content, protocol))
    assert holds(read_cifar10(tmp_path))
    pack(tmp_path / "mine" / "cifar10.tar", tmp_path / "cifar10" / "cifar-10-batches-py")
    assert holds(load("auto", data_dir=tmp_path / "mine")[0])


@pytest.mark.parametrize("name", ["cifar10.tar", "cifar10.tar.gz", "cifar10.tar.xz", "cifar10.zip"])
@pytest.mark.parametrize("left", [0.0, 0.5, 0.99])
def test_a_damaged_one_is_said_and_stays(tmp_path, name, left):
    archive = pack(tmp_path / "mine" / name, write_binary(tmp_path / "source", IMAGES))
    archive.write_bytes(archive.read_bytes()[: int(left * archive.stat().st_size)])
    if name == "cifar10.tar" and left == 0.99:
        pytest.skip("a tar ends with blocks of zeros, which nobody needs")
    before = archive.read_bytes()
    with pytest.raises(DatasetError, match=rf"{name}: the archive (is damaged or cut short|lacks) ") as caught:
        load("auto", data_dir=tmp_path / "mine")
    assert "delete" not in str(caught.value) and "get a whole copy" in str(caught.value)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == [name] and archive.read_bytes() == before


@pytest.mark.parametrize("name", ["cifar10.tar.gz", "cifar10.zip"])
def test_one_whose_files_are_damaged_is_said(tmp_path, name):
    folder = write_binary(tmp_path / "source", IMAGES)
    (folder / "data_batch_2.bin").write_bytes(bytes(5))
    pack(tmp_path / "mine" / name, folder)
    with pytest.raises(DatasetError, match=rf"{name}: its files are damaged \(.*data_batch_2.bin: 5 bytes are no"):
        load("auto", data_dir=tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == [name]


def test_one_of_something_else_is_said(tmp_path):
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats" / "1.png").write_bytes(b"a cat")
    pack(tmp_path / "mine" / "cifar10.zip", tmp_path / "cats")
    with pytest.raises(DatasetError, match=r"cifar10.zip: holds no cifar-10-batches-bin or .* unpack it and give"):
        load("auto", data_dir=tmp_path / "mine")


def test_one_of_cifar100_is_not_taken_for_cifar10(tmp_path):
    pack(tmp_path / "cifar-100.tar.gz", write_hundred(tmp_path / "source", "python", hundred()))
    with pytest.raises(DatasetUnavailable):
        load("cifar10", data_dir=tmp_path, download=False)


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_one_that_would_grow_is_not_unpacked(tmp_path, monkeypatch, kind):
    monkeypatch.setattr("minires.data.packed.MOST_UNPACKED", 10_000)
    pack(tmp_path / "mine" / f"cifar10.{kind}", write_binary(tmp_path / "source", IMAGES))
    with pytest.raises(DatasetError, match=r"would unpack to more than 10,000 bytes"):
        load("auto", data_dir=tmp_path / "mine")
    assert len(list((tmp_path / "mine").iterdir())) == 1


def test_a_bomb_takes_no_time(tmp_path):
    """A file of a few kilobytes that claims a terabyte."""
    import lzma

    member = tarfile.TarInfo("cifar-10-batches-bin/data_batch_1.bin")
    member.size = 2**40
    buffer = io.BytesIO(member.tobuf(tarfile.GNU_FORMAT) + bytes(10_000))
    (tmp_path / "cifar10.tar.xz").write_bytes(lzma.compress(buffer.getvalue()))
    with pytest.raises(DatasetError, match="would unpack to more than"):
        load("auto", data_dir=tmp_path)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_of_the_same_name_is_never_overwritten(tmp_path):
    pack(tmp_path / "mine" / "cifar10.tar", write_binary(tmp_path / "source", IMAGES))
    there = tmp_path / "mine" / "cifar-10-batches-bin"
    there.mkdir()
    (there / "mine.txt").write_text("mine")
    with pytest.raises(DatasetError, match="cannot be unpacked beside itself"):
        load("auto", data_dir=tmp_path / "mine")
    assert [path.name for path in there.iterdir()] == ["mine.txt"]
