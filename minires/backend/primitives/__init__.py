"""The list of what layers may use: one meaning each, on a CPU and on a GPU.

What only one of the two does lies in `cpu/` and `gpu/`; here is the choice between them.
"""

from minires.backend.primitives.blocks import (
    for_each_band,
    for_each_block,
    map_blocks,
    sum_blocks,
)
from minires.backend.primitives.channels import channel_moments, far_from_zero, map_channels, sum_channels
from minires.backend.primitives.convolution import (
    convolve,
    convolve_gradients,
    convolve_input_gradient,
    convolve_weight_gradient,
)
from minires.backend.primitives.devices import (
    DEVICES,
    empty,
    memory_peak,
    out_of_memory,
    resolve_device,
    steps_between_reads,
    synchronize,
    to_device,
    to_numpy,
    zeros,
)
from minires.backend.primitives.patches import (
    borrow_padded,
    borrow_patches,
    col2im,
    im2col,
    output_size,
    pad,
    window_views,
)
from minires.backend.primitives.products import matmul

__all__ = [
    "DEVICES",
    "borrow_padded",
    "borrow_patches",
    "channel_moments",
    "col2im",
    "convolve",
    "convolve_gradients",
    "convolve_input_gradient",
    "convolve_weight_gradient",
    "empty",
    "far_from_zero",
    "for_each_band",
    "for_each_block",
    "im2col",
    "map_blocks",
    "map_channels",
    "matmul",
    "memory_peak",
    "out_of_memory",
    "output_size",
    "pad",
    "resolve_device",
    "steps_between_reads",
    "sum_blocks",
    "sum_channels",
    "synchronize",
    "to_device",
    "to_numpy",
    "window_views",
    "zeros",
]
