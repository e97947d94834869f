"""From the text of a kernel to something that can be launched."""

import functools
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from minires.backend.errors import DeviceError
from minires.backend.gpu import source
from minires.types import Array

BLOCKS = 2048  # at most, of an element-wise kernel: each thread then does several numbers
SMALL = 2**31 - 2**24  # indices below fit into 32 bits, with a stride of the whole grid added

INTEGER = {"int": np.int32, "long long": np.int64}


def compiled(name: str, body: str, real: str, index: str) -> Any:
    """The kernel `name` of a text for source.TYPES[real], in which Index is an integer type; compiled once.

    Raises DeviceError with the GPU's architecture and what its compiler says where it does not compile.
    """
    return _compiled(cupy(), name, body, real, index)


def text(body: str, real: str, index: str) -> str:
    """The whole text that a kernel is compiled from."""
    computed, kept = source.TYPES[real]
    types = f"typedef {computed} T;\ntypedef {kept} Number;\ntypedef {index} Index;\n"
    return f"{source.PRELUDE}{source.BRAIN}{source.EACH}{types}{body}"


@functools.lru_cache(maxsize=4096)
def _compiled(xp, name, body, real, index):
    try:
        return xp.RawModule(code=text(body, real, index)).get_function(name)
    except xp.cuda.compiler.CompileException as error:
        lines = [line.strip() for line in str(error).splitlines() if "error:" in line or "fatal" in line]
        raise DeviceError(
            f"the kernel {name} does not compile for this GPU, sm_{xp.cuda.Device().compute_capability}, with CuPy "
            f"{xp.__version__} ({'; '.join(lines[:3]) or 'without a log'}); install another CuPy, or report it"
        ) from error


def index_type(n: int) -> str:
    """Of indices below n: 32 bits where they do, since those divide faster."""
    return "int" if n < SMALL else "long long"


def grid(n: int, blocks: int = BLOCKS) -> tuple[int]:
    """How many blocks n indices are for."""
    return (min(blocks, -(-n // source.THREADS)),)


def contiguous(array: Array) -> Array:
    """The array, or a copy of it that lies in memory as a kernel expects."""
    return array if array.flags.c_contiguous else cupy().ascontiguousarray(array)


def write_back(arrays: Sequence[Array], copies: Sequence[Array], written: Sequence[int]) -> None:
    """Put what a kernel has written into `contiguous` copies of arrays into the arrays."""
    for number in written:
        if copies[number] is not arrays[number]:
            arrays[number][...] = copies[number]


def address(array: Any) -> int:
    """Where a CuPy array's numbers begin in the GPU's memory."""
    return array.data.ptr


def cupy() -> Any:
    """CuPy, to which the arrays that got here belong."""
    return sys.modules["cupy"]
