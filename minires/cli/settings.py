"""What the scripts take: flags that several of them have, their defaults, and the loaders that settings ask for."""

from argparse import ArgumentParser, _ArgumentGroup
from collections.abc import Mapping, Sequence
from typing import Any

from minires import backend, data
from minires.pretrained.readings import PREPROCESSINGS, VARIANTS

FIRST = {"device": "auto", "dataset": "auto", "data_dir": None, "data_url": None}  # of the defaults of a run
LAST = {
    "seed": 0,
    "val_split": None,
    "limit_train": None,
    "limit_test": None,
    "threads": None,
    "save_every": None,
    "no_progress": False,
}
NUMBER = {"type": int, "metavar": "N"}
THREE: dict[str, Any] = {"type": float, "nargs": 3, "metavar": ("R", "G", "B")}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "images": {"nargs": "+", "metavar": "IMAGE", "help": "a picture of any kind that Pillow reads"},
    "--weights": {"required": True, "metavar": "FILE", "help": "a file of weights, or the folder of a run"},
    "--classes": {
        "metavar": "FILE",
        "help": "names of the classes, one a line; or a list that is here: imagenet, cifar100, ...",
    },
    "--part": {"metavar": "NAME", "help": "which one, where the file holds several networks"},
    "--preprocessing": {"metavar": "NAME", "help": f"how its images were prepared: {', '.join(PREPROCESSINGS)}"},
    "--mean": {**THREE, "help": "of its images' channels, from 0 to 1 or to 255"},
    "--std": {**THREE, "help": "likewise"},
    "--channel-order": {"dest": "order", "type": str.upper, "choices": ["RGB", "BGR"], "help": "default: RGB"},
    "--size": {**NUMBER, "help": "side of the square that the network sees"},
    "--resize": {**NUMBER, "help": "the shorter side is scaled to this before the square is cut out"},
    "--interpolation": {"choices": ["bilinear", "bicubic"], "help": "how pictures are scaled"},
    "--variant": {
        "action": "append",
        "metavar": "NAME",
        "help": f"what the arrays leave open, can be given again: {', '.join(VARIANTS)}, eps=NUMBER",
    },
    "--device": {"choices": backend.DEVICES, "help": "auto takes a GPU if one works (default)"},
    "--data-dir": {
        "metavar": "DIR",
        "help": "folder with CIFAR-10 (default: $MINIRES_DATA, the user's cache, download)",
    },
    "--data-url": {"metavar": "URL", "help": "where to download CIFAR-10's archive from"},
    "--batch-size": {**NUMBER, "help": "default: 128"},
    "--label-smoothing": {"type": float, "metavar": "X", "help": "default: 0"},
    "--seed": {**NUMBER, "help": "default: 0"},
    "--val-split": {**NUMBER, "help": "training images set aside for validation; default: a tenth"},
    "--limit-train": {**NUMBER, "help": "use the first N training images, validation included"},
    "--limit-test": {**NUMBER, "help": "use the first N test images"},
    "--threads": {**NUMBER, "help": "default: the physical cores this process may use"},
    "--save-every": {**NUMBER, "help": "iterations between checkpoints; default: at each epoch's end"},
    "--no-progress": {"action": "store_true", "help": "no bar, only a line for each epoch"},
}
SHORT = {"--batch-size": "-b"}


def add_arguments(parser: ArgumentParser | _ArgumentGroup, *names: str, **more: Any) -> None:
    """Add these of ARGUMENTS to a parser, in this order.   more: what else argparse shall know of them."""
    for name in names:
        parser.add_argument(*([SHORT[name]] if name in SHORT else []), name, **ARGUMENTS[name], **more)


def make_loaders(
    settings: Mapping[str, Any],
    dataset: data.Dataset,
    device: str = "cpu",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    padding: int = 4,
    test_size: int = 500,
) -> tuple[data.Loader, data.Loader | None, data.Loader]:
    """Loaders of the training, validation (or None) and test images.

    mean, std: to normalise with, of the training images where None.   padding: of the augmentation that `augment` of
    the settings asks for.   test_size: images in a batch of validation and test.
    """
    train = data.limit(dataset.train_images, dataset.train_labels, settings["limit_train"])
    test = data.limit(dataset.test_images, dataset.test_labels, settings["limit_test"])
    limited = data.Dataset(dataset.name, dataset.label, dataset.classes, *train, *test)
    val_size = len(train[0]) // 10 if settings["val_split"] is None else settings["val_split"]
    train, val = data.split(limited, val_size, settings["seed"])
    if mean is None:
        mean, std = data.channel_mean_std(train[0])
    usual, cutout = settings["augment"], settings.get("cutout", 0)
    augment = data.Augment(padding if usual else 0, usual, cutout) if usual or cutout else None
    plain: dict[str, Any] = {"mean": mean, "std": std, "device": device}
    drawn: dict[str, Any] = {"augment": augment, "shuffle": True, "seed": settings["seed"]}
    return (
        data.Loader(train[0], train[1], settings["batch_size"], **drawn, **plain),
        data.Loader(val[0], val[1], test_size, **plain) if val_size else None,
        data.Loader(test[0], test[1], test_size, **plain),
    )
