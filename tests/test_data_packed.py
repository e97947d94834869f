"""Archives that are made to cost, or to mean two things: each is refused, in a sentence, and nothing is written."""

import gzip
import importlib
import struct
import sys
import tarfile
import zipfile

import pytest

from minires.data import load, packed
from minires.data.cifar_kinds import CIFAR10
from minires.data.dataset import DatasetError

FOLDER = CIFAR10.binary.folder


def refused(path, match):
    """The archive is refused in a sentence, stays as it is, and nothing lies beside it."""
    before = path.read_bytes()
    with pytest.raises(DatasetError, match=match) as caught:
        load("auto", data_dir=path.parent)
    assert str(caught.value).isprintable() and path.name in str(caught.value)
    assert list(path.parent.iterdir()) == [path] and path.read_bytes() == before


def member(name="a", size=0, kind=tarfile.REGTYPE, content=b""):
    info = tarfile.TarInfo(name)
    info.size, info.type = size or len(content), kind
    return info.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % 512)


def test_a_tar_of_many_empty_files(tmp_path, monkeypatch):
    monkeypatch.setattr("minires.data.packed.MOST_FILES", 1000)
    path = tmp_path / "cifar10.tar.gz"
    path.write_bytes(gzip.compress(member(kind=tarfile.DIRTYPE) * 1100))
    refused(path, "would unpack to more than .* files")


def test_headers_without_end(tmp_path):
    """A long name takes a header; it was read whole, into memory."""
    for size, number in ((2**30, 1), (4000, 300)):
        path = tmp_path / "cifar10.tar.gz"
        path.write_bytes(
            gzip.compress((member("././@LongLink", size, tarfile.GNUTYPE_LONGNAME) + bytes(4096)) * number)
        )
        refused(path, "headers of more than 4,096 bytes")


def test_long_names_in_long_names(tmp_path):
    path = tmp_path / "cifar10.tar"
    path.write_bytes(member("././@LongLink", kind=tarfile.GNUTYPE_LONGNAME, content=b"a" * 100) * 900)
    refused(path, "damaged or cut short")


def test_zeros_behind_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr("minires.data.packed.MOST_UNPACKED", 2**20)
    monkeypatch.setattr("minires.data.packed.MOST_FILES", 100)
    path = tmp_path / "cifar10.tar.gz"
    files = b"".join(member(f"{FOLDER}/{name}", content=b"a") for name in CIFAR10.binary.files)
    path.write_bytes(gzip.compress(files + bytes(10_000_000)))
    refused(path, "would unpack to more than")


@pytest.mark.parametrize("name", [f"{FOLDER}/data_batch_1.bin", f"./{FOLDER}/data_batch_1.bin"])
@pytest.mark.parametrize("kind", ["tar", "zip"])
@pytest.mark.filterwarnings("ignore:Duplicate name")  # zipfile's word, as it is packed
def test_a_file_that_is_there_twice(tmp_path, name, kind):
    path = tmp_path / f"cifar10.{kind}"
    names = [*(f"{FOLDER}/{file}" for file in CIFAR10.binary.files), name]
    if kind == "tar":
        path.write_bytes(b"".join(member(name, content=b"a") for name in names) + bytes(1024))
    else:
        with zipfile.ZipFile(path, "w") as packed:
            for name in names:
                packed.writestr(name, b"a")
    refused(path, "data_batch_1.bin is in it twice")


@pytest.mark.parametrize("packer", ["gzip", "bz2", "lzma"])
def test_packed_badly(tmp_path, packer):
    path = tmp_path / "cifar10.tar.gz"
    packs = importlib.import_module(packer).compress
    content = bytearray(packs(member(f"{FOLDER}/data_batch_1.bin", content=bytes(range(256)) * 40) * 50))
    for place in range(20, len(content), 7):
        content[place] ^= 0x55
    path.write_bytes(content)
    refused(path, "damaged or cut short")


def zipped(flags=0, method=0, name=b"a", number=1, length=None, beyond=0):
    """A zip of as many entries of one empty file."""
    local = b"PK\3\4" + struct.pack("<HHHHHLLLHH", 20, flags, method, 0, 0, 0, 0, 0, len(name), 0) + name
    entry = b"PK\1\2" + struct.pack(
        "<HHHHHHLLLHHHHHLL", 20, 20, flags, method, 0, 0, 0, 0, 0, len(name), 0, 0, 0, 0, 0, 0
    )
    directory = (entry + name) * number
    length = len(directory) if length is None else length
    end = b"PK\5\6" + struct.pack("<HHHHLLH", 0, 0, number & 0xFFFF, number & 0xFFFF, length, len(local) + beyond, 0)
    return local + directory + end


@pytest.mark.parametrize(
    "content, match",
    [
        (zipped(flags=1), "a in it is encrypted"),
        (zipped(method=14), "a in it is .*packed in an unusual way"),
        (zipped(method=99), "a in it is .*packed in an unusual way"),
        (zipped(beyond=1000), "a in it begins before the archive does"),
        (zipped(number=100_100), "would unpack to more than"),
        (zipped(length=2**31), "would unpack to more than"),
        (zipped(name=b"\x1b[31mcifar\n" * 3), "holds no cifar-10-batches-bin"),
        (zipped(name=b""), "holds no cifar-10-batches-bin"),
        (b"PK\5\6", "has no directory"),
        (b"", "has no directory"),
    ],
)
def test_zips(tmp_path, content, match):
    (tmp_path / "cifar10.zip").write_bytes(content)
    refused(tmp_path / "cifar10.zip", match)


def test_names_in_an_archive_are_shown_escaped(tmp_path):
    path = tmp_path / "cifar10.tar"
    names = [f"\x1b]0;\u202e{FOLDER}/{name}" for name in CIFAR10.binary.files[1:]]
    path.write_bytes(b"".join(member(name, content=b"a") for name in names) + bytes(1024))
    refused(path, "the archive lacks ")


def test_a_huge_one_is_not_read(tmp_path):
    path = tmp_path / "cifar10.tar"
    with open(path, "wb") as file:
        file.truncate(2**30 + 1)  # no blocks on the disk
    with pytest.raises(DatasetError, match="has more than 1,073,741,824 bytes"):
        load("auto", data_dir=tmp_path)


def test_less_than_nothing(tmp_path):
    header = bytearray(member("a"))
    header[124:136] = b"\xff" * 12  # -1, in base 256
    header[148:156] = b" " * 8
    header[148:155] = f"{sum(header[:512]):06o}\0".encode()
    path = tmp_path / "cifar10.tar"
    path.write_bytes(bytes(header) + bytes(1024))
    refused(path, "less than no bytes|damaged")


def test_a_window_as_large_as_the_file_claims(tmp_path):
    """Unpacking takes as much memory as the file says, up to all that is in it."""
    import lzma

    path = tmp_path / "cifar10.tar.xz"
    large = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 2**28}]
    path.write_bytes(lzma.compress(member(content=bytes(2**20)), filters=large))
    refused(path, "more than 134,217,728 bytes of memory, the limit")


def test_xz_is_read_whole_and_from_any_place(tmp_path):
    import lzma

    content = bytes(range(256)) * 2000
    path = tmp_path / "several.xz"
    path.write_bytes(lzma.compress(content, preset=9) + bytes(8) + lzma.compress(content[:1000]))
    with packed.PACKED[b"\xfd7zXZ\0"](path, "rb") as file:
        assert file.read() == content + content[:1000]
        for place in (300_000, 5, 512_500):
            assert file.seek(place) == place and file.read(400) == (content + content[:1000])[place : place + 400]
    path.write_bytes(lzma.compress(content)[:-9])
    with packed.PACKED[b"\xfd7zXZ\0"](path, "rb") as file, pytest.raises(EOFError):
        file.read()


def test_xz_where_python_has_no_lzma(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lzma", None)
    monkeypatch.delitem(sys.modules, "minires.data.xz", raising=False)
    (tmp_path / "cifar10.tar.xz").write_bytes(b"\xfd7zXZ\0\0\4")
    refused(tmp_path / "cifar10.tar.xz", "packed by xz, and this Python comes without lzma: unpack it first")
