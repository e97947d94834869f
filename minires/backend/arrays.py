"""Which device an array lives on: NumPy's on the CPU, CuPy's on the GPU. Everything else rests on this."""

import sys
from types import ModuleType

import numpy as np

from minires.backend.gpu import symbols
from minires.types import Array


def array_module(*arrays: Array | None) -> ModuleType:
    """The module the arrays belong to: `numpy`, or `cupy` for arrays on a GPU.

    CuPy then computes on the GPU that they lie on: of several, that becomes the current one.
    In an element-wise function that is to become a kernel it is backend.gpu.symbols, which writes the kernel's lines.

    Raises TypeError for anything that is no array, for masked arrays and matrices, and for arrays of two devices at
    once.
    """
    for array in arrays:
        if type(array) is not np.ndarray and array is not None:
            break
    else:
        return np  # the usual case, quickly
    cupy = sys.modules.get("cupy")
    if cupy is not None and all([array is None or type(array) is cupy.ndarray for array in arrays]):
        _compute_where_they_lie(cupy, arrays)
        return cupy
    if any(isinstance(array, symbols.Symbol) for array in arrays):
        return symbols
    devices = {device_of(array) for array in arrays if array is not None}
    if len(devices) > 1:
        raise TypeError("arrays of one operation must be on one device, got NumPy and CuPy arrays: move one with to()")
    if devices <= {"cpu"}:
        return np
    _compute_where_they_lie(cupy, arrays)
    return sys.modules["cupy"]


def _compute_where_they_lie(cupy, arrays):
    """Make the GPU of these arrays the current one of this thread, which is where CuPy makes arrays and computes."""
    found = None
    for array in arrays:
        if array is not None:
            number = array.data.device_id
            if found is not None and number != found:
                raise TypeError(
                    f"arrays of one operation must be on one GPU, got gpu:{found} and gpu:{number}: move one with to()"
                )
            found = number
    if found is not None and cupy.cuda.runtime.getDevice() != found:
        cupy.cuda.Device(found).use()


def device_of(array: Array | np.generic) -> str:
    """`"cpu"` for a NumPy array, `"gpu"` for a CuPy array; `"gpu:1"` and so on for one of another GPU than the first.

    A memory-mapped or read-only array is one like any other. Raises TypeError for anything else, for a masked array,
    whose mask would be ignored, and for a np.matrix, whose `*` is another product.
    """
    if isinstance(array, (np.ndarray, np.generic)):
        if isinstance(array, np.ma.MaskedArray):
            raise TypeError("expected a plain array, got a masked one, whose mask would be ignored: use its filled(0)")
        if isinstance(array, np.matrix):
            raise TypeError("expected a plain array, got a np.matrix, whose * is another product: use np.asarray on it")
        return "cpu"
    cupy = sys.modules.get("cupy")
    if cupy is not None and isinstance(array, cupy.ndarray):
        number = array.data.device_id
        return f"gpu:{number}" if number else "gpu"
    raise TypeError(f"expected a NumPy or CuPy array, got {type(array).__name__}: wrap it in np.asarray first")
