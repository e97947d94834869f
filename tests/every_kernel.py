"""Every kernel that the library makes, as text: all that device_cases.py has, and the networks that people train.

Nothing is compiled or computed for it: what would launch a kernel or multiply is written down and does nothing.
"""

import sys
from dataclasses import dataclass
from unittest import mock

import cupy_double
import numpy as np
from device_cases import (
    LOSSES,
    MODELS,
    MODULES,
    OPERATIONS,
    OPTIMIZERS,
    half_inputs,
    run_module,
    run_operation,
    run_optimizer,
    run_training,
)

from minires import models
from minires.backend import count_largest, to_device
from minires.backend.gpu import compiling, graphs, parameters, products
from minires.backend.halves import HALVES, widened
from minires.data import Augment, Loader, Mix
from minires.ema import AveragedModel
from minires.models.fold import fold
from minires.modes import no_grad
from minires.optim import clip_to_norm
from minires.precision import options_for
from minires.training import train_step

NETWORKS = {"resnet20": (models.resnet20, 32), "resnet18": (models.resnet18, 64)}  # and the size of an image


@dataclass(frozen=True, order=True)
class Kernel:
    """A kernel's name, its text after the prelude, and the type of its numbers."""

    name: str
    body: str
    real: str

    def text(self, index):
        """All of it, for an integer type of indices."""
        return compiling.text(self.body, self.real, index)

    @property
    def kind(self):
        """What it computes, in whatever numbers: without the sizes that are constants of its text."""
        lines = [line for line in self.body.splitlines() if not line.startswith("#define")]
        return self.name, "\n".join(lines)


def every_kernel():
    """The kernels of a pass through the whole library, in order."""
    found = set()

    def written_down(xp, name, body, real, index):
        found.add(Kernel(name, body, real))
        return lambda *launch: None

    def multiplied(a, b, out=None, tf32=False):
        return cupy_double.empty((*a.shape[:-1], b.shape[-1]), widened(a.dtype)) if out is None else out

    with (
        mock.patch.dict(sys.modules, cupy=cupy_double),
        mock.patch.object(compiling, "_compiled", written_down),
        mock.patch.object(products, "product", multiplied),
        mock.patch.dict(parameters._made, clear=True),
        np.errstate(all="ignore"),  # what was not computed is any number
    ):
        for dtype in ("float32", "float64"):
            _run_everything(dtype)
        for name in HALVES:
            _run_halves(name)
        if None in parameters._made.values():
            raise AssertionError("an element-wise function of the library became no kernel")
    return sorted(found)


def _run_everything(dtype):
    for case in OPERATIONS:
        run_operation(case, dtype, "gpu")
    for make, shape in MODULES.values():
        for training in (True, False):
            run_module(make, shape, dtype, "gpu", training=training)
    for make in OPTIMIZERS.values():
        run_optimizer(make, dtype, "gpu")
    for make, shape in MODELS.values():
        for lean in (True, False):
            run_training(make, shape, OPTIMIZERS["SGD"], dtype, "gpu", steps=1, lean=lean)
    for make, size in NETWORKS.values():
        run_training(lambda make=make: make(rng=0), (1, size, size, 3), OPTIMIZERS["SGD"], dtype, "gpu", steps=1)
    _run_folded(dtype)
    _run_recorded(dtype)
    _run_averaged(dtype)
    _run_augmented()
    count_largest(to_device(np.ones((3, 4), dtype), "gpu"), to_device(np.arange(3), "gpu"))


def _run_halves(name):
    for case in OPERATIONS:
        if case.function.__name__ not in LOSSES:
            arrays = [to_device(array, "gpu") for array in half_inputs(case, name)]
            y, backward = case.function(*arrays, **case.options)
            backward(cupy_double.ones_like(y))
    networks = [(make, shape) for make, shape in MODELS.values()]
    for make, shape in [*networks, *((make, (1, size, size, 3)) for make, size in NETWORKS.values())]:
        model = make() if (make, shape) in networks else make(rng=0)
        for kind in OPTIMIZERS.values():
            optimizer = kind(model.to("gpu").parameters())
            labels = to_device(np.zeros(shape[0], np.int64), "gpu")
            train_step(model, optimizer, to_device(np.ones(shape, "f"), "gpu"), labels, **options_for(model, name))


def _run_folded(dtype):
    folded = fold(models.resnet8(rng=0).to(np.dtype(dtype)).eval()).to("gpu")
    with no_grad():
        folded(to_device(np.ones((1, 8, 8, 3), dtype), "gpu"))


def _run_averaged(dtype):
    model = models.resnet8(rng=0).to(np.dtype(dtype)).to("gpu")
    AveragedModel(model, 0.9).update(0)
    for parameter in model.parameters():
        parameter.grad = parameter.data
    clip_to_norm(model.parameters(), 1.0)


def _run_augmented():
    images, labels = np.zeros((4, 8, 8, 3), np.uint8), np.arange(4)
    for augment in (Augment(), Augment(padding=0), Augment(flip=False)):
        list(Loader(images, labels, 2, (0.5,) * 3, (0.25,) * 3, augment=augment, device="gpu").epoch(0))
    for mix in (Mix(4, mixup=0.4), Mix(4, cutmix=1.0)):
        list(Loader(images, labels, 2, (0.5,) * 3, (0.25,) * 3, mix=mix, device="gpu").epoch(0))


def _run_recorded(dtype):
    x = to_device(np.ones((2, 3), dtype), "gpu")
    graphs.Graph(lambda x: [x + x], [x]).replay(x)
