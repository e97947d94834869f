"""The one place that knows about devices and threads.

Arrays carry their device: NumPy's live on the CPU, CuPy's on the GPU. Everything above this package asks
`array_module(x)` for the module that x belongs to and is then one algorithm for both.

    array_module(x)            numpy or cupy, whichever x belongs to
    to_device(x, "gpu")        the same values on another device
    for_each_block(f, x)       f on slices of the batch, on every core (one slice, the whole batch, on a GPU)
    map_blocks(f, x, ...)      an element-wise f, block by block, into a new array
    elementwise(f, x, ...)     an element-wise f at once
    im2col, col2im             patches of an image as rows, and the adjoint
    max_of_windows             the largest pixel of each window
    move_pixels, ...           batches of images augmented and normalised
    convolve, ...              a convolution and its two gradients
    mean_cost, count_largest   a loss of rows of logits, and how many of them are right
    matmul(a, b)               a product outside of blocks
    Links                      numbers from GPU to GPU, each another process's
    recorded(f, arrays)        f, of which a GPU is given all launches at once
"""

from minires.backend.arrays import array_module, device_of
from minires.backend.cpu import winograd
from minires.backend.cpu.blas import one_blas_thread
from minires.backend.cpu.executors import executor
from minires.backend.cpu.workers import get_threads, set_threads
from minires.backend.errors import DeviceError
from minires.backend.geometry import Geometry
from minires.backend.gpu.links import Links, can_link
from minires.backend.halves import half, is_half, widened
from minires.backend.primitives.blocks import (
    for_each_band,
    for_each_block,
    map_blocks,
    sum_blocks,
)
from minires.backend.primitives.channels import (
    channel_moments,
    far_from_zero,
    join_channels,
    map_channels,
    part_channels,
    sum_channels,
)
from minires.backend.primitives.classes import count_each, count_largest, mean_cost, mean_cost_gradient
from minires.backend.primitives.convolution import (
    convolve,
    convolve_gradients,
    convolve_input_gradient,
    convolve_weight_gradient,
)
from minires.backend.primitives.devices import (
    DEVICES,
    describe,
    empty,
    is_device,
    known_at_once,
    memory_peak,
    out_of_memory,
    resolve_device,
    shortage,
    steps_between_reads,
    synchronize,
    to_device,
    to_numpy,
    zeros,
)
from minires.backend.primitives.elementwise import (
    all_finite,
    choose,
    elementwise,
    elementwise_each,
    let_through,
    lies_well,
)
from minires.backend.primitives.images import keep_pixels, move_pixels, normalize_rows, spread_pixels
from minires.backend.primitives.patches import (
    borrow_padded,
    borrow_patches,
    col2im,
    im2col,
    output_size,
    pad,
    window_views,
)
from minires.backend.primitives.pooling import give_to_largest, max_of_windows
from minires.backend.primitives.products import matmul
from minires.backend.primitives.recording import gains_from_recording, places, recorded

__all__ = [
    "DEVICES",
    "DeviceError",
    "Geometry",
    "Links",
    "all_finite",
    "array_module",
    "borrow_padded",
    "borrow_patches",
    "can_link",
    "channel_moments",
    "choose",
    "col2im",
    "convolve",
    "convolve_gradients",
    "convolve_input_gradient",
    "convolve_weight_gradient",
    "count_each",
    "count_largest",
    "describe",
    "device_of",
    "elementwise",
    "elementwise_each",
    "empty",
    "executor",
    "far_from_zero",
    "for_each_band",
    "for_each_block",
    "gains_from_recording",
    "get_threads",
    "give_to_largest",
    "half",
    "im2col",
    "is_device",
    "is_half",
    "join_channels",
    "keep_pixels",
    "known_at_once",
    "let_through",
    "lies_well",
    "map_blocks",
    "map_channels",
    "matmul",
    "max_of_windows",
    "mean_cost",
    "mean_cost_gradient",
    "memory_peak",
    "move_pixels",
    "normalize_rows",
    "one_blas_thread",
    "out_of_memory",
    "output_size",
    "pad",
    "part_channels",
    "places",
    "recorded",
    "resolve_device",
    "set_threads",
    "shortage",
    "spread_pixels",
    "steps_between_reads",
    "sum_blocks",
    "sum_channels",
    "synchronize",
    "to_device",
    "to_numpy",
    "widened",
    "window_views",
    "winograd",
    "zeros",
]
