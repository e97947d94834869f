"""ReLU, sigmoid and tanh. Each derivative is written in y, so that x need not be kept."""

from minires.backend import array_module, let_through, map_blocks
from minires.layers.checks import check_float, check_gradient
from minires.module import Module
from minires.types import Array, Backward


def relu(x: Array) -> tuple[Array, Backward]:
    """y = max(x, 0)

    x: any shape, floating-point. Returns y, shaped as x, and backward(dy) -> dx = dy where y > 0, else 0, whatever
    dy is: infinity and NaN are kept out, too.
    Source: Nair and Hinton 2010, section 2.
    """
    check_float("relu", x)
    y = map_blocks(lambda x, out: array_module(x).maximum(x, 0, out=out), x)

    def backward(dy):
        check_gradient("relu", dy, y.shape, y.dtype)
        return map_blocks(lambda dy, y, out: let_through(dy, y > 0, out), dy, y)

    return y, backward


def sigmoid(x: Array) -> tuple[Array, Backward]:
    """y = 1 / (1 + exp(-x)) = (1 + tanh(x / 2)) / 2, the second of which never overflows

    x: any shape, floating-point. Returns y, shaped as x, and backward(dy) -> dx = dy * y * (1 - y), which
    is NaN for an infinite dy where y is 0 or 1, as in PyTorch.
    """
    check_float("sigmoid", x)

    def forward_block(x, out):
        xp = array_module(x)
        xp.tanh(x * 0.5, out=out)
        xp.multiply(out + 1, 0.5, out=out)

    y = map_blocks(forward_block, x)

    def backward(dy):
        check_gradient("sigmoid", dy, y.shape, y.dtype)
        return map_blocks(lambda dy, y, out: array_module(y).multiply(dy, y * (1 - y), out=out), dy, y)

    return y, backward


def tanh(x: Array) -> tuple[Array, Backward]:
    """y = tanh(x)

    x: any shape, floating-point. Returns y, shaped as x, and backward(dy) -> dx = dy * (1 - y^2), which is NaN
    for an infinite dy where y is -1 or 1, as in PyTorch.
    """
    check_float("tanh", x)
    y = map_blocks(lambda x, out: array_module(x).tanh(x, out=out), x)

    def backward(dy):
        check_gradient("tanh", dy, y.shape, y.dtype)
        return map_blocks(lambda dy, y, out: array_module(y).multiply(dy, 1 - y * y, out=out), dy, y)

    return y, backward


class ReLU(Module):
    """`relu` as a module."""

    def forward(self, x: Array) -> tuple[Array, Backward]:
        return relu(x)


class Sigmoid(Module):
    """`sigmoid` as a module."""

    def forward(self, x: Array) -> tuple[Array, Backward]:
        return sigmoid(x)


class Tanh(Module):
    """`tanh` as a module."""

    def forward(self, x: Array) -> tuple[Array, Backward]:
        return tanh(x)
