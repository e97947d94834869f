"""The residual sum, concatenation, and the shortcut without parameters.

Derivation: docs/layers/residual.md.
"""

from minires.backend import array_module, join_channels, keep_pixels, map_blocks, part_channels, spread_pixels
from minires.layers.checks import check_float, check_gradient, check_image, pair
from minires.types import Array, Backward, Pair


def add(x1: Array, x2: Array) -> tuple[Array, Backward]:
    """y = x1 + x2: the residual sum, y = F(x) + x.

    x1, x2: floating-point arrays of one shape. Returns y and backward(dy) -> (dx1, dx2): the sum hands dy to both
    branches. Both are dy itself, not copies: backward passes change nothing they are given.
    Source: He et al. 2015, equation 1.
    """
    array_module(x1, x2)
    check_float("add", x1, x2)
    if x1.shape != x2.shape:
        raise ValueError(
            f"add: branches have shapes {x1.shape} and {x2.shape}: the shortcut must match its block's output"
        )
    shape, dtype = x1.shape, x1.dtype
    y = map_blocks(lambda x1, x2, out: array_module(x1).add(x1, x2, out=out), x1, x2)

    def backward(dy):
        check_gradient("add", dy, shape, dtype)
        return dy, dy

    return y, backward


def concat(*xs: Array) -> tuple[Array, Backward]:
    """y = the arrays side by side along the last axis, the channels.

    xs: arrays (..., C_k) of one leading shape. Returns y (..., sum C_k) and backward(dy) -> a tuple with one gradient
    each, the slice of dy that its array filled.
    """
    if not xs:
        raise ValueError("concat: no arrays: give at least one")
    array_module(*xs)
    if any(x.ndim == 0 for x in xs):
        raise ValueError("concat: arrays must have a last axis, the channels, to be put side by side along")
    check_float("concat", *xs)
    if len({x.shape[:-1] for x in xs}) > 1:
        raise ValueError(f"concat: shapes {', '.join(str(x.shape) for x in xs)} differ before the channels")
    y = join_channels(xs)
    shape, dtype, widths = y.shape, y.dtype, [x.shape[-1] for x in xs]

    def backward(dy):
        check_gradient("concat", dy, shape, dtype)
        return part_channels(dy, widths)

    return y, backward


def pad_shortcut(x: Array, out_channels: int, stride: Pair = 1, at_end: bool = False) -> tuple[Array, Backward]:
    """Shortcut A: every stride-th pixel, with zero channels added, half of them on either side.

    x (N, H, W, C). Returns y (N, ceil(H / stride), ceil(W / stride), out_channels), whose channels `before` to
    `before + C` are x[:, ::stride, ::stride], before = (out_channels - C) // 2, and
    backward(dy) -> dx, which is dy's part at the pixels kept and 0 at the others.
    at_end: all zeros come after the channels of x, before = 0, as some programs have it.
    Source: He et al. 2015, section 3.3, option A.
    """
    check_image("pad_shortcut", x)
    check_float("pad_shortcut", x)
    SH, SW = pair("pad_shortcut", "stride", stride, least=1)
    C = x.shape[3]
    if out_channels < C:
        raise ValueError(
            f"pad_shortcut: {C} input channels cannot become {out_channels}: use option B to make them fewer"
        )
    before = 0 if at_end else (out_channels - C) // 2
    y = keep_pixels(x, (SH, SW), out_channels, before)
    shape, shape_of_x, dtype = y.shape, x.shape, x.dtype

    def backward(dy):
        check_gradient("pad_shortcut", dy, shape, dtype)
        return spread_pixels(dy, shape_of_x, (SH, SW), before)

    return y, backward
