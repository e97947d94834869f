"""float16 and bfloat16: numbers of 16 bits, in which arrays are kept and nothing is computed.

What is computed of them is computed in float32 and rounded once, to the nearest, where it is written; sums stay in
float32. NumPy has no bfloat16; the package ml_dtypes gives it one.
"""

import numpy as np

HALVES = ("float16", "bfloat16")
_CHARS = "eE"  # of their dtypes


def is_half(dtype: np.dtype) -> bool:
    """Whether it is one of the two."""
    return dtype.char in _CHARS and dtype.itemsize == 2 and dtype.isnative


def half(name: str) -> np.dtype:
    """The dtype called "float16" or "bfloat16". Raises ValueError where the package for the latter is not there."""
    if name == "float16":
        return np.dtype(np.float16)
    try:
        import ml_dtypes
    except ImportError as error:
        raise ValueError(
            f"NumPy has no bfloat16, and the package that gives it one cannot be imported ({error}); install it with: "
            "pip install ml_dtypes"
        ) from error
    return np.dtype(ml_dtypes.bfloat16)


def widened(dtype: np.dtype) -> np.dtype:
    """The dtype that numbers of this one are computed and added up in: float32 for those of 16 bits, else itself."""
    return np.dtype(np.float32) if is_half(dtype) else dtype
