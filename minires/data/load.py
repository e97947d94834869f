"""The data set a command line asks for: CIFAR-10 or CIFAR-100, the shapes drawn by code, or whichever can be had."""

import textwrap
from pathlib import Path

from minires.data.cifar import read_cifar
from minires.data.cifar_kinds import CIFAR10, KINDS
from minires.data.dataset import Dataset, DatasetUnavailable
from minires.data.download import find_cifar10
from minires.data.synthetic import make_synthetic
from minires.names import unknown

DATASETS = ("auto", "cifar10", "cifar100", "cifar100-coarse", "synthetic")


def load(
    name: str = "auto",
    data_dir: str | Path | None = None,
    data_url: str | None = None,
    download: bool = True,
    progress: bool = True,
    seed: int = 0,
) -> tuple[Dataset, str | None]:
    """The data set called `name`, and a notice that the caller must show, or None.

    name: "cifar10"     CIFAR-10, found or downloaded as `find_cifar10` says, however long the download takes
          "cifar100"    CIFAR-100 likewise, and "cifar100-coarse" with its 20 superclasses for classes
          "synthetic"   the shapes of `make_synthetic`, drawn with `seed`
          "auto"        CIFAR-10; where there is none and no host delivers it at a fair speed, the synthetic shapes,
                        and then the notice says in a box that these are not CIFAR-10, why, and how to get it

    Returns (Dataset, notice). Damaged data is never passed over in silence: it raises DatasetError under "auto" too.
    Raises ValueError for an unknown name, with the one that was probably meant.
    """
    if name not in DATASETS:
        raise ValueError(unknown("data set", name, DATASETS))
    if name == "synthetic":
        return make_synthetic(seed=seed), None
    kind = KINDS.get(name, CIFAR10)
    try:
        folder = find_cifar10(data_dir, data_url, download, progress, patient=name != "auto", kind=kind)
    except DatasetUnavailable as error:
        if name != "auto":
            raise
        dataset = make_synthetic(seed=seed)
        return dataset, _notice(dataset, str(error))
    return read_cifar(folder, kind), None


def _notice(dataset, reason):
    """Several lines in a box: this is not CIFAR-10, why not, and what to do about it."""
    paragraphs = [
        "THIS IS NOT CIFAR-10.",
        f"Training on {dataset.label}: accuracies on them cannot be compared with anyone's results on CIFAR-10.",
        f"Why: {reason}",
        "To get the real data: download cifar-10-binary.tar.gz or cifar-10-python.tar.gz in any way you like and give "
        "the folder it lies in as data_dir, or ask for the data set cifar10, which waits for slow hosts too.",
    ]
    lines = []
    for paragraph in paragraphs:
        lines += ["", *textwrap.wrap(paragraph, 74, break_on_hyphens=False)]
    border = "#" * 80
    return "\n".join([border, *(f"## {line:<74} ##" for line in lines[1:]), border])
