"""The last layer of a network in a file, under whatever name, and why there is none where there is none.

A head is one linear layer of the width that the network gives, and what has no numbers (dropout, ReLU) may stand
around it: `fc.1.weight`, `head.fc.weight`, `classifier.weight`. Several layers are no head that fits here, and neither
are the projections of self-supervised learning: they are named and left out.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from minires.pretrained.parts import Part

NAMES = ("fc", "linear", "classifier", "last_linear", "head", "heads", "cls_head", "output", "logits", "out", "clf")
_PROJECTION = re.compile(r"proj|predict|prototype|queue|mlp|contrast|embed|moment|neck|decod|rot|aux|discr|box|atten")
_BOOKKEEPING = ("optim", "lr_sched", "scheduler", "scaler", "amp", "ema_optim", "criterion", "loss")
_ENCODERS = re.compile(r"(^|\.)(\w*encoder_[qk]|online\w*|target\w*)(\.|$)")  # of contrastive learning


@dataclass(frozen=True)
class Head:
    """arrays: "weight" and "bias", or none.   name: where they stand in the file.   keys: those that they are.
    notes: what is to be said of it, sentences.
    """

    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    name: str | None = None
    keys: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()


def find_head(part: Part, levels: Iterable[tuple[str, Mapping[str, np.ndarray]]]) -> Head:
    """The head of a part, looked for at its own prefix, then at each one above (`levels` of `parts.scopes`)."""
    if f"{part.head}.weight" in part.arrays:
        return Head(name=part.head)
    width = part.features
    notes: list[str] = []
    heads: list[Head] = []
    for prefix, level in levels:
        for name, arrays in _candidates(level):
            head = _judged(prefix, name, arrays, width, part)
            heads += [head] if head.arrays else []
            notes += head.notes if not head.arrays else []
        unusual = _unusual(level)
        if not heads and len(unusual) > 1:
            names = ", ".join(prefix + name for name in unusual[:3])
            notes.append(f"its head is one of several layers ({names}), none of which is taken")
    if not heads:
        return Head(notes=tuple(notes))
    first, *others = heads
    if after := next((head for head in others if _follows(head, first)), None):
        return Head(notes=(f"its head is more than one linear layer ({first.name}, {after.name}) and is left out",))
    return Head(first.arrays, first.name, first.keys, first.notes)


def _follows(head, first):
    """Whether one linear layer takes as many numbers as the other gives: then both are one head."""
    return head.arrays["weight"].shape[1] == first.arrays["weight"].shape[0]


def _candidates(level):
    """(name, {key: array}) of the groups beside a network that may be a head, the likeliest first.

    A group is what begins with one word. One whose name is no usual one counts if it is the only one like that.
    """
    groups: dict = {}
    for key, array in level.items():
        groups.setdefault(key.split(".")[0], {})[key] = array
    usual = [name for name in NAMES if name in groups]
    others = _unusual(level)
    return [(name, groups[name]) for name in usual + (others if len(others) == 1 else [])]


def _unusual(level):
    """The names of single layers with a weight and a bias that may be a head, though not by their names."""
    groups: dict = {}
    for key in level:
        groups.setdefault(key.split(".")[0], []).append(key.rpartition(".")[2])
    return [
        name
        for name, endings in groups.items()
        if sorted(endings) == ["bias", "weight"] and name not in NAMES
        and not _PROJECTION.search(name.lower()) and not name.startswith(_BOOKKEEPING)
    ]  # fmt: skip


def _judged(prefix, name, arrays, width, part):
    """The Head in a group of arrays, or one without arrays whose note says why it is none."""
    layers = {key.rpartition(".")[0]: array for key, array in arrays.items() if key.endswith("weight")}
    if any(_PROJECTION.search(word) for layer in layers for word in layer.lower().split(".")[1:]):
        return Head()
    if len(layers) != 1 or any(key.endswith("running_mean") for key in arrays):
        what = ", ".join(f"{prefix}{layer} {tuple(array.shape)}" for layer, array in list(layers.items())[:3])
        why = f"no single linear layer ({what}{', ...' if len(layers) > 3 else ''})"
        why = why if layers else f"of no kind that is known here ({', '.join(list(arrays)[:3])})"
        return Head(notes=(f"its head {prefix}{name} is {why} and is left out",))
    ((layer, weight),) = layers.items()
    where = prefix + layer
    if weight.ndim == 4 and weight.shape[2:] == (1, 1):
        weight = weight.reshape(weight.shape[:2])  # a 1x1 convolution of one pixel is a linear layer
    if weight.ndim != 2 or not weight.size:
        return Head(notes=(f"its head {where} is no linear layer but of shape {tuple(weight.shape)} and is left out",))
    if width is not None and weight.shape[1] != width:
        found = f"its head {where} takes {weight.shape[1]:,} numbers, the network gives {width:,}"
        return Head(notes=(f"{found}: it is left out",))
    if _ENCODERS.search(part.name):
        return Head(notes=(f"{where} is the projection of contrastive learning and is left out",))
    return _linear(where, layer, weight, arrays, prefix)


def _linear(where, layer, weight, arrays, prefix):
    bias = arrays.get(f"{layer}.bias")
    rest = set(arrays) - {f"{layer}.weight", f"{layer}.bias"}
    rest = {key for key in rest if not key.endswith("num_batches_tracked")}
    if rest:
        return Head(notes=(f"its head {where} has more to it ({', '.join(sorted(rest)[:3])}) and is left out",))
    notes: tuple[str, ...] = ()
    if bias is None:
        bias, notes = np.zeros(len(weight), weight.dtype), (f"its head {where} has no bias: it is 0",)
    if layer.split(".")[0] not in NAMES:
        notes += (f"{where} is taken for its head",)
    return Head({"weight": weight, "bias": bias}, where, frozenset(prefix + key for key in arrays), notes)
