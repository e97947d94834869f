"""minires: residual networks whose every backward pass is written by hand, in NumPy and CuPy.

An operation is a function x -> (y, backward), and backward(dy) gives dx. Where to begin:

    minires.layers          the operations, each with its backward pass directly below: conv2d, batch_norm, relu, ...
    minires.textbook        the same in plain NumPy, on a few screens
    minires.gradcheck       is a backward pass the derivative of its forward pass? For yours, too
    minires.losses          cross_entropy, mse_loss, ...
    minires.models          resnet8 to resnet110 for CIFAR, resnet18 to resnet152 for ImageNet; fold(model)
    minires.optim           SGD, Adam, AdamW, RMSprop;  minires.schedules: their learning rates
    minires.training        one step, an evaluation;  minires.trainer: a run
    minires.data            CIFAR-10, folders of pictures, augmentation, batches
    minires.pretrained      weights from files of PyTorch, safetensors, NumPy and Keras
    minires.inspection      a model as a table, what each layer gave, what speaks for a class
    minires.backend         arrays, devices, threads: for who writes a fast operation

    from minires import Module, Parameter, Sequential      for networks of your own
    python -m minires.exercises                            backward passes to write, to mend and to predict

The pages begin with docs/start.md and docs/protocol.md.
"""

from minires import backend, gradcheck, inspection, layers, losses, models, optim, schedules
from minires.modes import no_grad
from minires.module import Module, Parameter
from minires.sequential import Sequential

__all__ = [
    "Module",
    "Parameter",
    "Sequential",
    "backend",
    "gradcheck",
    "inspection",
    "layers",
    "losses",
    "models",
    "no_grad",
    "optim",
    "schedules",
]
__version__ = "0.1.0"
