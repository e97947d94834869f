"""Arrays on a device: made there, moved there, waited for."""

import sys

import numpy as np
from numpy.typing import DTypeLike

from minires.backend.arrays import array_module, device_of
from minires.backend.cpu import machine, memory
from minires.backend.errors import DeviceError
from minires.backend.gpu import device as gpu
from minires.backend.gpu import memory as gpu_memory
from minires.types import Array, Shape

DEVICES = ("auto", "cpu", "gpu")


def resolve_device(device: str) -> str:
    """`"cpu"` or `"gpu"` from `"auto"`, `"cpu"` or `"gpu"`.

    `"auto"` takes a GPU if one works. `"gpu"` without one raises DeviceError; it never falls back.
    """
    if device not in DEVICES:
        raise ValueError(f"unknown device {device!r}: choose one of {', '.join(DEVICES)}")
    if device == "cpu":
        return "cpu"
    try:
        gpu.check()
    except DeviceError:
        if device == "gpu":
            raise
        return "cpu"
    return "gpu"


def to_device(array: Array, device: str) -> Array:
    """The array on `"cpu"` or `"gpu"`; the same object where it is there already."""
    if device_of(array) == device:
        return array
    return to_numpy(array) if device == "cpu" else gpu.from_numpy(array)


def to_numpy(array: Array) -> np.ndarray:
    """The array as a NumPy array: the same object, or a copy from the GPU where it has to be."""
    return gpu.to_numpy(array) if device_of(array) == "gpu" else np.asarray(array)


def empty(shape: Shape, like: Array, dtype: DTypeLike | None = None) -> Array:
    """An uninitialised array of this shape with the device and, but for `dtype`, the dtype of `like`."""
    xp = array_module(like)
    return memory.empty_like(shape, like, dtype) if xp is np else xp.empty(shape, dtype or like.dtype)


def zeros(shape: Shape, like: Array, dtype: DTypeLike | None = None) -> Array:
    """An array of zeros of this shape with the device and, but for `dtype`, the dtype of `like`."""
    array = empty(shape, like, dtype)
    array.fill(0)
    return array


def known_at_once(value: Array | int) -> bool:
    """Whether a number or array can be looked at without waiting: not one that a GPU has yet to compute."""
    return isinstance(value, int) or device_of(value) == "cpu"


def steps_between_reads(device: str) -> int:
    """How often to read results that every step leaves on the device: reading makes the CPU wait for a GPU."""
    return 20 if device == "gpu" else 1


def synchronize(device: str) -> None:
    """Wait until the device has done all it was given; a CPU always has."""
    if device == "gpu":
        gpu.synchronize()


def describe(device: str) -> dict[str, str]:
    """What a figure measured on the device depends on: of a GPU its name, and the CUDA of driver and CuPy."""
    return gpu.describe() if device == "gpu" else {}


def memory_peak(device: str) -> int:
    """Largest memory in use so far, in bytes: of this process on the CPU, of CuPy's pools and graphs' on a GPU."""
    return gpu_memory.peak() if device == "gpu" else machine.memory_peak()


def out_of_memory() -> tuple[type[Exception], ...]:
    """The exception types that mean a device has no memory left."""
    cupy = sys.modules.get("cupy")
    return (MemoryError,) if cupy is None else (MemoryError, cupy.cuda.memory.OutOfMemoryError)
