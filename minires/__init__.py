"""minires: residual networks whose every backward pass is written by hand, in NumPy and CuPy."""

from minires.module import Module, Parameter, Sequential, no_grad

__all__ = ["Module", "Parameter", "Sequential", "no_grad"]
__version__ = "0.1.0"
