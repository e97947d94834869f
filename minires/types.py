"""The types in signatures. Shapes and dtypes, which say more, stand in the docstrings."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray  # or CuPy's, which has the same methods
Backward: TypeAlias = Callable[..., Any]  # dy -> a gradient, or a tuple of one for each input
Operation: TypeAlias = Callable[..., tuple[Any, Backward]]  # x -> (y, backward); modules are such
Pair: TypeAlias = int | tuple[int, int]  # rows and columns
Padding: TypeAlias = int | tuple[int, int] | tuple[tuple[int, int], tuple[int, int]]
Size: TypeAlias = tuple[int, int]  # a Pair that has been checked
Sides: TypeAlias = tuple[tuple[int, int], tuple[int, int]]  # a Padding that has been: (top, bottom), (left, right)
Shape: TypeAlias = tuple[int, ...]
Rng: TypeAlias = np.random.Generator | int | None
