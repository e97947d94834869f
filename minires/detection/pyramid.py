"""A feature pyramid: what the deep maps know, carried up to the fine ones that know where it is.

Derivation: docs/detection.md.
"""

from collections.abc import Sequence

import numpy as np

from minires.layers import Conv2d, add, upsample_bilinear2d
from minires.module import Module
from minires.sequential import Sequential
from minires.types import Array, Backward, Rng


class FeaturePyramid(Module):
    """M_last = lateral_last(C_last),   M_k = lateral_k(C_k) + up(M_{k+1}),   P_k = output_k(M_k)

    lateral: convolutions 1x1 to `channels`; up: bilinear, to the size of C_k; output: convolutions 3x3.
    Input: maps (N, H_k, W_k, C_k), the finest first. Output: as many maps (N, H_k, W_k, channels); backward takes a
    tuple of their gradients and returns one of the input maps'.
    Source: Lin et al. 2017a, section 3 (with nearest neighbours in place of bilinear upsampling).
    """

    def __init__(self, in_channels: Sequence[int], channels: int, rng: Rng = None) -> None:
        rng = np.random.default_rng(rng)
        self.lateral = Sequential(*(Conv2d(C, channels, 1, rng=rng) for C in in_channels))
        self.output = Sequential(*(Conv2d(channels, channels, 3, padding=1, rng=rng) for _ in in_channels))

    def forward(self, maps: Sequence[Array]) -> tuple[tuple[Array, ...], Backward]:
        if len(maps) != len(self.lateral):
            raise ValueError(f"FeaturePyramid: {len(maps)} maps, it is built for {len(self.lateral)}: give as many")
        levels: list[tuple[Backward, Backward | None, Backward]] = []
        outputs: list[Array] = []
        above = None
        for C, lateral, output in reversed([*zip(maps, self.lateral, self.output, strict=True)]):
            M, lateral_backward = lateral(C)
            up_backward = None
            if above is not None:
                higher, up_backward = upsample_bilinear2d(above, M.shape[1:3])
                M, _ = add(M, higher)
            P, output_backward = output(M)
            levels.append((lateral_backward, up_backward, output_backward))
            outputs.append(P)
            above = M

        def backward(doutputs):
            dmaps, dfrom_below = [], None
            for dP, (lateral_backward, up_backward, output_backward) in zip(doutputs, reversed(levels), strict=True):
                dM = output_backward(dP)
                if dfrom_below is not None:
                    dM, _ = add(dM, dfrom_below)  # M is used twice: by its own output and by the finer level
                dmaps.append(lateral_backward(dM))  # the sum hands dM to both that it was made of
                dfrom_below = None if up_backward is None else up_backward(dM)
            return tuple(dmaps)

        return tuple(reversed(outputs)), backward
