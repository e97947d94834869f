"""relu(batch_norm(x) + shortcut) in one: the same numbers with fewer passes over memory.

Derivation: docs/layers/batch_norm_relu.md.
"""

from minires.backend import array_module, empty, let_through, map_channels
from minires.layers.batch_norm import BatchNorm2d, check_batch_norm, gradient_sums, input_gradient, normaliser
from minires.layers.checks import check_float, check_gradient
from minires.types import Array, Backward


def batch_norm_relu(
    x: Array,
    running_mean: Array | None,
    running_var: Array | None,
    weight: Array | None = None,
    bias: Array | None = None,
    shortcut: Array | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> tuple[Array, Backward]:
    """y = max(batch_norm(x) + shortcut, 0): the end of every layer of a residual network, of a block with a shortcut.

    x (..., C) and the other arguments are as in `batch_norm`; shortcut: shaped as x, or None for none.
    Returns y, shaped as x, and backward(dy) -> (dx, dweight, dbias), and dshortcut last where there is one. With
    dz = dy where y > 0, else 0:  dshortcut = dz, and the others are batch norm's for the upstream gradient dz.
    Raises ValueError as `batch_norm` does, and for a shortcut of another shape.
    Source: Ioffe and Szegedy 2015, algorithm 1; He et al. 2015, equation 1 and figure 2.
    """
    array_module(x, running_mean, running_var, weight, bias, shortcut)
    check_batch_norm("batch_norm_relu", x, running_mean, running_var, weight, bias, training)
    branches = (x,) if shortcut is None else (x, shortcut)
    check_float("batch_norm_relu", *branches)
    if shortcut is not None and shortcut.shape != x.shape:
        raise ValueError(f"batch_norm_relu: shortcut has shape {shortcut.shape}, x {x.shape}: they must be equal")
    statistics = normaliser(x, running_mean, running_var, weight, bias, training, momentum, eps)
    scale, shift = statistics.scale, statistics.shift

    def normalise_add_clip(x, *shortcut_scale_shift, out):
        xp = array_module(x)
        *shortcut, scale, shift = shortcut_scale_shift
        xp.multiply(x, scale, out=out)
        for term in (shift, *shortcut):
            xp.add(out, term, out=out)
        xp.maximum(out, 0, out=out)

    y = map_channels(normalise_add_clip, branches, (scale, shift))
    has_shortcut = shortcut is not None  # the sum keeps none of its branches

    def backward(dy):
        check_gradient("batch_norm_relu", dy, y.shape, y.dtype)
        dz = empty(x.shape, like=x)

        def gate(dz, dy, y, out):
            let_through(dy, y > 0, out=dz)  # kept: it is the gradient of the shortcut, and dx needs it
            return dz

        dweight, dbias, line = gradient_sums(gate, (dz, dy, y), x, statistics)
        dx = input_gradient(dz, x, scale, line if training else None)
        gradients = (dx, *([] if weight is None else [dweight]), *([] if bias is None else [dbias]))
        return (*gradients, dz) if has_shortcut else gradients

    return y, backward


class BatchNormReLU2d(BatchNorm2d):
    """`batch_norm_relu` as a module, called with x or with x and a shortcut; its state is that of BatchNorm2d.

    backward(dy) -> dx, or (dx, dshortcut).
    """

    def forward(self, x: Array, shortcut: Array | None = None) -> tuple[Array, Backward]:
        running, affine = (self.running_mean, self.running_var), (self.weight.data, self.bias.data)
        y, norm_backward = batch_norm_relu(x, *running, *affine, shortcut, self.training, self.momentum, self.eps)

        def backward(dy):
            dx, dweight, dbias, *dshortcut = norm_backward(dy)
            self.weight.add_grad(dweight, new=True)
            self.bias.add_grad(dbias, new=True)
            return (dx, *dshortcut) if dshortcut else dx

        return y, backward
