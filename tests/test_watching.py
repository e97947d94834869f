"""watching: every call noted once, and the model afterwards as it was, however the blocks lie."""

import copy
import inspect
import threading

import numpy as np
import pytest

from minires.inspection import watching
from minires.inspection.summary import summary
from minires.layers import Conv2d, Linear, ReLU
from minires.module import Module
from minires.sequential import Sequential

X = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)


def network():
    return Sequential(Linear(3, 3, rng=0), ReLU(), Linear(3, 2, rng=1))


def names(calls):
    return [call.name for call in calls]


def untouched(model):
    return all("forward" not in vars(module) for module in model.modules())


def test_calls_and_gradients():
    model = network()
    with watching(model) as calls:
        y, backward = model(X)
    backward(np.ones_like(y))
    assert names(calls) == ["0", "1", "2", ""]
    assert calls[0].inputs[0] is X and calls[-1].y is y
    np.testing.assert_array_equal(calls[1].dy, np.ones_like(y) @ model[2].weight.data)
    assert untouched(model)


def test_a_block_within_a_block():
    model = network()
    with watching(model) as outer:
        with watching(model, ["1"]) as inner:
            model(X)
        model(X)
    model(X)
    assert names(inner) == ["1"]
    assert names(outer) == 2 * ["0", "1", "2", ""]
    assert untouched(model)


@pytest.mark.parametrize("first", [0, 1])
def test_blocks_that_end_in_any_order(first):
    model = network()
    blocks = [watching(model, ["0"]) for _ in range(2)]
    calls = [block.__enter__() for block in blocks]
    model(X)
    blocks[first].__exit__(None, None, None)
    model(X)
    blocks[1 - first].__exit__(None, None, None)
    model(X)
    assert (len(calls[first]), len(calls[1 - first])) == (1, 2)
    assert untouched(model)


def test_the_users_own_forward_is_called_and_stays():
    model = network()

    def twice(x, scale=2):
        return scale * x, lambda dy: scale * dy

    model[1].forward = twice
    with watching(model) as calls, pytest.raises(ZeroDivisionError):
        model(X)
        np.testing.assert_array_equal(model[1].forward(X, scale=3)[0], 3 * X)
        raise ZeroDivisionError
    np.testing.assert_array_equal(calls[1].y, 2 * calls[0].y)
    assert vars(model[1])["forward"] is twice
    del model[1].forward
    with watching(model) as calls:
        model[1].forward = twice  # within the block
        model(X)
    assert "1" not in names(calls) and vars(model[1])["forward"] is twice


def test_a_module_with_two_names_is_noted_once_a_call():
    layer = Linear(3, 3, rng=0)
    model = Sequential(layer, ReLU(), layer)
    with watching(model) as calls:
        model(X)
    assert names(calls) == ["0", "1", "0", ""]
    with watching(model, ["2"]) as calls:
        model(X)
    assert names(calls) == ["2", "2"]
    assert untouched(model)
    layer = Conv2d(3, 3, 1)
    table = summary(Sequential(layer, layer), (4, 4, 3)).splitlines()
    assert [line.split()[0] for line in table[2:4]] == ["0", "0"] and table[4].startswith("-")


def test_a_deep_copy_has_weights_of_its_own_and_is_not_watched():
    model = network()
    with watching(model) as calls:
        twin = copy.deepcopy(model)
        for parameter in twin.parameters():
            parameter.data = parameter.data * 0
        y, _ = twin(X)
    assert not y.any() and not calls
    y, _ = model(X)
    assert y.any()


def test_keyword_arguments_are_passed_on_and_none_is_declared():
    class Scaled(Module):
        def forward(self, x, lean=False):
            return (3 if lean else 2) * x, lambda dy: dy

    module = Scaled()
    with watching(module):
        assert "lean" not in inspect.signature(module.forward).parameters
        np.testing.assert_array_equal(module.forward(X, lean=True)[0], 3 * X)
    assert "lean" in inspect.signature(module.forward).parameters


def test_threads():
    model, start = network(), threading.Barrier(4)

    def work():
        start.wait()
        for _ in range(50):
            with watching(model) as calls:
                model(X)
            assert len(calls) >= 4

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert untouched(model)
