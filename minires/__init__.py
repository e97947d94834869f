"""minires: residual networks whose every backward pass is written by hand, in NumPy and CuPy."""

__version__ = "0.1.0"
