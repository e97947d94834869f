"""Memory of a GPU: how much CuPy's pools hold, those of recorded graphs among them.

CuPy's default pool keeps what it once took. A graph has a pool of its own, which ends with it, and before it is
recorded the default pool gives back what lies idle: so the peak is noted whenever something is about to be given back.
"""

import weakref
from typing import Any

from minires.backend.gpu.compiling import cupy
from minires.backend.gpu.device import imported, name_of

_of_graphs: dict[tuple[Any, int], list[Any]] = {}  # (CuPy, device): the pools of the graphs that there are
_largest: dict[tuple[Any, int], int] = {}  # likewise: the bytes held when it was last noted


def pool_for(owner: object) -> Any:
    """A new pool on the current device, counted as long as its owner lives."""
    place = _here()
    pool = cupy().cuda.MemoryPool()
    _of_graphs.setdefault(place, []).append(pool)
    weakref.finalize(owner, _forget, place, pool).atexit = False
    return pool


def give_back() -> int:
    """Have the default pool give back what lies idle. Returns the bytes that it held before."""
    _note(_here())
    pool = cupy().get_default_memory_pool()
    held = int(pool.total_bytes())
    pool.free_all_blocks()
    return held


def held() -> int:
    """The bytes that the pools of the current device hold now."""
    return _held(_here())


def peak(number: int = 0) -> int:
    """The most bytes that the pools of a GPU have held."""
    return _note((imported(), number))


def shortage() -> tuple[str, list[str]]:
    """Why the current GPU's memory is full, and the GPUs that have more of it free than this process could have here.

    The first is a sentence if other programs hold more than an eighth of the memory, else an empty one.
    """
    xp, here = _here()
    free, total = xp.cuda.Device(here).mem_info
    ours, others = held(), total - free - held()
    rest = [number for number in range(xp.cuda.runtime.getDeviceCount()) if number != here]
    roomier = [name_of(number) for number in rest if xp.cuda.Device(number).mem_info[0] > free + ours]
    if others <= total / 8:
        return "", roomier
    sizes = f"{free / 1e9:.1f} of its {total / 1e9:.1f} GB are free, and other programs hold {others / 1e9:.1f} GB"
    return f"of GPU {here} {sizes}", roomier


def _held(place):
    xp, number = place
    with xp.cuda.Device(number):
        return sum(int(pool.total_bytes()) for pool in (xp.get_default_memory_pool(), *_of_graphs.get(place, [])))


def _note(place):
    _largest[place] = max(_held(place), _largest.get(place, 0))
    return _largest[place]


def _forget(place, pool):
    _note(place)
    _of_graphs[place].remove(pool)


def _here():
    xp = cupy()
    return xp, xp.cuda.runtime.getDevice()
