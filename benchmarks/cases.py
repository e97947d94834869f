"""What benchmarks/cpu.py measures, and the arrays that minires and every peer are given."""

import fnmatch
from dataclasses import dataclass

import numpy as np

from minires.models import IMAGENET
from minires.names import unknown

FAMILY = ("vgg16", "densenet121", "resnext50_32x4d")  # before ResNet, beside it and after it
FOR_IMAGENET = (*(function.__name__ for function in IMAGENET), *FAMILY)
OPTIONS = {"lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4}  # of SGD, in training steps of networks for CIFAR


@dataclass(frozen=True)
class Network:
    """A training step (forward, loss, backward, update) or an inference pass of a network, for CIFAR or ImageNet."""

    model: str
    training: bool
    batch_size: int
    seconds: float = 0.5  # that a turn lasts, about

    @property
    def name(self):
        return f"{self.model}-{'train' if self.training else 'infer'}-{self.batch_size}"

    @property
    def for_imagenet(self):
        return self.model in FOR_IMAGENET

    @property
    def num_classes(self):
        return 1000 if self.for_imagenet else 10

    @property
    def options(self):
        """Of SGD. At OPTIONS' rate the second loss of resnet50 parts by 0.6 % in PyTorch's own float32 and float64."""
        return {**OPTIONS, "lr": 2e-4} if self.for_imagenet else OPTIONS

    def arrays(self):
        """x (N, 32, 32, 3), or (N, 224, 224, 3) for ImageNet, and labels (N,)."""
        return make_batch(self.batch_size, 224 if self.for_imagenet else 32, self.num_classes)


@dataclass(frozen=True)
class Conv:
    """A convolution without bias, forward and backward, with the gradients of input and weight."""

    in_channels: int
    out_channels: int
    size: int
    batch_size: int
    kernel: int = 3
    stride: int = 1
    groups: int = 1
    seconds: float = 0.2

    @property
    def name(self):
        same = self.in_channels == self.out_channels
        channels = f"{self.in_channels}" if same else f"{self.in_channels}to{self.out_channels}"
        stride = "" if self.stride == 1 else f"-stride{self.stride}"
        kind = f"conv{self.kernel}x{self.kernel}{stride}"
        groups = "" if self.groups == 1 else f"-{self.groups}groups"
        return f"{kind}-{channels}ch{groups}-{self.size}x{self.size}-{self.batch_size}"

    @property
    def padding(self):
        return self.kernel // 2

    def arrays(self):
        """x (N, H, W, C), weight (O, C / groups, K, K) and dy (N, OH, OW, O)."""
        out = -(-self.size // self.stride)
        return _normal(
            (self.batch_size, self.size, self.size, self.in_channels),
            (self.out_channels, self.in_channels // self.groups, self.kernel, self.kernel),
            (self.batch_size, out, out, self.out_channels),
        )


def make_batch(batch_size, size=32, num_classes=10):
    """Images (N, size, size, 3) of noise and labels (N,)."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch_size, size, size, 3)).astype(np.float32)
    return x, rng.integers(0, num_classes, batch_size)


def without_dropout(network):
    """The network, of minires or PyTorch, with dropout that drops nothing: each has a generator of its own."""
    for module in network.modules():
        if type(module).__name__ == "Dropout":
            module.p = 0.0
    return network


def _normal(*shapes):
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape, np.float32) for shape in shapes]


def _by_name(cases):
    return {case.name: case for case in cases}


NETWORKS = _by_name(
    [
        Network("resnet20", True, 128, seconds=1.5),
        Network("resnet20", False, 128, seconds=1),
        Network("resnet56", True, 128),
        Network("resnet56", False, 128),
        *(Network("resnet20", training, batch_size) for batch_size in (1, 32, 512) for training in (True, False)),
        *(Network(model, training, 8, seconds=1) for model in ("resnet18", "resnet50") for training in (True, False)),
        *(Network(model, True, 8, seconds=1) for model in FAMILY),
    ]
)
CONVOLUTIONS = _by_name(
    [
        Conv(128, 128, 28, 16),
        Conv(256, 256, 14, 16),
        Conv(512, 512, 7, 16),
        Conv(3, 64, 224, 8, kernel=7, stride=2),  # the stem of the networks for ImageNet
        *(Conv(C, C, size, 8, groups=32) for C, size in ((128, 56), (256, 28), (512, 14), (1024, 7))),  # of ResNeXt-50
        Conv(256, 256, 56, 8, stride=2, groups=32),
        *(Conv(128, 128, 28, batch, groups=128) for batch in (8, 32)),  # depthwise
    ]
)
CASES = {**NETWORKS, **CONVOLUTIONS}
QUICK = ("resnet20-train-128", "resnet20-infer-128", "conv3x3-128ch-28x28-16")


def select(patterns, names, what="case"):
    """The names that fit any of the patterns (*, ? and [...] as in a shell), in the order of `names`.

    Raises ValueError with the nearest name for a pattern that fits none.
    """
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            raise ValueError(unknown(what, pattern, names))
    return [name for name in names if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]
