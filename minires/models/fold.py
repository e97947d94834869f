"""Batch norm worked into the convolutions before it, once, for inference.

In inference batch norm is  scale * y + shift  with constants a channel, and y = conv(x) is linear in its weights: so
scale * conv(x) + shift is a convolution with weights scale * weight and bias shift. Derivation:
docs/layers/batch_norm_relu.md.
"""

import copy
import itertools
from typing import Any

from minires.backend import array_module, let_through, map_blocks
from minires.layers import BatchNorm2d, BatchNormReLU2d, Conv2d
from minires.layers.checks import check_gradient
from minires.models.blocks import BasicBlock, Bottleneck, Identity
from minires.models.branches import ConvNormReLU
from minires.models.densenet import DenseLayer
from minires.models.preact import PreActBlock
from minires.models.rezero import ReZeroBlock
from minires.models.seresnet import SEBottleneck
from minires.models.staged import Staged
from minires.module import Module, Parameter
from minires.sequential import Sequential
from minires.types import Array, Backward

PAIRS: dict[Any, tuple] = {  # the convolutions and batch norms that a forward pass calls one right after the other
    BasicBlock.forward: (("conv1", "bn1"), ("conv2", "bn2")),
    Bottleneck.forward: (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3")),
    Staged.forward: (("conv1", "bn1"),),
    ConvNormReLU.forward: (("conv", "bn"),),
    ReZeroBlock.forward: (("conv1", "bn1"), ("conv2", "bn2")),
    SEBottleneck.forward: (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3")),
    DenseLayer.forward: (("conv1", "norm2"),),  # before its norm1 there is no convolution
    PreActBlock.forward: (("conv1", "bn2"), ("conv2", "bn3")),  # the second where it is a bottleneck
}


def fold(model: Module) -> Module:
    """A frozen model that gives what `model` gives in inference mode, to rounding, with batch norms folded away.

    Folded are a Conv2d and a batch norm that follow each other in a Sequential, or in the networks and blocks of
    minires.models. In a network whose forward pass you wrote, batch norms that are attributes of their own stay, since
    nobody but you knows what comes before them: put each into a Sequential with its convolution. The result is a copy
    of its own: what happens to `model` afterwards does not reach it. Raises TypeError for what is no Module.
    Source: Jacob et al. 2018, section 3.2.
    """
    if not isinstance(model, Module):
        raise TypeError(f"fold: expected a Module, got {model!r}: build the model first")
    return _copy(model, {}).freeze()


def _copy(module, copies):
    """A copy with its own parameters and buffers; a module used in two places is copied once."""
    if id(module) in copies:
        return copies[id(module)]
    copied = copies[id(module)] = copy.copy(module)
    buffers = vars(module).get("_buffers", [])
    copied.__dict__["_buffers"] = list(buffers)
    for name, value in vars(module).items():
        if isinstance(value, Parameter):
            setattr(copied, name, Parameter(value.data.copy()))
        elif name in buffers and value is not None:
            setattr(copied, name, value.copy())
    forward = None if "forward" in vars(module) else type(module).forward  # None: replaced on this very module
    pairs = _neighbours(module) if forward is Sequential.forward else PAIRS.get(forward, ())
    pairs = [pair for pair in pairs if all(hasattr(module, name) for name in pair)]
    folded = [pair for pair in pairs if _can_be_folded(*(getattr(module, name) for name in pair))]
    for conv, norm in folded:
        setattr(copied, conv, _folded(getattr(module, conv), getattr(module, norm)))
        setattr(copied, norm, Rectify() if isinstance(getattr(module, norm), BatchNormReLU2d) else Identity())
    inside = {name for pair in folded for name in pair}
    for name, child in module.children():
        if name not in inside:
            setattr(copied, name, _copy(child, copies))
    return copied


def _neighbours(sequential):
    names = [name for name, _ in sequential.children()]
    return list(itertools.pairwise(names))


def _can_be_folded(conv, norm):
    """Whether both are the library's own, with nothing else put in the place of their forward passes."""
    own = not any("forward" in vars(module) for module in (conv, norm))
    norms = (BatchNorm2d.forward, BatchNormReLU2d.forward)
    return own and type(conv).forward is Conv2d.forward and type(norm).forward in norms


def _folded(conv, norm):
    """The Conv2d that gives norm(conv(x)), ReLU aside."""
    scale = norm.weight.data / array_module(norm.running_var).sqrt(norm.running_var + float(norm.eps))
    shift = norm.bias.data - norm.running_mean * scale
    folded = copy.copy(conv)
    folded.weight = Parameter(conv.weight.data * scale[:, None, None, None])
    folded.bias = Parameter(shift if conv.bias is None else shift + conv.bias.data * scale)
    return folded


class Rectify(Module):
    """y = max(x + shortcut, 0): what is left of a BatchNormReLU2d. backward(dy) -> dx, or (dx, dshortcut)."""

    def forward(self, x: Array, shortcut: Array | None = None) -> tuple[Array, Backward]:
        branches = (x,) if shortcut is None else (x, shortcut)

        def add_and_clip(x, *shortcut, out):
            xp = array_module(x)
            xp.maximum(xp.add(x, *shortcut, out=out) if shortcut else x, 0, out=out)

        y, has_shortcut = map_blocks(add_and_clip, *branches), shortcut is not None

        def backward(dy):
            check_gradient("Rectify", dy, y.shape, y.dtype)
            dz = map_blocks(lambda dy, y, out: let_through(dy, y > 0, out), dy, y)
            return (dz, dz) if has_shortcut else dz

        return y, backward
