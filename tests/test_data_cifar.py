"""CIFAR-10 from hand-made files of both layouts, and from damaged and hostile ones."""

import hashlib
import os
import pickle
import struct
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from minires.data import CIFAR10, CLASSES, DatasetError, cifar, read_cifar, read_cifar10
from minires.data.cifar_kinds import KINDS

BATCHES = ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"]
NAMES = b"airplane automobile bird cat deer dog frog horse ship truck".split()


# --- writing tiny copies; the download tests use these too ----------------------------------------------------------


def make_batches(images_per_batch=2, seed=0):
    """{name: (images (N, 32, 32, 3), labels)}: random images; the last batches hold one image more than the first."""
    rng = np.random.default_rng(seed)
    sizes = [images_per_batch] * 3 + [images_per_batch + 1] * 3
    return {
        name: (rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8), rng.integers(0, 10, n).tolist())
        for name, n in zip(BATCHES, sizes, strict=True)
    }


def planar(image):
    """The 3072 bytes of an image in either layout, one by one."""
    return bytes(int(image[row, column, c]) for c in range(3) for row in range(32) for column in range(32))


def write_binary(parent, batches):
    """The binary layout in parent/cifar-10-batches-bin."""
    folder = parent / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for name, (images, labels) in batches.items():
        records = [bytes([label]) + planar(image) for image, label in zip(images, labels, strict=True)]
        (folder / f"{name}.bin").write_bytes(b"".join(records))
    (folder / "batches.meta.txt").write_bytes(b"\n".join(NAMES) + b"\n\n")
    return folder


def write_python(parent, batches, dump=None):
    """The Python layout in parent/cifar-10-batches-py: opcodes as Python 2 wrote them, or `dump` of the dict."""
    folder = parent / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for name, (images, labels) in batches.items():
        pixels = b"".join(planar(image) for image in images)
        if dump is None:
            content = python2_batch(pixels, labels)
        else:
            array = np.frombuffer(pixels, np.uint8).reshape(-1, 3072)
            content = dump({"batch_label": name, "labels": labels, "data": array})
        (folder / name).write_bytes(content)
    names = b"](" + b"".join(python2_string(name) for name in NAMES) + b"e"
    (folder / "batches.meta").write_bytes(b"\x80\x02}(" + python2_string(b"label_names") + names + b"u.")
    return folder


def python2_string(content):
    """A byte string as Python 2 pickles it: SHORT_BINSTRING or BINSTRING."""
    if len(content) < 256:
        return b"U" + bytes([len(content)]) + content
    return b"T" + struct.pack("<i", len(content)) + content


def python2_batch(pixels, labels, dtype=b"u1"):
    """A batch as Python 2 and its NumPy pickled it, protocol 2."""
    shape = b"M" + struct.pack("<H", len(pixels) // 3072) + b"M\x00\x0c\x86"
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01" + shape
        + b"cnumpy\ndtype\n" + python2_string(dtype) + b"K\x00K\x01\x87R"
        + b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89" + python2_string(pixels) + b"tb"
    )  # fmt: skip
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}(" + python2_string(b"labels") + numbers + python2_string(b"data") + array + b"u."


def python_names(names):
    """batches.meta with these names, as Python 3 pickles them."""
    return pickle.dumps({"label_names": names}, 2)


WRITERS = {
    "binary": write_binary,
    "python 2": write_python,
    "python 3, text keys": lambda parent, batches: write_python(parent, batches, lambda d: pickle.dumps(d, 2)),
    "python 3, byte keys": lambda parent, batches: write_python(
        parent, batches, lambda d: pickle.dumps({key.encode(): value for key, value in d.items()}, 4)
    ),
    "labels as an array": lambda parent, batches: write_python(
        parent, batches, lambda d: pickle.dumps({**d, "labels": np.array(d["labels"], ">i4")}, 3)
    ),
}


# --- reading them ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("place", ["layout", "parent"])
def test_every_layout_gives_the_images_that_were_written(tmp_path, writer, place):
    batches = make_batches()
    folder = WRITERS[writer](tmp_path, batches)
    dataset = read_cifar10(folder if place == "layout" else str(tmp_path))
    train = [batches[name] for name in BATCHES[:5]]
    np.testing.assert_array_equal(dataset.train_images, np.concatenate([images for images, _ in train]))
    assert dataset.train_labels.tolist() == [label for _, labels in train for label in labels]
    np.testing.assert_array_equal(dataset.test_images, batches["test_batch"][0])
    assert dataset.test_labels.tolist() == batches["test_batch"][1]
    assert dataset.train_images.dtype == np.uint8 and dataset.train_images.flags.c_contiguous
    assert dataset.train_labels.dtype == dataset.test_labels.dtype == np.int64
    assert dataset.name == "cifar10" and dataset.classes == CLASSES == tuple(name.decode() for name in NAMES)


def test_the_binary_layout_wins(tmp_path):
    first, second = make_batches(seed=1), make_batches(seed=2)
    write_binary(tmp_path, first)
    write_python(tmp_path, second)
    np.testing.assert_array_equal(read_cifar10(tmp_path).test_images, first["test_batch"][0])


def test_the_label_is_what_the_copy_calls_itself(tmp_path):
    folder = write_binary(tmp_path, make_batches())
    assert read_cifar10(folder).label == "CIFAR-10 (copy, not verified)"
    (folder / "COMPLETE").write_text("CIFAR-10 (JPEG), written by somebody\nsecond line\n")
    assert read_cifar10(folder).label == "CIFAR-10 (JPEG)"
    (folder / "COMPLETE").write_text("")
    assert read_cifar10(folder).label == "CIFAR-10 (copy, not verified)"


def test_official_checksums_make_it_cifar10(tmp_path):
    folder = write_python(tmp_path, make_batches())
    assert read_cifar10(folder).label == "CIFAR-10 (copy, not verified)"
    checksums = [hashlib.md5((folder / name).read_bytes()).hexdigest() for name in BATCHES]
    official = replace(CIFAR10, md5=tuple(checksums))
    assert read_cifar(folder, official).label == "CIFAR-10"
    official = replace(CIFAR10, md5=(*checksums[:5], checksums[0]))
    assert read_cifar(folder, official).label == "CIFAR-10 (copy, not verified)"


# --- damage ---------------------------------------------------------------------------------------------------------


def test_an_empty_folder_is_no_cifar10(tmp_path):
    with pytest.raises(DatasetError, match=r"no CIFAR-10 in .*cifar-10-batches-bin"):
        read_cifar10(tmp_path)
    with pytest.raises(DatasetError, match="no CIFAR-10 in"):
        read_cifar10(tmp_path / "missing")


@pytest.mark.parametrize("writer", ["binary", "python 2"])
def test_every_missing_file_is_named(tmp_path, writer):
    folder = WRITERS[writer](tmp_path, make_batches(1))
    for file in sorted(folder.iterdir()):
        content = file.read_bytes()
        file.unlink()
        with pytest.raises(DatasetError, match=rf"{file.name}: the file is missing; put a whole copy .* download"):
            read_cifar10(folder)
        file.write_bytes(content)
    assert len(read_cifar10(folder).train_images) == 7  # all is well again


@pytest.mark.parametrize("writer", ["binary", "python 2", "python 3, byte keys"])
def test_a_file_cut_short_anywhere_is_named(tmp_path, writer):
    folder = WRITERS[writer](tmp_path, make_batches())
    for name in (BATCHES[1], BATCHES[5]):
        file = next(folder.glob(f"{name}*"))
        content = file.read_bytes()
        ends = {0, 1, 2, 30, 3072, 3074, len(content) // 2 + 1, len(content) - 1}
        if writer != "binary":
            ends |= set(range(0, len(content), 509)) | set(range(200)) | set(range(len(content) - 150, len(content)))
        for end in sorted(ends):
            file.write_bytes(content[:end])
            with pytest.raises(DatasetError, match=f"{file.name}: .*download"):
                read_cifar10(folder)
        file.write_bytes(content)
    read_cifar10(folder)


def test_a_label_out_of_range_is_named(tmp_path):
    batches = make_batches()
    batches["data_batch_4"][1][1] = 10
    for write in (write_binary, write_python):
        with pytest.raises(DatasetError, match=r"data_batch_4(\.bin)?: expected labels 0 to 9, found 10"):
            read_cifar10(write(tmp_path, batches))


def test_other_classes_are_refused(tmp_path):
    folder = write_binary(tmp_path, make_batches())
    (folder / "batches.meta.txt").write_text("apple\naquarium_fish\n")
    with pytest.raises(DatasetError, match=r"ten class names airplane .. truck, found apple, aquarium_fish"):
        read_cifar10(folder)


def replace_test_batch(tmp_path, content):
    folder = write_python(tmp_path, make_batches(1))
    (folder / "test_batch").write_bytes(content)
    return folder


PIXELS = np.zeros((2, 3072), np.uint8)


@pytest.mark.parametrize(
    "content, found",
    [
        ([1, 2], "expected 'data' to be uint8 .N, 3072., found NoneType"),
        ({"labels": [1, 2]}, "found NoneType"),
        ({"data": PIXELS}, "expected 2 integers as 'labels', one for each image, found NoneType"),
        ({"data": PIXELS, "labels": [1]}, "expected 2 integers .* found 1"),
        ({"data": PIXELS, "labels": [1, 2.5]}, "expected 2 integers"),
        ({"data": PIXELS, "labels": [1, -1]}, "expected labels 0 to 9, found -1"),
        ({"data": PIXELS, "labels": [1, 2**70]}, "expected 2 integers"),
        ({"data": PIXELS.astype(np.int32), "labels": [1, 2]}, r"found int32 \(2, 3072\)"),
        ({"data": PIXELS[:, 1:], "labels": [1, 2]}, r"found uint8 \(2, 3071\)"),
        ({"data": PIXELS[:0], "labels": []}, "holds no image"),
        ({"data": PIXELS.astype(np.float32), "labels": [1, 2]}, "dtype 'f4'"),
        ({"data": PIXELS.astype(object), "labels": [1, 2]}, "dtype 'O[48]'"),
        ({"data": np.zeros(2, [("a", "u1")]), "labels": [1, 2]}, "dtype 'V1'"),
    ],
)
def test_a_pickle_of_something_else_is_named(tmp_path, content, found):
    with pytest.raises(DatasetError, match=f"test_batch: .*{found}"):
        read_cifar10(replace_test_batch(tmp_path, pickle.dumps(content, 3)))


class Call:
    """Pickles as a call of function(*arguments)."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_hostile_pickle_does_nothing_and_is_refused_by_name(tmp_path, protocol):
    trace = tmp_path / "it ran"
    content = pickle.dumps({"data": Call(os.system, f"touch '{trace}'")}, protocol)
    folder = replace_test_batch(tmp_path, content)
    with pytest.raises(DatasetError, match=rf"test_batch: .*refuses to load {os.system.__module__}\.system") as caught:
        read_cifar10(folder)
    assert isinstance(caught.value.__cause__, pickle.UnpicklingError)
    assert not trace.exists()


@pytest.mark.parametrize("function", [eval, getattr, open, __import__, np.load, np.frombuffer, np.array, bytearray])
def test_every_other_name_is_refused(tmp_path, function):
    folder = replace_test_batch(tmp_path, pickle.dumps(Call(function, "1"), 2))
    with pytest.raises(DatasetError, match=rf"refuses to load [\w.]+\.{function.__name__}: only arrays"):
        read_cifar10(folder)


def test_the_names_that_are_lent_do_no_more_than_they_must(tmp_path):
    reconstruct = b"cnumpy.core.multiarray\n_reconstruct\n"
    for content, refused in [
        (reconstruct + b"cnumpy\ndtype\nK\x00\x85U\x01b\x87R.", "anything but an array"),
        (b"c_codecs\nencode\nX\x03\x00\x00\x00abcX\x05\x00\x00\x00rot13\x86R.", "refuses to encode text but to latin1"),
        (python2_batch(bytes(3072), [1], b"O8"), "dtype 'O[48]'"),
        (python2_batch(bytes(3072), [1], b"u2"), r"shape \(1, 3072\) cannot hold 1536 values"),
    ]:
        body = content if content.startswith(b"\x80") else b"\x80\x02" + content
        (tmp_path / "test_batch").write_bytes(body)
        with pytest.raises(DatasetError, match=refused):
            cifar._read_pickle(tmp_path / "test_batch")


DOUBLED = b")" + b"q\x00h\x00\x86" * 60  # a tuple of two tuples of two tuples ...: 2**60 in all


@pytest.mark.parametrize(
    ("file", "steps"),
    [
        ("test_batch", b"}" + DOUBLED + b"Ns"),  # a key of a dictionary: 305 bytes
        ("test_batch", b"cnumpy\ndtype\n" + DOUBLED + b"K\x00K\x01\x87R"),
        ("test_batch", b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03" + DOUBLED + b"tb"),
        (
            "test_batch",
            b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01" + DOUBLED
            + b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R\x89U\x01atb",
        ),
        ("test_batch", DOUBLED),
        ("test_batch", b"}(U\x04data" + DOUBLED + b"U\x06labels" + DOUBLED + b"u"),
        ("batches.meta", b"}(U\x0blabel_names](" + DOUBLED + b"eu"),
        ("batches.meta", b"}(U\x0blabel_names" + DOUBLED + b"u"),
    ],
)  # fmt: skip
def test_a_nested_tuple_keeps_the_reader_busy_for_no_longer_than_anything_else(tmp_path, file, steps):
    """In a process of its own: Python's reader hangs within C, where no signal of a test reaches it."""
    folder = write_python(tmp_path, make_batches(1))
    (folder / file).write_bytes(b"\x80\x02" + steps + b".")
    script = (
        "import sys\nfrom minires.data import DatasetError, read_cifar10\n"
        "try:\n    read_cifar10(sys.argv[1])\nexcept DatasetError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", script, folder], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert f"{file}: " in done.stdout and "download the data" in done.stdout and len(done.stdout) < 600


@pytest.mark.parametrize(
    ("steps", "kind"), [(b"N0" * 130_000, "step POP"), (b"N" * 260_000, "more than 250,000 steps")]
)
def test_a_pickle_takes_only_the_steps_that_are_known_and_so_many(tmp_path, steps, kind):
    folder = replace_test_batch(tmp_path, b"\x80\x02" + steps + b".")
    with pytest.raises(DatasetError, match=f"test_batch: .*{kind}"):
        read_cifar10(folder)


@pytest.mark.parametrize("protocol", range(6))
def test_a_batch_of_every_protocol_is_read(tmp_path, protocol):
    """1,000 images hold three million bytes, which protocols 0 to 2 write as text."""
    images = np.random.default_rng(0).integers(0, 256, (1000, 3072), np.uint8)
    content = {"labels": [index % 10 for index in range(1000)], "data": images, "found": True, "scale": 0.5}
    dataset = read_cifar10(replace_test_batch(tmp_path, pickle.dumps(content, protocol)))
    np.testing.assert_array_equal(dataset.test_images, images.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    assert dataset.test_labels.tolist() == content["labels"]


# --- names that nobody has vouched for ------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [[1] * 10, "cat", {"a": 1}, [[]] * 10, None])
def test_names_that_are_no_texts_are_refused(tmp_path, names):
    folder = write_python(tmp_path, make_batches())
    (folder / "batches.meta").write_bytes(python_names(names))
    with pytest.raises(DatasetError, match=r"batches\.meta: expected 'label_names' to be a list of 10 names;"):
        read_cifar10(tmp_path)


def test_no_message_holds_what_a_terminal_obeys(tmp_path):
    """In neither layout, and not in the words of the machine that reads pickles."""
    binary = write_binary(tmp_path / "a", make_batches())
    (binary / "batches.meta.txt").write_bytes(b"\x1b[2J\x07\n" * 10)
    python = write_python(tmp_path / "b", make_batches())
    (python / "batches.meta").write_bytes(python_names(["\x1b[2J\u202e"] * 10))
    called = write_python(tmp_path / "c", make_batches())
    (called / "batches.meta").write_bytes(b"\x80\x02cnumpy\ndtype\nX\x04\0\0\0\x1b[2J\x85R.")
    for folder in (binary, python, called):
        with pytest.raises(DatasetError, match=r"\\x1b\[2J") as raised:
            read_cifar10(folder)
        assert str(raised.value).isprintable()


def test_classes_of_cifar100_can_be_printed(tmp_path):
    names = [f"class{number}" for number in range(19)]
    for last in ("\x1b[2J", ""):
        path = tmp_path / f"a{len(last)}" / "cifar-100-python"
        path.mkdir(parents=True)
        batch = pickle.dumps({"data": np.zeros((1, 3072), np.uint8), "coarse_labels": [0]}, 2)
        (path / "train").write_bytes(batch)
        (path / "test").write_bytes(batch)
        (path / "meta").write_bytes(pickle.dumps({"coarse_label_names": [*names, last]}, 2))
        with pytest.raises(DatasetError, match="expected names of classes that can be printed, found"):
            read_cifar(path, KINDS["cifar100-coarse"])


def test_the_label_can_be_printed(tmp_path):
    folder = write_binary(tmp_path, make_batches())
    (folder / "COMPLETE").write_text("CIFAR-10\x1b[2J, of somebody")
    assert read_cifar10(tmp_path).label == r"CIFAR-10\x1b[2J"
