"""Whom minires is measured against: which of them are installed, and which takes part in what."""

import importlib
from dataclasses import dataclass

from cases import Network


@dataclass(frozen=True)
class Peer:
    """`module` has set_threads(threads), make_step(case, peer) and, unless it is written in NumPy, a version.

    package: what must be installed.   slow: takes part in SLOW_CASES only, with fewer steps.
    """

    module: str
    package: str
    slow: bool = False


PEERS = {
    "pytorch-nchw": Peer("peer_torch", "torch"),
    "pytorch-channels-last": Peer("peer_torch", "torch"),
    "textbook": Peer("peer_textbook", "numpy", slow=True),
}
SLOW_CASES = ("resnet20-train-128", "resnet20-infer-128")


def load(name, threads):
    """The peer's module, with its threads set. Raises ImportError where the peer is not installed."""
    module = importlib.import_module("peers." + ("peer_minires" if name == "minires" else PEERS[name].module))
    if name != "minires":
        module.set_threads(threads)
    return module


def load_installed(names, threads):
    """({name: module} of the peers that are installed, a sentence for each that is not)."""
    found, missing = {}, []
    for name in names:
        try:
            found[name] = load(name, threads)
        except ImportError as error:
            missing.append(f"without {name}, which needs {PEERS[name].package} ({error})")
    return found, missing


def taking_part(case, names, asked=()):
    """Those of the peers that take part in a case; slow ones in any network for CIFAR if they are asked for by name."""
    return [name for name in names if not PEERS[name].slow or case.name in SLOW_CASES or _wanted(case, name, asked)]


def _wanted(case, name, asked):
    return isinstance(case, Network) and not case.for_imagenet and name in asked
