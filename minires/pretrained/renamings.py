"""The names that well-known sources give to the layers of a network, and what each is called here: torchvision's way.

A source is told by one key that each of its networks has, the weight of the first convolution of the first block.
Whatever stands before that name in the file is a prefix, which wrappers and checkpoints have added.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from minires.pretrained.families import Family
from minires.pretrained.families.densenet import DENSENET
from minires.pretrained.families.inception import GOOGLENET, INCEPTION
from minires.pretrained.families.resnet import RESNET
from minires.pretrained.families.simple_cnn import SIMPLE_CNN, is_simple_cnn
from minires.pretrained.families.vgg import HIDDEN, VGG, is_vgg
from minires.pretrained.skeletons import Shapes

_LAYERS = r"(weight|bias|running_mean|running_var|num_batches_tracked)"
Rule = tuple[str, str | Callable[[re.Match], str]]
Arrays = dict[str, np.ndarray]
_NONE = np.empty(0)


def _as_they_are(arrays: Arrays) -> Arrays:
    return arrays


def _always(shapes: Shapes, prefix: str) -> bool:
    return True


@dataclass(frozen=True)
class Source:
    """anchor: the end of the key that tells it.   rules: (pattern, replacement), each for the whole of a key.

    family: what the renamed arrays are.   tells: whether the anchor behind this prefix does, by the shapes around it.
    adapted: the renamed arrays as the network here has them, where names are not all.   head: keys of its last layer,
    where the rules have renamed them, too.
    """

    name: str
    anchor: str
    rules: tuple[Rule, ...] = ()
    family: Family = RESNET
    tells: Callable[[Shapes, str], bool] = _always
    adapted: Callable[[Arrays], Arrays] = _as_they_are
    head: tuple[str, ...] = ()

    def takes(self, name: str) -> bool:
        """Whether an array of this name, here, is one of the network's."""
        return self.family.body.match(name) is not None or name in self.head


def _with_statistics(arrays: Arrays) -> Arrays:
    """Norms that are a scale and a shift, with a mean of 0 and a variance of 1."""
    arrays = dict(arrays)
    for key in [key for key in arrays if re.search(r"(^|\.)bn[^.]*\.[^.]*$|\.downsample\.1\.", key)]:
        name, size = key.rpartition(".")[0], arrays[key].shape
        arrays.setdefault(f"{name}.running_mean", np.broadcast_to(np.float32(0), size))
        arrays.setdefault(f"{name}.running_var", np.broadcast_to(np.float32(1 - 1e-5), size))
    return arrays


def _flat(arrays: Arrays) -> Arrays:
    """Hidden layers that are convolutions as linear ones: the first of all pixels, (O, C, H, W) -> (O, C * H * W), the
    second of one. No more than the first may take memory of its own: a file may hold one array under both names.
    """
    first, second = (arrays.get(key, _NONE) for key in HIDDEN)
    flat = dict(arrays)
    if first.ndim == 4:
        flat[HIDDEN[0]] = first.reshape(len(first), math.prod(first.shape[1:]))
    if second.ndim == 4 and second.shape[2:] == (1, 1):
        flat[HIDDEN[1]] = second[:, :, 0, 0]
    return flat


def _stage(text: str, less: int) -> str:
    return f"layer{int(text) - less}"


_SCALE = {"s": "weight", "b": "bias"}
_LETTER = {"a": 1, "b": 2, "c": 3}
_RESIDUAL_FUNCTION = {"0": "conv1", "1": "bn1", "3": "conv2", "4": "bn2", "6": "conv3", "7": "bn3"}

SOURCES = (
    Source(
        "torchvision",
        "layer1.0.conv1.weight",
        (
            (r"(stem|layer0)\.(conv1|bn1)\.(.*)", r"\2.\3"),
            (r"stem\.(\d+)\.(.*)", r"conv1.\1.\2"),
            (rf"layer0\.0\.{_LAYERS}", r"conv1.\1"),
            (rf"layer0\.1\.{_LAYERS}", r"bn1.\1"),
            (r"(layer\d+\.\d+)\.(?:shortcut|downsample)\.conv\.(.*)", r"\1.downsample.0.\2"),
            (r"(layer\d+\.\d+)\.(?:shortcut|downsample)\.(?:bn|norm)\.(.*)", r"\1.downsample.1.\2"),
            (r"(layer\d+\.\d+)\.shortcut\.(.*)", r"\1.downsample.\2"),
        ),
    ),
    Source(
        "Hugging Face transformers",
        "encoder.stages.0.layers.0.layer.0.convolution.weight",
        (
            (r"embedder\.embedder\.convolution\.(.*)", r"conv1.\1"),
            (r"embedder\.embedder\.normalization\.(.*)", r"bn1.\1"),
            (
                r"encoder\.stages\.(\d+)\.layers\.(\d+)\.layer\.(\d+)\.convolution\.(.*)",
                lambda m: f"{_stage(m[1], -1)}.{m[2]}.conv{int(m[3]) + 1}.{m[4]}",
            ),
            (
                r"encoder\.stages\.(\d+)\.layers\.(\d+)\.layer\.(\d+)\.normalization\.(.*)",
                lambda m: f"{_stage(m[1], -1)}.{m[2]}.bn{int(m[3]) + 1}.{m[4]}",
            ),
            (
                r"encoder\.stages\.(\d+)\.layers\.(\d+)\.shortcut\.(convolution|normalization)\.(.*)",
                lambda m: f"{_stage(m[1], -1)}.{m[2]}.downsample.{int(m[3] == 'normalization')}.{m[4]}",
            ),
        ),
    ),
    Source(
        "Detectron2",
        "res2.0.conv1.weight",
        (
            (r"stem\.conv1\.norm\.(.*)", r"bn1.\1"),
            (r"stem\.conv1\.(.*)", r"conv1.\1"),
            (r"stem\.bn1\.(.*)", r"bn1.\1"),
            (r"res(\d)\.(\d+)\.conv(\d)\.norm\.(.*)", lambda m: f"{_stage(m[1], 1)}.{m[2]}.bn{m[3]}.{m[4]}"),
            (r"res(\d)\.(\d+)\.shortcut\.norm\.(.*)", lambda m: f"{_stage(m[1], 1)}.{m[2]}.downsample.1.{m[3]}"),
            (r"res(\d)\.(\d+)\.shortcut\.(.*)", lambda m: f"{_stage(m[1], 1)}.{m[2]}.downsample.0.{m[3]}"),
            (r"res(\d)\.(\d+)\.(.*)", lambda m: f"{_stage(m[1], 1)}.{m[2]}.{m[3]}"),
        ),
    ),
    Source(
        "Detectron",
        "res2_0_branch2a_w",
        (
            (r"conv1_w", "conv1.weight"),
            (r"res_conv1_bn_([sb])", lambda m: f"bn1.{_SCALE[m[1]]}"),
            (r"res(\d)_(\d+)_branch2([abc])_w", lambda m: f"{_stage(m[1], 1)}.{m[2]}.conv{_LETTER[m[3]]}.weight"),
            (
                r"res(\d)_(\d+)_branch2([abc])_bn_([sb])",
                lambda m: f"{_stage(m[1], 1)}.{m[2]}.bn{_LETTER[m[3]]}.{_SCALE[m[4]]}",
            ),
            (r"res(\d)_(\d+)_branch1_w", lambda m: f"{_stage(m[1], 1)}.{m[2]}.downsample.0.weight"),
            (r"res(\d)_(\d+)_branch1_bn_([sb])", lambda m: f"{_stage(m[1], 1)}.{m[2]}.downsample.1.{_SCALE[m[3]]}"),
            (r"(?:pred|fc1000)_w", "fc.weight"),
            (r"(?:pred|fc1000)_b", "fc.bias"),
        ),
        adapted=_with_statistics,
        head=("fc.weight", "fc.bias"),
    ),
    Source(
        "stages called conv2_x to conv5_x",
        "conv2_x.0.residual_function.0.weight",
        (
            (rf"conv1\.0\.{_LAYERS}", r"conv1.\1"),
            (rf"conv1\.1\.{_LAYERS}", r"bn1.\1"),
            (
                r"conv(\d)_x\.(\d+)\.residual_function\.([013467])\.(.*)",
                lambda m: f"{_stage(m[1], 1)}.{m[2]}.{_RESIDUAL_FUNCTION[m[3]]}.{m[4]}",
            ),
            (r"conv(\d)_x\.(\d+)\.shortcut\.(.*)", lambda m: f"{_stage(m[1], 1)}.{m[2]}.downsample.{m[3]}"),
        ),
    ),
    Source(
        "pytorchcv",
        "stage1.unit1.body.conv1.conv.weight",
        (
            (r"init_block\.(?:conv\.)?bn\.(.*)", r"bn1.\1"),
            (r"init_block\.(?:conv\.)?conv\.(.*)", r"conv1.\1"),
            (
                r"stage(\d)\.unit(\d+)\.body\.conv(\d)\.(conv|bn)\.(.*)",
                lambda m: f"layer{m[1]}.{int(m[2]) - 1}.{m[4]}{m[3]}.{m[5]}",
            ),
            (
                r"stage(\d)\.unit(\d+)\.identity_conv\.(conv|bn)\.(.*)",
                lambda m: f"layer{m[1]}.{int(m[2]) - 1}.downsample.{int(m[3] == 'bn')}.{m[4]}",
            ),
        ),
    ),
    Source(
        "stages called block1 to block3",  # wide pre-activation networks for CIFAR
        "block1.layer.0.conv1.weight",
        (
            (r"block(\d)\.layer\.(\d+)\.convShortcut\.(.*)", r"layer\1.\2.downsample.\3"),
            (r"block(\d)\.layer\.(\d+)\.(.*)", r"layer\1.\2.\3"),
        ),
    ),
    Source("simple_cnn", "conv2.weight", family=SIMPLE_CNN, tells=is_simple_cnn),
    Source(
        "torchvision's or timm's VGG",
        "features.0.weight",
        (
            (r"pre_logits\.fc1\.(.*)", r"classifier.0.\1"),
            (r"pre_logits\.fc2\.(.*)", r"classifier.3.\1"),
        ),
        VGG,
        is_vgg,
        _flat,
    ),
    Source(
        "torchvision's DenseNet",
        "features.denseblock1.denselayer1.conv1.weight",
        ((r"features\.norm_final\.(.*)", r"features.norm5.\1"),),
        DENSENET,
    ),
    Source(
        "torchvision's DenseNet of 2017",
        "features.denseblock1.denselayer1.conv.1.weight",
        ((r"(.*\.denselayer\d+\.(?:norm|conv))\.([12]\..*)", r"\1\2"),),
        DENSENET,
    ),
    Source("torchvision's GoogLeNet", GOOGLENET.anchor, family=GOOGLENET),
    Source("torchvision's Inception v3", INCEPTION.anchor, family=INCEPTION),
)
ANCHORS = tuple(source.anchor for source in SOURCES)


def renamed(key: str, rules: tuple[Rule, ...]) -> str:
    """The key by the first of the rules that fits the whole of it, else as it is."""
    for pattern, replacement in rules:
        if found := re.fullmatch(pattern, key):
            return found.expand(replacement) if isinstance(replacement, str) else replacement(found)
    return key


def numbered(first: int) -> Source:
    """A ResNet that became an nn.Sequential of its children, whose layer1 has this number."""

    def stage(found):
        number = int(found[1]) - first + 1
        return f"layer{number}.{found[2]}" if 1 <= number <= 4 else found[0]

    rules = ((rf"0\.{_LAYERS}", r"conv1.\1"), (rf"1\.{_LAYERS}", r"bn1.\1"), (r"(\d{1,3})\.(\d+\..*)", stage))
    return Source("numbers of an nn.Sequential", f"{first}.0.conv1.weight", rules)
