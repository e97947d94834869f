"""The one place that knows about devices and threads.

Arrays carry their device: NumPy's live on the CPU, CuPy's on the GPU. Everything above this package asks
`array_module(x)` for the module that x belongs to and is then one algorithm for both.

    array_module(x)            numpy or cupy, whichever x belongs to
    to_device(x, "gpu")        the same values on another device
    for_each_block(f, x)       f on slices of the batch, on every core (one slice, the whole batch, on a GPU)
    map_blocks(f, x, ...)      an element-wise f, block by block, into a new array
    im2col, col2im             patches of an image as rows, and the adjoint
"""

import sys

import numpy as np

from minires.backend import cpu
from minires.backend.channels import channel_moments, map_channels, sum_channels
from minires.backend.cpu import get_threads, set_threads
from minires.backend.patches import col2im, im2col, output_size

__all__ = [
    "DEVICES",
    "DeviceError",
    "array_module",
    "channel_moments",
    "col2im",
    "device_of",
    "empty",
    "for_each_band",
    "for_each_block",
    "get_threads",
    "im2col",
    "map_blocks",
    "map_channels",
    "memory_peak",
    "out_of_memory",
    "output_size",
    "resolve_device",
    "set_threads",
    "steps_between_reads",
    "sum_blocks",
    "sum_channels",
    "synchronize",
    "to_device",
    "to_numpy",
]

DEVICES = ("auto", "cpu", "gpu")


class DeviceError(RuntimeError):
    """The device asked for is not there; the message says what is missing and how to get it."""


def array_module(*arrays):
    """The module the arrays belong to: `numpy`, or `cupy` for arrays on a GPU.

    Raises TypeError for anything that is no array, and for arrays of two devices at once.
    """
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
    from minires.backend import gpu

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
    from minires.backend import gpu

    return gpu.from_numpy(array)


def to_numpy(array):
    """The array as a NumPy array, copied from the GPU where it has to be."""
    return array.get() if device_of(array) == "gpu" else np.asarray(array)


def empty(shape, like):
    """An uninitialised array of this shape with the dtype and device of `like`."""
    xp = array_module(like)
    return cpu.empty(shape, like.dtype) if xp is np else xp.empty(shape, like.dtype)


def for_each_block(function, array, item_bytes=None):
    """Call `function(block)` for slices that together cover the first axis of `array`; results in block order.

    On the CPU a slice holds as many items as fit in a core's cache (`item_bytes` each, where the working set of
    an item is larger than the item itself) and the slices run on all threads; on a GPU there is one slice. How
    the axis is cut depends on sizes alone, never on the number of threads.
    """
    if array_module(array) is not np:
        return [function(slice(0, len(array)))]
    return cpu.for_each_block(function, len(array), item_bytes or array.nbytes // max(1, len(array)))


def for_each_band(function, array, rows, row_bytes):
    """`function(images, rows)` for pairs of slices that cover the first axis of `array` and `rows` rows of each item.

    The finer cut for work on patches, of which one image's may be larger than a cache: `row_bytes` each row.
    """
    if array_module(array) is not np:
        return [function(slice(0, len(array)), slice(0, rows))]
    return cpu.for_each_band(function, len(array), rows, row_bytes)


def map_blocks(function, *arrays):
    """`function(*blocks, out=...)`, an element-wise function, over whole arrays of one shape: a new array."""
    y = empty(arrays[0].shape, arrays[0])
    if y.ndim == 0:
        function(*arrays, out=y)
        return y
    for_each_block(
        lambda block: function(*(array[block] for array in arrays), out=y[block]),
        y,
        (len(arrays) + 2) * y.nbytes // max(1, len(y)),
    )
    return y


def sum_blocks(partials):
    """Sum of the blocks' partial results in block order, whatever order the threads finished in."""
    total = partials[0]
    for partial in partials[1:]:
        total = total + partial
    return total


def steps_between_reads(device):
    """How often to read results that every step leaves on the device: reading makes the CPU wait for a GPU."""
    return 20 if device == "gpu" else 1


def synchronize(device):
    """Wait until the device has done all it was given; a CPU always has."""
    if device == "gpu":
        from minires.backend import gpu

        gpu.synchronize()


def memory_peak(device):
    """Largest memory in use so far, in bytes: of this process on the CPU, of CuPy's pool on a GPU."""
    if device == "gpu":
        from minires.backend import gpu

        return gpu.memory_peak()
    return cpu.memory_peak()


def out_of_memory():
    """The exception types that mean a device has no memory left."""
    cupy = sys.modules.get("cupy")
    return (MemoryError,) if cupy is None else (MemoryError, cupy.cuda.memory.OutOfMemoryError)
