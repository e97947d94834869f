"""The graph of a network: its calls and who was handed what, against blocks whose form is known; and its picture."""

import cProfile
import functools
import inspect
import re
import sys
import threading

import numpy as np
import pytest

import minires.layers.residual
from minires import layers
from minires.inspection import pictures
from minires.inspection.graph import OPERATIONS, graph_of
from minires.inspection.summary import costs, summary
from minires.layers import Conv2d, ReLU, add, concat, relu
from minires.models import plain8, resnet8, resnet20, simple_cnn
from minires.models.blocks import BasicBlock, Bottleneck, flatten_channels_first
from minires.models.preact import PreActBlock
from minires.models.seresnet import SEBottleneck
from minires.module import Module


def edges(model, shape):
    """[(name, sources)], "x" for the image."""
    nodes = graph_of(model, shape)
    return [(node.name, [source.name if source else "x" for source in node.sources]) for node in nodes]


def test_a_chain():
    assert edges(plain8(rng=0).layer1[0], (4, 4, 16)) == [
        ("conv1", ["x"]), ("bn1", ["conv1"]), ("conv2", ["bn1"]), ("bn2", ["conv2"]),
    ]  # fmt: skip


def test_shortcuts():
    """The identity is the image itself, whether a layer takes it or a sum; a projection is a way of its own."""
    assert edges(Bottleneck(16, 4, 1, "torchvision", 0), (4, 4, 16))[-1] == ("bn3", ["conv3", "x"])
    assert edges(BasicBlock(4, 8, 2, "A", 0), (4, 4, 4))[2:] == [
        ("pad_shortcut", ["x"]), ("conv2", ["bn1"]), ("bn2", ["conv2", "pad_shortcut"]),
    ]  # fmt: skip
    assert edges(PreActBlock(4, 4, 1, 0), (4, 4, 4))[-1] == ("add", ["x", "conv2"])
    assert edges(PreActBlock(4, 8, 2, 0), (4, 4, 4))[-2:] == [("downsample", ["bn1"]), ("add", ["downsample", "conv2"])]


def test_operations_with_layers_inside_are_one():
    found = edges(SEBottleneck(8, 4, 1, 0), (4, 4, 8))
    assert [name for name, _ in found if name.startswith("fc") or "se" in name] == ["se"]
    assert found[-2:] == [("add", ["se", "downsample.1"]), ("relu", ["add"])]


class Branches(Module):
    """Two ways side by side, and a third that leads nowhere."""

    def __init__(self):
        self.left, self.right, self.nowhere = (Conv2d(3, 2, 1, rng=seed) for seed in range(3))

    def forward(self, x):
        a, left_backward = self.left(x)
        self.nowhere(x)
        b, right_backward = self.right(x)
        y, concat_backward = concat(a, b)

        def backward(dy):
            da, db = concat_backward(dy)
            return add(left_backward(da), right_backward(db))[0]

        return y, backward


def test_what_leads_nowhere_is_no_part_of_it():
    assert edges(Branches(), (4, 4, 3)) == [("left", ["x"]), ("right", ["x"]), ("concat", ["left", "right"])]
    assert [node.shape for node in graph_of(Branches(), (4, 5, 3))] == [(4, 5, 2), (4, 5, 2), (4, 5, 4)]


clip = relu


def own(x):
    return x * 2, lambda dy: dy * 2


class Sum(Module):
    """conv(x) and x, put together by `how(x, conv(x))`."""

    def __init__(self, how, also=None):
        self.conv, self.how, self.also = Conv2d(8, 8, 3, padding=1, rng=0), how, also

    def forward(self, x):
        y, conv_backward = self.conv(x)
        y, how_backward = self.how(x, y)
        y, also_backward = self.also(y) if self.also else (y, lambda dy: dy)

        def backward(dy):
            dx, dy = how_backward(also_backward(dy))
            return add(dx, conv_backward(dy))[0]

        return y, backward


def by_a_name_inside(x, y):
    from minires.layers import add as plus

    return plus(x, y)


def through(module):
    return lambda x, y: module.add(x, y)


WAYS = {
    "by name": lambda x, y: add(x, y),
    "layers.": through(layers),
    "minires.layers.": lambda x, y: minires.layers.add(x, y),
    "its file": through(minires.layers.residual),
    "inside": by_a_name_inside,
    "itself": add,
    "partial": functools.partial(add),
    "arguments by name": lambda x, y: add(x2=y, x1=x),
}


@pytest.mark.parametrize("how", WAYS.values(), ids=WAYS)
def test_an_operation_is_seen_however_it_is_called(how):
    assert edges(Sum(how), (5, 6, 8)) == [("conv", ["x"]), ("add", ["x", "conv"])]


def normalised_sum(x, y):
    return layers.batch_norm_relu(y, np.zeros(8, "f"), np.ones(8, "f"), shortcut=x, training=False)


def test_a_shortcut_given_to_an_operation():
    assert edges(Sum(normalised_sum), (5, 6, 8)) == [("conv", ["x"]), ("batch_norm_relu", ["conv", "x"])]


@pytest.mark.parametrize("name", sorted(set(OPERATIONS) - {"add", "concat"}))
def test_every_operation_has_an_input_that_flows(name):
    assert next(iter(inspect.signature(OPERATIONS[name]).parameters)) == "x"


def add_in_place(x, y):
    y += x
    return y, lambda dy: (dy, dy)


def spoil_the_image(x, y):
    x += y
    return y, lambda dy: (dy, dy)


SILENT = {
    "x + y": (
        lambda x, y: (x + y, lambda dy: (dy, dy)),
        None,
        "Sum returned an array of shape (1, 5, 6, 8) that no layer",
    ),
    "before a layer": (
        lambda x, y: (x + y, None),
        ReLU(),
        "also was given an array of shape (1, 5, 6, 8) that no",
    ),
    "own": (lambda x, y: own(y), None, "Sum returned an array of shape (1, 5, 6, 8) that no layer"),
    "y += x": (add_in_place, None, "the forward pass changed what conv gave, as y += x does"),
    "y += x before a layer": (add_in_place, ReLU(), "the forward pass changed what conv gave, as y += x does"),
    "x += y": (spoil_the_image, None, "the forward pass changed the image, as"),
}


@pytest.mark.parametrize("how, also, message", SILENT.values(), ids=SILENT)
def test_what_cannot_be_seen_is_refused(how, also, message):
    with pytest.raises(ValueError, match=f"graph_of: {re.escape(message)}.* call"):
        graph_of(Sum(how, also), (5, 6, 8))


class Plus(Module):
    def forward(self, x, y):
        return x + y, lambda dy: (dy, dy)


class Together(Module):
    """Two arrays in one argument."""

    def forward(self, xs):
        return np.concatenate(xs, -1), lambda dy: tuple(np.split(dy, 2, -1))


class Both(Module):
    def __init__(self):
        self.together = Together()

    def forward(self, x, y):
        return self.together(xs=(x, y))


def test_arithmetic_in_a_module_of_its_own():
    assert edges(Sum(Plus()), (5, 6, 8)) == [("conv", ["x"]), ("how", ["x", "conv"])]
    assert edges(Sum(Both()), (5, 6, 8)) == [("conv", ["x"]), ("how.together", ["x", "conv"])]


def test_views_count_as_what_they_are_of():
    def halves(x, y):
        return concat(x[..., :4], y[..., 4:])

    def in_a_row(x, y):
        return concat(x.reshape(1, -1), np.asarray(y).reshape(1, -1))

    for how in (halves, in_a_row):
        assert edges(Sum(how), (5, 6, 8)) == [("conv", ["x"]), ("concat", ["x", "conv"])]


def test_operations_by_other_names_and_of_vgg():
    assert edges(Sum(lambda x, y: clip(y)), (2, 2, 8)) == [("conv", ["x"]), ("relu", ["conv"])]
    flattened = edges(Sum(lambda x, y: flatten_channels_first(y)), (2, 2, 8))
    assert flattened == [("conv", ["x"]), ("flatten_channels_first", ["conv"])]


def test_a_profiler_goes_on_afterwards(monkeypatch):
    monkeypatch.setattr(PreActBlock, "after_activation", lambda self: 1 / 0)
    seen = []
    for profiler in (None, lambda frame, event, result: seen.append(event)):
        sys.setprofile(profiler)
        try:
            graph_of(resnet8(rng=0), (8, 8, 3))
            with pytest.raises(ZeroDivisionError):
                graph_of(PreActBlock(4, 4, 1, 0), (4, 4, 4))
            assert sys.getprofile() is profiler
        finally:
            sys.setprofile(None)
    profile = cProfile.Profile()
    profile.runcall(lambda: [graph_of(resnet8(rng=0), (8, 8, 3)), own(1)])
    assert any(code.co_name == "own" for code, *_ in profile.getstats() if not isinstance(code, str))


def test_two_threads():
    """Each sees its own calls, or at any rate all of its own."""
    found = {}

    def trace(name):
        found[name] = edges(PreActBlock(4, 4, 1, 0), (4, 4, 4))

    threads = [threading.Thread(target=trace, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(each == edges(PreActBlock(4, 4, 1, 0), (4, 4, 4)) for each in found.values()) and len(found) == 4


def test_a_model_without_layers():
    class Own(Module):
        def __init__(self):
            self.unused = ReLU()

        def forward(self, x):
            return own(x)

    with pytest.raises(ValueError, match=r"graph_of: Own calls no layer and no operation"):
        graph_of(Own(), (2, 2, 1))


@pytest.mark.parametrize("model", [simple_cnn, resnet20], ids=lambda model: model.__name__)
def test_a_whole_network_has_the_layers_of_its_summary(model):
    names = [node.name for node in graph_of(model(rng=0), (32, 32, 3)) if node.module]
    rows = [line.split()[0] for line in summary(model(rng=0), (32, 32, 3)).splitlines()[2:-2]]
    assert names == rows


# Pictures ---------------------------------------------------------------------------------------------------------


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_the_picture_names_every_call_and_its_shape():
    block = SEBottleneck(8, 4, 2, 0)
    words = texts(pictures.draw_graph(block, (8, 8, 8), "a block"))
    for node in graph_of(block, (8, 8, 8)):
        assert node.name in words and "x".join(map(str, node.shape)) in words
    assert "a block" in words and "3x3 convolution, / 2" in words and "+" in words
    grouped = Bottleneck(8, 4, 1, "torchvision", 0, 8, 2)
    assert "3x3 convolution, 2 groups" in texts(pictures.draw_graph(grouped, (8, 8, 8)))


@pytest.mark.parametrize(
    "model, shape",
    [
        (Branches(), (4, 4, 3)),
        (PreActBlock(4, 4, 1, 0), (4, 4, 4)),
        (BasicBlock(4, 8, 2, "A", 0), (4, 4, 4)),
        (resnet8(rng=0), (8, 8, 3)),
        (ReLU(), (2, 2, 1)),
    ],
    ids=["branches", "sum", "A", "network", "one layer"],
)
def test_boxes_do_not_lie_on_each_other(model, shape):
    figure = pictures.draw_graph(model, shape)
    boxes = [patch.get_bbox() for patch in figure.axes[0].patches if hasattr(patch, "get_boxstyle")]
    assert len(boxes) == len(graph_of(model, shape))
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:number])
    width, height = figure.get_size_inches()
    assert all(box.x0 >= 0 and box.x1 <= width and box.y0 >= 0 and box.y1 <= height for box in boxes)


def member(name, parent="", also=""):
    return pictures.Member(name, 2015, parent, f"idea of {name}", *costs(resnet8(rng=0), (32, 32, 3)), also)


def test_a_family():
    figure = pictures.draw_family([member("a"), member("b", "a"), member("c", "a"), member("d"), member("e", "b", "d")])
    words = texts(figure)
    assert {"a  (2015)", "e  (2015)", "idea of c", "0.08 million parameters"} <= set(words)
    corners = [patch.get_bbox().p0 for patch in figure.axes[0].patches if hasattr(patch, "get_boxstyle")]
    a, b, c, d, e = map(tuple, corners)
    assert a[0] == d[0] < b[0] == c[0] < e[0]
    assert a[1] == b[1] == e[1] < c[1] < d[1]
    with pytest.raises(ValueError, match="b comes from a, which is not among those before"):
        pictures.draw_family([member("b", "a"), member("a")])


def test_costs_are_those_of_the_summary():
    assert costs(resnet20(rng=0), (32, 32, 3)) == (269_722, 40_551_040)
    total = summary(resnet20(rng=0), (32, 32, 3)).splitlines()[-1].split()
    assert [int(number.replace(",", "")) for number in total[1:]] == [269_722, 40_551_040]
    assert np.isscalar(costs(ReLU(), (2, 2, 1))[1])


def test_a_gate_has_a_row_of_its_own():
    block = SEBottleneck(8, 4, 1, 0)
    row = next(line.split() for line in summary(block, (4, 4, 8)).splitlines() if line.startswith("se "))
    assert row[-2:] == [f"{16 + 1 + 16 + 16}", "32"]
    assert costs(block, (4, 4, 8))[0] == sum(parameter.size for parameter in block.parameters())
