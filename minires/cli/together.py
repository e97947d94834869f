"""What several processes that train together must settle first: that they are alike, and what each runs on."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

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


class Place(NamedTuple):
    """Where a rank is: its host, the cores that it may use, and what CUDA_VISIBLE_DEVICES shows it."""

    host: str
    cores: set[int]
    gpus: str | None


def prepare_device(
    settings: Mapping[str, Any],
    given: Mapping[str, Any],
    tell: Callable[[str], None] = print,
    ranks: Ranks = ALONE,
) -> str:
    """The device to use, announced; threads set. Raises ValueError for a flag given that the device has no use for.

    Of several ranks on a host each takes the GPU of its number, or its share of the cores; all have GPUs, or none.
    """
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    places = ranks.gather(Place(ranks.hosts[ranks.rank], cores, os.environ.get("CUDA_VISIBLE_DEVICES")))
    device = _device_of(settings["device"], ranks, places)
    ranks.agree("kind of device", device.partition(":")[0], "give --device cpu, or a GPU to each")
    chosen = " (chosen by --device auto)" if settings["device"] == "auto" else ""
    if device == "cpu" and given.get("cuda_graph"):
        raise ValueError(f"--cuda-graph is a GPU's, and the device is cpu{chosen}: give --device gpu, or leave it out")
    if settings["threads"] is not None:
        backend.set_threads(settings["threads"])
    elif ranks.local_size > 1:
        own = places[ranks.rank]
        sharing = sum(place.host == own.host and bool(place.cores & own.cores) for place in places)
        backend.set_threads(max(1, backend.get_threads() // sharing))
    count = backend.get_threads()
    threads = f", {count} thread{'s' if count > 1 else ''}" if device == "cpu" else ""
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


def _device_of(asked, ranks, places):
    """The device of this rank: of several on a host the GPU of its number among those that see the same GPUs."""
    if ranks.local_size > 1 and asked.startswith("gpu:"):
        raise ValueError(f"--device {asked}: {ranks.local_size} ranks of a host cannot share it: give --device gpu")
    device = backend.resolve_device(asked)
    if device == "cpu" or ranks.local_size == 1:
        return device
    own = places[ranks.rank]
    number = sum((place.host, place.gpus) == (own.host, own.gpus) for place in places[: ranks.rank])
    try:
        return backend.resolve_device(f"gpu:{number}")
    except backend.DeviceError as error:
        raise backend.DeviceError(
            f"{ranks.local_size} ranks on {own.host}, each needs a GPU of its own ({error}): start one for each GPU, "
            "or give --device cpu"
        ) from error
