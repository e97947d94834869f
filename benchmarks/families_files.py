"""Files of torchvision's and timm's networks, read here: the same answers from the same file, in float64.

    python benchmarks/families_files.py                   all; three minutes on two cores, 4 GB
    python benchmarks/families_files.py --only timm       those whose name holds this

Needs torch and torchvision, and timm for its names: pip install torchvision timm. Each network is made there with
random weights and statistics, saved as its package saves it, and read by `minires.pretrained.build`; nothing is told
but the path. Both see the same image of noise. A difference is relative to the largest magnitude of theirs.
"""

import argparse
import gc
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from minires import no_grad, pretrained

SIDE = 96  # pixels
ALIKE = ["vgg11", "vgg13", "vgg16", "vgg19", "vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"]
ALIKE += ["inception_v3", "densenet121", "densenet161", "densenet169", "densenet201"]
ALIKE += ["wide_resnet50_2", "resnext50_32x4d", "resnext101_32x8d"]
TORCHVISION, TIMM = [*ALIKE, "googlenet"], [*ALIKE, "seresnet50", "resnet50d"]
NAMES = [f"torchvision {name}" for name in TORCHVISION] + [f"timm {name}" for name in TIMM]
MOST = 1e-11


def theirs(name):
    """Their network in inference mode, whose weights and statistics all have some effect."""
    import torch

    package, model = name.split()
    torch.manual_seed(0)
    if package == "timm":
        import timm

        network = timm.create_model(model)
    else:
        from torchvision import models

        without = {"init_weights": False} if model in ("googlenet", "inception_v3") else {}
        network = getattr(models, model)(**without)
    for key, array in network.state_dict().items():
        if key.endswith("running_var"):
            array.uniform_(0.5, 1.5)
        elif array.ndim == 1:
            array.add_(torch.randn_like(array) * 0.1)
    return network.eval()


def compare(name, folder):
    """(what was read, largest relative difference of the logits, seconds of reading) of one network."""
    import torch

    network = theirs(name)
    path = Path(folder) / "weights.pth"
    torch.save(network.state_dict(), path)
    start = time.perf_counter()
    model, metadata = pretrained.build(path)
    seconds = time.perf_counter() - start
    x = np.random.default_rng(0).standard_normal((1, SIDE, SIDE, 3))
    with torch.no_grad(), no_grad():
        expected = network.double()(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).numpy()
        logits, _ = model.to(np.float64).eval()(x)
    return metadata, float(np.abs(logits - expected).max() / np.abs(expected).max()), seconds


def main():
    """Print a row for each network; the exit code is 1 where one was taken for another, or answers otherwise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="TEXT", help="those whose name holds this text")
    only, failed = parser.parse_args().only, False
    print(f"{'network':28} {'read as':18} {'left out':12} {'difference':>10} {'read in s':>9}")
    for name in [name for name in NAMES if only in name]:
        with tempfile.TemporaryDirectory() as folder:
            metadata, difference, seconds = compare(name, folder)
        right = metadata["model"] == name.split()[1] and difference < MOST
        failed |= not right
        left_out, wrong = ", ".join(metadata["left_out"]), "" if right else "  WRONG"
        print(f"{name:28} {metadata['model']:18} {left_out:12} {difference:10.1e} {seconds:9.1f}{wrong}", flush=True)
        gc.collect()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
