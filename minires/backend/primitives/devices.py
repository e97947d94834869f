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

DEVICES = ("auto", "cpu", "gpu")  # and "gpu:1", "gpu:2", ... where there are several


def is_device(name: str) -> bool:
    """Whether it names a place for arrays: `"cpu"`, `"gpu"` or `"gpu:N"`, of which `"gpu:0"` is `"gpu"`."""
    return name == "cpu" or gpu.number_of(name) is not None


def resolve_device(device: str) -> str:
    """`"cpu"`, `"gpu"` or `"gpu:N"`, as `device_of` calls it, from one of these or `"auto"`.

    `"auto"` takes the first GPU if it works. A GPU that is not there raises DeviceError; it never falls back.
    """
    if device != "auto" and not is_device(device):
        raise ValueError(f"unknown device {device!r}: choose one of {', '.join(DEVICES)}, or gpu:1 for the second GPU")
    number = gpu.number_of("gpu" if device == "auto" else device)
    if number is None:
        return "cpu"
    try:
        gpu.check(number)
    except DeviceError:
        if device != "auto":
            raise
        return "cpu"
    return gpu.name_of(number)


def to_device(array: Array, device: str) -> Array:
    """The array on `"cpu"`, `"gpu"` or `"gpu:N"`; the same object where it is there already."""
    if device_of(array) == device:
        return array
    if device == "cpu":
        return to_numpy(array)
    number = _number_of(device)
    if device_of(array) == "cpu":
        return gpu.from_numpy(array, number)
    return array if device_of(array) == gpu.name_of(number) else gpu.moved(array, number)


def _number_of(device):
    number = gpu.number_of(device)
    if number is None:
        raise ValueError(f"unknown device {device!r}: choose cpu, gpu, or gpu:1 for the second GPU")
    return number


def to_numpy(array: Array) -> np.ndarray:
    """The array as a NumPy array: the same object, or a copy from the GPU where it has to be."""
    return np.asarray(array) if device_of(array) == "cpu" else gpu.to_numpy(array)


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
    return 1 if device == "cpu" else 20


def synchronize(device: str) -> None:
    """Wait until the device has done all it was given; a CPU always has."""
    if device != "cpu":
        gpu.synchronize(_number_of(device))


def describe(device: str) -> dict[str, str]:
    """What a figure measured on the device depends on: of a GPU its name, and the CUDA of driver and CuPy."""
    return {} if device == "cpu" else gpu.describe(_number_of(device))


def memory_peak(device: str) -> int:
    """Largest memory in use so far, in bytes: of this process on the CPU, of CuPy's pools and graphs' on a GPU."""
    return machine.memory_peak() if device == "cpu" else gpu_memory.peak(_number_of(device))


def shortage(error: BaseException) -> tuple[str, list[str]]:
    """Of an exception of `out_of_memory`: who else holds a GPU's memory, in words, and the GPUs that have more free.

    Both are empty for the memory of the CPU, and where nobody else holds much and there is no other GPU.
    """
    cupy = sys.modules.get("cupy")
    if cupy is None or not isinstance(error, cupy.cuda.memory.OutOfMemoryError):
        return "", []
    return gpu_memory.shortage()


def out_of_memory() -> tuple[type[Exception], ...]:
    """The exception types that mean a device has no memory left."""
    cupy = sys.modules.get("cupy")
    return (MemoryError,) if cupy is None else (MemoryError, cupy.cuda.memory.OutOfMemoryError)
