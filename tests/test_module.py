"""Parameters, modules, their names and their state."""

import functools
import gc
import subprocess
import sys
import tracemalloc
import weakref
from collections import deque

import numpy as np
import pytest

from minires import Module, Parameter, Sequential, no_grad
from minires.backend.cpu import memory
from minires.layers import BatchNorm2d, BatchNormReLU2d, Conv2d, Dropout, Linear, ReLU, relu
from minires.losses import cross_entropy
from minires.models import ResNet, build, resnet8, resnet20, resnet44
from minires.modes import evaluating
from minires.optim import SGD
from minires.sequential import call
from minires.training import train_step

X = np.random.default_rng(0).standard_normal((2, 5)).astype(np.float32)


def block_names(prefix, downsample):
    """A block's parameters as torchvision names them."""
    norm = ("weight", "bias")
    names = [f"{prefix}.conv1.weight", *(f"{prefix}.bn1.{name}" for name in norm)]
    names += [f"{prefix}.conv2.weight", *(f"{prefix}.bn2.{name}" for name in norm)]
    if downsample:
        names += [f"{prefix}.downsample.0.weight", *(f"{prefix}.downsample.1.{name}" for name in norm)]
    return names


class TestNames:
    @pytest.mark.parametrize("shortcut", ["A", "B"])
    def test_of_a_resnets_parameters_are_torchvisions(self, shortcut):
        expected = ["conv1.weight", "bn1.weight", "bn1.bias"]
        for layer in (1, 2, 3):
            for index in range(3):
                downsample = shortcut == "B" and layer > 1 and index == 0
                expected += block_names(f"layer{layer}.{index}", downsample)
        expected += ["fc.weight", "fc.bias"]
        assert [name for name, _ in resnet20(shortcut=shortcut).named_parameters()] == expected

    def test_of_the_state_have_buffers_after_their_modules_parameters(self):
        keys = list(resnet8(shortcut="B").state_dict())
        assert keys[:6] == [
            "conv1.weight",
            "bn1.weight",
            "bn1.bias",
            "bn1.running_mean",
            "bn1.running_var",
            "layer1.0.conv1.weight",
        ]
        assert "layer2.0.downsample.1.running_var" in keys
        assert keys[-2:] == ["fc.weight", "fc.bias"]

    def test_are_pytorchs_in_pytorchs_order(self, torch):
        class Theirs(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.conv1 = torch.nn.Conv2d(3, 4, 3)
                self.scale = torch.nn.Parameter(torch.ones(4))
                self.layer1 = torch.nn.Sequential(
                    torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.Sequential(torch.nn.Linear(4, 2))
                )

        class Ours(Module):
            def __init__(self):
                self.conv1 = Conv2d(3, 4, 3)
                self.scale = Parameter(np.ones(4))
                self.layer1 = Sequential(BatchNorm2d(4), ReLU(), Sequential(Linear(4, 2)))

        ours, theirs = Ours(), Theirs()
        assert [name for name, _ in ours.named_parameters()] == [name for name, _ in theirs.named_parameters()]
        keys = [key for key in theirs.state_dict() if not key.endswith("num_batches_tracked")]
        assert list(ours.state_dict()) == keys
        assert [name for name, _ in ours.named_modules()] == [name for name, _ in theirs.named_modules()]

    def test_without_bias_there_is_no_such_key(self):
        assert list(Linear(2, 3, bias=False).state_dict()) == ["weight"]

    def test_a_shared_module_has_its_parameters_once(self):
        shared = Linear(3, 3)
        assert len(Sequential(shared, ReLU(), shared).parameters()) == 2


class TestState:
    def test_round_trip(self):
        one, two = resnet8(rng=0), resnet8(rng=1)
        one.bn1.running_mean += 3
        assert two.load_state_dict(one.state_dict()) is two
        for key, value in one.state_dict().items():
            np.testing.assert_array_equal(two.state_dict()[key], value)
        x = np.random.default_rng(0).standard_normal((1, 8, 8, 3)).astype(np.float32)
        np.testing.assert_array_equal(one.eval()(x)[0], two.eval()(x)[0])

    def test_is_a_copy_out_and_in(self):
        module = BatchNorm2d(2)
        state = module.state_dict()
        state["weight"][:] = 5
        state["running_mean"][:] = 5
        assert module.weight.data.tolist() == [1, 1]
        assert module.running_mean.tolist() == [0, 0]
        module.load_state_dict(state)
        state["weight"][:] = 7
        assert module.weight.data.tolist() == [5, 5]

    def test_is_cast_to_the_modules_dtype(self):
        module = Linear(2, 3).load_state_dict({"weight": np.ones((3, 2)), "bias": np.ones(3, np.float16)})
        assert {parameter.data.dtype for parameter in module.parameters()} == {np.dtype(np.float32)}

    def test_every_problem_in_one_error_and_nothing_changed(self):
        model = resnet8(rng=0)
        before = model.state_dict()
        state = {key: value + 1 for key, value in before.items()}
        del state["conv1.weight"], state["layer3.0.bn2.running_var"]
        state["extra.weight"] = state["module.fc.weight"] = np.zeros(3)
        state["fc.weight"] = np.zeros((100, 64))
        state["bn1.bias"] = np.zeros(1)
        with pytest.raises(ValueError) as info:
            model.load_state_dict(state)
        message = str(info.value)
        assert message.startswith("state does not fit ResNet: ")
        assert "missing: conv1.weight, layer3.0.bn2.running_var" in message
        assert "unexpected: extra.weight, module.fc.weight" in message
        assert "fc.weight has (100, 64), the model (10, 64)" in message
        assert "bn1.bias has (1,), the model (16,)" in message
        for key, value in model.state_dict().items():
            np.testing.assert_array_equal(value, before[key])

    def test_not_strict_takes_what_fits(self):
        module = Linear(2, 3)
        bias = module.bias.data.copy()
        module.load_state_dict({"weight": np.full((3, 2), 4.0), "other": np.ones(2)}, strict=False)
        assert (module.weight.data == 4).all()
        np.testing.assert_array_equal(module.bias.data, bias)

    def test_not_strict_still_refuses_a_wrong_shape(self):
        with pytest.raises(ValueError, match=r"misshapen: weight has \(2, 3\), the model \(3, 2\)"):
            Linear(2, 3).load_state_dict({"weight": np.ones((2, 3))}, strict=False)

    def test_num_batches_tracked_is_of_no_interest(self):
        module = BatchNorm2d(2)
        state = module.state_dict()
        module.load_state_dict({**state, "num_batches_tracked": np.array(7)})
        Sequential(module).load_state_dict(
            {**{f"0.{key}": value for key, value in state.items()}, "0.num_batches_tracked": np.array(7)}
        )
        assert "num_batches_tracked" not in module.state_dict()

    def test_a_value_that_is_no_array_changes_nothing(self):
        module = Linear(2, 3)
        before = module.state_dict()
        with pytest.raises((TypeError, ValueError)):
            module.load_state_dict({"weight": np.ones((3, 2)), "bias": None})
        np.testing.assert_array_equal(module.weight.data, before["weight"])


class Twice(Module):
    """y = (x * w) * w"""

    def __init__(self):
        self.w = Parameter(np.array([2.0, 3.0]))

    def forward(self, x):
        w = self.w.data

        def backward(dy):
            self.w.add_grad((dy * x * w).sum(axis=0))
            self.w.add_grad((dy * x * w).sum(axis=0))
            return dy * w * w

        return x * w * w, backward


class TestGradients:
    def test_of_a_parameter_used_twice_add_up(self):
        module, x = Twice(), np.array([[1.0, 2.0], [3.0, 4.0]])
        _, backward = module(x)
        backward(np.ones((2, 2)))
        np.testing.assert_array_equal(module.w.grad, 2 * x.sum(axis=0) * module.w.data)

    def test_of_a_module_called_twice_add_up(self):
        module = Linear(5, 5, rng=0).to(np.float64)
        x = X.astype(np.float64)
        y, first_backward = module(x)
        _, second_backward = module(y)
        first_backward(second_backward(np.ones((2, 5))))
        W, b = module.weight.data, module.bias.data
        dy = np.ones((2, 5))
        np.testing.assert_allclose(module.weight.grad, dy.T @ (x @ W.T + b) + (dy @ W).T @ x, rtol=1e-12)
        np.testing.assert_allclose(module.bias.grad, dy.sum(axis=0) + (dy @ W).sum(axis=0), rtol=1e-12)

    def test_adding_up_leaves_the_arrays_that_were_added(self):
        parameter, first = Parameter(np.zeros(2)), np.ones(2)
        parameter.add_grad(first)
        parameter.add_grad(first)
        assert parameter.grad.tolist() == [2, 2]
        assert first.tolist() == [1, 1]

    def test_zero_grad(self):
        module = Linear(5, 3)
        y, backward = module(X)
        backward(y)
        assert all(parameter.grad is not None for parameter in module.parameters())
        module.zero_grad()
        assert all(parameter.grad is None for parameter in module.parameters())


class TestNoGrad:
    @pytest.mark.parametrize("training", [True, False])
    def test_changes_no_number(self, training):
        model = resnet8(rng=0, shortcut="B").train(training)
        x = np.random.default_rng(0).standard_normal((2, 8, 8, 3)).astype(np.float32)
        with no_grad():
            y = model(x)[0]
        np.testing.assert_array_equal(y, model(x)[0])

    def test_backward_raises(self):
        with no_grad():
            y, backward = Linear(5, 3)(X)
        with pytest.raises(RuntimeError, match=r"under no_grad\(\) and kept nothing: call the module outside it"):
            backward(y)

    def test_same_output_and_an_end(self):
        module = Linear(5, 3, rng=0)
        with no_grad():
            inside, _ = module(X)
        outside, backward = module(X)
        np.testing.assert_array_equal(inside, outside)
        assert backward(outside).shape == X.shape

    def test_ends_after_an_exception_and_nests(self):
        with pytest.raises(ZeroDivisionError), no_grad():
            raise ZeroDivisionError
        with no_grad():
            with no_grad():
                pass
            _, backward = Linear(5, 3)(X)
        with pytest.raises(RuntimeError):
            backward(X)
        y, backward = Linear(5, 3)(X)
        backward(y)

    def test_keeps_no_intermediate_array(self):
        class Watched(ReLU):
            seen: list = []  # noqa: RUF012

            def forward(self, x):
                y, backward = relu(x)
                self.seen.append(weakref.ref(y))
                return y, backward

        network = Sequential(*(Watched() for _ in range(4)))
        y, _backward = network(X)
        gc.disable()  # freed by their count of references, not some day
        try:
            assert all(reference() is not None for reference in Watched.seen)
            Watched.seen.clear()
            with no_grad():
                y, _backward = network(X)
            assert [reference() is not None for reference in Watched.seen] == [False, False, False, True]
            assert Watched.seen[-1]() is y
        finally:
            gc.enable()

    def test_memory_does_not_grow_with_depth(self):
        x = np.zeros((8, 32, 32, 3), np.float32)

        def peak(model):
            model(x)  # scratch memory and workers are there from now on
            memory.release()  # and what comes now is counted
            tracemalloc.start()
            _result = model(x)
            used = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            return used

        shallow, deep = resnet20(rng=0).eval(), resnet44(rng=0).eval()
        training = peak(deep)
        with no_grad():
            assert peak(deep) < 1.05 * peak(shallow)
            assert peak(deep) < 0.25 * training


class Watched(ReLU):
    """relu that notes, whenever a backward pass goes through, which outputs of its kind are still alive."""

    outputs: list = []  # noqa: RUF012
    alive: list = []  # noqa: RUF012

    def __init__(self):
        self.learned = Parameter(np.zeros(1))  # or there would be nothing to go back for

    def forward(self, x):
        y, relu_backward = relu(x)
        self.outputs.append(weakref.ref(y))

        def backward(dy):
            self.alive.append([reference() is not None for reference in self.outputs])
            return relu_backward(dy)

        return y, backward


class Lent(Module):
    """The identity, which notes how much the pool of arrays has lent when a backward pass goes through."""

    noted: list = []  # noqa: RUF012

    def forward(self, x):
        def backward(dy):
            self.noted.append(memory._pool.lent)
            return dy

        return x, backward


class TestLeanBackward:
    @pytest.mark.parametrize(
        ("name", "shortcut"), [("resnet8", "A"), ("resnet8", "B"), ("plain8", "A"), ("simple_cnn", "A")]
    )
    def test_same_gradients_of_parameters(self, name, shortcut):
        rng = np.random.default_rng(0)
        x, dy = rng.standard_normal((2, 32, 32, 3)), rng.standard_normal((2, 10))
        usual, lean = (build(name, shortcut=shortcut, rng=0).to(np.float64) for _ in "12")
        y, backward = usual(x)
        assert backward(dy).shape == x.shape
        lean_y, backward = lean(x, lean=True)
        np.testing.assert_array_equal(lean_y, y)
        backward(dy)
        for (path, one), other in zip(usual.named_parameters(), lean.parameters(), strict=True):
            np.testing.assert_allclose(other.grad, one.grad, rtol=1e-9, atol=1e-12, err_msg=path)

    @pytest.mark.parametrize("shortcut", ["A", "B", "none"])
    def test_a_residual_network_gives_no_gradient_of_x(self, shortcut):
        y, backward = ResNet(8, shortcut=shortcut, rng=0)(np.ones((1, 8, 8, 3), np.float32), lean=True)
        assert backward(y) is None

    def test_training_comes_to_the_same(self):
        rng = np.random.default_rng(0)
        x, labels = rng.standard_normal((4, 8, 8, 3)), rng.integers(0, 10, 4)

        def trained(lean):
            model = resnet8(rng=0).to(np.float64)
            optimizer = SGD(model.parameters(), lr=0.05, momentum=0.9)
            for _ in range(4):
                model.zero_grad()
                logits, backward = model(x, lean=lean)
                backward(cross_entropy(logits, labels)[1]())
                optimizer.step()
            return model.state_dict()

        usual, lean = trained(False), trained(True)
        for key, array in usual.items():
            np.testing.assert_allclose(lean[key], array, rtol=1e-8, atol=1e-10, err_msg=key)

    @pytest.mark.parametrize("model", [lambda: resnet8(rng=0), lambda: Sequential(Linear(3, 2, rng=0), ReLU())])
    def test_a_second_backward_pass_raises(self, model):
        model = model()
        x = np.ones((2, 3) if isinstance(model, Sequential) else (2, 8, 8, 3), np.float32)
        y, backward = model(x, lean=True)
        backward(y)
        with pytest.raises(RuntimeError, match=r"a backward pass was called twice, but lets go of what it used"):
            backward(y)

    def test_without_it_a_second_backward_pass_is_the_first(self):
        model = resnet8(rng=0)
        y, backward = model(np.ones((2, 8, 8, 3), np.float32))
        np.testing.assert_array_equal(backward(y), backward(y))

    def test_once_is_half_of_it(self):
        """dx as ever, but from one backward pass only."""
        network = Sequential(Sequential(Conv2d(3, 4, 3, rng=0), ReLU()), Conv2d(4, 2, 1, rng=1))
        x = np.random.default_rng(0).standard_normal((2, 6, 6, 3))
        y, backward = network.to(np.float64)(x, once=True)
        network.zero_grad()
        np.testing.assert_array_equal(backward(y), network(x)[1](y))
        with pytest.raises(RuntimeError, match="a backward pass was called twice"):
            backward(y)

    def test_a_dy_that_was_refused_may_be_followed_by_a_right_one(self):
        network = Sequential(Sequential(Conv2d(3, 4, 3, rng=0), ReLU()), Conv2d(4, 2, 1, rng=1))
        y, backward = network(np.ones((2, 6, 6, 3), np.float32), once=True)
        with pytest.raises(ValueError, match="dy is float64, y float32"):
            backward(np.ones(y.shape))
        assert backward(np.ones_like(y)).shape == (2, 6, 6, 3)

    @pytest.mark.parametrize("nested", [False, True], ids=["flat", "nested"])
    @pytest.mark.parametrize("lean", [True, False], ids=["lean", "usual"])
    def test_lets_go_of_each_layer_once_it_is_behind(self, lean, nested):
        network, x = Sequential(*(Watched() for _ in range(4))), X.copy()
        network = Sequential(network[:1], network[1:]) if nested else network
        Watched.outputs.clear()
        Watched.alive.clear()
        gc.disable()  # freed by their count of references, not some day
        try:
            y, backward = network(x, lean=lean)
            dy = y.copy()
            del y
            backward(dy)
        finally:
            gc.enable()
        # what a layer's own output needs for its backward pass is there, what came after it is not
        ahead = [alive[: 4 - number] for number, alive in enumerate(Watched.alive)]
        behind = [alive[4 - number :] for number, alive in enumerate(Watched.alive)]
        assert all(all(alive) for alive in ahead)
        assert all(not any(alive) if lean else all(alive) for alive in behind)
        assert [len(alive) for alive in behind] == [0, 1, 2, 3]

    @pytest.mark.parametrize("lean", [True, False], ids=["lean", "usual"])
    def test_memory_falls_on_the_way_back(self, lean):
        layers = [(Lent(), Conv2d(3 if k == 0 else 16, 16, 3, padding=1, rng=k), BatchNormReLU2d(16)) for k in range(5)]
        network = Sequential(*(layer for group in layers for layer in group))
        x = np.random.default_rng(0).standard_normal((8, 16, 16, 3)).astype(np.float32)
        Lent.noted.clear()
        memory.release()  # or a block that is kept for something larger may be lent
        before = memory._pool.lent
        y, backward = network(x, lean=lean)
        activation = y.nbytes
        del y
        backward(np.ones((8, 16, 16, 16), np.float32))
        steps = np.diff(Lent.noted)
        if lean:
            assert (steps <= -2 * activation).all()  # the convolution's output and the norm's
            del backward
            assert memory._pool.lent == before
        else:
            assert (steps >= -1.1 * activation).all()  # a gradient at most
            assert min(Lent.noted) - before > 8 * activation

    def test_a_whole_network_holds_less_at_the_end_of_its_backward_pass(self):
        model, x = resnet8(rng=0), np.random.default_rng(0).standard_normal((8, 32, 32, 3)).astype(np.float32)

        def held_at_the_end(lean):
            noted, before = [], memory._pool.lent
            y, backward = model(x, lean=lean)
            model.conv1.weight.add_grad = lambda gradient, new: noted.append(memory._pool.lent - before)  # called last
            backward(y)
            return noted[0]

        assert held_at_the_end(True) < 0.4 * held_at_the_end(False)

    def test_is_said_only_to_those_who_know_it(self):
        class Plain(Module):
            def forward(self, x):
                return x, lambda dy: dy

        assert call(Plain(), X, lean=True)[1](X) is X
        with pytest.raises(TypeError, match="unexpected keyword argument 'lean'"):
            Plain()(X, lean=True)

    @pytest.mark.parametrize(
        "function",
        [
            lambda x, lean=False: (lean, None),
            lambda x, *, lean: (lean, None),
            functools.partial(lambda given, x, lean=False: (lean, None), None),
            type("Callable", (), {"__call__": lambda self, x, lean=False: (lean, None)})(),
        ],
        ids=["default", "by name only", "partial", "object"],
    )
    def test_functions_of_every_kind_are_understood(self, function):
        assert call(function, X, lean=True) == (True, None)

    def test_a_name_within_a_function_is_no_parameter(self):
        def function(x):
            lean = once = None
            return lean, once

        assert call(function, X, lean=True, once=True) == (None, None)

    def test_within_no_grad_there_is_no_backward_pass_at_all(self):
        with no_grad():
            y, backward = resnet8(rng=0)(np.ones((1, 8, 8, 3), np.float32), lean=True)
        with pytest.raises(RuntimeError, match=r"under no_grad\(\)"):
            backward(y)


class TestModes:
    def test_train_and_eval_reach_every_module(self):
        model = resnet8()
        assert all(module.training for module in model.modules())
        assert model.eval() is model
        assert not any(module.training for module in model.modules())
        assert model.train() is model
        assert all(module.training for module in model.modules())
        model.train(False)
        assert not model.layer1[0].bn1.training

    def test_eval_changes_what_batch_norm_and_dropout_do(self):
        x = np.ones((3, 2), np.float32)
        for module in (BatchNorm2d(2), Dropout(0.9, rng=0)):
            trained, inferred = module(x)[0], module.eval()(x)[0]
            assert not np.allclose(trained, inferred)


class TestTo:
    def test_casts_parameters_and_buffers(self):
        model = resnet8()
        _, backward = model(np.zeros((2, 8, 8, 3), np.float32))
        backward(np.zeros((2, 10), np.float32))
        assert model.to(np.float64) is model
        assert {value.dtype for value in model.state_dict().values()} == {np.dtype(np.float64)}
        assert all(parameter.grad is None for parameter in model.parameters())
        assert model(np.zeros((2, 8, 8, 3)))[0].dtype == np.float64

    def test_leaves_integers(self):
        module = Module()
        module.register_buffer("count", np.array(3))
        module.to(np.float32)
        assert module.count.dtype.kind == "i"

    def test_cpu_and_unknown_devices(self):
        module = Linear(2, 3)
        assert module.to("cpu") is module
        with pytest.raises(ValueError, match="unknown device 'float64': choose cpu or gpu, or give a dtype"):
            module.to("float64")


class TestSequential:
    def test_indexing_and_length(self):
        modules = [Linear(2, 3), ReLU(), Linear(3, 4)]
        sequential = Sequential(*modules)
        assert len(sequential) == 3
        assert [sequential[index] for index in range(3)] == modules
        assert sequential[-1] is modules[2]
        assert list(sequential) == modules
        assert [name for name, _ in sequential.children()] == ["0", "1", "2"]
        with pytest.raises(IndexError):
            sequential[3]

    def test_runs_forwards_and_backwards_in_order(self):
        first, last = Linear(5, 4, rng=0), Linear(4, 3, rng=1)
        y, backward = Sequential(first, ReLU(), last)(X)
        hidden = np.maximum(X @ first.weight.data.T + first.bias.data, 0)
        np.testing.assert_allclose(y, hidden @ last.weight.data.T + last.bias.data, rtol=1e-5)
        expected = ((y @ last.weight.data) * (hidden > 0)) @ first.weight.data
        np.testing.assert_allclose(backward(y), expected, rtol=1e-5)

    def test_empty_is_the_identity(self):
        y, backward = Sequential()(X)
        assert y is X
        assert backward(X) is X


def test_a_module_without_forward_says_so():
    with pytest.raises(NotImplementedError, match=r"Module must define forward\(x\) -> \(y, backward\)"):
        Module()(X)


def test_parameter_shows_what_it_is():
    assert repr(Parameter(np.zeros((2, 3)))) == "Parameter(shape=(2, 3), dtype=float64, device=cpu)"


@pytest.mark.parametrize("target", [None, np.int32, "tpu"])
def test_to_takes_devices_and_floating_point_dtypes(target):
    model = Linear(2, 3, rng=0)
    before = model.weight.data.copy()
    with pytest.raises(ValueError, match="unknown device 'tpu'" if target == "tpu" else "no floating-point dtype"):
        model.to(target)
    np.testing.assert_array_equal(model.weight.data, before)


def test_evaluating_puts_every_module_back():
    model = Sequential(BatchNorm2d(3), ReLU()).train()
    model[0].eval()  # frozen within a model in training
    with pytest.raises(KeyError), evaluating(model):
        assert not any(module.training for module in model.modules())
        raise KeyError
    assert [module.training for module in model.modules()] == [True, False, True]


@pytest.mark.parametrize("wrap", [list, tuple, lambda modules: dict(enumerate(modules))])
def test_modules_in_a_list_are_refused(wrap):
    class Net(Module):
        def __init__(self):
            self.convs = wrap([Conv2d(3, 4, 3)])

    with pytest.raises(ValueError, match=r"Net\.convs is a (list|tuple|dict) of modules.*Sequential"):
        Net().parameters()


class TestFreeze:
    """Against a network of which only the trained part exists, fed with what the frozen part gives."""

    X = np.random.default_rng(3).standard_normal((6, 8, 8, 3))
    LABELS = np.array([0, 1, 2, 3, 4, 5])
    FROZEN = ("conv1", "bn1", "layer1", "layer2")

    def frozen(self, names=FROZEN):
        model = resnet8(rng=0).to(np.float64)
        for name in names:
            getattr(model, name).freeze()
        return model.train()

    def trained(self, model, steps=3):
        optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
        for _ in range(steps):
            train_step(model, optimizer, self.X, self.LABELS)
        return model.state_dict()

    def test_not_a_bit_of_it_changes_and_all_else_does(self):
        model = self.frozen()
        before = model.state_dict()
        after = self.trained(model)
        for key, array in after.items():
            same = array.tobytes() == before[key].tobytes()
            assert same == (key.split(".")[0] in self.FROZEN), key

    def test_what_is_trained_is_trained_as_if_it_were_alone(self):
        model, other = self.frozen(), self.frozen()
        rest = Sequential(other.layer3, other.avgpool, other.fc)
        with evaluating(other), no_grad():
            y = other.layer2(other.layer1(other.bn1(other.conv1(self.X)[0])[0])[0])[0]
        optimizer = SGD(rest.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
        for _ in range(3):
            train_step(rest, optimizer, y, self.LABELS)
        after = self.trained(model)
        for key, array in other.state_dict().items():
            np.testing.assert_allclose(after[key], array, rtol=1e-6, atol=1e-9, err_msg=key)

    def test_a_frozen_layer_in_the_middle_hands_its_gradient_on(self):
        model, usual = self.frozen(["layer2"]), resnet8(rng=0).to(np.float64)
        usual.layer2.eval()  # the same function, and its gradients are computed
        dy = np.random.default_rng(4).standard_normal((6, 10))
        _, backward = model(self.X, lean=True)
        backward(dy)
        usual(self.X)[1](dy)
        for (path, parameter), expected in zip(model.named_parameters(), usual.parameters(), strict=True):
            if path.startswith("layer2"):
                assert parameter.grad is None
            else:
                np.testing.assert_allclose(parameter.grad, expected.grad, rtol=1e-8, atol=1e-11, err_msg=path)

    def test_the_gradient_of_x_comes_back_through_frozen_layers_where_it_is_wanted(self):
        model, usual = self.frozen(), resnet8(rng=0).to(np.float64)
        usual.eval()
        model.eval()
        dy = np.random.default_rng(4).standard_normal((6, 10))
        np.testing.assert_array_equal(model(self.X)[1](dy), usual(self.X)[1](dy))

    def test_a_network_that_is_frozen_whole(self):
        model = self.frozen(["conv1", "bn1", "layer1", "layer2", "layer3", "fc"])
        before = model.state_dict()
        after = self.trained(model)
        assert all(array.tobytes() == before[key].tobytes() for key, array in after.items())

    def test_keeps_nothing_for_frozen_layers(self):
        """The arrays alive between forward and backward: those of the trained part, and not of the network."""
        x = np.random.default_rng(0).standard_normal((16, 32, 32, 3)).astype(np.float32)

        def kept(names):
            model = resnet8(rng=0)
            for name in names:
                getattr(model, name).freeze()
            memory.release()  # or a block that is kept for something larger may be lent
            before = memory._pool.lent
            _result = model.train()(x, lean=True)
            return memory._pool.lent - before

        assert kept(["conv1", "bn1", "layer1", "layer2"]) < 0.2 * kept([])
        assert kept(["conv1", "bn1", "layer1", "layer2", "layer3"]) == 0

    def test_evaluation_and_train_leave_it_frozen_until_it_is_unfrozen(self):
        model = self.frozen()
        with evaluating(model):
            assert not model.layer3.training
        assert not model.layer2.training
        assert model.layer3.training
        model.eval().train()
        assert not any(module.training for module in model.layer2.modules())
        model.unfreeze().train()
        assert all(module.training for module in model.modules())
        before = model.state_dict()
        assert all(array.tobytes() != before[key].tobytes() for key, array in self.trained(model).items())


class TestWhatAUserWrites:
    def test_keyword_arguments_reach_forward(self):
        class Scaled(Module):
            def forward(self, x, *, by=1):
                return by * x, lambda dy: by * dy

        y, backward = Scaled()(X, by=3)
        np.testing.assert_array_equal(y, 3 * X)
        np.testing.assert_array_equal(backward(X), 3 * X)

    def test_a_plain_array_in_a_parameters_place_is_refused(self):
        layer = Linear(5, 3)
        with pytest.raises(TypeError, match=r"Linear.weight is a Parameter.*assign to weight.data"):
            layer.weight = np.zeros((3, 5), np.float32)

        class Mine(Module):
            def __init__(self):
                self.weight = np.ones(3)

        with pytest.raises(TypeError, match=r"Mine.weight: a plain array is neither.*Parameter.*register_buffer"):
            Mine()

    def test_buffers_numbers_and_labels_are_no_plain_arrays(self):
        class Mine(Module):
            def __init__(self):
                self.register_buffer("mean", np.ones(3))
                self.classes, self.scale = np.arange(3), np.float64(2)

        mine = Mine()
        mine.mean = np.zeros(3)
        mine.register_buffer("mean", np.full(3, 2.0))
        assert list(mine.state_dict()) == ["mean"]

    @pytest.mark.parametrize("data", [[1.0, 2.0], 3.0, np.arange(3), None])
    def test_a_parameter_is_a_floating_point_array(self, data):
        with pytest.raises(TypeError, match=r"expected a NumPy or CuPy array|has no gradients"):
            Parameter(data)

    def test_print_shows_the_structure(self):
        model = Sequential(Conv2d(3, 4, 3, padding=1), Sequential(BatchNorm2d(4), ReLU()), Linear(4, 2, bias=False))
        assert repr(model).splitlines() == [
            "Sequential(",
            "  (0): Conv2d(3, 4, kernel_size=(3, 3), stride=1, padding=1)",
            "  (1): Sequential(",
            "    (0): BatchNorm2d(4, eps=1e-05, momentum=0.1)",
            "    (1): ReLU()",
            "  )",
            "  (2): Linear(4, 2, bias=False)",
            ")",
        ]
        assert repr(Twice()) == "Twice(w=(2,))"
        assert repr(resnet8()).count("BasicBlock(") == 3

    def test_a_slice_of_a_sequential_is_one_of_the_same_modules(self):
        model = Sequential(Linear(5, 4, rng=0), ReLU(), Linear(4, 3, rng=1), ReLU())
        part = model[1:3]
        assert isinstance(part, Sequential) and len(part) == 2
        assert part[0] is model[1] and part[1] is model[2]
        assert [name for name, _ in part.named_parameters()] == ["1.weight", "1.bias"]
        y, backward = model[:2](X)
        np.testing.assert_array_equal(y, np.maximum(model[0](X)[0], 0))
        assert len(model[::-1]) == 4 and model[-1] is model[3]
        with pytest.raises(IndexError):
            model[4]

    def test_only_modules_go_into_a_sequential(self):
        with pytest.raises(TypeError, match="Sequential: argument 1 is a ufunc: give modules"):
            Sequential(ReLU(), np.maximum)

    @pytest.mark.parametrize(
        ("given", "word"),
        [(X, "a ndarray alone"), (None, "a NoneType alone"), ((X, X), "a tuple of 2"), ((X,), "of 1")],
    )
    def test_a_forward_pass_without_a_backward_pass(self, given, word):
        class Forgetful(Module):
            def forward(self, x):
                return given

        for run in (Forgetful(), Sequential(Forgetful(), ReLU())):
            with pytest.raises(TypeError, match=f"Forgetful: forward must return y and the function backward.*{word}"):
                run(X)

    def test_a_gradient_is_nobody_elses(self):
        parameter, dy = Parameter(np.zeros(3)), np.ones(3)
        parameter.add_grad(dy)
        dy[:] = 7
        assert parameter.grad.tolist() == [1, 1, 1]
        with pytest.raises(ValueError, match=r"add_grad: gradient has shape \(2,\), parameter \(3,\)"):
            parameter.add_grad(np.ones(2))
        with pytest.raises(ValueError, match=r"gradient is float32, parameter float64: use gradient.astype\(float64\)"):
            parameter.add_grad(np.ones(3, np.float32))
        with pytest.raises(TypeError, match=r"got list: wrap it in np.asarray"):
            parameter.add_grad([1.0, 1.0, 1.0])
        assert parameter.grad.tolist() == [1, 1, 1]

    def test_help_says_where_to_begin(self):
        done = subprocess.run([sys.executable, "-c", "import minires; help(minires)"], capture_output=True, text=True)
        for words in ("Where to begin", "minires.layers", "docs/start.md", "x -> (y, backward)"):
            assert words in done.stdout

    @pytest.mark.parametrize(
        "hidden", [{"a": [ReLU()]}, [[ReLU()]], ({"a": (Parameter(np.ones(2)),)},), {ReLU()}, deque([ReLU()])]
    )
    def test_modules_in_containers_are_refused_however_deep(self, hidden):
        class Mine(Module):
            def __init__(self):
                self.blocks = hidden

        with pytest.raises(ValueError, match=r"Mine.blocks is a .* of modules.*wrap them in Sequential"):
            Mine().parameters()


def test_a_gradient_given_away_is_kept_only_where_it_lies_as_the_parameter_does():
    parameter, gradient = Parameter(np.ones((2, 3), np.float32)), np.ones((2, 3), np.float32)
    parameter.add_grad(gradient, new=True)
    assert parameter.grad is gradient
    parameter.add_grad(gradient, new=True)
    assert gradient.tolist() == [[1] * 3] * 2 and parameter.grad.tolist() == [[2] * 3] * 2
    other = Parameter(np.ones((2, 3), np.float32))
    other.add_grad(np.ones((3, 2), np.float32).T, new=True)
    assert other.grad.flags.c_contiguous


def test_the_shapes_of_a_state_are_those_of_its_arrays():
    model = resnet8(rng=0)
    assert model.state_shapes() == {key: array.shape for key, array in model.state_dict().items()}
