"""Safetensors files, read as their specification has them: a header in JSON that says where each array's bytes are.

    8 bytes: the header's length   |   {"key": {"dtype": "F32", "shape": [O, C, K, K], "data_offsets": [begin, end]},
                                        ..., "__metadata__": {"word": "text"}}   |   the arrays, without gaps

The package of that name gives NumPy no bfloat16; here it becomes float32.

Source: https://github.com/huggingface/safetensors, section "Format".
"""

import math
from pathlib import Path

import numpy as np

from minires.checkpoint import MAX_HEADER  # all that is written here can be read here
from minires.plain import read_json
from minires.pretrained.errors import WeightsError
from minires.pretrained.files import as_numbers, item_size, opened, read_at, size_of
from minires.wording import quoted, shown

LARGEST = 2**63  # what a shape or place stays below, as in every format's own reader

DTYPE_NAMES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}


def read_safetensors(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """-> (state, info) of a safetensors file: {key: NumPy array} and its metadata, {word: text}.

    bfloat16 becomes float32; the kinds of eight bits and fewer, which NumPy lacks too, are refused by name.
    Raises WeightsError for a file that is missing, damaged, cut short or of another kind.
    """
    with opened(path) as file:
        records, start = _read_header(file)
        info = records.pop("__metadata__", None)
        info = {} if info is None else info
        if not isinstance(info, dict) or not all(isinstance(text, str) for text in info.values()):
            raise WeightsError("its metadata is no dictionary of texts; save it again")
        places = {key: _place(key, record) for key, record in records.items()}
        _check_places(places.values(), size_of(file) - start)
        state = {}
        for key, (dtype, shape, begin, end) in places.items():
            state[key] = as_numbers(read_at(file, start + begin, end - begin), dtype).reshape(shape)
        return state, info


def _read_header(file):
    """-> (header, where the arrays start)."""
    length = int.from_bytes(read_at(file, 0, 8).tobytes(), "little")
    if length > MAX_HEADER:
        raise WeightsError(f"no safetensors file, or one whose header of {length} bytes is over {MAX_HEADER}; check it")
    header = read_json(read_at(file, 8, length).tobytes())
    if not isinstance(header, dict):
        raise WeightsError("no safetensors file: its header is no dictionary; check where it is from")
    return header, 8 + length


def _place(key, record):
    """A record of the header -> (dtype, shape, begin, end), checked against each other."""
    dtype, shape, (begin, end) = record["dtype"], record["shape"], record["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPE_NAMES:
        raise WeightsError(
            f"'{shown(key, 80)}' is of dtype {quoted(dtype)}; save it as one of {', '.join(DTYPE_NAMES)}"
        )
    if len(shape) > 32 or any(type(n) is not int or not 0 <= n < LARGEST for n in (*shape, begin, end)):
        raise WeightsError(f"the shape or place of '{shown(key, 80)}' makes no sense; download it again")
    if end - begin != math.prod(shape) * item_size(DTYPE_NAMES[dtype]):
        raise WeightsError(f"the shape of '{shown(key, 80)}' does not fit its {end - begin} bytes; download it again")
    return DTYPE_NAMES[dtype], shape, begin, end


def _check_places(places, size):
    """Refuse arrays that overlap, leave gaps, or do not end where the file does."""
    at = 0
    for begin, end in sorted((begin, end) for _, _, begin, end in places):
        if begin != at:
            raise WeightsError(f"its arrays overlap or leave a gap at byte {at}; download it again")
        at = end
    if at != size:
        raise WeightsError(f"cut short or damaged: its arrays take {at} bytes and it has {size}; download it again")
