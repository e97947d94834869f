"""Generalised IoU as a loss of boxes that share a point: how far a box is from covering another, and it alone.

Derivation: docs/detection.md.
"""

from minires.backend import array_module, known_at_once
from minires.layers.checks import check_float, check_not_empty, check_wide
from minires.losses.checks import check_divisor, check_dloss
from minires.types import Array, Backward


def giou_loss(
    distances: Array, targets: Array, weight: Array | None = None, divisor: float | Array | None = None
) -> tuple[Array, Backward]:
    """loss = 1 / divisor * sum of  weight * (1 - GIoU),   GIoU = I / U - (C - U) / C

    distances, targets (..., 4): how far the left, top, right and bottom sides of two boxes lie from a point in both,
    from 0 up. So they overlap: I = w * h, w = min(l, l') + min(r, r'), h likewise; U = A + A' - I, the areas;
    C = W * H, the least box around both, W = max(l, l') + max(r, r').
    weight (...): how much each pair counts, 0 for those that are none; None: 1. divisor: above 0; None: the number of
    pairs.
    Returns loss, a scalar, and backward(dloss=1) -> ddistances. For l, and likewise for the others,

        dl = gA * (t + b) + gI * h * [l < l'] + gC * H * [l > l']
        gA = I / U^2 - 1 / C,   gI = -1 / U - gA,   gC = U / C^2

    with 1/2 for both brackets where l = l', as PyTorch has it: a box that fits gets 0.
    Raises ValueError for shapes that do not fit, distances below 0, targets whose box is empty (on a GPU nobody looks),
    and no pairs at all.
    Source: Rezatofighi et al. 2019, algorithm 2; in distances: Yu et al. 2016 (UnitBox), algorithm 1.
    """
    xp = array_module(distances, targets, weight)
    check_not_empty("giou_loss", distances)
    check_float("giou_loss", distances, targets, weight)
    check_wide("giou_loss", distances)
    _check(distances, targets, weight)
    divisor = check_divisor("giou_loss", distances.size // 4 if divisor is None else divisor)
    least, most = xp.minimum(distances, targets), xp.maximum(distances, targets)
    sides, inner, outer = _sides(distances), _sides(least), _sides(most)  # (..., 2): width and height
    I, C = inner[..., 0] * inner[..., 1], outer[..., 0] * outer[..., 1]
    target_sides = _sides(targets)
    U = sides[..., 0] * sides[..., 1] + target_sides[..., 0] * target_sides[..., 1] - I
    costs = 2 - I / U - U / C
    loss, dtype = (
        ((costs if weight is None else costs * weight).sum() / divisor).astype(distances.dtype),
        distances.dtype,
    )

    def backward(dloss=1):
        check_dloss("giou_loss", dloss)
        gA, gC = I / (U * U) - 1 / C, U / (C * C)
        gI = -1 / U - gA
        below = (1 + xp.sign(targets - distances)) / 2  # [l < l'], and 1/2 where they are equal
        across = [1, 0, 1, 0]  # the other side's length: a step of l or r widens by the height, of t or b by the width
        ddistances = (
            gA[..., None] * sides[..., across]
            + gI[..., None] * inner[..., across] * below
            + gC[..., None] * outer[..., across] * (1 - below)
        )
        if weight is not None:
            ddistances = ddistances * weight[..., None]
        return (ddistances * (dloss / divisor)).astype(dtype)

    return loss, backward


def _sides(distances):
    """(..., 4) -> (..., 2): width l + r and height t + b."""
    return distances[..., :2] + distances[..., 2:]


def _check(distances, targets, weight):
    if distances.shape[-1:] != (4,) or targets.shape != distances.shape:
        raise ValueError(
            f"giou_loss: distances have shape {distances.shape}, targets {targets.shape}: must be equal, with four "
            "numbers (left, top, right, bottom) along the last axis"
        )
    if weight is not None and weight.shape != distances.shape[:-1]:
        raise ValueError(f"giou_loss: weight has shape {weight.shape}, expected {distances.shape[:-1]}: one a pair")
    if not known_at_once(distances):
        return
    if (distances < 0).any() or (targets < 0).any():
        raise ValueError("giou_loss: a distance is below 0: the point must lie in both boxes")
    if not (_sides(targets) > 0).all():
        raise ValueError("giou_loss: a target's box is empty or NaN: give each a width and a height")
