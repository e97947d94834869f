"""Whom minires is measured against: which of them are installed, and which takes part in what."""

import importlib

# Each module has set_threads(threads), make_step(case, peer) and, unless it is written in NumPy, a version.
PEERS = {"pytorch-nchw": "peer_torch", "pytorch-channels-last": "peer_torch", "textbook": "peer_textbook"}
SLOW = ("textbook",)  # these take part in SLOW_CASES only, with fewer steps
SLOW_CASES = ("resnet20-train-128", "resnet20-infer-128")


def load(name, threads):
    """The peer's module, with its threads set. Raises ImportError where the peer is not installed."""
    module = importlib.import_module("peers." + ("peer_minires" if name == "minires" else PEERS[name]))
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
            missing.append(f"without {name}, which needs torch ({error})")
    return found, missing


def taking_part(case, names):
    """Those of the peers that take part in a case."""
    return [name for name in names if name not in SLOW or case.name in SLOW_CASES]
