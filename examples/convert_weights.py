"""Turn a file of weights, whatever framework wrote it, into safetensors under PyTorch's names, with metadata.

    python examples/convert_weights.py resnet50.pth resnet50.safetensors
    python examples/convert_weights.py runs/NAME mine.safetensors
    python examples/convert_weights.py resnet50.h5 -                              only say what it is
    python examples/convert_weights.py resnet20.th - --probe --data-dir DIR       and try how it is to be read

In: PyTorch's .pth, .pt and .th, safetensors, NumPy's .npz, Keras's HDF5, a run's checkpoints. Out: what minires reads
again, and PyTorch, too:

    model.load_state_dict(safetensors.torch.load_file("resnet50.safetensors"), strict=True)

A file does not say how its images were prepared, nor all of its network. --probe tries the plausible readings on a few
hundred labelled images, those to train with of CIFAR-10 or of --image-folder, and prints a table, the best first, with
the flags that read the file so. No test image takes part.

The checksum belongs to the network's answers to one picture that is drawn by code: two people whose checksums agree
have the same weights. It is rounded, so that machines whose last digits differ agree.
"""

import hashlib
import math
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that a fresh clone runs without being installed

import numpy as np

from minires import models, no_grad, pretrained
from minires.cli import runs
from minires.cli.console import Parser, in_flags
from minires.cli.settings import add_arguments
from minires.cli.weights import add_weights_arguments, known_of_weights
from minires.data import normalize
from minires.data.folders import read_image_folder
from minires.data.images import Preprocessing
from minires.layers import Linear
from minires.models.last_layer import head_of, replace_head
from minires.pretrained.probe import probe
from minires.pretrained.weights import OF_THE_FILE_ITSELF


def main():
    """Run the command line; returns the exit code."""
    return runs.call(run, lambda: vars(command_line().parse_args()))


def run(options):
    """Convert one file; returns the exit code."""
    source, target = options["source"], options["target"]
    if target != "-" and Path(target).suffix != ".safetensors":
        raise ValueError(f"{target}: only safetensors are written: name a file that ends with .safetensors")
    if target != "-" and Path(target).exists() and not options["overwrite"]:
        raise ValueError(f"{target}: exists already: name another file, or give --overwrite")
    known = known_of_weights(options)
    if options["probe"]:
        return show_probe(options, known)
    state, metadata = pretrained.read(source, **known)
    logits = fixed_logits(source, state, metadata)
    what = "logits" if metadata["num_classes"] else "features"
    print(in_flags(pretrained.identify(source, **known)))
    print(f"checksum       {checksum(logits)} of {logits.size} {what}, {logits.min():.4f} to {logits.max():.4f}")
    if target != "-":
        pretrained.write(target, state, metadata)
        print(f"wrote          {target}, {Path(target).stat().st_size / 1e6:.1f} MB")
    return 0


def show_probe(options, known):
    """--probe: a table of readings, the best first; the exit code."""
    if options["target"] != "-":
        raise ValueError(
            f"--probe writes nothing: give - in the place of {options['target']}, then convert with the flags"
        )
    if options["probe_images"] < 20:
        raise ValueError(f"--probe-images {options['probe_images']}: give 20 or more, a few hundred are better")
    source = options["source"]
    print(in_flags(pretrained.identify(source, **known)))
    metadata = pretrained.read(source, **known)[1]
    dataset = labelled_images(options, Preprocessing(**metadata["preprocessing"]))
    if metadata["num_classes"] not in (None, len(dataset.classes)):
        raise ValueError(
            f"{source}: {metadata['num_classes']} classes, {dataset.label} has {len(dataset.classes)}: give an "
            "--image-folder of the classes that the weights know"
        )
    images = np.asarray(dataset.train_images[: options["probe_images"]])
    rows = probe(source, images, dataset.train_labels[: len(images)], **known)
    given = {} if known["overrides"] is None else known["overrides"]
    print(f"\nreadings of it, by {len(images)} training images of {dataset.label}, the best first:")
    print("  right   of  share  flags")
    for row in rows:
        words = row.flags if row.overrides != given else f"{row.flags} (as it is read here)".strip()
        print(f"  {row.correct:5} {row.total:4} {row.accuracy:6.1%}  {words}")
    share = rows[0].accuracy
    error = math.sqrt(max(share * (1 - share), 1e-9) / len(images))
    print(f"the first share is known to about {error:.1%}: what lies closer together does not differ")
    return 0


def labelled_images(options, preprocessing):
    """CIFAR-10, or the pictures of a folder, in the network's size and in RGB."""
    if options["image_folder"] is None:
        settings = {"dataset": "cifar10", "data_dir": options["data_dir"], "data_url": None, "no_progress": True}
        if preprocessing.size != 32:
            raise ValueError(
                f"--probe: CIFAR-10's images are 32x32, these weights are for {preprocessing.size}x"
                f"{preprocessing.size}: give an --image-folder of labelled pictures"
            )
        return runs.load_dataset(settings)
    tell = lambda line: print(line, file=sys.stderr, flush=True)  # noqa: E731
    return read_image_folder(options["image_folder"], replace(preprocessing, order="RGB"), skip_broken=True, tell=tell)


def fixed_logits(path, state, metadata):
    """The network's answers, in float64, to `fixed_picture`; without a head its features."""
    headless = metadata["num_classes"] is None
    model = models.build(metadata["model"], metadata["num_classes"] or 1, rng=0, **metadata["options"])
    if headless:
        features = head_of(model).weight.shape[1]
        replace_head(model, Linear(features, features))
        head_of(model).weight.data[:], head_of(model).bias.data[:] = np.eye(features), 0
    pretrained.fill(model, path, state, "new" if headless else None, OF_THE_FILE_ITSELF)
    preprocessing = Preprocessing(**metadata["preprocessing"])
    x = normalize(fixed_picture(preprocessing.size)[None], preprocessing.mean, preprocessing.std)
    with no_grad():
        logits, _ = model.to(np.float64).eval()(x.astype(np.float64))
    return logits[0]


def fixed_picture(size):
    """uint8 (size, size, 3): a different wave in each channel."""
    rows, columns = np.mgrid[:size, :size] * (2 * np.pi / size)
    waves = [np.sin(3 * rows + columns), np.cos(2 * rows - 3 * columns), np.sin(5 * columns) * np.cos(rows)]
    return np.round(127.5 + 127.5 * np.stack(waves, axis=-1)).astype(np.uint8)


def checksum(logits):
    """Twelve hexadecimal digits of the logits' SHA-256, each rounded to a thousandth of the largest."""
    rounded = np.round(logits / max(np.abs(logits).max(), 1e-30) * 1000).astype("<i4")
    return hashlib.sha256(rounded.tobytes()).hexdigest()[:12]


def command_line():
    """The parser."""
    parser = Parser(description=__doc__)
    parser.add_argument("source", metavar="IN", help="a file of weights, or the folder of a run")
    parser.add_argument("target", metavar="OUT", help="a .safetensors file, or - to write none")
    parser.add_argument("--overwrite", action="store_true", help="write over a file that exists")
    add_weights_arguments(parser)
    group = parser.add_argument_group("how is it to be read?")
    group.add_argument("--probe", action="store_true", help="try the plausible readings on labelled images")
    add_arguments(group, "--data-dir")
    group.add_argument(
        "--image-folder", metavar="DIR", help="pictures, one sub-folder for each class; default: CIFAR-10"
    )
    group.add_argument("--probe-images", type=int, default=300, metavar="N", help="default: 300")
    return parser


if __name__ == "__main__":
    sys.exit(main())
