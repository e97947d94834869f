"""What Inception networks are built of: convolution, batch norm and ReLU in one module, and branches side by side."""

from collections.abc import Sequence

import numpy as np

from minires.layers import BatchNormReLU2d, Conv2d, Linear, add, concat
from minires.models.blocks import conv_norm_relu
from minires.module import Module
from minires.types import Array, Backward, Operation, Padding, Pair, Rng


class ConvNormReLU(Module):
    """y = relu(bn(conv(x))): torchvision's BasicConv2d, without a bias, with batch norm's eps 0.001."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Padding = 0,
        rng: Rng = None,
    ) -> None:
        self.conv = Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=False, rng=rng)
        self.bn = BatchNormReLU2d(out_channels, eps=0.001)

    def forward(self, x: Array, lean: bool = False) -> tuple[Array, Backward]:
        return conv_norm_relu(self.conv, self.bn, x, lean=lean)


def side_by_side(branches: Sequence[Operation], x: Array) -> tuple[Array, Backward]:
    """y = [branch(x) for each branch], their maps (N, OH, OW, C_k) beside each other in the channels.

    Returns y and backward(dy) -> dx, the sum of what comes back through the branches.
    Source: Szegedy et al. 2015, figure 2.
    """
    maps, backwards = zip(*(branch(x) for branch in branches), strict=True)
    y, concat_backward = concat(*maps)

    def backward(dy):
        dx = None
        for dmap, branch_backward in zip(concat_backward(dy), backwards, strict=True):
            share = branch_backward(dmap)
            dx = share if dx is None else add(dx, share)[0]  # x was used by each: its gradients add up
        return dx

    return y, backward


def initialise_normal(model: Module, rng: np.random.Generator, std: float) -> None:
    """The weights of convolutions and linear layers become normal numbers of this standard deviation.

    torchvision cuts them off at -2 and 2, which is so far out that no number has ever been there.
    """
    for module in model.modules():
        if isinstance(module, (Conv2d, Linear)):
            module.weight.data = rng.normal(0, std, module.weight.shape).astype(np.float32)
