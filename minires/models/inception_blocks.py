"""The modules of Inception v3: branches side by side, under torchvision's names.

A large window is made of small ones: two 3x3 in the place of a 5x5, 1x7 and 7x1 in the place of a 7x7. Where the image
is made smaller, branches of stride 2 stand beside a max pool.
"""

import numpy as np

from minires.layers import AvgPool2d, MaxPool2d
from minires.models.branches import ConvNormReLU, side_by_side
from minires.module import Module
from minires.sequential import Sequential
from minires.types import Array, Backward


class InceptionA(Module):
    """y = [1x1, 5x5, two 3x3, mean of 3x3]: 224 + pooled channels at 35x35.   Szegedy et al. 2016, figure 5."""

    def __init__(self, in_channels: int, pooled: int, rng: np.random.Generator) -> None:
        self.branch1x1 = ConvNormReLU(in_channels, 64, 1, rng=rng)
        self.branch5x5_1 = ConvNormReLU(in_channels, 48, 1, rng=rng)
        self.branch5x5_2 = ConvNormReLU(48, 64, 5, padding=2, rng=rng)
        self.branch3x3dbl_1 = ConvNormReLU(in_channels, 64, 1, rng=rng)
        self.branch3x3dbl_2 = ConvNormReLU(64, 96, 3, padding=1, rng=rng)
        self.branch3x3dbl_3 = ConvNormReLU(96, 96, 3, padding=1, rng=rng)
        self.pool = AvgPool2d(3, 1, padding=1)
        self.branch_pool = ConvNormReLU(in_channels, pooled, 1, rng=rng)

    def forward(self, x: Array) -> tuple[Array, Backward]:
        branch5x5 = Sequential(self.branch5x5_1, self.branch5x5_2)
        branch3x3dbl = Sequential(self.branch3x3dbl_1, self.branch3x3dbl_2, self.branch3x3dbl_3)
        return side_by_side((self.branch1x1, branch5x5, branch3x3dbl, Sequential(self.pool, self.branch_pool)), x)


class InceptionB(Module):
    """y = [3x3, two 3x3, max pool], all at stride 2: 480 + C channels, 35x35 -> 17x17.   The same, figure 10."""

    def __init__(self, in_channels: int, rng: np.random.Generator) -> None:
        self.branch3x3 = ConvNormReLU(in_channels, 384, 3, stride=2, rng=rng)
        self.branch3x3dbl_1 = ConvNormReLU(in_channels, 64, 1, rng=rng)
        self.branch3x3dbl_2 = ConvNormReLU(64, 96, 3, padding=1, rng=rng)
        self.branch3x3dbl_3 = ConvNormReLU(96, 96, 3, stride=2, rng=rng)
        self.pool = MaxPool2d(3, 2)

    def forward(self, x: Array) -> tuple[Array, Backward]:
        branch3x3dbl = Sequential(self.branch3x3dbl_1, self.branch3x3dbl_2, self.branch3x3dbl_3)
        return side_by_side((self.branch3x3, branch3x3dbl, self.pool), x)


class InceptionC(Module):
    """y = [1x1, 7x7, two 7x7, mean of 3x3]: 768 channels at 17x17, `channels` within.   The same, figure 6, n = 7."""

    def __init__(self, in_channels: int, channels: int, rng: np.random.Generator) -> None:
        def across(in_channels, out_channels):
            return ConvNormReLU(in_channels, out_channels, (1, 7), padding=(0, 3), rng=rng)

        def down(in_channels, out_channels):
            return ConvNormReLU(in_channels, out_channels, (7, 1), padding=(3, 0), rng=rng)

        self.branch1x1 = ConvNormReLU(in_channels, 192, 1, rng=rng)
        self.branch7x7_1 = ConvNormReLU(in_channels, channels, 1, rng=rng)
        self.branch7x7_2 = across(channels, channels)
        self.branch7x7_3 = down(channels, 192)
        self.branch7x7dbl_1 = ConvNormReLU(in_channels, channels, 1, rng=rng)
        self.branch7x7dbl_2 = down(channels, channels)
        self.branch7x7dbl_3 = across(channels, channels)
        self.branch7x7dbl_4 = down(channels, channels)
        self.branch7x7dbl_5 = across(channels, 192)
        self.pool = AvgPool2d(3, 1, padding=1)
        self.branch_pool = ConvNormReLU(in_channels, 192, 1, rng=rng)

    def forward(self, x: Array) -> tuple[Array, Backward]:
        branch7x7 = Sequential(self.branch7x7_1, self.branch7x7_2, self.branch7x7_3)
        first, *rest = self.branch7x7dbl_1, self.branch7x7dbl_2, self.branch7x7dbl_3
        branch7x7dbl = Sequential(first, *rest, self.branch7x7dbl_4, self.branch7x7dbl_5)
        return side_by_side((self.branch1x1, branch7x7, branch7x7dbl, Sequential(self.pool, self.branch_pool)), x)


class InceptionD(Module):
    """y = [3x3, 7x7 and 3x3, max pool], all at stride 2: 512 + C channels, 17x17 -> 8x8."""

    def __init__(self, in_channels: int, rng: np.random.Generator) -> None:
        self.branch3x3_1 = ConvNormReLU(in_channels, 192, 1, rng=rng)
        self.branch3x3_2 = ConvNormReLU(192, 320, 3, stride=2, rng=rng)
        self.branch7x7x3_1 = ConvNormReLU(in_channels, 192, 1, rng=rng)
        self.branch7x7x3_2 = ConvNormReLU(192, 192, (1, 7), padding=(0, 3), rng=rng)
        self.branch7x7x3_3 = ConvNormReLU(192, 192, (7, 1), padding=(3, 0), rng=rng)
        self.branch7x7x3_4 = ConvNormReLU(192, 192, 3, stride=2, rng=rng)
        self.pool = MaxPool2d(3, 2)

    def forward(self, x: Array) -> tuple[Array, Backward]:
        branch3x3 = Sequential(self.branch3x3_1, self.branch3x3_2)
        branch7x7x3 = Sequential(self.branch7x7x3_1, self.branch7x7x3_2, self.branch7x7x3_3, self.branch7x7x3_4)
        return side_by_side((branch3x3, branch7x7x3, self.pool), x)


class InceptionE(Module):
    """y = [1x1, [1x3, 3x1], 3x3 and [1x3, 3x1], mean of 3x3]: 2,048 channels at 8x8.   The same, figure 7.

    [1x3, 3x1]: both of one map, side by side.
    """

    def __init__(self, in_channels: int, rng: np.random.Generator) -> None:
        self.branch1x1 = ConvNormReLU(in_channels, 320, 1, rng=rng)
        self.branch3x3_1 = ConvNormReLU(in_channels, 384, 1, rng=rng)
        self.branch3x3_2a = ConvNormReLU(384, 384, (1, 3), padding=(0, 1), rng=rng)
        self.branch3x3_2b = ConvNormReLU(384, 384, (3, 1), padding=(1, 0), rng=rng)
        self.branch3x3dbl_1 = ConvNormReLU(in_channels, 448, 1, rng=rng)
        self.branch3x3dbl_2 = ConvNormReLU(448, 384, 3, padding=1, rng=rng)
        self.branch3x3dbl_3a = ConvNormReLU(384, 384, (1, 3), padding=(0, 1), rng=rng)
        self.branch3x3dbl_3b = ConvNormReLU(384, 384, (3, 1), padding=(1, 0), rng=rng)
        self.pool = AvgPool2d(3, 1, padding=1)
        self.branch_pool = ConvNormReLU(in_channels, 192, 1, rng=rng)

    def forward(self, x: Array) -> tuple[Array, Backward]:
        return side_by_side(
            (self.branch1x1, self.branch3x3, self.branch3x3dbl, Sequential(self.pool, self.branch_pool)), x
        )

    def branch3x3(self, x: Array) -> tuple[Array, Backward]:
        """-> (y, backward): 1x1, then [1x3, 3x1]."""
        y, first_backward = self.branch3x3_1(x)
        y, pair_backward = side_by_side((self.branch3x3_2a, self.branch3x3_2b), y)
        return y, lambda dy: first_backward(pair_backward(dy))

    def branch3x3dbl(self, x: Array) -> tuple[Array, Backward]:
        """-> (y, backward): 1x1, 3x3, then [1x3, 3x1]."""
        y, first_backward = self.branch3x3dbl_1(x)
        y, second_backward = self.branch3x3dbl_2(y)
        y, pair_backward = side_by_side((self.branch3x3dbl_3a, self.branch3x3dbl_3b), y)
        return y, lambda dy: first_backward(second_backward(pair_backward(dy)))
