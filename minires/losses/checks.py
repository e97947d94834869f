"""What every loss asks of what it is given."""

from typing import Any


def check_dloss(name: str, dloss: Any) -> None:
    """dloss must be one number, as the loss is: an array would be broadcast in silence."""
    if getattr(dloss, "shape", ()) != ():
        raise ValueError(f"{name}: dloss has shape {dloss.shape}, the loss is one number: give it one")
