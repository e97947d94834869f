"""What every loss asks of what it is given."""

from typing import Any


def check_dloss(name: str, dloss: Any) -> None:
    """dloss must be one number, as the loss is: an array would be broadcast in silence."""
    if getattr(dloss, "shape", ()) != ():
        raise ValueError(f"{name}: dloss has shape {dloss.shape}, the loss is one number: give it one")


def check_divisor(name: str, divisor: Any) -> Any:
    """By what a sum is divided: a number above 0, or an array (), at which nobody looks."""
    if hasattr(divisor, "dtype") and divisor.shape == ():
        return divisor
    if isinstance(divisor, bool) or not isinstance(divisor, (int, float)) or not divisor > 0:
        raise ValueError(f"{name}: divisor must be a number above 0, got {divisor!r}")
    return divisor
