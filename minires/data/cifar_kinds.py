"""CIFAR-10 and CIFAR-100: what their files are called, how they are laid out, and where they are in a folder."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from minires.data.cifar_others import NPZ, has_pictures_of
from minires.data.dataset import DatasetError
from minires.data.scan import sub_folders

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
BATCHES = ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch")


@dataclass(frozen=True)
class Layout:
    """Where a form of the data set has what: its folder, the files of images, the last of which is the test, and the
    file of the classes' names."""

    folder: str
    batches: tuple[str, ...]
    meta: str

    @property
    def files(self) -> tuple[str, ...]:
        """All of its files."""
        return (*self.batches, self.meta)


@dataclass(frozen=True)
class Cifar:
    """One of the data sets: what it is called, and how its files are read.

    number        of classes; classes: their names, if only these are right
    byte, bytes   which of the bytes before an image's pixels is its label, and how many there are
    labels, names the keys of the labels in a pickle of images, and of the classes' names in the other
    md5           of each batch in the official Python archive, in the order of its batches
    """

    name: str
    label: str
    number: int
    binary: Layout
    python: Layout
    byte: int
    bytes: int
    labels: str
    names: str
    md5: tuple[str, ...]
    classes: tuple[str, ...] | None = None


CIFAR10 = Cifar(
    name="cifar10",
    label="CIFAR-10",
    number=10,
    binary=Layout("cifar-10-batches-bin", tuple(f"{batch}.bin" for batch in BATCHES), "batches.meta.txt"),
    python=Layout("cifar-10-batches-py", BATCHES, "batches.meta"),
    byte=0,
    bytes=1,
    labels="labels",
    names="label_names",
    md5=(
        "c99cafc152244af753f735de768cd75f",
        "d4bba439e000b95fd0a9bffe97cbabec",
        "54ebc095f3ab1f0389bbae665268c751",
        "634d18415352ddfa80567beed471001a",
        "482c414d41f54cd18b22e5b47cb7c3cb",
        "40351d587109b95175f43aff81a1287e",
    ),
    classes=CLASSES,
)
CIFAR100 = Cifar(
    name="cifar100",
    label="CIFAR-100",
    number=100,
    binary=Layout("cifar-100-binary", ("train.bin", "test.bin"), "fine_label_names.txt"),
    python=Layout("cifar-100-python", ("train", "test"), "meta"),
    byte=1,
    bytes=2,
    labels="fine_labels",
    names="fine_label_names",
    md5=("16019d7e3df5f24257cddd939b257f8d", "f0ef6b0ae62326f3e7ffdfab6717acfc"),
)
CIFAR100_COARSE = replace(
    CIFAR100,
    name="cifar100-coarse",
    label="CIFAR-100, 20 superclasses",
    number=20,
    binary=replace(CIFAR100.binary, meta="coarse_label_names.txt"),
    byte=0,
    labels="coarse_labels",
    names="coarse_label_names",
)
KINDS = {kind.name: kind for kind in (CIFAR10, CIFAR100, CIFAR100_COARSE)}


def find_layout(folder: str | Path, kind: Cifar = CIFAR10) -> tuple[Path, str] | None:
    """The folder that holds the files and "bin", "py", "npz" or "pictures"; None where there is none.

    folder may be the layout's own folder, the one above it, or one more. Where several forms are there, the first of
    these wins. A single file is enough to be recognised: that others are missing is for the reader to say, by name.
    """
    places = list(_places(Path(folder), kind))
    for form, layout in (("bin", kind.binary), ("py", kind.python)):
        for place in places:
            if _is_layout(place, layout):
                return place, form
    for place in places:
        if (place / NPZ.get(kind.name, "-")).is_file():
            return place, "npz"
    for place in places:
        if has_pictures_of(place, kind.number, kind.classes):
            return place, "pictures"
    return None


def _places(folder: Path, kind: Cifar) -> Iterator[Path]:
    """The folder, those in it that are called as the archives call them, and all others in it with theirs."""
    names = (kind.binary.folder, kind.python.folder)
    yield folder
    yield from (folder / name for name in names)
    try:
        others = [name for name in sub_folders(folder) if name not in names] if folder.is_dir() else []
    except DatasetError:
        others = []
    for name in others[:100]:
        yield folder / name
        yield from (folder / name / inner for inner in names)


def _is_layout(place, layout):
    there = [(place / file).is_file() for file in layout.files]
    said = place.name == layout.folder or layout.folder.startswith("cifar-10-")
    return any(there) if said else there[-1] and any(there[:-1])  # "train" and "test" are common names
