"""The networks under names of torchvision and timm against the real ones: one pass on images of full size, in float64.

    python benchmarks/families_parity.py                     all; a quarter of an hour on two cores, 8 GB
    python benchmarks/families_parity.py --only vgg16        those whose name begins so

Needs torch and torchvision, and timm for those that are from there: pip install torchvision timm. Their network starts
from our weights, and from batch norms with statistics, weights and biases drawn at random; it takes them strictly, as
ours then takes its own. Both see the same batch of two images of noise.
A difference is relative to the largest magnitude in its array. A gradient that in both is below 1e-12 of the network's
largest is 0 but for rounding: that of a bias before batch norm. Dropout is off: each draws from a generator of its own.
"""

import argparse
import gc
import importlib
import sys
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from minires import models  # noqa: E402
from minires.layers import BatchNorm2d, Dropout  # noqa: E402

NETWORKS = {  # ours: (package, its name there, pixels a side, options of both)
    "vgg11": ("torchvision", "vgg11", 224, {}),
    "vgg13": ("torchvision", "vgg13", 224, {}),
    "vgg16": ("torchvision", "vgg16", 224, {}),
    "vgg19": ("torchvision", "vgg19", 224, {}),
    "vgg11_bn": ("torchvision", "vgg11_bn", 224, {}),
    "vgg13_bn": ("torchvision", "vgg13_bn", 224, {}),
    "vgg16_bn": ("torchvision", "vgg16_bn", 224, {}),
    "vgg19_bn": ("torchvision", "vgg19_bn", 224, {}),
    "googlenet": ("torchvision", "googlenet", 224, {"aux_logits": False}),
    "googlenet, three heads": ("torchvision", "googlenet", 224, {"aux_logits": True}),
    "inception_v3": ("torchvision", "inception_v3", 299, {"aux_logits": False}),
    "inception_v3, two heads": ("torchvision", "inception_v3", 299, {"aux_logits": True}),
    "densenet121": ("torchvision", "densenet121", 224, {}),
    "densenet161": ("torchvision", "densenet161", 224, {}),
    "densenet169": ("torchvision", "densenet169", 224, {}),
    "densenet201": ("torchvision", "densenet201", 224, {}),
    "wide_resnet50_2": ("torchvision", "wide_resnet50_2", 224, {}),
    "resnext50_32x4d": ("torchvision", "resnext50_32x4d", 224, {}),
    "resnext101_32x8d": ("torchvision", "resnext101_32x8d", 224, {}),
    "seresnet50": ("timm", "seresnet50", 224, {}),
    "resnet50d": ("timm", "resnet50d", 224, {}),
}
THEIR_OPTIONS = {"googlenet": {"init_weights": False}, "inception_v3": {"init_weights": False}}  # quicker, no warning
ZERO = 1e-12


def relative(ours, theirs):
    """Largest difference, relative to the largest magnitude of theirs."""
    theirs = np.asarray(theirs)
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def pair_of_networks(name):
    """(ours, theirs, pixels a side) with the same weights, which each has taken from the other, in float64."""
    import torch

    package, their_name, size, options = NETWORKS[name]
    ours = getattr(models, name.split(",")[0])(rng=0, **options).to(np.float64)
    more = THEIR_OPTIONS.get(their_name, {})
    if package == "timm":
        theirs = importlib.import_module("timm").create_model(their_name, **options, **more)
    else:
        theirs = getattr(importlib.import_module("torchvision.models"), their_name)(weights=None, **options, **more)
    theirs, rng = theirs.double(), np.random.default_rng(2)
    for module in ours.modules():
        if isinstance(module, BatchNorm2d):
            C = len(module.running_mean)
            module.running_mean, module.running_var = rng.normal(0, 0.3, C), rng.uniform(0.5, 2, C)
            module.weight.data, module.bias.data = rng.normal(1, 0.3, C), rng.normal(0, 0.3, C)
    state = {key: torch.from_numpy(array) for key, array in ours.state_dict().items()}
    counters = {key: value for key, value in theirs.state_dict().items() if key.endswith("num_batches_tracked")}
    theirs.load_state_dict(state | counters)
    ours.load_state_dict({key: value.numpy() for key, value in theirs.state_dict().items()})
    for module in ours.modules():
        if isinstance(module, Dropout):
            module.p = 0.0
    for module in theirs.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return ours, theirs, size


def compare(ours, theirs, size, training):
    """(logits, dx, median gradient, worst gradient, its name): relative differences of one pass."""
    import torch

    rng = np.random.default_rng(1)
    x = rng.standard_normal((2, size, size, 3))
    ours.train(training).zero_grad()
    theirs.train(training).zero_grad()
    y, backward = ours(x)
    heads = y if isinstance(y, tuple) else (y,)
    dheads = [rng.standard_normal(head.shape) for head in heads]
    dx = backward(tuple(dheads) if isinstance(y, tuple) else dheads[0])
    del backward
    their_x = torch.from_numpy(x).requires_grad_()
    their_y = theirs(their_x.permute(0, 3, 1, 2))
    their_heads = their_y if isinstance(their_y, tuple) else (their_y,)
    torch.autograd.backward(their_heads, [torch.from_numpy(dhead) for dhead in dheads])
    # of several heads the worst
    logits = max(relative(h, t.detach()) for h, t in zip(heads, their_heads, strict=True))
    found, largest = {}, max(float(p.grad.abs().max()) for p in theirs.parameters() if p.grad is not None)
    their_parameters = dict(theirs.named_parameters())
    for name, p in ours.named_parameters():
        q = their_parameters.pop(name)
        if (p.grad is None) != (q.grad is None):
            raise AssertionError(f"{name}: one has a gradient and the other none")
        if p.grad is None or max(np.abs(p.grad).max(), float(q.grad.abs().max())) < ZERO * largest:
            continue
        found[name] = relative(p.grad, q.grad.numpy())
    if their_parameters:
        raise AssertionError(f"{', '.join(their_parameters)}: not of ours")
    worst = max(found, key=found.get)
    return logits, relative(dx, their_x.grad.numpy()), float(np.median(list(found.values()))), found[worst], worst


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="NAME", default="", help="networks whose name begins so")
    args = parser.parse_args()
    chosen = [name for name in NETWORKS if name.startswith(args.only)]
    if not chosen:
        parser.error(f"no network begins with {args.only!r}: choose one of {', '.join(NETWORKS)}")
    columns = (
        f"{'network':24} {'parameters':>11} {'mode':9} {'logits':>8} {'dx':>8} {'median':>8} {'worst gradient':>14}"
    )
    print(f"one pass in float64, two images of noise of full size: relative difference\n{columns}")
    for name in chosen:
        begin = time.perf_counter()
        ours, theirs, size = pair_of_networks(name)
        parameters = sum(parameter.size for parameter in ours.parameters())
        for training in (False, True):
            logits, dx, median, worst, where = compare(ours, theirs, size, training)
            row = f"{logits:8.1e} {dx:8.1e} {median:8.1e} {worst:14.1e}"
            mode = "training" if training else "inference"
            print(f"{name:24} {parameters:11,} {mode:9} {row}  {where}", flush=True)
        del ours, theirs
        gc.collect()
        print(f"{'':24} {time.perf_counter() - begin:.0f} seconds", file=sys.stderr)


if __name__ == "__main__":
    main()
