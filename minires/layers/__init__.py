"""The operations: each a pure function `x -> (y, backward)`, with a thin Module beside it.

Activations are (N, H, W, C); parameters have PyTorch's names and shapes.
"""

from minires.layers.activations import ReLU, Sigmoid, Tanh, relu, sigmoid, tanh
from minires.layers.adaptive_pooling import AdaptiveAvgPool2d, adaptive_avg_pool2d
from minires.layers.batch_norm import BatchNorm2d, batch_norm
from minires.layers.batch_norm_relu import BatchNormReLU2d, batch_norm_relu
from minires.layers.conv import Conv2d, conv2d
from minires.layers.conv_transpose import ConvTranspose2d, conv_transpose2d
from minires.layers.dropout import Dropout, dropout
from minires.layers.gated_activations import GELU, Hardswish, LeakyReLU, SiLU, gelu, hardswish, leaky_relu, silu
from minires.layers.group_norm import GroupNorm, group_norm
from minires.layers.layer_norm import LayerNorm, layer_norm
from minires.layers.linear import Flatten, Linear, flatten, linear
from minires.layers.pooling import AvgPool2d, GlobalAvgPool2d, MaxPool2d, avg_pool2d, global_avg_pool2d, max_pool2d
from minires.layers.residual import add, concat, pad_shortcut
from minires.layers.scale import Scale, scale
from minires.layers.squeeze_excitation import SqueezeExcitation, squeeze_excitation
from minires.layers.stochastic_depth import StochasticDepth, stochastic_depth
from minires.layers.upsample import UpsampleBilinear2d, upsample_bilinear2d

__all__ = [
    "GELU",
    "AdaptiveAvgPool2d",
    "AvgPool2d",
    "BatchNorm2d",
    "BatchNormReLU2d",
    "Conv2d",
    "ConvTranspose2d",
    "Dropout",
    "Flatten",
    "GlobalAvgPool2d",
    "GroupNorm",
    "Hardswish",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "MaxPool2d",
    "ReLU",
    "Scale",
    "SiLU",
    "Sigmoid",
    "SqueezeExcitation",
    "StochasticDepth",
    "Tanh",
    "UpsampleBilinear2d",
    "adaptive_avg_pool2d",
    "add",
    "avg_pool2d",
    "batch_norm",
    "batch_norm_relu",
    "concat",
    "conv2d",
    "conv_transpose2d",
    "dropout",
    "flatten",
    "gelu",
    "global_avg_pool2d",
    "group_norm",
    "hardswish",
    "layer_norm",
    "leaky_relu",
    "linear",
    "max_pool2d",
    "pad_shortcut",
    "relu",
    "scale",
    "sigmoid",
    "silu",
    "squeeze_excitation",
    "stochastic_depth",
    "tanh",
    "upsample_bilinear2d",
]
