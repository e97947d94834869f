"""Arrays in HDF5 files: what is read is what h5py reads, and what HDF5 says of a damaged file is not believed."""

import json
import struct
import subprocess
import sys
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from minires.pretrained import hdf5_arrays, hdf5_table
from minires.pretrained.errors import WeightsError
from minires.pretrained.files import named, read_at, size_of

h5py = pytest.importorskip("h5py", reason="h5py, of the extra convert, is not installed")
NUMBERS = np.arange(30, dtype="f4").reshape(5, 6)


def arrays_in(path):
    """{name: array} of an HDF5 file, as read_keras reads them."""
    with named(path), open(path, "rb") as file:
        stored = hdf5_arrays.stored_arrays(file)
        hdf5_arrays.check_storage(stored, size_of(file))
        return {array.name: hdf5_arrays.read_array(array, partial(read_at, file)) for array in stored}


def refusal(path):
    with pytest.raises(WeightsError) as caught:
        arrays_in(path)
    assert str(caught.value).startswith(f"{path}: ") and str(caught.value).isprintable()
    return str(caught.value).removeprefix(f"{path}: ")


@pytest.fixture
def path(tmp_path):
    """A file with one array, which others may stand beside."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a"] = NUMBERS
    return tmp_path / "a.h5"


# What the file holds ----------------------------------------------------------------------------------------------


def test_a_chunk_that_went_through_no_filter(path):
    """HDF5 writes such a chunk where a filter would only make it longer."""
    with h5py.File(path, "a") as file:
        packed = file.create_dataset("b", (5, 6), "f4", compression="gzip", shuffle=True, chunks=(5, 6))
        packed.id.write_direct_chunk((0, 0), NUMBERS.tobytes(), filter_mask=3)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["b"][()], NUMBERS)
    np.testing.assert_array_equal(arrays_in(path)["/b"], NUMBERS)


def test_a_type_with_a_name_of_its_own_is_no_array(path):
    with h5py.File(path, "a") as file:
        file["kind"] = np.dtype("f4")
        file.create_dataset("b", data=NUMBERS, dtype=file["kind"])
    read = arrays_in(path)
    assert list(read) == ["/a", "/b"]
    np.testing.assert_array_equal(read["/b"], NUMBERS)


def test_numbers_of_no_usual_layout(path):
    """24 bits in four bytes: h5py widens them, which is no copy of bytes."""
    kind = h5py.h5t.IEEE_F32LE.copy()
    kind.set_fields(23, 15, 8, 0, 15)
    kind.set_precision(24)
    with h5py.File(path, "a") as file:
        h5py.h5d.create(file.id, b"b", kind, h5py.h5s.create_simple((3,)))
    assert refusal(path) == "/b holds numbers of no usual layout: give numbers of 16, 32 or 64 bits"


def test_an_array_without_a_shape(path):
    with h5py.File(path, "a") as file:
        file["b"] = h5py.Empty("f4")
    assert refusal(path) == "/b is not whole: download or save the file again"


def test_a_shuffled_chunk_that_unpacks_to_less_than_its_array(path):
    with h5py.File(path, "a") as file:
        packed = file.create_dataset("b", (5, 6), "f4", compression="gzip", shuffle=True, chunks=(5, 6))
        packed.id.write_direct_chunk((0, 0), zlib.compress(bytes(100)))
    assert refusal(path) == "/b has a chunk of 100 bytes, not 120: download it again"


def test_a_chunk_longer_than_any_that_is_packed(path):
    """It would be read into memory whole, before zlib finds its end."""
    with h5py.File(path, "a") as file:
        packed = file.create_dataset("b", (5, 6), "f4", compression="gzip", chunks=(5, 6))
        packed.id.write_direct_chunk((0, 0), zlib.compress(NUMBERS.tobytes()) + bytes(2000))
    assert refusal(path) == "/b is not whole: download or save the file again"


def test_a_chunk_behind_the_end_of_its_file(path):
    with h5py.File(path, "a") as file:
        place = file.create_dataset("b", data=NUMBERS, chunks=(5, 6)).id.get_chunk_info(0).byte_offset
    content = path.read_bytes()
    size = len(content)
    old, new = (struct.pack("<IIQQQQ", 120, 0, 0, 0, 0, address) for address in (place, size - 8))
    assert content.count(old) == 1  # the chunk's entry: its size, filters and first indices, then where it is
    path.write_bytes(content.replace(old, new))
    end, again = f"{size + 112:,}", "download or save the file again"
    assert refusal(path) == f"cut short: its arrays end at byte {end}, it has {size:,}: {again}"


def test_a_file_of_very_many_chunks(path):
    with h5py.File(path, "a") as file:
        file.create_dataset("b", data=np.zeros(hdf5_table.MOST_CHUNKS + 1, "f2"), chunks=(1,))
    assert refusal(path).startswith("its arrays are cut into more than 100,000 chunks: ")


# The process that asks HDF5 ---------------------------------------------------------------------------------------


def test_a_system_that_sets_no_limits_reads_the_file_all_the_same(path, tmp_path, monkeypatch):
    """Windows has no module `resource`, macOS no /proc."""
    folder = str(Path(hdf5_table.__file__).parent)
    code = f"import sys; sys.path[:0] = [{folder!r}]; sys.modules['resource'] = None\n"
    (tmp_path / "code.py").write_text(code + "import hdf5_table; hdf5_table.main()")
    monkeypatch.setattr(hdf5_table, "__file__", str(tmp_path / "code.py"))
    np.testing.assert_array_equal(arrays_in(path)["/a"], NUMBERS)


def test_a_file_from_a_pipe_is_read(path):
    """What is no file on a disk cannot be sought in: its bytes are taken into memory first."""
    given = {"path": sys.path, "leave_out": [], "seconds": 4, "memory": 2**27}
    command = [sys.executable, "-I", hdf5_table.__file__, json.dumps(given)]
    done = subprocess.run(command, input=path.read_bytes(), capture_output=True, timeout=60, check=True)
    (array,) = json.loads(done.stdout)["arrays"]
    assert (array["name"], array["shape"], array["dtype"]) == ("/a", [5, 6], "<f4")


# What it answers, which is no more to be trusted than the file -----------------------------------------------------

WHOLE = {"name": "/a", "shape": [2, 3], "dtype": "<f4", "offset": 0, "size": 24}
PACKED = {"name": "/b", "shape": [6], "dtype": "<f4", "chunks": [6], "filters": [1], "pieces": [[[0], 24, 20, 0]]}


@pytest.mark.parametrize(
    "array",
    [
        WHOLE | {"shape": [-2, -3]},
        WHOLE | {"shape": [2.0, 3]},
        WHOLE | {"shape": [2**63, 3]},
        WHOLE | {"shape": [True, 6]},
        WHOLE | {"offset": -24},
        WHOLE | {"offset": "\x1b[2J"},
        WHOLE | {"dtype": "(2,3)f4"},
        WHOLE | {"dtype": "<f4,\x1b<f4"},
        PACKED | {"shape": [-6], "chunks": [-6]},
        PACKED | {"filters": ["gzip"]},
        PACKED | {"pieces": [[[-1], 24, 20, 0]]},
        PACKED | {"pieces": [[[0], 24, -(2**40), 0]]},
    ],
)
def test_numbers_that_count_nothing(path, monkeypatch, array):
    monkeypatch.setattr(hdf5_arrays, "_answer", lambda *_: {"arrays": [array]})
    assert refusal(path) == f"HDF5 says of {array['name']} what makes no sense: download or save the file again"


def test_an_array_of_less_than_nothing_makes_no_room_for_a_larger_one(path, monkeypatch):
    """-10 GB and 3 GB would be little enough together; nothing but the answer says so."""
    bomb = PACKED | {"shape": [750_000_000], "chunks": [750_000_000], "pieces": [[[0], 0, 8, 0]]}
    less = PACKED | {"name": "/c", "shape": [-(10**10)], "chunks": [-(10**10)], "pieces": [[[0], 8, -(10**11), 0]]}
    monkeypatch.setattr(hdf5_arrays, "_answer", lambda *_: {"arrays": [bomb, less]})
    assert refusal(path) == "HDF5 says of /c what makes no sense: download or save the file again"
    monkeypatch.setattr(hdf5_arrays, "_answer", lambda *_: {"arrays": [bomb]})
    assert refusal(path).startswith("would unpack to 3,000,000,000 bytes, more than ")


def test_words_that_a_terminal_would_obey(path, monkeypatch):
    odd = {"name": "/\x1b[2J", "shape": [1], "dtype": None, "odd": "\x1b[2J\u202e"}
    monkeypatch.setattr(hdf5_arrays, "_answer", lambda *_: {"arrays": [odd]})
    assert refusal(path) == r"/\x1b[2J holds \x1b[2J\u202e: give numbers of 16, 32 or 64 bits"


@pytest.mark.parametrize("answer", [None, [], 3, {}, {"arrays": None}, {"arrays": [3]}, {"damaged": 3}])
def test_an_answer_of_another_kind(path, monkeypatch, answer):
    monkeypatch.setattr(hdf5_arrays, "_answer", lambda *_: answer)
    assert refusal(path).startswith("damaged (")
