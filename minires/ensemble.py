"""Several networks, or several views of an image, answer as one: by the mean of their probabilities.

log_mean_softmax(logits)         logits (K, N, classes) -> their logarithm, which are logits again
Ensemble(networks, mean, std)    networks, each with the preprocessing of its own
Views(network, tta_views(...))   one network on several views of each image (test-time augmentation)

Both give logits whose softmax is the mean. So everything that takes a network takes them: `evaluate`, `fold` and, since
they have a backward pass, what asks for an image's gradient. Derivation: docs/ensembles.md.
"""

from collections.abc import Sequence

import numpy as np

from minires.backend import array_module
from minires.data.images import Preprocessing
from minires.layers.checks import check_float, check_gradient, check_image, check_not_empty, check_wide
from minires.module import Module
from minires.types import Array, Backward

TTA = ("none", "mirror", "shifts")  # what `tta_views` takes


def log_mean_softmax(logits: Array) -> tuple[Array, Backward]:
    """y[n, c] = log(mean over k of p[k, n, c]),   p = softmax(logits[k, n])

    logits (K, N, classes) floating-point and finite, of K networks for the same N items; y (N, classes) of their dtype.
    softmax(y) is the mean of the probabilities, and y is finite where that is too small for a float.
    backward(dy) -> dlogits[k] = share * dy - p * sum_c share * dy,   share[k] = p[k] / (p[0] + ... + p[K - 1]).
    Raises ValueError for what is empty or has not three axes, TypeError for integers.
    """
    check_not_empty("log_mean_softmax", logits)
    check_float("log_mean_softmax", logits)
    check_wide("log_mean_softmax", logits)
    if logits.ndim != 3:
        raise ValueError(f"log_mean_softmax: logits must have shape (K, N, classes), got {logits.shape}: stack them")
    xp = array_module(logits)
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_p = shifted - xp.log(xp.exp(shifted).sum(axis=-1, keepdims=True))
    largest = log_p.max(axis=0)  # (N, classes), so that not all powers are 0
    total = xp.exp(log_p - largest).sum(axis=0)
    y = largest + xp.log(total / len(logits))

    def backward(dy):
        check_gradient("log_mean_softmax", dy, y.shape, y.dtype)
        share = xp.exp(log_p - largest) / total  # (K, N, classes)
        of_each = share * dy
        return of_each - xp.exp(log_p) * of_each.sum(axis=-1, keepdims=True)

    return y, backward


class Prepared(Module):
    """A network that is given images as others are: x (N, H, own.size, 3), RGB, normalised with mean and std.

        pixels = x * std + mean
        network((pixels - own.mean) / own.std) = network(x * scale + shift)
        scale = std / own.std,   shift = (mean - own.mean) / own.std

    Where own.order is BGR the channels are turned round, and own.mean and own.std are in that order.
    """

    scale: Array
    shift: Array

    def __init__(self, network: Module, own: Preprocessing, mean: Sequence[float], std: Sequence[float]) -> None:
        self.order = -1 if own.order == "BGR" else 1
        m, s = (np.array(numbers, np.float64)[:: self.order] for numbers in (mean, std))
        scale, shift = s / own.std, (m - own.mean) / own.std
        self.same = self.order == 1 and bool((scale == 1).all() and (shift == 0).all())
        self.register_buffer("scale", scale.astype(np.float32))
        self.register_buffer("shift", shift.astype(np.float32))
        self.network = network

    def forward(self, x: Array) -> tuple[Array, Backward]:
        if self.same:
            return self.network(x)
        y, network_backward = self.network(x[..., :: self.order] * self.scale + self.shift)

        def backward(dy):
            return (network_backward(dy) * self.scale)[..., :: self.order]

        return y, backward


class Ensemble(Module):
    """x -> log(mean over k of softmax(network_k(x))), logits (N, classes) whose softmax is the networks' mean.

    networks: pairs of a network and the Preprocessing that it was trained with; they are not copied.
    mean, std: those that x (N, H, W, 3) is normalised with, RGB, as in `Prepared`.
    Raises ValueError where there is no network, and for networks of images of different sizes.
    Source: Lakshminarayanan et al. 2017, section 2.4, with networks that start from different random numbers.
    """

    def __init__(
        self, networks: Sequence[tuple[Module, Preprocessing]], mean: Sequence[float], std: Sequence[float]
    ) -> None:
        if not networks:
            raise ValueError("Ensemble: no network is given: give one, or several whose probabilities are averaged")
        sizes = sorted({own.size for _, own in networks})
        if len(sizes) > 1:
            raise ValueError(
                f"Ensemble: networks for images of {' and '.join(map(str, sizes))} pixels cannot share a batch: "
                "prepare the images for each, and give log_mean_softmax their logits"
            )
        for number, (network, own) in enumerate(networks):
            setattr(self, f"member{number}", Prepared(network, own, mean, std))

    def forward(self, x: Array) -> tuple[Array, Backward]:
        answers, backwards = zip(*(member(x) for _, member in self.children()), strict=True)
        y, mean_backward = log_mean_softmax(array_module(x).stack(answers))

        def backward(dy):
            return sum(member(dlogits) for member, dlogits in zip(backwards, mean_backward(dy), strict=True))

        return y, backward


# Views of an image --------------------------------------------------------------------------------------------------


def tta_views(kind: str, size: int) -> list[tuple[bool, int, int]]:
    """[(mirrored, pixels down, pixels to the right)] of test-time augmentation, for images of `size` pixels.

    "none": the image alone.   "mirror": with its mirror image.   "shifts": both, also moved up, down, left and right by
    a sixteenth of the side, ten views.   Raises ValueError for another kind.
    """
    if kind not in TTA:
        raise ValueError(f"test-time augmentation {kind!r} is unknown: choose one of {', '.join(TTA)}")
    step = max(1, size // 16)
    places = [(0, 0), *([(step, 0), (-step, 0), (0, step), (0, -step)] if kind == "shifts" else [])]
    return [(mirrored, *place) for place in places for mirrored in ((False,) if kind == "none" else (False, True))]


class Views(Module):
    """x -> log(mean over v of softmax(network(view_v(x)))): one network on several views of each image.

    network: takes images (N, H, W, C) and gives logits; it is not copied.   views: as `tta_views` lists them.
    Raises ValueError where there is none.   Source: Krizhevsky et al. 2012, section 4.1 (at test time, ten views).
    """

    def __init__(self, network: Module, views: Sequence[tuple[bool, int, int]]) -> None:
        if not views:
            raise ValueError("Views: no view is given: (False, 0, 0) is the image as it is")
        self.views, self.network = tuple(views), network

    def forward(self, x: Array) -> tuple[Array, Backward]:
        check_image("Views", x)
        views, to_views = zip(*(view_of(x, *view) for view in self.views), strict=True)
        answers, backwards = zip(*(self.network(view) for view in views), strict=True)
        y, mean_backward = log_mean_softmax(array_module(x).stack(answers))

        def backward(dy):
            of_views = zip(to_views, backwards, mean_backward(dy), strict=True)
            return sum(to_view(network(dlogits)) for to_view, network, dlogits in of_views)

        return y, backward


def view_of(x: Array, mirrored: bool = False, down: int = 0, right: int = 0) -> tuple[Array, Backward]:
    """y[n, h, w] = x[n, h - down, w' - right],  w' = W - 1 - w where mirrored, else w;  0 where x has no such pixel

    x (N, H, W, C); down, right: pixels, negative ones up and left. backward(dy) -> dx moves back.
    """
    check_float("view_of", x)
    flip = slice(None, None, -1) if mirrored else slice(None)

    def backward(dy):
        check_gradient("view_of", dy, x.shape, x.dtype)
        return _moved(dy[:, :, flip], -down, -right)

    return _moved(x, down, right)[:, :, flip], backward


def _moved(x, down, right):
    """x moved by so many pixels; what moves in is 0."""
    y = array_module(x).zeros_like(x)
    to, of = zip(*(_overlap(by, side) for by, side in zip((down, right), x.shape[1:3], strict=True)), strict=True)
    y[:, to[0], to[1]] = x[:, of[0], of[1]]
    return y


def _overlap(by, side):
    """(where it goes, where it comes from) of what stays inside when `side` pixels move by `by`."""
    by = max(-side, min(by, side))
    return slice(max(by, 0), side + min(by, 0)), slice(max(-by, 0), side + min(-by, 0))
