"""minires: residual networks whose every backward pass is written by hand, in NumPy and CuPy."""

from minires import backend, gradcheck, layers, losses, models, optim, schedules
from minires.inspection import summary
from minires.module import Module, Parameter, no_grad
from minires.sequential import Sequential

__all__ = [
    "Module",
    "Parameter",
    "Sequential",
    "backend",
    "gradcheck",
    "layers",
    "losses",
    "models",
    "no_grad",
    "optim",
    "schedules",
    "summary",
]
__version__ = "0.1.0"
