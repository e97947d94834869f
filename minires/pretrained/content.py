"""Every tensor in what a pickle built, under the path that leads to it, and the names of what is left out.

A checkpoint is dictionaries in dictionaries, and what its writer thought useful besides. Nobody here knows where in it
the network lies; so all tensors are listed, and those who know networks choose (`minires.pretrained.architectures`).
"""

import json
from typing import Any

from minires import pickles
from minires.pickles import LeftOut
from minires.pretrained.errors import WeightsError
from minires.pretrained.pickled_arrays import Array
from minires.pretrained.torch_pickles import Tensor
from minires.wording import shown

MAX_TENSORS = 50_000  # ResNet-152 with Adam's state and an average of its weights has 5,000
MAX_VISITS = pickles.MAX_STEPS  # of what lies in dictionaries and lists, each time that a path leads there
MAX_NAMES = 20_000_000  # characters of all their paths
MAX_DEPTH = 100  # of dictionaries in dictionaries; a network of modules takes three for each
MAX_INFO = 100_000  # characters of JSON
_COST_OF_TRIAL = 20  # characters: what it takes to try whether JSON can hold a value
_LEAD_ON = (dict, list, tuple, LeftOut, Tensor, Array)
_MODULE = ("_parameters", "_buffers", "_modules")  # what a torch.nn.Module keeps its tensors in: no part of their names


def flatten(content: Any) -> tuple[dict[str, Tensor | Array], list[str]]:
    """-> (tensors, left_out) of what a pickle built.

    tensors: {path: Tensor or Array}, in the order of the file. A path is the keys of the dictionaries, the numbers in
    the lists and the attributes that lead there, joined by "."; those in which a module keeps its own are passed over:
    so a whole pickled network gives the keys of its state_dict.
    left_out: the names of the classes of objects in which there is no tensor, in the order of the file, each once; of a
    whole pickled network, the name of its class.
    Raises WeightsError for more than MAX_TENSORS, and for two under one name.
    """
    walk = _Walk()
    walk.visit(content, (), within=frozenset())
    return walk.tensors, list(walk.left_out)


class _Walk:
    """What was found so far, and the objects (by identity) in which nothing is to be found."""

    def __init__(self):
        self.tensors: dict[str, Tensor | Array] = {}
        self.left_out: dict[str, None] = {}
        self.empty: set[int] = set()
        self.characters = self.visits = 0

    def visit(self, value, path, within, in_module=False):
        """Whether there are tensors in `value`. within: the identities of all that it lies in, so that none turns."""
        if isinstance(value, (Tensor, Array)):
            return self.found(value, path)
        if not isinstance(value, (dict, list, tuple, LeftOut)) or len(path) > MAX_DEPTH:
            return False
        if id(value) in within or id(value) in self.empty:
            return False
        module = isinstance(value, LeftOut) and value.content.keys() >= set(_MODULE)
        inside = []
        self.visits += len(value.args) + len(value.content) if isinstance(value, LeftOut) else len(value)
        if self.visits > MAX_VISITS:
            raise WeightsError(f"leads to its objects by more than {MAX_VISITS:,} paths; save the state_dict alone")
        for key, item in _items(value):
            if not isinstance(item, _LEAD_ON):
                continue
            onward = path if module and key in _MODULE else (*path, key)
            inside.append(self.visit(item, onward, within | {id(value)}, module or in_module))
        if not any(inside):
            self.empty.add(id(value))
        if isinstance(value, LeftOut) and not in_module and (module or not any(inside)):
            self.left_out[value.name] = None
        return any(inside)

    def found(self, tensor, path):
        problem = tensor.problem() if isinstance(tensor, Array) else None
        if problem:
            self.left_out[problem] = None
            return False
        words = [_word(key) for key in path]
        self.characters += sum(map(len, words))
        if len(self.tensors) >= MAX_TENSORS or self.characters > MAX_NAMES:
            raise WeightsError(f"holds more than {MAX_TENSORS:,} tensors, or names too long; save the state_dict alone")
        name = ".".join(words)
        if self.tensors.setdefault(name, tensor) is not tensor:
            raise WeightsError(f"holds two tensors under the name {shown(name)}; save the state_dict alone")
        return True


def _items(value):
    """(key, value) of what an object holds: entries, numbered items, arguments and attributes."""
    if isinstance(value, LeftOut):
        return [*enumerate(value.args), *value.content.items()]
    return value.items() if isinstance(value, dict) else enumerate(value)


def _word(key):
    return key.decode("latin1") if isinstance(key, bytes) else str(key)


def plain_values(content: Any) -> dict[str, Any]:
    """The entries of a dictionary that JSON can hold, as it gives them back; together at most MAX_INFO characters.

    One that is too long for what is left is passed over; after ten times MAX_INFO characters nothing more is tried.
    """
    info: dict = {}
    room, trials, encoder = MAX_INFO, 10 * MAX_INFO, json.JSONEncoder(ensure_ascii=False)
    for key, value in content.items() if isinstance(content, dict) else ():
        text, length = [], 0
        try:
            for piece in encoder.iterencode([value]):
                text.append(piece)
                length += len(piece)
                if length > min(room, trials):
                    break
            else:
                room -= length
                (info[_word(key)],) = json.loads("".join(text))
        except (TypeError, ValueError, RecursionError):  # no value of JSON, one within itself, one too deep
            pass
        trials -= length + _COST_OF_TRIAL
        if trials < 0:
            break
    return info
