"""PyTorch's files (.pth, .pt, .th), read without PyTorch: the weights, and what else is plain in a checkpoint.

    since 1.6   a zip file: NAME/data.pkl describes the tensors, NAME/data/KEY holds the numbers of each storage
    before      five pickles in a row (magic number, version, the writer's system, the object, the storages' keys), then
                for each key the count of its numbers in 8 bytes, and the numbers

A storage is a row of numbers; a tensor is a view of one: an offset, a shape and strides, all in numbers. The pickles
are programs, and `minires.pickles` runs nothing of them but what describes tensors and plain values.

Source: PyTorch, torch/serialization.py.
"""

import functools
import io
import math
import pickle
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from minires.pretrained.content import flatten, plain_values
from minires.pretrained.errors import WeightsError
from minires.pretrained.files import as_numbers, opened, read_at, size_of
from minires.pretrained.kinds import TELL_TALE, tar_archive, zip_archive
from minires.pretrained.pickled_arrays import Array
from minires.pretrained.torch_pickles import Tensor, read_pickle
from minires.pretrained.zip_file import open_entry, open_zip, read_entry
from minires.wording import shown

_MAGIC = b"\x8a\x0a" + 0x1950A86A20F9469CFC6C.to_bytes(10, "little")  # as the first pickle spells it
_MAX_AXES = 32
_CHUNK = 2**16  # numbers that are widened at a time
MEMORY_FACTOR, MEMORY_BESIDE = 2, 2**27  # bytes of the arrays: so many times the file's, and these besides
_OF_AN_OPTIMIZER = re.compile(r"(^|\.)state\.\d+\.\w+$")


def read_torch(
    path: str | Path, wanted: Callable[[dict[str, tuple]], Iterable[str]] | None = None
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """-> (state, info) of a PyTorch file, or of a pickle of NumPy arrays.

    state: {path: NumPy array} of every tensor in the file. A path is the keys of the dictionaries that lead to the
    tensor, joined by ".", a list's items under their numbers: state_dict.module.conv1.weight,
    optimizer.state.0.momentum_buffer. Nothing is chosen here. Of a whole pickled network, the keys are those of its
    state_dict. Parameters are their tensors; bfloat16 becomes float32; tensors of one storage share memory.
    info: what JSON can hold of the entries of the outermost dictionary that hold no tensors (epoch, arch, ...), as JSON
    gives it back, the first MAX_INFO characters; and "left_out": the names of the classes of objects, and the kinds of
    tensors (sparse, quantized, float8, ...), that stand in the file and are not read.
    wanted: function of {path: shape} of all tensors; only those that it returns are read. None: all.
    Raises WeightsError for a file that is missing, damaged, hostile, from a big-endian machine or of another kind.
    """
    with opened(path) as file:
        head = file.read(TELL_TALE)
        file.seek(0)
        if head.startswith(b"PK\3\4"):
            content, numbers_of = _open_zip(file)
        elif _MAGIC in head[:30]:
            content, numbers_of = _open_old(file)
        elif what := tar_archive(head):
            raise WeightsError(what)
        elif head.startswith((pickle.PROTO, b"(dp", b"}q")):
            content, _ = read_pickle(file, size_of(file))
            numbers_of = _no_numbers
        else:
            raise WeightsError(f"is not a PyTorch file: it begins with {ascii(head[:12])[1:]}; check where it is from")
        tensors, left_out = flatten(content)
        if not tensors:
            raise _nothing_in(content, left_out)
        if all(_OF_AN_OPTIMIZER.search(key) for key in tensors):
            raise WeightsError("holds an optimizer's state and no network; give the file of model.state_dict()")
        if wanted is not None:
            tensors = {key: tensors[key] for key in wanted({key: tensor.shape for key, tensor in tensors.items()})}
        return _fill(tensors, numbers_of, size_of(file)), plain_values(content) | {"left_out": left_out}


def _open_zip(file):
    """-> (object, numbers_of) of the zip format, with numbers_of(key) -> uint8 (n,)."""
    archive = open_zip(file)
    entries = archive.namelist()
    pickles = [name for name in entries if name.endswith("/data.pkl")]
    if not pickles:
        raise WeightsError(zip_archive(entries))
    if len(pickles) > 1:
        raise WeightsError(
            f"holds {len(pickles)} files data.pkl, and which one is meant it does not say; save it again"
        )
    (name,) = pickles
    folder = name.removesuffix("data.pkl")
    _check_names(entries, folder)
    if folder + "constants.pkl" in entries:
        raise WeightsError("is a TorchScript program, which is not run; save torch.jit.load(path).state_dict()")
    order = folder + "byteorder"
    if order in entries and read_entry(archive, order).tobytes() != b"little":
        raise WeightsError("was written on a big-endian machine; load it in PyTorch and save it again on another")
    with open_entry(archive, name) as entry:
        pickled = io.BufferedReader(entry)
        content, _ = read_pickle(pickled, archive.getinfo(name).file_size)
        while pickled.read(2**18):  # its end is where the checksum is looked at
            pass
        if entry.tell() != archive.getinfo(name).file_size:
            raise WeightsError("damaged: its pickle is cut short; download it again")
    return content, lambda key: read_entry(archive, f"{folder}data/{key}")


def _check_names(entries, folder):
    """All entries lie in the one folder, and no two differ by capitals alone, which PyTorch takes for one."""
    for name in entries:
        if not name.startswith(folder) or folder.count("/") > 1:
            raise WeightsError(f"holds '{shown(name, 80)}', which is not where PyTorch puts it; save it again")
    if len({name.lower() for name in entries}) < len(entries):
        raise WeightsError("holds entries whose names differ by capitals alone; save it again")


def _open_old(file):
    """-> (object, numbers_of) of the format before 1.6, with numbers_of(key) -> uint8 (n,)."""
    size = size_of(file)
    (_, _), (version, _), (system, _), (content, storages), (keys, _) = [read_pickle(file, size) for _ in range(5)]
    if version != 1001 or not system["little_endian"]:
        raise WeightsError("was written on a big-endian machine or in an unknown version; save it again on another")
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or len(set(keys)) < len(keys):
        raise WeightsError("its list of storages is damaged; download it again")
    places, at = {}, file.tell()
    for key in keys:
        count = int.from_bytes(read_at(file, at, 8).tobytes(), "little") * storages[key].item_size
        places[key] = at + 8, count
        at += 8 + count
    if at > size:
        raise WeightsError(f"cut short: {size} bytes of {at}; download it again")
    return content, lambda key: read_at(file, *places[key])


def _no_numbers(key):
    raise WeightsError("is a pickle whose tensors lie in no file; save it with torch.save")


def _nothing_in(content, left_out):
    """The error for a file without tensors."""
    if left_out:
        return WeightsError(
            f"holds no tensors that are read, only {shown(', '.join(left_out[:3]), 150)}; save the state_dict"
        )
    if not isinstance(content, dict):
        return WeightsError("holds no dictionary of tensors; save model.state_dict()")
    found = ", ".join(f"'{shown(key, 40)}'" for key in list(content)[:4]) or "nothing"
    return WeightsError(f"holds no tensors, only {found}; save the state_dict")


def _fill(tensors, numbers_of, size):
    """{key: Tensor or Array} -> {key: array}; each storage is read once, from a file of `size` bytes."""
    _check_dtypes(tensor for tensor in tensors.values() if isinstance(tensor, Tensor))
    storages = {tensor.storage.key: tensor.storage for tensor in tensors.values() if isinstance(tensor, Tensor)}
    most, taken = MEMORY_FACTOR * size + MEMORY_BESIDE, 0
    pickled = {}

    def checked(key):
        numbers, said = numbers_of(key), storages[key].count * storages[key].item_size
        if len(numbers) != said:
            raise WeightsError(f"has {len(numbers)} bytes of {said} for the storage {shown(key)}; download it again")
        return numbers

    bytes_of = functools.cache(checked)

    def counted(numbers):
        nonlocal taken
        taken += numbers.nbytes
        if taken > most:
            raise WeightsError(f"takes more than {most:,} bytes as arrays, its {size:,} allow no more; save it again")
        return numbers

    @functools.cache
    def as_dtype(key, dtype):
        if dtype == "bfloat16":
            return counted(_widened(checked(key)))
        return counted(bytes_of(key)) if dtype == "uint8" else as_numbers(as_dtype(key, "uint8"), dtype)

    def filled(item):
        if isinstance(item, Array):
            key = id(item.data), item.dtype.real()
            if key not in pickled:
                pickled[key] = counted(item.numbers())
            return item.view(pickled[key])
        return _view(item, as_dtype(item.storage.key, item.dtype))

    return {key: filled(item) for key, item in tensors.items()}


def _check_dtypes(tensors):
    """Numbers of bfloat16, which are made wider, are none of another type besides: both would take three times a file.

    PyTorch writes no such file, either.
    """
    dtypes: dict[str, set[str]] = {}
    for tensor in tensors:
        dtypes.setdefault(tensor.storage.key, set()).add(tensor.dtype)
    for key, found in dtypes.items():
        if "bfloat16" in found and len(found) > 1:
            raise WeightsError(f"reads the storage {shown(key)} as {' and '.join(sorted(found))}; save it again")


def _widened(data):
    """uint8 (2n,) of bfloat16 -> float32 (n,) in the memory of `data`, which grows, from the last number on."""
    count = len(data) // 2
    data.resize(4 * count, refcheck=False)
    narrow, wide = data.view("<u2"), data.view(np.uint32)
    for end in range(count, 0, -_CHUNK):
        start = max(0, end - _CHUNK)
        wide[start:end] = narrow[start:end].astype(np.uint32) << 16
    return data.view(np.float32)


def _view(tensor, numbers):
    """The view of its storage's numbers (n,) that a tensor is, made once it is known to stay within them."""
    shape, strides = tensor.shape, tensor.strides
    if not all(isinstance(axes, tuple) and len(axes) <= _MAX_AXES for axes in (shape, strides)):
        raise WeightsError(f"holds a tensor without a shape or of more than {_MAX_AXES} axes; download it again")
    start = (tensor.storage.start, tensor.offset)
    if len(shape) != len(strides) or any(type(n) is not int or not 0 <= n < 2**63 for n in (*start, *shape, *strides)):
        raise WeightsError("holds a tensor whose offset, shape or strides make no sense; download it again")
    count = math.prod(shape)
    if count == 0:
        return np.empty(shape, numbers.dtype)
    last = sum(start) + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    if last >= len(numbers) or count > len(numbers):
        raise WeightsError(
            f"holds a tensor of more than the {len(numbers)} numbers of its storage; download it again or, if "
            "expand() made it, save it as tensor.contiguous()"
        )
    size = numbers.itemsize
    return np.ndarray(shape, numbers.dtype, numbers, sum(start) * size, [stride * size for stride in strides])
