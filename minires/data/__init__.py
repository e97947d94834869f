"""Data: CIFAR-10 and CIFAR-100, the shapes drawn by code, augmentation, and batches.

    load("auto")                the data set, and a notice where it is not the one hoped for
    channel_mean_std, split     what to know and to do before training
    Loader, Augment             batches of it

Importing this package imports NumPy only; pooch, requests and tqdm wait until something is downloaded.
"""

from minires.data.augment import Augment, cutout, erase, flip, normalize, pad_and_crop
from minires.data.cifar import read_cifar, read_cifar10
from minires.data.cifar_kinds import CIFAR10, CIFAR100, CIFAR100_COARSE, CLASSES
from minires.data.dataset import Dataset, DatasetError, DatasetUnavailable, channel_mean_std, limit, split
from minires.data.download import find_cifar10
from minires.data.load import DATASETS, load
from minires.data.loader import Loader
from minires.data.mix import Mix, cutmix, mixup
from minires.data.randaugment import RandAugment
from minires.data.synthetic import make_synthetic

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "CIFAR100_COARSE",
    "CLASSES",
    "DATASETS",
    "Augment",
    "Dataset",
    "DatasetError",
    "DatasetUnavailable",
    "Loader",
    "Mix",
    "RandAugment",
    "channel_mean_std",
    "cutmix",
    "cutout",
    "erase",
    "find_cifar10",
    "flip",
    "limit",
    "load",
    "make_synthetic",
    "mixup",
    "normalize",
    "pad_and_crop",
    "read_cifar",
    "read_cifar10",
    "split",
]
