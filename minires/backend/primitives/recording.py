"""Functions that are called over and over with arrays of the same shapes, given to a GPU as a whole."""

from collections.abc import Callable, Sequence

import numpy as np

from minires.backend.arrays import array_module
from minires.backend.gpu.compiling import address
from minires.backend.gpu.graphs import Graph
from minires.types import Array


def recorded(function: Callable[..., Sequence[Array]], arrays: Sequence[Array]) -> Callable[..., Sequence[Array]]:
    """function(*arrays) -> arrays, of which a GPU is given all launches at once; on a CPU the function itself.

    arrays: examples of what it will be called with, which it has been called with before. Each call returns the same
    arrays with new numbers in them. What the function takes from the host is as it was at the time of recording.
    Raises DeviceError where it cannot be recorded, which ends no work that is under way.
    """
    if array_module(*arrays) is np:
        return function
    graph = Graph(function, arrays)

    def replay(*arrays):
        array_module(*arrays)
        return graph.replay(*arrays)

    return replay


def gains_from_recording(array: Array) -> bool:
    """Whether work on this array's device is launched, so that recorded launches save something: not on a CPU."""
    return array_module(array) is not np


def places(arrays: Sequence[Array]) -> list[int]:
    """Where arrays on a GPU lie in its memory: what a recorded function was not given must stay there."""
    return [address(array) for array in arrays]
