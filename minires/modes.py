"""What holds within a block: nothing kept for a backward pass; a model in inference mode."""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any, NoReturn

_keep_backward = contextvars.ContextVar("minires_keep_backward", default=True)


@contextlib.contextmanager
def no_grad() -> Iterator[None]:
    """Within this block modules keep nothing for a backward pass: memory is that of a block, not of the network.

    No number that a module returns depends on it.
    """
    with keeping_backward(False):
        yield


@contextlib.contextmanager
def keeping_backward(keeps: bool) -> Iterator[None]:
    """Within this block modules keep what a backward pass needs, or do not, whatever holds around it."""
    before = _keep_backward.get()
    try:  # Ctrl-C may come as soon as anything has been changed
        _keep_backward.set(keeps)
        yield
    finally:
        _keep_backward.set(before)


@contextlib.contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Within this block all modules of a Module are in inference mode; afterwards each is in its mode of before."""
    before = [(module, module.training) for module in model.modules()]

    def put_back():
        for module, training in before:
            module.training = training

    try:
        model.eval()
        yield
    finally:
        try:
            put_back()
        except BaseException:  # Ctrl-C has come in there: once more
            put_back()
            raise


def keeps_backward() -> bool:
    """Whether a forward pass is to keep what its backward pass needs: not under no_grad()."""
    return _keep_backward.get()


def no_backward(dy: Any) -> NoReturn:
    """The backward pass of a forward pass under no_grad()."""
    raise RuntimeError("this forward pass ran under no_grad() and kept nothing: call the module outside it")


@contextlib.contextmanager
def gradients_kept(model: Any) -> Iterator[None]:
    """Within this block backward passes add nothing to the parameters' gradients: they give dx alone."""
    before = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        for parameter, _ in before:
            parameter.requires_grad = False
        yield
    finally:
        for parameter, requires_grad in before:
            parameter.requires_grad = requires_grad
