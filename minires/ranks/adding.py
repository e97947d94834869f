"""A sum over the shards of all ranks, in the order of one tree, with a ring's bytes.

Of a vector of n numbers every rank gets the W-th part of everybody's sums (Alltoall), adds these in the order of the
tree, and gives its part of the total to all (Allgather): each sends and receives 2 (W - 1) / W * n numbers, as in a
ring, but what is added to what does not depend on W. Derivation: docs/scaling.md.
"""

from collections.abc import Callable, Sequence

from minires.backend import array_module
from minires.shards import TreeSum, places
from minires.types import Array

# (numbers for each rank (W, m, n), how many sums m come from each) -> theirs, (sum of m, n)
Exchange = Callable[[Array, Sequence[int]], Array]
Spread = Callable[[Array], Array]  # a part (n,) of each rank -> (W * n,)


def add_over_ranks(sums: TreeSum, shards: Sequence[range], exchange: Exchange, spread: Spread) -> list[Array]:
    """The total of everybody's `sums`, on every rank; shards: those of each rank.

    The arrays of one dtype are one flat buffer.   exchange, spread: how numbers get from rank to rank.
    """
    of_all = [places(own) for own in shards]
    arrays = sums.nodes[0].value
    total: list = [None] * len(arrays)
    for dtype in sorted({array.dtype.str for array in arrays}):
        of_dtype = [index for index, array in enumerate(arrays) if array.dtype.str == dtype]
        values = [[node.value[index] for index in of_dtype] for node in sums.nodes]
        added = TreeSum()
        received = exchange(_parts(values, len(shards)), [len(its) for its in of_all])
        for (first, level), part in zip((place for its in of_all for place in its), received, strict=True):
            added.put(first, [part], level)
        flat, start = spread(added.total()[0]), 0
        for index in of_dtype:
            size = arrays[index].size
            total[index] = flat[start : start + size].reshape(arrays[index].shape)
            start += size
    return total


def _parts(values, ranks):
    """Lists of arrays as rows of one length, each cut into as many parts as there are ranks: (ranks, rows, n)."""
    xp, dtype = array_module(*values[0]), values[0][0].dtype
    size = sum(array.size for array in values[0])
    each = -(-size // ranks)
    rows = xp.zeros((len(values), ranks * each), dtype)
    for row, arrays in zip(rows, values, strict=True):
        row[:size] = xp.concatenate([array.reshape(-1) for array in arrays])
    return xp.ascontiguousarray(rows.reshape(len(values), ranks, each).swapaxes(0, 1))
