"""Files that could be read in two ways: read as PyTorch reads them, or refused; never as one of the two in silence."""

import io
import struct
import warnings

import numpy as np
import pytest
import weights_cases as cases
from hostile_pickles import lying_zip
from weights_cases import STORAGES, dictionary, number, storage, tensor, text, torch_old, torch_zip, whole

from minires.pretrained.errors import WeightsError
from minires.pretrained.torch_file import read_torch

SIX = tensor(storage("0", 12), (6,))
TWO = tensor(storage("1", 2), (2,))
VIEW = b"(" + text("v") + number(4) + number(8) + b"t"
PROGRAMS = {  # the pickle of each
    "a key twice": b"}(" + text("a") + SIX + text("a") + TWO + b"u",
    "a key twice, one after the other": b"}" + text("a") + SIX + b"s" + text("a") + TWO + b"s",
    "a key twice, kept between": b"}q\0(" + text("a") + SIX + b"u(" + text("a") + TWO + b"uh\0",
    "two tensors on a storage": dictionary(a=SIX, b=tensor(storage("0", 12), (4, 3), (3, 1))),
    "two that overlap": dictionary(
        a=tensor(storage("0", 12), (6,), offset=2), b=tensor(storage("0", 12), (6,), offset=4)
    ),
    "columns first": dictionary(a=tensor(storage("0", 12), (3, 4), (1, 3))),
    "every other": dictionary(a=tensor(storage("0", 12), (6,), (2,), 1)),
    "repeated by strides of 0": dictionary(a=tensor(storage("0", 12), (4, 3), (0, 1))),
    "no axes": dictionary(a=tensor(storage("0", 12), (), (), 7)),
    "nothing in it": dictionary(a=tensor(storage("0", 12), (0, 5))),
    "a storage under two types": dictionary(a=SIX, b=tensor(storage("0", 12, "IntStorage"), (6,))),
    "a storage of fewer than it has": dictionary(a=tensor(storage("0", 6), (6,))),
    "a storage of more than it has": dictionary(a=tensor(storage("0", 24), (6,))),
    "a tensor of more than there is": dictionary(a=tensor(storage("0", 12), (13,))),
    "a view of a storage": dictionary(a=tensor(storage("0", 12, view=VIEW), (8,))),
    "keys of text and bytes": b"}(" + text("a") + SIX + b"C\1a" + TWO + b"u",
    "keys of text and numbers": b"}(" + text("1") + SIX + b"K\1" + TWO + b"u",
    "keys that are equal": b"}(K\1" + SIX + b"\x88" + TWO + b"u",
    "one tensor twice": dictionary(a=SIX + b"q\1", b=b"h\1"),
    "the place kept twice": dictionary(a=SIX + b"q\1", b=TWO + b"q\1", c=b"h\1"),
    "a negative offset": dictionary(a=tensor(storage("0", 12), (2,), offset=-1)),
    "negative strides": dictionary(a=tensor(storage("0", 12), (2,), (-1,), 4)),
    "offset behind the end": dictionary(a=tensor(storage("0", 12), (0,), offset=100)),
    "bfloat16": dictionary(a=tensor(storage("0", 24, "BFloat16Storage"), (24,))),
    "another storage": dictionary(a=tensor(storage("2", 12), (12,))),
}


def zip_of(steps):
    """A file since 1.6."""
    return torch_zip(whole(steps), STORAGES, version=b"3\n")


def old_of(steps):
    """A file before 1.6, with the storages that it speaks of; each has a sixth property there."""
    steps = steps.replace(b"tQ", b"NtQ") if VIEW not in steps else steps
    return torch_old(
        whole(steps), {key: content for key, content in STORAGES.items() if text(key) + text("cpu") in steps}
    )


def theirs(torch, content):
    """{path: array} as torch.load reads it, or the exception with which it refuses."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded = torch.load(io.BytesIO(content), weights_only=True)
    except Exception as error:  # PyTorch has no kind of its own for it
        return error
    found = {}

    def visit(value, path):
        if isinstance(value, torch.Tensor):
            found[".".join(path)] = value.float().numpy() if value.dtype == torch.bfloat16 else value.numpy()
        elif isinstance(value, dict):
            for key, item in value.items():
                visit(item, (*path, key.decode() if isinstance(key, bytes) else str(key)))

    visit(loaded, ())
    return found


def ours(path, content):
    """{path: array}, or None where it is refused."""
    path.write_bytes(content)
    try:
        return read_torch(path)[0]
    except WeightsError:
        return None


def assert_one_meaning(torch, path, content):
    """Refused, or as PyTorch has it. Returns whether it was read."""
    mine, other = ours(path, content), theirs(torch, content)
    if mine is None:
        return False
    assert isinstance(other, dict), f"read here: {mine}, by PyTorch: {other!r}"
    assert {key: (array.dtype, array.shape) for key, array in mine.items()} == {
        key: (array.dtype, array.shape) for key, array in other.items()
    }
    for key, array in mine.items():
        np.testing.assert_array_equal(array, other[key], err_msg=key)
    return True


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


@pytest.mark.parametrize("write", [zip_of, old_of])
@pytest.mark.parametrize("name", [name for name in PROGRAMS if name != "a view of a storage"])
def test_a_pickle_means_what_it_means_to_pytorch(torch, tmp_path, name, write):
    assert_one_meaning(torch, tmp_path / "a.pth", write(PROGRAMS[name]))


def test_a_view_of_a_storage_means_what_it_means_to_pytorch(torch, tmp_path):
    """Only before 1.6 were there such views."""
    assert assert_one_meaning(torch, tmp_path / "a.pth", old_of(PROGRAMS["a view of a storage"]))


READ = (
    "a key twice",
    "two that overlap",
    "columns first",
    "every other",
    "no axes",
    "nothing in it",
    "one tensor twice",
)


@pytest.mark.parametrize("write", [zip_of, old_of])
@pytest.mark.parametrize("name", READ)
def test_what_has_one_meaning_is_read(tmp_path, name, write):
    """Without PyTorch, too; else a reader that refuses everything would do."""
    assert ours(tmp_path / "a.pth", write(PROGRAMS[name])) is not None


ENTRIES = [("a/data.pkl", cases.PICKLE), ("a/byteorder", b"little"), ("a/version", b"3\n")]
ENTRIES += [(f"a/data/{key}", STORAGES[key]) for key in "01"]
ZIPS = {
    "a storage twice": [*ENTRIES, ("a/data/1", struct.pack("<2f", 7, 8))],
    "a storage in other letters": [*ENTRIES, ("A/DATA/1", struct.pack("<2f", 7, 8))],
    "a storage in other letters, first": [("A/data/1", struct.pack("<2f", 7, 8)), *ENTRIES],
    "a pickle in other letters": [*ENTRIES, ("a/DATA.PKL", whole(dictionary(a=TWO)))],
    "a pickle in other letters, first": [("A/data.pkl", whole(dictionary(a=TWO))), *ENTRIES],
    "a pickle twice": [*ENTRIES, ("a/data.pkl", whole(dictionary(a=TWO)))],
    "a pickle elsewhere": [*ENTRIES, ("b/data.pkl", whole(dictionary(a=TWO)))],
    "a pickle elsewhere, first": [("b/data.pkl", whole(dictionary(a=TWO))), *ENTRIES],
    "a byte order twice": [*ENTRIES, ("a/byteorder", b"big")],
    "a byte order in other letters": [*ENTRIES, ("a/ByteOrder", b"big")],
    "big": [("a/byteorder", b"big"), ENTRIES[0], *ENTRIES[2:]],
    "no byte order": [ENTRIES[0], *ENTRIES[2:]],
    "a byte order elsewhere": [ENTRIES[0], *ENTRIES[2:], ("b/byteorder", b"big")],
    "deeper": [(f"x/{name}", content) for name, content in ENTRIES],
    "a storage cut short": [*ENTRIES[:-1], ("a/data/1", b"\0\0\0\0")],
    "a storage too long": [*ENTRIES[:-1], ("a/data/1", bytes(64))],
}


@pytest.mark.parametrize("name", ZIPS)
def test_a_zip_file_means_what_it_means_to_pytorch(torch, tmp_path, name):
    content = lying_zip(ZIPS[name], np.random.default_rng(0), lies=0)
    assert_one_meaning(torch, tmp_path / "a.pth", content)


REFUSED = {
    "a storage in other letters": "holds 'A/DATA/1', which is not where PyTorch puts it",
    "a pickle in other letters": "differ by capitals alone",
    "a byte order elsewhere": "holds 'b/byteorder', which is not where",
    "deeper": "holds 'x/a/data.pkl', which is not where",
    "a storage cut short": "has 4 bytes of 8 for the storage 1; download it again",
    "a storage too long": "has 64 bytes of 8 for the storage 1",
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_zip_file_of_two_meanings_is_refused(tmp_path, name):
    (tmp_path / "a.pth").write_bytes(lying_zip(ZIPS[name], np.random.default_rng(0), lies=0))
    with pytest.raises(WeightsError, match=REFUSED[name]):
        read_torch(tmp_path / "a.pth")


def test_a_storage_of_two_sizes_is_refused(tmp_path):
    steps = dictionary(a=SIX, b=tensor(storage("0", 6), (6,)))
    for write in (zip_of, old_of):
        (tmp_path / "a.pth").write_bytes(write(steps))
        with pytest.raises(WeightsError, match="reads the storage 0 as two sizes"):
            read_torch(tmp_path / "a.pth")


def test_a_zip_file_of_pytorchs_entries_is_read(tmp_path):
    assert ours(tmp_path / "a.pth", lying_zip(ENTRIES, np.random.default_rng(0), lies=0)).keys()
