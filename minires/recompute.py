"""Less memory for more time: which blocks of a network are computed a second time in its backward pass.

Derivation: docs/recomputing.md.
"""

import math
from typing import TypeVar

from minires.module import Module
from minires.sequential import Sequential
from minires.shards import cut

_Model = TypeVar("_Model", bound=Module)


def recompute(model: _Model, segments: int | None = None) -> _Model:
    """Cut the model's `blocks` into segments, of each of which training keeps the input alone. Returns the model.

    segments: how many, of as many blocks each as can be; 1 undoes it; None: round(sqrt(n)) of n layers, where memory
    has its minimum. The last is kept whole, as the backward pass begins there; one ends where a Sequential does, too.
    Each of the others runs again when the backward pass comes to it (minires.recomputed): one forward pass more, the
    same bits. Keys of the state_dict stay as they are.
    Raises ValueError for a model in which fewer than two blocks are found, and for more segments than blocks.
    """
    chain = blocks(model)
    if len(chain) < 2:
        raise ValueError(
            f"recompute: {type(model).__name__} is no chain of blocks, {len(chain)} were found: give the part that is "
            "one, or call `recomputed` in its forward"
        )
    if segments is None:
        layers = sum(parameter.data.ndim > 1 for block in chain for parameter in block.parameters())
        segments = max(1, min(round(math.sqrt(layers)), len(chain)))
    if not 1 <= segments <= len(chain):
        raise ValueError(f"recompute: segments is {segments}, of {len(chain)} blocks: give 1 to {len(chain)}")
    for module in model.modules():
        module.segment = None
    for number, part in enumerate(cut(len(chain), segments)[:-1]):
        for block in chain[part]:
            block.segment = number
    return model


def blocks(model: Module) -> list[Module]:
    """What a network is a chain of: modules in its Sequentials, and those directly in it that hold others."""
    found: list[Module] = []
    for _, child in model.children():
        if isinstance(child, Sequential):
            found += blocks(child)
        elif isinstance(model, Sequential) or any(child.children()):
            found.append(child)
    return found
