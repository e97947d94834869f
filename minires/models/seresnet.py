"""SE-ResNet (Hu et al. 2018): the residual function's channels are weighted by what the whole image holds.

seresnet50 for 1,000 classes has 28,088,024 parameters. Names are timm's, whose `seresnet50` these weights fit.
"""

import numpy as np

from minires.layers import BatchNorm2d, SqueezeExcitation, add, relu
from minires.layers.checks import check_sizes
from minires.models.blocks import Bottleneck, conv_norm_relu
from minires.models.imagenet import BLOCKS
from minires.models.staged import Staged, make_stages, make_stem
from minires.types import Array, Backward, Rng


class SEBottleneck(Bottleneck):
    """y = relu(se(F(x)) + shortcut(x)): Bottleneck with a SqueezeExcitation after F, 16 times as narrow inside.

    Source: Hu et al. 2018, figure 3, sections 6.1 (the reduction of 16) and 6.5 (before the sum).
    """

    def __init__(self, in_channels: int, channels: int, stride: int, rng: Rng) -> None:
        super().__init__(in_channels, channels, stride, "torchvision", rng)
        out_channels = 4 * channels
        self.bn3 = BatchNorm2d(out_channels)  # the gate comes before the sum and the ReLU
        shortcut = vars(self).pop("downsample", None)  # which stands behind the gate in timm's order
        self.se = SqueezeExcitation(out_channels, out_channels // 16, rng=rng)
        if shortcut is not None:
            self.downsample = shortcut

    def forward(self, x: Array) -> tuple[Array, Backward]:
        y, layer1_backward = conv_norm_relu(self.conv1, self.bn1, x)
        y, layer2_backward = conv_norm_relu(self.conv2, self.bn2, y)
        y, conv3_backward = self.conv3(y)
        y, norm3_backward = self.bn3(y)
        y, se_backward = self.se(y)
        shortcut, shortcut_backward = self.shortcut(x)
        y, add_backward = add(y, shortcut)
        y, relu_backward = relu(y)

        def backward(dy):
            dy, dshortcut = add_backward(relu_backward(dy))
            dy = conv3_backward(norm3_backward(se_backward(dy)))
            dx, _ = add(layer1_backward(layer2_backward(dy)), shortcut_backward(dshortcut))  # x was used twice
            return dx

        return y, backward


def seresnet50(
    num_classes: int = 1000, small_input: bool = False, return_features: bool = False, rng: Rng = None
) -> Staged:
    """resnet50 of SEBottlenecks, 28,088,024 parameters.

    small_input: conv1 is 3x3 at stride 1 and there is no max pool: for images of 32x32 pixels. return_features: as in
    Staged. rng: a NumPy Generator or a seed.
    """
    check_sizes("seresnet50", num_classes=num_classes)
    rng = np.random.default_rng(rng)
    stem = make_stem(64, small_input, rng)

    def block(in_channels, channels, stride):
        return SEBottleneck(in_channels, channels, stride, rng)

    stages = make_stages(block, 64, (64, 128, 256, 512), BLOCKS[50], 4)
    return Staged(stem, stages, 2048, num_classes, rng, not small_input, return_features)
