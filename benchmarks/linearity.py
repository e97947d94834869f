"""Does the cost of an image stay the same in larger batches, and the cost of a layer in deeper networks?

A network's layers are not all alike: the first convolution has 3 channels, and the first of a stage half the work of
the others, so that a deeper network does more work a layer. So the cost of a multiply-add stands beside the cost of a
layer: it says what is left when that is taken out.
"""

import statistics
from dataclasses import dataclass

from cases import Network

BATCHES = (32, 128, 512)
DEPTHS = (20, 56, 110)
QUICK_BATCHES, QUICK_DEPTHS = (32, 128), (20, 32)


@dataclass(frozen=True)
class Cost:
    """Seconds for an image of a training step, in each round."""

    depth: int
    batch_size: int
    seconds: tuple


def networks(batches, depths):
    """The training steps to measure: resnet20 in each batch size, each depth in batches of 128; each once."""
    wanted = [(20, batch_size) for batch_size in batches] + [(depth, 128) for depth in depths]
    return [Network(f"resnet{depth}", True, batch_size) for depth, batch_size in dict.fromkeys(wanted)]


def multiply_adds(depth):
    """Of one image, forward, in a network with shortcut A: convolutions and the last layer.

    A convolution with as many channels out as in takes the same in all stages, since channels double where rows and
    columns halve; the two that change the shape take half of that.
    """
    n = (depth - 2) // 6
    same = 9 * 16 * 16 * 32 * 32
    first, last = 9 * 3 * 16 * 32 * 32, 64 * 10
    return first + (6 * n - 2) * same + 2 * same // 2 + last


def analyse(costs):
    """The JSON's "linearity": how the costs change, relative to the smallest batch and to the least depth.

    "seconds" are for an image, by depth for its layer or its multiply-add; changes are medians of the rounds' ratios.
    "largest_deviation" is the largest change of an image's cost by batch size and of its layer's by depth.
    """
    of_resnet20 = sorted((cost for cost in costs if cost.depth == 20), key=lambda cost: cost.batch_size)
    by_depth = sorted((cost for cost in costs if cost.batch_size == 128), key=lambda cost: cost.depth)
    batch = _changes(of_resnet20, "batch_size", lambda cost: 1)
    layer = _changes(by_depth, "depth", lambda cost: cost.depth)
    work = _changes(by_depth, "depth", lambda cost: multiply_adds(cost.depth))
    return {
        "by_batch_size": batch,
        "by_depth": layer,
        "by_depth_per_multiply_add": work,
        "largest_deviation": _largest([*batch, *layer]),
        "largest_deviation_per_multiply_add": _largest([*batch, *work]),
    }


def _changes(costs, size, work):
    """For each cost its median, divided by its work, and the change from the first one's."""
    found = []
    for cost in costs:
        ratios = [a / b for a, b in zip(cost.seconds, costs[0].seconds, strict=True)]
        change = statistics.median(ratios) * work(costs[0]) / work(cost) - 1
        seconds = statistics.median(cost.seconds) / work(cost)
        found.append({size: getattr(cost, size), "seconds": seconds, "change": change})
    return found


def _largest(changes):
    return max(abs(change["change"]) for change in changes)


def table(found):
    """The analysis as text."""
    lines = ["cost of an image in a training step"]
    for row in found["by_batch_size"]:
        lines.append(
            f"  resnet20, batch {row['batch_size']:<4} {1e3 * row['seconds']:8.3f} ms an image"
            f"          {row['change']:+7.1%}"
        )
    for row, work in zip(found["by_depth"], found["by_depth_per_multiply_add"], strict=True):
        lines.append(
            f"  batch 128, resnet{row['depth']:<4} {1e3 * row['seconds']:8.3f} ms an image and layer"
            f" {row['change']:+7.1%}; a multiply-add {work['change']:+7.1%}"
        )
    lines.append(
        f"  largest deviation: {found['largest_deviation']:.1%}; with multiply-adds in place of layers "
        f"{found['largest_deviation_per_multiply_add']:.1%}"
    )
    return "\n".join(lines)
