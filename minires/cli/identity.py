"""What makes a run this one: an id, drawn when it begins, and its images and labels."""

import hashlib
import secrets
from collections.abc import Mapping
from typing import Any

import numpy as np

from minires import backend, data
from minires.data.stream import Pictures
from minires.wording import shown

PARTS = {"train": "training", "val": "validation", "test": "test"}


def draw_id() -> str:
    """A new run's id, which stands in its config.json, its result.json and each of its checkpoints."""
    return secrets.token_hex(8)


def of_data(
    loaders: tuple[data.Loader, data.Loader | None, data.Loader], fingerprint: str | None = None
) -> dict[str, str | None]:
    """{"train", "val", "test": SHA-256 of a loader's images and labels in their order, None without a loader}.

    fingerprint: of the files that `Pictures` read; it stands for their contents, which are not decoded for this.
    """
    return {
        part: None if loader is None else _of_loader(loader, fingerprint)
        for part, loader in zip(PARTS, loaders, strict=True)
    }


def _of_loader(loader, fingerprint):
    images, total = loader.images, hashlib.sha256(repr(loader.images.shape).encode())
    if isinstance(images, Pictures):
        total.update(repr(fingerprint).encode())
        images = images.numbers.astype("<i8")
    for array in (backend.to_numpy(images), backend.to_numpy(loader.labels).astype("<i8")):
        total.update(np.ascontiguousarray(array).data)
    return total.hexdigest()


def refuse_other_data(was: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise ValueError unless the configuration `now` has the images and labels of that with which the run began.

    Runs of earlier versions know the data set's label only.
    """
    label, here = was["dataset"]["label"], now["dataset"]["label"]
    if (was["dataset"]["name"], label) != (now["dataset"]["name"], here):
        raise ValueError(f"the run was trained on {shown(label)}, this is {here}: name its --data-dir")
    before = was.get("data") or now["data"]
    if other := [name for part, name in PARTS.items() if before.get(part) != now["data"][part]]:
        raise ValueError(
            f"--resume: the {' and '.join(other)} images or their labels are not those with which the run began, "
            f"though both are called {shown(label)}: put them back or name their --data-dir, or start a new run"
        )
