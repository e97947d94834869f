"""Task: what a Trainer asks of it, and what it says where a part is missing."""

import numpy as np
import pytest

from minires.losses import mse_loss
from minires.module import Module, Parameter
from minires.optim import SGD
from minires.task import Task
from minires.training import train_step


class Scaled(Module):
    """y = weight * x"""

    def __init__(self):
        self.weight = Parameter(np.ones(1))

    def forward(self, x):
        def backward(dy):
            self.weight.add_grad((dy * x).sum(keepdims=True).reshape(1))
            return dy * self.weight.data

        return self.weight.data * x, backward


class Halve(Task):
    """Half of x is wanted; what is nearer to that than 1 is right. Targets are no array."""

    def loss(self, y, targets):
        return mse_loss(y, targets["half"])

    def count_right(self, y, targets):
        return (abs(y - targets["half"]) < 1).sum()


def test_a_step_asks_the_task_for_the_loss_and_for_what_is_right():
    model, x = Scaled(), np.array([1.0, 2, 4])
    loss, right = train_step(model, SGD(model.parameters(), 0.01), x, {"half": x / 2}, criterion=Halve())
    assert loss == pytest.approx((0.5**2 + 1 + 2**2) / 3) and right == 1
    assert model.weight.data[0] == pytest.approx(1 - 0.01 * 2 * (0.5 + 2 + 8) / 3)


def test_a_task_without_its_parts_says_which():
    for call, name in (
        (lambda task: task.loss(0, 0), "loss"),
        (lambda task: task.count_right(0, 0), "count_right"),
        (lambda task: task.evaluate(None, None, 2), "evaluate"),
    ):
        with pytest.raises(NotImplementedError, match=rf"^Task must define {name}\("):
            call(Task())
