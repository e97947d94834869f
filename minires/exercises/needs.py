"""What an exercise needs: those that its forward pass is put together from, and those that taught its idea."""

from minires.exercises.catalogue import EXERCISES
from minires.exercises.generate import parts

_IDEAS = {  # beside the parts
    "sigmoid": ("relu",),
    "tanh": ("sigmoid",),
    "silu": ("sigmoid",),
    "mse_loss": ("add",),
    "softmax": ("sigmoid",),
    "cross_entropy": ("softmax",),
    "dropout": ("relu",),
    "concat": ("add",),
    "avg_pool2d": ("global_avg_pool2d",),
    "max_pool2d": ("relu", "avg_pool2d"),
    "adaptive_avg_pool2d": ("avg_pool2d",),
    "im2col": ("adaptive_avg_pool2d",),
    "conv2d": ("linear",),
    "grouped_conv2d": ("conv2d",),
    "batch_norm_inference": ("linear",),
    "batch_norm": ("global_avg_pool2d", "batch_norm_inference"),
    "pad_shortcut": ("concat",),
    "broadcast": ("add",),
    "group_norm": ("batch_norm",),
    "preact_block": ("basic_block",),
}


def needed(name: str) -> list[str]:
    """Names of the exercises to do before this one, in their order."""
    wanted = {*parts(EXERCISES[name]), *_IDEAS.get(name, ())}
    return [other for other in EXERCISES if other in wanted]
