"""What several processes that train together must settle first: that they are alike, and what each runs on."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import minires
from minires import backend
from minires.cli.recording import processor
from minires.ranks import ALONE, Ranks
from minires.stepping import check_shards


def agree_on_the_program(ranks: Ranks) -> None:
    """Raise ValueError, on every rank, where one of them runs another program or was given other arguments."""
    versions = {"minires": minires.__version__, "Python": platform.python_version(), "NumPy": np.__version__}
    ranks.agree("versions", versions, "install the same ones on all hosts")
    ranks.agree("arguments", sys.argv[1:], "start all of them by one command")


def settle_shards(settings: dict[str, Any], ranks: Ranks, tell: Callable[[str], None] = print) -> None:
    """Put the number of shards into the settings and, of several ranks, say how the work is shared out.

    Raises ValueError where the ranks cannot have as many each, and where a batch has too few images.
    """
    asked = settings["shards"]
    settings["shards"] = asked or ranks.size
    check_shards(settings["shards"], ranks.size, fixed="found" in settings)
    if settings["shards"] > settings["batch_size"]:
        raise ValueError(
            f"{ranks.size} ranks, and a batch has {settings['batch_size']} images: give a larger --batch-size"
        )
    if ranks.size > 1:
        hosts = len(set(ranks.hosts))
        each = settings["shards"] // ranks.size
        tell(
            f"{ranks.size} ranks on {hosts} {'host' if hosts == 1 else 'hosts'}; each batch is cut into "
            f"{settings['shards']} shards{'' if asked else ', as many as there are ranks'}, {each} for each rank"
        )


def prepare_device(
    settings: Mapping[str, Any],
    given: Mapping[str, Any],
    tell: Callable[[str], None] = print,
    ranks: Ranks = ALONE,
) -> str:
    """The device to use, announced; threads set. Raises ValueError for a flag given that the device has no use for.

    Of several ranks on a host each takes the GPU of its number there, or its share of the cores.
    """
    device = _gpu_of(settings["device"], ranks) if ranks.local_size > 1 else backend.resolve_device(settings["device"])
    chosen = " (chosen by --device auto)" if settings["device"] == "auto" else ""
    if device == "cpu" and given.get("cuda_graph"):
        raise ValueError(f"--cuda-graph is a GPU's, and the device is cpu{chosen}: give --device gpu, or leave it out")
    if settings["threads"] is not None:
        backend.set_threads(settings["threads"])
    elif ranks.local_size > 1:
        backend.set_threads(_share_of_cores(ranks))
    threads = f", {backend.get_threads()} threads" if device == "cpu" else ""
    if ranks.size == 1:
        tell(f"device: {device}{threads}{chosen}")
        return device
    alike: dict[tuple[str, str], list[str]] = {}
    for host, of_rank, kind in ranks.gather((ranks.hosts[ranks.rank], device + threads, processor())):
        alike.setdefault((host, kind), []).append(of_rank)
    for (host, kind), devices in alike.items():
        number = f"{len(devices)} {'rank' if len(devices) == 1 else 'ranks'}"
        tell(f"{host}: {number}, each on {' or '.join(dict.fromkeys(devices))}{chosen}; {kind}")
    return device


def _gpu_of(asked, ranks):
    """The device of a rank, of which there are several on its host: its number among those that see the same GPUs."""
    if asked.startswith("gpu:"):
        raise ValueError(f"--device {asked}: {ranks.local_size} ranks of a host cannot share it: give --device gpu")
    device = backend.resolve_device(asked)
    if device == "cpu":
        return device
    here = ranks.hosts[ranks.rank], os.environ.get("CUDA_VISIBLE_DEVICES")
    try:
        return backend.resolve_device(f"gpu:{ranks.gather(here)[: ranks.rank].count(here)}")
    except backend.DeviceError as error:
        raise backend.DeviceError(
            f"{ranks.local_size} ranks on {ranks.hosts[ranks.rank]}, each needs a GPU of its own ({error}): start one "
            "for each GPU, or give --device cpu"
        ) from error


def _share_of_cores(ranks):
    """Threads for this rank: of the cores that it may use, as many as there are for each rank that may use them."""
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    host = ranks.hosts[ranks.rank]
    sharing = sum(bool(cores & theirs) for its, theirs in ranks.gather((host, cores)) if its == host)
    return max(1, backend.get_threads() // sharing)
