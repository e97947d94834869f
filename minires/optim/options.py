"""What optimizers and schedules are given: its ranges, and Python's numbers for NumPy's."""

import math
from collections.abc import Mapping
from typing import Any

_RANGES = {  # option: (smallest value, first value too large, what to give instead)
    "lr": (0, math.inf, "0.1 is a usual start for SGD, 0.001 for Adam"),
    "lr_multiplier": (0, math.inf, "1 gives the group the optimizer's own learning rate"),
    "momentum": (0, math.inf, "0.9 is usual, 0 turns it off"),
    "betas": (0, 1, "(0.9, 0.999) is usual"),
    "alpha": (0, 1, "0.99 is usual"),
    "eps": (0, math.inf, "1e-8 is usual"),
    "weight_decay": (0, math.inf, "1e-4 is usual, 0 turns it off"),
    "trust_coefficient": (0, math.inf, "0.001 is usual"),
    "l1": (0, math.inf, "1e-5 is usual, 0 turns it off"),
}


def check_ranges(kind: str, options: Mapping[str, Any]) -> None:
    """ValueError for an option out of its range; `kind` is whose it is, for the message."""
    for name in [name for name in options if name in _RANGES]:
        low, high, cure = _RANGES[name]
        given = plain(options[name])
        if name == "betas" and not (isinstance(given, tuple) and len(given) == 2):
            raise ValueError(f"{kind}: betas is {given!r}, must be two numbers: {cure}")
        values = given if name == "betas" else [given]
        if not all(isinstance(value, (int, float)) and low <= value < high for value in values):  # so NaN fails, too
            limit = f"at least {low} and " + ("finite" if high == math.inf else f"below {high}")
            raise ValueError(f"{kind}: {name} is {options[name]!r}, must be {limit}: {cure}")


def plain(value: Any) -> Any:
    """Python's numbers for NumPy's: a float leaves float32 arrays float32, where an np.float64 makes them float64."""
    if isinstance(value, (tuple, list)):
        return tuple(plain(item) for item in value)
    return value.item() if hasattr(value, "item") else value
