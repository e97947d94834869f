"""Copies of many arrays that lie in memory as kernels expect it, in as few kernels as launches have room for."""

from collections.abc import Sequence

import numpy as np

from minires.backend.gpu import source
from minires.backend.gpu.compiling import address, compiled, contiguous, cupy, grid, index_type
from minires.types import Array

SETS = 64  # arrays in a launch, whose arguments CUDA limits to 4,096 bytes
AXES = 4
BITS = {2: "unsigned short", 4: "unsigned int", 8: "unsigned long long"}  # of a number, copied as such

# Array k has the indices from many.start[k] up to many.start[k + 1]; its strides are in numbers.
COPIES = f"""
struct Layouts {{
    void *arrays[2][{SETS}];
    long long start[{SETS} + 1];
    int shape[{SETS}][{AXES}], strides[{SETS}][{AXES}];
}};
KERNEL copies(const Layouts many, int sets) {{
    FOR_EACH_INDEX(at, many.start[sets]) {{
        int k = 0;
        for (int step = {SETS // 2}; step > 0; step /= 2)
            if (k + step < sets && many.start[k + step] <= at) k += step;
        const Index i = at - many.start[k];
        Index rest = i;
        long long from = 0;
        for (int axis = {AXES - 1}; axis >= 0; axis--) {{
            from += (long long)(rest % many.shape[k][axis]) * many.strides[k][axis];
            rest /= many.shape[k][axis];
        }}
        ((Number *)many.arrays[1][k])[i] = ((const Number *)many.arrays[0][k])[from];
    }}
}}
"""


def contiguous_each(arrays: Sequence[Array]) -> list[Array]:
    """`contiguous` of each; where several are to be copied, in one kernel for up to SETS of them."""
    results = list(arrays)
    for size, number in BITS.items():
        strewn = [k for k, array in enumerate(arrays) if array.itemsize == size and _is_strewn(array)]
        for first in range(0, len(strewn), SETS):
            some = strewn[first : first + SETS]
            for k, copy in zip(some, _copies([arrays[k] for k in some], number), strict=True):
                results[k] = copy
    return [contiguous(array) for array in results]


def _is_strewn(array):
    small = max((abs(stride) for stride in array.strides), default=0) < 2**31
    return not array.flags.c_contiguous and array.ndim <= AXES and array.size and small


def _copies(arrays, number):
    copies = [cupy().empty(array.shape, array.dtype) for array in arrays]
    kinds = [("arrays", np.uint64, (2, SETS)), ("start", np.int64, SETS + 1)]
    many = np.zeros((), [*kinds, ("shape", np.int32, (SETS, AXES)), ("strides", np.int32, (SETS, AXES))])
    for k, pair in enumerate(zip(arrays, copies, strict=True)):
        array, axes = pair[0], slice(AXES - pair[0].ndim, AXES)
        many["arrays"][:, k] = [address(each) for each in pair]
        many["shape"][k] = 1
        many["shape"][k, axes] = array.shape
        many["strides"][k, axes] = [stride // array.itemsize for stride in array.strides]
    many["start"][1 : len(arrays) + 1] = np.cumsum([array.size for array in arrays])
    total = int(many["start"][len(arrays)])
    kernel = compiled("copies", COPIES.replace("Number", number), "f", index_type(total))
    kernel(grid(total), (source.THREADS,), (many, np.int32(len(arrays))))
    return copies
