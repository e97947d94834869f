"""The small network that tutorials begin with: what residual learning is measured against."""

import numpy as np

from minires.layers import Conv2d, Flatten, Linear, MaxPool2d, ReLU
from minires.layers.checks import check_sizes
from minires.module import Module
from minires.sequential import in_sequence
from minires.types import Array, Backward, Rng


class SimpleCNN(Module):
    """conv 3x3 (32), relu, max pool 2, conv 3x3 (64), relu, max pool 2, fc; no padding. 42,442 parameters at 32x32x3.

    image_size: height and width of the input, which fix the size of fc.
    """

    head_name = "fc"

    def __init__(self, num_classes: int = 10, rng: Rng = None, image_size: int = 32) -> None:
        rng = np.random.default_rng(rng)
        side = ((image_size - 2) // 2 - 2) // 2
        check_sizes("SimpleCNN", num_classes=num_classes)
        if side < 1:
            raise ValueError(f"SimpleCNN: image_size must be at least 10, got {image_size}")
        self.conv1 = Conv2d(3, 32, 3, rng=rng)
        self.conv2 = Conv2d(32, 64, 3, rng=rng)
        self.relu, self.pool, self.flatten = ReLU(), MaxPool2d(2), Flatten()
        self.fc = Linear(side * side * 64, num_classes, rng=rng)

    def forward(self, x: Array, lean: bool = False) -> tuple[Array, Backward]:
        modules = [self.conv1, self.relu, self.pool, self.conv2, self.relu, self.pool, self.flatten, self.fc]
        return in_sequence([(module, [module]) for module in modules], x, lean)


def simple_cnn(num_classes: int = 10, rng: Rng = None, image_size: int = 32) -> SimpleCNN:
    """Conv-Pool-Conv-Pool-Dense, 42,442 parameters on 32x32x3. rng: a NumPy Generator or a seed."""
    return SimpleCNN(num_classes, rng, image_size)
