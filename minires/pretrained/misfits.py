"""What arrays are that belong to no network that is known here, and why they are none of He's residual networks."""

import re
from collections.abc import Mapping

from minires.wording import shown

KNOWN = "known are minires.models' networks: ResNets and their kin, VGG, DenseNet, GoogLeNet, Inception v3, simple_cnn"
IMAGENET: dict[tuple[tuple[int, ...], bool], str] = {  # blocks in layer1 to layer4, and whether they are bottlenecks
    ((2, 2, 2, 2), False): "resnet18",
    ((3, 4, 6, 3), False): "resnet34",
    ((3, 4, 6, 3), True): "resnet50",
    ((3, 4, 23, 3), True): "resnet101",
    ((3, 8, 36, 3), True): "resnet152",
}
_PLACE = re.compile(
    r"layer\d+\.\d+\.(conv\d|bn\d|downsample\.[01])\.(weight|bias|running_mean|running_var|num_batches_tracked)"
)
MOST_KEYS = 5000  # that are looked at for a sign
SIGNS = (  # a sign in the keys, and what has it
    (r"(^|\.)(cls_token|patch_embed|pos_embed)|\.attn\.|self_attn|attention", "a transformer"),
    (r"(^|\.)conv_stem|_expand_conv|_depthwise_conv|(^|\.)_blocks\.", "an EfficientNet"),
    (r"stages\.\d+\.blocks\.\d+\.norm1\.", "a pre-activation ResNet (BiT)"),
    (r"dwconv|conv_dw|depthwise_conv|stages\.\d\.\d\.gamma", "a ConvNeXt"),
    (r"denseblock|denselayer", "a DenseNet"),
    (r"inception|Mixed_|(^|\.)features\.\d+\.branch\d", "an Inception network"),
    (r"(^|\.)features\.\d+\.conv", "a MobileNet"),
    (r"(^|\.)features\.\d+\.(weight|bias)", "AlexNet, or a VGG of its own kind"),
    (r"block\d+\.layer\.\d+\.", "a wide ResNet of pre-activation blocks"),
    (r"pre_?act", "a pre-activation ResNet"),
    (r"lstm|gru|embed_tokens|word_embedding", "a network for text"),
    (r"momentum_buffer|exp_avg|(^|\.)optimizer", "the state of an optimizer alone"),
)


def looks_like(keys: list[str]) -> str:
    """What the keys of a file look like, where that is no network of ours; "" where nothing tells."""
    return next((name for sign, name in SIGNS for key in keys[:MOST_KEYS] if re.search(sign, key)), "")


def misfit(shape: Mapping[str, tuple[int, ...]], blocks: tuple[int, ...]) -> str | None:
    """The first reason why arrays with these keys and shapes, torchvision's, are no ResNet that is known; or None.

    blocks: how many there are in layer1 to layer4.
    """
    checks = (_stem, _channels, _order, _norms, _parts_of_blocks, _groups, _bottlenecks, _width, _biases)
    return next((reason for check in checks if (reason := check(shape))), None) or _depth(shape, blocks)


def likely_resnet(shape: Mapping[str, tuple[int, ...]], blocks: tuple[int, ...]) -> str:
    """The ResNet of so many blocks, whether there is one or not."""
    layers = sum(blocks) * (3 if "layer1.0.conv3.weight" in shape else 2) + 2
    return f"resnet{layers} for {'ImageNet' if blocks[3] else 'CIFAR'}"


def _stem(shape):
    if "conv1.weight" in shape and not {"conv2.weight", "conv3.weight"} & shape.keys():
        return None
    if any(key.startswith(("conv1.", "conv2.")) for key in shape):
        return "its stem is several convolutions (a deep stem, as resnet18d has it), here only resnet50d's is"
    return "its first convolution, conv1.weight, is missing: the file is incomplete"


def _channels(shape):
    first = shape["conv1.weight"]
    if len(first) != 4 or first[1] == 3:
        return None
    cure = ": for grey pictures save conv1.weight as weight.repeat(1, 3, 1, 1) / 3" if first[1] == 1 else ""
    channels = "channel" if first[1] == 1 else "channels"
    return f"its conv1.weight {first} takes images of {first[1]} {channels}, here they have 3{cure}"


def stands_before(shape: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether batch norms have as many channels as go into the convolutions, and not as come out of them."""
    norm, convolution = (shape.get(f"layer2.0.{name}.weight", ()) for name in ("bn1", "conv1"))
    before = len(convolution) == 4 and norm == convolution[1:2] != convolution[:1]
    return before or shape.get("bn1.weight", shape["conv1.weight"][:1]) != shape["conv1.weight"][:1]


def _order(shape):
    if stands_before(shape):
        return "its batch norms stand before the convolutions (pre-activation, He et al. 2016), here behind them"
    return None


def _norms(shape):
    if not any(".bn" in key or key.startswith("bn") for key in shape):
        return "it has no batch norms: they were folded into the convolutions, or it has others: save it with them"
    return None


def _parts_of_blocks(shape):
    strange = next((key for key in shape if key.startswith("layer") and not _PLACE.fullmatch(key)), None)
    if strange is None:
        norm = next((key for key in shape if key.endswith("downsample.1.weight") and len(shape[key]) != 1), None)
        return norm and f"{shown(norm)} {shape[norm]} is no batch norm: its shortcuts have an average pool (ResNet-D)"
    what = " (squeeze and excitation)" if ".se" in strange or "fc" in strange else ""
    what = " (its shortcuts have an average pool, ResNet-D)" if "downsample.2" in strange else what
    return f"unexpected: {shown(strange)}{what}"


def _groups(shape):
    first, second = (shape.get(f"layer1.0.conv{number}.weight", ()) for number in (1, 2))
    bottlenecks = "layer1.0.conv3.weight" in shape
    if bottlenecks and len(first) == len(second) == 4 and second[1] and first[0] > second[1]:
        return f"its 3x3 convolutions are in {first[0] // second[1]} groups (ResNeXt)"
    return None


def _bottlenecks(shape):
    if "layer1.0.conv3.weight" in shape and not any(key.startswith("layer4.") for key in shape):
        return "it is built of bottlenecks for images of 32x32, which are here for ImageNet alone"
    return None


def _width(shape):
    small = not any(key.startswith("layer4.") for key in shape)
    width, key = (16, "conv1.weight") if small else (64, "conv1.weight")
    if shape[key][:1] == (width,):
        key = "layer1.0.conv1.weight"
    if len(shape.get(key, ())) == 4 and shape[key][0] != width:
        usual = (width, *shape[key][1:])
        return f"it is wider or narrower: misshapen: {key} has {shape[key]}, known here is {usual}"
    kernel = shape["conv1.weight"][2:]
    if kernel not in (((3, 3),) if small else ((7, 7), (3, 3))):
        return f"its conv1.weight {shape['conv1.weight']} is of another size, known here are 3x3 and 7x7"
    return None


def _biases(shape):
    if "conv1.bias" in shape and "layer1.0.conv3.weight" not in shape:
        return "its convolutions have biases, which here only Keras's with bottlenecks have"
    return None


def _depth(shape, blocks):
    bottlenecks = "layer1.0.conv3.weight" in shape
    if blocks[3] and (blocks, bottlenecks) not in IMAGENET:
        kind = "bottlenecks" if bottlenecks else "blocks of two convolutions"
        return f"it has {', '.join(map(str, blocks[:3]))} and {blocks[3]} {kind}, as none of the known has them"
    if not blocks[3] and f"resnet{6 * blocks[0] + 2}" in IMAGENET.values():
        return "a network of that depth for CIFAR is not known here, since its name means one for ImageNet"
    if not blocks[3] and blocks[0] > 200:
        return f"it has {blocks[0]} blocks in a stage, the most that are known is 200"
    if not blocks[3] and blocks != (blocks[0],) * 3 + (0,):
        return f"it has {blocks[0]}, {blocks[1]} and {blocks[2]} blocks, known are as many in each stage"
    return None
