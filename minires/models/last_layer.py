"""The last layer of a network, which a new task gives another, and the body, which is all the rest.

head_name(network)     "fc"; "classifier" of a DenseNet, "classifier.6" of a VGG: what its class says as `head_name`
head_of(network)       that layer
body_of(network)       the modules that together are all the others
"""

from typing import Any

from minires.module import Module
from minires.sequential import Sequential


def head_name(model: Module) -> str:
    """The path of a network's last layer: its `head_name`, or "fc"."""
    return getattr(model, "head_name", "fc")


def extra_heads(model: Module) -> tuple[str, ...]:
    """The paths of the heads in the middle of a network that are there and help to train it, as GoogLeNet's."""
    return tuple(name for name in getattr(model, "extra_heads", ()) if name in dict(model.children()))


def head_of(model: Module) -> Any:
    """A network's last layer, a Linear."""
    return module_at(model, head_name(model))


def replace_head(model: Module, head: Module) -> None:
    """Give a network another last layer."""
    path, _, name = head_name(model).rpartition(".")
    setattr(module_at(model, path), name, head)


def body_of(model: Module) -> list[Module]:
    """The modules of a network that together are all but its last layer, in order of definition."""
    return _around(model, head_name(model), behind=True)


def body_up_to(model: Module, path: str) -> list[Module]:
    """The modules of a network up to the one of this path, in order of definition, its last layer excepted.

    Raises KeyError where there is none of this path.
    """
    last = module_at(model, path)
    return body_of(model) if _holds_head(model, path) else [*_around(model, path), last]


def stage_names(model: Module) -> list[str]:
    """The paths of a network's stages, whose parts are modules themselves: layer1, ...; features.denseblock1, ..."""
    names = []
    for name, child in model.children():
        if child.parameters() and any(child.children()) and not _holds_head(model, name):
            inside = dict(child.children()) if isinstance(child, Sequential) else {}
            named = [f"{name}.{inner}" for inner in inside if not inner.isdigit() and any(inside[inner].children())]
            names += named or [name]
    return names


def module_at(model: Module, path: str) -> Module:
    """The module of this path, "" for the model itself. Raises KeyError where there is none."""
    for name in filter(None, path.split(".")):
        model = dict(model.children())[name]
    return model


def _holds_head(model, path):
    return f"{head_name(model)}.".startswith(f"{path}.")


def _around(model, path, behind=False):
    """The modules that stand before the one of this path, and those behind it."""
    name, _, rest = path.partition(".")
    children = dict(model.children())
    place = list(children).index(name)
    modules = list(children.values())
    inside = _around(children[name], rest, behind) if rest else []
    return [*modules[:place], *inside, *(modules[place + 1 :] if behind else [])]
