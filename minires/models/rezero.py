"""ResNet with ReZero (Bachlechner et al. 2020): a learned number, 0 at first, multiplies the residual function.

y = relu(alpha * F(x) + shortcut(x)): before the first step every block is its shortcut and a ReLU, whatever the weights
are, so that the gradient arrives at the first layer as it left the last. Batch norm stays, as in the authors' own
networks for CIFAR.

rezero_resnet20 has 269,731 parameters: resnet20's and nine numbers. Names are resnet20's, and `scale`.
"""

import numpy as np

from minires.layers import BatchNorm2d, Scale, add, relu
from minires.layers.checks import check_sizes
from minires.models.blocks import BasicBlock, conv_norm_relu
from minires.models.staged import Staged, make_stages, make_stem
from minires.types import Array, Backward, Rng


class ReZeroBlock(BasicBlock):
    """y = relu(scale * F(x) + shortcut(x)),  F = bn2 . conv2 . relu . bn1 . conv1; shortcut: as in BasicBlock.

    Source: Bachlechner et al. 2020, equation 1 and section 5.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, shortcut: str, rng: Rng) -> None:
        super().__init__(in_channels, channels, stride, shortcut, rng)
        self.bn2 = BatchNorm2d(channels)  # the number comes before the sum and the ReLU
        self.scale = Scale(0.0)

    def forward(self, x: Array) -> tuple[Array, Backward]:
        y, layer1_backward = conv_norm_relu(self.conv1, self.bn1, x)
        y, conv2_backward = self.conv2(y)
        y, norm2_backward = self.bn2(y)
        y, scale_backward = self.scale(y)
        shortcut, shortcut_backward = self.shortcut(x)
        y, add_backward = add(y, shortcut)
        y, relu_backward = relu(y)

        def backward(dy):
            dy, dshortcut = add_backward(relu_backward(dy))
            dy = conv2_backward(norm2_backward(scale_backward(dy)))
            dx, _ = add(layer1_backward(dy), shortcut_backward(dshortcut))  # x was used twice: its gradients add up
            return dx

        return y, backward


def rezero_resnet20(
    num_classes: int = 10, shortcut: str = "A", rng: Rng = None, return_features: bool = False
) -> Staged:
    """resnet20 of ReZeroBlocks, 269,731 parameters (option A). rng: a NumPy Generator or a seed.

    return_features: as in Staged, C2 to C4.
    """
    check_sizes("rezero_resnet20", num_classes=num_classes)
    rng = np.random.default_rng(rng)
    stem = make_stem(16, True, rng)

    def block(in_channels, channels, stride):
        return ReZeroBlock(in_channels, channels, stride, shortcut, rng)

    stages = make_stages(block, 16, (16, 32, 64), (3, 3, 3))
    return Staged(stem, stages, 64, num_classes, rng, return_features=return_features)
