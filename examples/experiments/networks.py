"""The family of networks: a tree, the block of each as a picture, and what each has and does, counted from the models.

    python examples/experiments/networks.py                about half a minute
    python examples/experiments/networks.py --quick        the networks for CIFAR alone

Writes networks.csv, family.png and a picture for each block into --out, and prints the table. docs/networks.md shows
them.
"""

import sys
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that a fresh clone runs without being installed

import numpy as np

from minires import models
from minires.cli import runs
from minires.cli.console import Parser
from minires.cli.recording import write_csv
from minires.inspection import pictures
from minires.inspection.summary import costs
from minires.models.blocks import Bottleneck
from minires.models.densenet import DenseNet
from minires.models.googlenet import Inception
from minires.models.inception_blocks import InceptionC
from minires.models.preact import PreActBlock, PreActBottleneck
from minires.models.resnet_d import BottleneckD
from minires.models.rezero import ReZeroBlock
from minires.models.seresnet import SEBottleneck

COLUMNS = ("network", "year", "input", "parameters", "multiply_adds")


class Relative(NamedTuple):
    """A network of the tree.

    title: how it is written.   year, parent, idea, also: as in Member.   size: of the images it is made for.
    """

    title: str
    year: int
    parent: str
    idea: str
    size: int = 224
    also: str = ""


FAMILY = {  # by the name of its function; parents come before their children
    "vgg16": Relative("VGG-16", 2014, "", "3x3 convolutions, deep"),
    "resnet50": Relative("ResNet-50", 2015, "vgg16", "shortcuts,\nbatch norm"),
    "preact_resnet164": Relative("pre-activation 164", 2016, "resnet50", "batch norm and\nReLU come first", 32),
    "wide_resnet28_10": Relative("wide ResNet 28-10", 2016, "preact_resnet164", "ten times wider,\nless deep", 32),
    "densenet121": Relative("DenseNet-121", 2016, "resnet50", "side by side,\nnot summed"),
    "seresnet50": Relative("SE-ResNet-50", 2017, "resnet50", "a gate for\neach channel"),
    "resnet50d": Relative("ResNet-50-D", 2018, "resnet50", "means, where\npixels were lost"),
    "rezero_resnet20": Relative("ReZero-20", 2020, "resnet50", "branches start\nat zero", 32),
    "resnext50_32x4d": Relative(
        "ResNeXt-50 32x4d", 2016, "resnet50", "32 equal branches,\nsummed", 224, "inception_v3"
    ),
    "googlenet": Relative("GoogLeNet", 2014, "", "branches side by side"),
    "inception_v3": Relative("Inception v3", 2015, "googlenet", "7x7 becomes\n1x7 and 7x1", 299),
}
BLOCKS = {  # what is drawn of each: a title, the block, the shape of its input
    "vgg": ("VGG: a stage", lambda rng: models.vgg16(10, small_input=True, rng=rng).features[5:10], (8, 8, 64)),
    "inception": ("GoogLeNet", lambda rng: Inception(192, 64, 96, 128, 16, 32, 32, rng), (28, 28, 192)),
    "inception_v3": ("Inception v3", lambda rng: InceptionC(768, 128, rng), (17, 17, 768)),
    "resnet": ("ResNet", lambda rng: Bottleneck(256, 64, 1, "torchvision", rng), (56, 56, 256)),
    "preact": ("pre-activation", lambda rng: PreActBottleneck(64, 16, 1, rng), (32, 32, 64)),
    "wide": ("wide ResNet", lambda rng: PreActBlock(160, 320, 2, rng), (32, 32, 160)),
    "dense": ("DenseNet: two layers", lambda rng: DenseNet((2,), 12, 24, rng=rng).features[3], (32, 32, 24)),
    "resnext": ("ResNeXt", lambda rng: Bottleneck(256, 64, 1, "torchvision", rng, 128, 32), (56, 56, 256)),
    "se": ("SE-ResNet", lambda rng: SEBottleneck(256, 64, 1, rng), (56, 56, 256)),
    "resnet_d": ("ResNet-D", lambda rng: BottleneckD(256, 128, 2, rng), (56, 56, 256)),
    "rezero": ("ReZero", lambda rng: ReZeroBlock(16, 16, 1, "A", rng), (32, 32, 16)),
}


def main():
    """Run the command line; returns the exit code."""
    return runs.call(run, command_line)


def command_line():
    """The arguments."""
    parser = Parser(description=__doc__)
    parser.add_argument("--out", type=Path, metavar="DIR", default=Path("runs/networks"), help="default: runs/networks")
    parser.add_argument("--quick", action="store_true", help="the networks for CIFAR alone")
    return parser.parse_args()


def run(args):
    """Count, draw and write; returns the exit code."""
    args.out.mkdir(parents=True, exist_ok=True)
    names = [name for name, its in FAMILY.items() if its.size == 32 or not args.quick]
    members = {name: member(name, names) for name in names}
    rows = [
        {
            "network": name,
            "year": each.year,
            "input": FAMILY[name].size,
            "parameters": each.parameters,
            "multiply_adds": each.multiply_adds,
        }
        for name, each in sorted(members.items(), key=lambda item: item[1].year)
    ]
    write_csv(args.out / "networks.csv", COLUMNS, rows)
    print("| network | year | input | parameters | multiply-adds |\n|---|---|---|---|---|")
    for row in rows:
        print(
            f"| `{row['network']}` | {row['year']} | {row['input']}x{row['input']} | {row['parameters']:,} "
            f"| {row['multiply_adds']:,} |"
        )
    pictures.write_png(pictures.draw_family(list(members.values())), args.out / "family.png", 64)
    for name, (title, make, shape) in BLOCKS.items():
        block = make(np.random.default_rng(0))
        pictures.write_png(pictures.draw_graph(block, shape, title), args.out / f"{name}.png", 64)
    print(f"wrote {args.out}/*.png and networks.csv")
    return 0


def member(name, names):
    """The Member of the tree, its numbers counted from the model. A parent that is not among `names` is left out."""
    its = FAMILY[name]
    parent, also = (FAMILY[each].title if each in names else "" for each in (its.parent, its.also))
    counts = costs(models.MODELS[name](rng=0), (its.size, its.size, 3))
    return pictures.Member(its.title, its.year, parent, its.idea, *counts, also)


if __name__ == "__main__":
    sys.exit(main())
