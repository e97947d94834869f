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
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from minires.pretrained.errors import WeightsError
from minires.pretrained.files import as_numbers, item_size, opened, read_at, size_of
from minires.pretrained.torch_pickles import Tensor, read_pickle
from minires.pretrained.zip_file import open_zip, read_entry

STATE_NAMES = ("state_dict", "model_state_dict", "model_state", "model", "network", "net", "weights", "params")
MAX_INFO = 100_000  # characters of JSON

_MAGIC = b"\x8a\x0a" + 0x1950A86A20F9469CFC6C.to_bytes(10, "little")  # as the first pickle spells it
_MAX_AXES = 32


def read_torch(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """-> (state, info) of a PyTorch file: {key: NumPy array} under the keys in it, and a checkpoint's plain values.

    state: the tensors of the first entry of STATE_NAMES that is a dictionary with tensors, else those of the
    checkpoint itself. Parameters are their tensors; bfloat16 becomes float32; tensors of one storage share memory.
    info: what JSON can hold of the entries around it (epoch, arch, ...), as JSON gives it back, the first MAX_INFO
    characters; an optimizer's tensors are left out and not even read.
    Raises WeightsError for a file that is missing, damaged, hostile, from a big-endian machine or of another kind.
    """
    with opened(path) as file:
        head = file.read(512)
        file.seek(0)
        if head.startswith(b"PK\3\4"):
            content, numbers_of = _open_zip(file)
        elif _MAGIC in head[:30]:
            content, numbers_of = _open_old(file)
        elif head[257:262] == b"ustar":
            raise WeightsError("is of the tar format of PyTorch's first versions; load it there and save it again")
        else:
            raise WeightsError(f"is not a PyTorch file: it begins with {ascii(head[:12])[1:]}; check where it is from")
        state, around = _find_state(content)
        return _fill(state, numbers_of), _plain_values(around)


def _open_zip(file):
    """-> (object, numbers_of) of the zip format, with numbers_of(key) -> uint8 (n,)."""
    archive = open_zip(file)
    entries = archive.namelist()
    name = next((name for name in entries if name.endswith("/data.pkl")), None)
    if name is None:
        raise WeightsError("is a zip file without PyTorch's data.pkl; check where it is from")
    folder = name.removesuffix("data.pkl")
    if folder + "constants.pkl" in entries:
        raise WeightsError("is a TorchScript program, which is not run; save torch.jit.load(path).state_dict()")
    order = folder + "byteorder"
    if order in entries and read_entry(archive, order).tobytes() != b"little":
        raise WeightsError("was written on a big-endian machine; load it in PyTorch and save it again on another")
    pickled = read_entry(archive, name).tobytes()
    content, _ = read_pickle(io.BytesIO(pickled), len(pickled))
    return content, lambda key: read_entry(archive, f"{folder}data/{key}")


def _open_old(file):
    """-> (object, numbers_of) of the format before 1.6, with numbers_of(key) -> uint8 (n,)."""
    size = size_of(file)
    (_, _), (version, _), (system, _), (content, dtypes), (keys, _) = [read_pickle(file, size) for _ in range(5)]
    if version != 1001 or not system["little_endian"]:
        raise WeightsError("was written on a big-endian machine or in an unknown version; save it again on another")
    places, at = {}, file.tell()
    for key in keys:
        count = int.from_bytes(read_at(file, at, 8).tobytes(), "little") * item_size(dtypes[key])
        places[key] = at + 8, count
        at += 8 + count
    if at > size:
        raise WeightsError(f"cut short: {size} bytes of {at}; download it again")
    return content, lambda key: read_at(file, *places[key])


def _find_state(content):
    """-> (state, around): {key: Tensor} and the rest of the checkpoint, by the rule of read_torch."""
    if not isinstance(content, dict):
        raise WeightsError("holds no dictionary of tensors; save model.state_dict()")
    for name in STATE_NAMES:
        if state := _tensors(content.get(name)):
            return state, {key: value for key, value in content.items() if key != name}
    if state := _tensors(content):
        return state, {key: value for key, value in content.items() if key not in state}
    found = ", ".join(ascii(key)[:40] for key in list(content)[:8]) or "nothing"
    raise WeightsError(f"holds no tensors itself nor under {', '.join(STATE_NAMES)}, only {found}; save the state_dict")


def _tensors(content):
    """The entries of a dictionary that are tensors with a name; none where there is no dictionary."""
    items = content.items() if isinstance(content, dict) else ()
    return {key: value for key, value in items if isinstance(key, str) and isinstance(value, Tensor)}


def _fill(state, numbers_of):
    """{key: Tensor} -> {key: array}; each storage is read once for each dtype that it is seen in."""
    numbers_of = functools.lru_cache(maxsize=1)(numbers_of)  # bfloat16's bytes are of no use once they are float32
    as_dtype = functools.cache(lambda key, dtype: as_numbers(numbers_of(key), dtype))
    return {key: _view(tensor, as_dtype(tensor.storage.key, tensor.dtype)) for key, tensor in state.items()}


def _view(tensor, numbers):
    """The view of its storage's numbers (n,) that a tensor is, made once it is known to stay within them."""
    shape, strides = tensor.shape, tensor.strides
    if not all(isinstance(axes, tuple) and len(axes) <= _MAX_AXES for axes in (shape, strides)):
        raise WeightsError(f"holds a tensor without a shape or of more than {_MAX_AXES} axes; download it again")
    start = (tensor.storage.start, tensor.offset)
    if len(shape) != len(strides) or any(type(n) is not int or n < 0 for n in (*start, *shape, *strides)):
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


def _plain_values(content):
    """The entries that JSON can hold, as it gives them back, until they take more than MAX_INFO characters."""
    info: dict = {}
    room = MAX_INFO
    for key, value in content.items():
        text = []
        try:
            for piece in json.JSONEncoder(ensure_ascii=False).iterencode([value]):
                text.append(piece)
                room -= len(piece)
                if room < 0:
                    return info
            (info[key],) = json.loads("".join(text))
        except (TypeError, ValueError, RecursionError):  # no value of JSON, one within itself, one too deep
            room -= 1
    return info
