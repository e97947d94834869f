"""The table of a model: its rows, and totals counted independently."""

import numpy as np
import pytest

from minires.inspection.summary import summary
from minires.layers import Conv2d, ConvTranspose2d, Linear, MaxPool2d, ReLU, SqueezeExcitation
from minires.models import resnet20, simple_cnn
from minires.sequential import Sequential


def multiply_adds(shortcut):
    """Of resnet20 on 32 x 32: every output number of a convolution costs its window."""
    total = 32 * 32 * 16 * (9 * 3)
    for side, inside, outside in ((32, 16, 16), (16, 16, 32), (8, 32, 64)):
        total += side * side * outside * 9 * (inside + 5 * outside)
        if shortcut == "B" and inside != outside:
            total += side * side * outside * inside
    return total + 64 * 10


def rows(text):
    """{first word: the other columns}, numbers as integers."""
    table = {}
    for line in text.splitlines()[2:]:
        if not line.startswith("-"):
            name, *shape, size, work = line.split()
            table[name] = (" ".join(shape), int(size.replace(",", "")), int(work.replace(",", "")))
    return table


def test_resnet20():
    text = summary(resnet20(), (32, 32, 3))
    table = rows(text)
    assert text.splitlines()[0].split("  ")[0] == "layer"
    assert table["total"] == ("", 269_722, 40_551_040)
    assert multiply_adds("A") == 40_551_040
    assert table["conv1"] == ("32 x 32 x 16", 432, 442_368)
    assert table["bn1"] == ("32 x 32 x 16", 32, 0)
    assert table["layer2.0.conv1"] == ("16 x 16 x 32", 16 * 32 * 9, 16 * 16 * 16 * 32 * 9)
    assert table["layer3.2.bn2"] == ("8 x 8 x 64", 128, 0)
    assert table["fc"] == ("10", 650, 640)
    assert len(table) == 19 + 19 + 1 + 1 + 1  # convolutions, norms with their relus, avgpool, fc, total
    assert sum(size for _, size, _ in table.values()) == 2 * 269_722
    assert max(map(len, text.splitlines())) <= 120


def test_resnet20_with_projections():
    table = rows(summary(resnet20(shortcut="B"), (32, 32, 3)))
    assert table["total"][2] == multiply_adds("B")
    assert table["layer2.0.downsample.0"] == ("16 x 16 x 32", 16 * 32, 16 * 16 * 16 * 32)


def test_a_layer_made_of_layers_has_one_row():
    """squeeze_excitation computes with the weights of its two convolutions, and calls neither."""
    model = Sequential(Conv2d(3, 8, 3, rng=0), SqueezeExcitation(8, 2, rng=0))
    table = rows(summary(model, (6, 6, 3)))
    assert table["1"] == ("4 x 4 x 8", 2 * 8 + 2 + 8 * 2 + 8, 2 * 8 + 8 * 2)
    assert table["total"][1:] == tuple(table["0"][k] + table["1"][k] for k in (1, 2))


def test_rows_are_in_order_of_use():
    names = list(rows(summary(resnet20(), (32, 32, 3))))
    assert names[:5] == ["conv1", "bn1", "layer1.0.conv1", "layer1.0.bn1", "layer1.0.conv2"]
    assert names[-2:] == ["fc", "total"]


def test_layers_without_parameters_and_with_bias():
    table = rows(summary(Sequential(Conv2d(3, 4, (3, 2), 2, 1), MaxPool2d(2)), (9, 8, 3)))
    assert table["0"] == ("5 x 5 x 4", 4 * 3 * 6 + 4, 5 * 5 * 4 * 3 * 6)
    assert table["1"] == ("2 x 2 x 4", 0, 0)


def test_a_layer_by_itself_goes_by_its_class():
    assert rows(summary(Conv2d(3, 4, 3), (5, 5, 3)))["Conv2d"] == ("3 x 3 x 4", 112, 972)


def test_simple_cnn():
    expected = 30 * 30 * 32 * 27 + 13 * 13 * 64 * 32 * 9 + 2304 * 10
    assert rows(summary(simple_cnn(), (32, 32, 3)))["total"] == ("", 42_442, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_leaves_the_model_as_it_was(dtype):
    model = resnet20(rng=0).to(dtype)
    model.layer2.eval()
    before = model.state_dict()
    modes = [module.training for module in model.modules()]
    summary(model, (8, 8, 3))
    assert [module.training for module in model.modules()] == modes
    for key, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[key])
    assert all("forward" not in vars(module) for module in model.modules())


def test_leaves_the_model_as_it_was_after_an_error():
    model = Sequential(Conv2d(3, 4, 3), Linear(5, 5))
    with pytest.raises(ValueError, match="linear: x"):
        summary(model, (8, 8, 3))
    assert all(module.training and "forward" not in vars(module) for module in model.modules())


def test_groups_and_transposed_convolutions_are_counted():
    """256 pixels of 8 groups of 2 x 2 channels, 3x3; then 256 pixels, each spread over a window of 4x4."""
    model = Sequential(
        Conv2d(16, 16, 3, padding=1, groups=8, bias=False), ConvTranspose2d(16, 4, 4, 2, 1, bias=False), ReLU()
    )
    table = rows(summary(model, (16, 16, 16)))
    assert (table["0"][2], table["1"][2]) == (256 * 16 * 2 * 9, 256 * 16 * 4 * 16)
