"""A function of arrays recorded as a CUDA graph: all its launches, given to the GPU as one.

Source: NVIDIA, CUDA C++ Programming Guide, section 3.2.8.7, CUDA Graphs.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

from minires.backend.errors import DeviceError
from minires.backend.gpu import fusing, memory, products
from minires.backend.gpu.compiling import cupy
from minires.types import Array

RELAXED = 2  # cudaStreamCaptureModeRelaxed: memory may be taken meanwhile


class Graph:
    """function(*arrays) -> arrays, recorded at once and not computed: `replay` does that.

    arrays: of the shapes and dtypes that are to be given to it. All kernels must have been compiled, by a call with
    such arrays. What is on the host while it is recorded (numbers, branches, random draws) is as it was then in each
    replay. Arrays that the function reads or writes without being given them must stay where they are in memory.
    Raises DeviceError where the function cannot be recorded: it waits for the GPU, or brings something from the host.

    All graphs of a GPU are recorded on one stream, with one workspace of cuBLAS: replay them on one, one after another.
    """

    def __init__(self, function: Callable[..., Sequence[Array]], arrays: Sequence[Array]) -> None:
        xp = cupy()
        self._memory = memory.pool_for(self)  # of this graph alone: nothing else may use what it writes into
        stream = _stream(xp, xp.cuda.runtime.getDevice())
        xp.cuda.Device().synchronize()
        room = memory.give_back()  # that the call before took, at the most
        with xp.cuda.using_allocator(self._memory.malloc), stream:
            products.prepare()
            self._memory.malloc(room)  # and given back at once: while it is recorded the driver is asked for none
            self._inputs = [xp.array(array, order="C") for array in arrays]
            stream.synchronize()
            stream.begin_capture(RELAXED)
            try:
                self._outputs = list(function(*self._inputs))
            except Exception as error:
                self._give_up(stream)
                raise DeviceError(f"it cannot be recorded: {_first_line(error)}") from error
            try:
                self._graph = stream.end_capture()
            except Exception as error:  # of CUDA's many kinds: no memory for the graph, or a library that waited
                raise DeviceError(f"it cannot be recorded: {_first_line(error)}") from error
        stream.synchronize()

    def _give_up(self, stream):
        """End a recording that went wrong, of which end_capture complains as well."""
        try:
            stream.end_capture()
        except Exception:  # of CUDA's many kinds; what matters has been raised already
            return

    def replay(self, *arrays: Array) -> list[Array]:
        """function(*arrays), as recorded. It returns the same arrays each time, which the next replay writes into."""
        _copy_all(list(zip(self._inputs, arrays, strict=True)))
        self._graph.launch(cupy().cuda.get_current_stream())
        return self._outputs


@functools.cache
def _stream(xp, device):
    """The stream to record on: cuBLAS keeps a handle and a workspace for each that there ever was."""
    return xp.cuda.Stream(non_blocking=True)


def _first_line(error):
    return (str(error).splitlines() or [type(error).__name__])[0]


def _copy_all(pairs):
    """to <- x for all pairs (to, x): one kernel for all numbers of a dtype that kernels are made for."""
    for real in "fd":
        alike: list[Any] = [((to, x), {}) for to, x in pairs if to.dtype.char == x.dtype.char == real]
        if alike and fusing.fused_each(_copy, alike, {}) is not NotImplemented:
            pairs = [(to, x) for to, x in pairs if to.dtype.char != real]
    for to, x in pairs:
        to[...] = x


def _copy(to, x):
    to[...] = x
    return ()
