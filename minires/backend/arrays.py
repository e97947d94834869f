"""Arrays and the device they live on: NumPy's on the CPU, CuPy's on the GPU."""

import sys

import numpy as np

from minires.backend.cpu import memory, workers
from minires.backend.errors import DeviceError

DEVICES = ("auto", "cpu", "gpu")


def array_module(*arrays):
    """The module the arrays belong to: `numpy`, or `cupy` for arrays on a GPU.

    Raises TypeError for anything that is no array, and for arrays of two devices at once.
    """
    for array in arrays:
        if type(array) is not np.ndarray and array is not None:
            break
    else:
        return np  # the usual case, quickly
    devices = {device_of(array) for array in arrays if array is not None}
    if len(devices) > 1:
        raise TypeError("arrays of one operation must be on one device, got NumPy and CuPy arrays: move one with to()")
    if devices == {"gpu"}:
        return sys.modules["cupy"]
    return np


def device_of(array):
    """`"cpu"` for a NumPy array, `"gpu"` for a CuPy array."""
    if isinstance(array, (np.ndarray, np.generic)):
        return "cpu"
    cupy = sys.modules.get("cupy")
    if cupy is not None and isinstance(array, cupy.ndarray):
        return "gpu"
    raise TypeError(f"expected a NumPy or CuPy array, got {type(array).__name__}: wrap it in np.asarray first")


def resolve_device(device):
    """`"cpu"` or `"gpu"` from `"auto"`, `"cpu"` or `"gpu"`.

    `"auto"` takes a GPU if one works. `"gpu"` without one raises DeviceError; it never falls back.
    """
    if device not in DEVICES:
        raise ValueError(f"unknown device {device!r}: choose one of {', '.join(DEVICES)}")
    if device == "cpu":
        return "cpu"
    from minires.backend.gpu import device as gpu

    try:
        gpu.check()
    except DeviceError:
        if device == "gpu":
            raise
        return "cpu"
    return "gpu"


def to_device(array, device):
    """The array on `"cpu"` or `"gpu"`; the same object where it is there already."""
    if device_of(array) == device:
        return array
    if device == "cpu":
        return to_numpy(array)
    from minires.backend.gpu import device as gpu

    return gpu.from_numpy(array)


def to_numpy(array):
    """The array as a NumPy array, copied from the GPU where it has to be."""
    return array.get() if device_of(array) == "gpu" else np.asarray(array)


def empty(shape, like, dtype=None):
    """An uninitialised array of this shape with the device and, but for `dtype`, the dtype of `like`."""
    xp = array_module(like)
    return (memory if xp is np else xp).empty(shape, dtype or like.dtype)


def zeros(shape, like):
    """An array of zeros of this shape with the dtype and device of `like`."""
    array = empty(shape, like)
    array.fill(0)
    return array


def steps_between_reads(device):
    """How often to read results that every step leaves on the device: reading makes the CPU wait for a GPU."""
    return 20 if device == "gpu" else 1


def synchronize(device):
    """Wait until the device has done all it was given; a CPU always has."""
    if device == "gpu":
        from minires.backend.gpu import device as gpu

        gpu.synchronize()


def memory_peak(device):
    """Largest memory in use so far, in bytes: of this process on the CPU, of CuPy's pool on a GPU."""
    if device == "gpu":
        from minires.backend.gpu import device as gpu

        return gpu.memory_peak()
    return workers.memory_peak()


def out_of_memory():
    """The exception types that mean a device has no memory left."""
    cupy = sys.modules.get("cupy")
    return (MemoryError,) if cupy is None else (MemoryError, cupy.cuda.memory.OutOfMemoryError)
