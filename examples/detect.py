"""Find what is in a picture, and where: train a small detector (FCOS, Tian et al. 2019), test it, let it look.

    python examples/detect.py                                           drawn scenes, about ten minutes on one core
    python examples/detect.py --weights resnet20.th                     over weights that were trained on CIFAR
    python examples/detect.py --weights resnet20.th --freeze backbone   of which nothing is changed
    python examples/detect.py --annotations boxes.json --images DIR     your own pictures, annotated as COCO's are
    python examples/detect.py --resume runs/NAME                        go on where a run was stopped
    python examples/detect.py --evaluate runs/NAME                      average precision on the test images once more
    python examples/detect.py --predict cat.jpg --weights runs/NAME     boxes, drawn into detected.png and printed

Of annotated pictures a fifth, drawn by --seed, is for the test unless --test-annotations are given; a tenth of the
others, or --val-split, is to validate. Pictures are scaled to squares of --size pixels, and their boxes with them. What
a run writes into its folder: config.json, log.csv, train.log, curves.png, result.json, found.png (what was found in the
first test images), last.safetensors, previous.safetensors and best.safetensors. docs/detection.md says how it works.
"""

import argparse
import math
import signal
import sys
from pathlib import Path

if __name__ == "__main__":  # Ctrl-C while the imports below go on
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that a fresh clone runs without being installed

import numpy as np

from minires import backend, models, no_grad, optim
from minires.cli import backbones, detecting, legs, runs
from minires.cli.backbones import data_of_loaders, normalisation_of, read_backbone, refuse_idle, settings_to_test
from minires.cli.console import Parser, fail
from minires.cli.pictures import open_and_say, refuse_to_replace
from minires.cli.saved import Script
from minires.cli.settings import FIRST, LAST, add_arguments
from minires.cli.together import prepare_device
from minires.data import normalize
from minires.data.dataset import DatasetError
from minires.detection import Detector, build, decode, positions
from minires.detection.box_loader import BoxLoader
from minires.detection.coco import read_coco
from minires.detection.positions import STRIDES
from minires.detection.scenes import drawn_scenes
from minires.detection.task import DetectionTask
from minires.inspection import pictures
from minires.inspection.pictures.detections import draw_detections
from minires.wording import readable

MARK = "minires, examples/detect.py"  # in its pictures, which alone it replaces
DEFAULTS = {
    **FIRST,
    "recipe": "detection",
    "model": "resnet8",
    "weights": None,
    "freeze": "none",
    "annotations": None,
    "images": None,
    "test_annotations": None,
    "test_images": None,
    "skip_broken": False,
    "scenes": 2500,
    "test_scenes": 500,
    "size": 64,
    "epochs": 12,
    "iterations": None,
    "batch_size": 32,
    "optimizer": "adamw",
    "lr": 0.003,
    "schedule": "one-cycle",
    "weight_decay": 0.01,
    "label_smoothing": 0.0,
    "augment": True,
    **LAST,
    "shards": 1,
    "cuda_graph": False,  # a batch's targets are two arrays, and a recorded step takes one
}
OF_ANNOTATIONS = ("images", "test_annotations", "test_images", "skip_broken")
OF_SCENES = ("scenes", "test_scenes")
OF_LOOKING = {"predict", "weights", "out", "least_score", "device"}
OF_EVALUATION = {"evaluate", "device", "threads", *OF_ANNOTATIONS, "annotations", "seed", "scenes", "test_scenes"}


def main():
    """Run the command line; returns the exit code."""
    return runs.call(run, lambda: vars(command_line().parse_args()))


def run(given):
    """Do what the command line asks for; returns the exit code."""
    if "predict" in given:
        return predict(given)
    if "least_score" in given:
        raise ValueError("--least-score is of --predict: give both, or neither")
    if "evaluate" in given:
        return evaluate(given)
    settings = legs.resumed_settings(given, script()) if "resume" in given else settings_of(given)
    device = prepare_device(settings, given)
    backbone, facts = read_backbone(settings)
    refuse_other_networks(settings)
    parts, label = load_parts(settings)
    detector = build_detector(settings, parts[0], backbone, facts)
    try:
        return train(settings, parts, label, detector.to(device), facts, device)
    except backend.out_of_memory() as error:
        raise runs.out_of_memory(settings, given, error) from error


def script():
    """This script, as a run of it knows it."""
    return Script(command_line(), DEFAULTS, "detect.py")


def settings_of(given):
    """Every setting of a new run: the flags given, over the defaults."""
    settings = {**DEFAULTS, **given}
    refuse_contradictions(settings, given)
    runs.check_settings(settings)
    for name in ("weights", "annotations", "images", "test_annotations", "test_images"):
        settings[name] = settings[name] and str(Path(settings[name]).resolve())  # --resume may be asked for elsewhere
    return settings


def refuse_contradictions(settings, given):
    """Raise ValueError for flags that cannot both be meant, and for sizes that nothing can be made of."""
    if settings["annotations"] is None:
        for name in OF_ANNOTATIONS:
            if name in given:
                raise ValueError(f"--{name.replace('_', '-')} goes with --annotations: give both, or neither")
    else:
        if settings["images"] is None:
            raise ValueError("--annotations needs --images DIR, the folder that their pictures are in")
        for name in OF_SCENES:
            if name in given:
                raise ValueError(f"--{name.replace('_', '-')} is of drawn scenes: leave it or --annotations out")
    if "test_images" in given and settings["test_annotations"] is None:
        raise ValueError("--test-images goes with --test-annotations: give both, or neither")
    backbones.refuse_contradictions(settings, given)
    for name, least in (("scenes", 20), ("test_scenes", 1)):
        if settings[name] < least:
            raise ValueError(f"--{name.replace('_', '-')} must be at least {least}, got {settings[name]}")
    if settings["size"] < 32 or settings["size"] % max(STRIDES):
        raise ValueError(f"--size must be a multiple of {max(STRIDES)} from 32 up, got {settings['size']}")


def load_parts(settings):
    """((training, validation, test), label): BoxedImages, and what they are called."""
    if settings["annotations"] is None:
        train = drawn_scenes(settings["scenes"], settings["size"], settings["seed"])
        test = drawn_scenes(settings["test_scenes"], settings["size"], np.random.default_rng([settings["seed"], 1]))
        label = f"scenes drawn by code, {settings['size']}x{settings['size']}"
    else:
        train, test = read_annotated(settings)
        label = f"{Path(settings['annotations']).name}, {settings['size']}x{settings['size']}"
    train, val = set_aside(train, settings)
    print(
        f"data: {label}, {len(train.classes)} classes, {len(train.images):,} images to train, {len(val.images):,} to "
        f"validate, {len(test.images):,} to test",
        flush=True,
    )
    return (train, val, test), label


def read_annotated(settings):
    """(training, test) pictures and boxes of files of annotations."""

    def read(annotations, images):
        def tell(line):
            print(f"note: {Path(annotations).name}: {line}", file=sys.stderr, flush=True)

        try:
            return read_coco(annotations, images, settings["size"], settings["skip_broken"], tell)
        except DatasetError as error:
            raise DatasetError(str(error).replace("skip_broken", "--skip-broken")) from error

    boxed = read(settings["annotations"], settings["images"])
    if settings["test_annotations"] is not None:
        test = read(settings["test_annotations"], settings["test_images"] or settings["images"])
        if test.classes != boxed.classes:
            raise ValueError("--test-annotations: its categories are not those of --annotations: name the same ones")
        return boxed, test
    if len(boxed.images) < 5:
        raise ValueError(f"--annotations: {len(boxed.images)} images cannot be divided: give 5, or --test-annotations")
    order = np.random.default_rng(settings["seed"]).permutation(len(boxed.images))
    held_out = math.ceil(len(order) / 5)
    return boxed.part(np.sort(order[held_out:])), boxed.part(np.sort(order[:held_out]))


def set_aside(boxed, settings):
    """(training, validation): --val-split of the images, drawn by --seed."""
    count = len(boxed.images) // 10 if settings["val_split"] is None else settings["val_split"]
    if count > len(boxed.images) - 2:
        raise ValueError(f"--val-split {count}: of {len(boxed.images)} images at least two must be left to train on")
    order = np.random.default_rng([settings["seed"], 2]).permutation(len(boxed.images))
    return boxed.part(np.sort(order[count:])), boxed.part(np.sort(order[:count]))


def refuse_other_networks(settings):
    """Raise ValueError for a backbone of which `Detector` makes none."""
    name, weights = settings["model"], settings["weights"]
    if not (name.startswith("resnet") and "shortcut" in models.options_of(name)):
        what = f"--model {name}" if weights is None else f"--weights {weights}: holds {name}"
        raise ValueError(f"{what}: give a ResNet for CIFAR, such as resnet8 or resnet20")


def build_detector(settings, train, backbone, facts):
    """The detector for the classes of the training images; facts get the normalisation where they have none."""
    if "normalisation" not in facts:
        facts["normalisation"] = normalisation_of(train.images)
    rng = np.random.default_rng(settings["seed"])
    if backbone is not None:
        return Detector(backbone, len(train.classes), rng)
    return build(settings["model"], len(train.classes), rng, **facts["options"])


def train(settings, parts, label, detector, facts, device):
    """Train, or go on training, and test the best detector; returns the exit code."""
    if settings["freeze"] == "backbone":
        detector.backbone.freeze()
    loaders = make_loaders(parts, settings, facts["normalisation"], device)
    say_what_is_too_small(loaders[0])
    trained = [parameter for parameter in detector.parameters() if parameter.requires_grad]
    optimizer = optim.AdamW(trained, settings["lr"], weight_decay=settings["weight_decay"], decay_bias_and_norm=False)
    settings |= {"notice": None}
    number = sum(parameter.size for parameter in trained)
    facts |= {"measure": DetectionTask.measure, "trained_parameters": number}
    dataset = data_of_loaders("boxes", label, parts[0].classes)
    options = {"criterion": DetectionTask(), "test": detecting.test, "name": f"{settings['model']}-detector"}
    return runs.train(settings, dataset, device, detector, optimizer, loaders, facts, **options)


def make_loaders(parts, settings, normalisation, device):
    """Loaders of the training, validation (or None) and test images."""
    train, val, test = parts
    plain = {**normalisation, "device": device}
    drawn = {"mirror": settings["augment"], "shuffle": True, "seed": settings["seed"]}
    return (
        BoxLoader(train, settings["batch_size"], **drawn, **plain),
        BoxLoader(val, 100, **plain) if len(val.images) else None,
        BoxLoader(test, 100, **plain),
    )


def say_what_is_too_small(loader):
    """Note boxes that no position is to find, and classes that have none."""
    boxes, lost = sum(map(len, loader.boxes)), loader.left_without()
    if lost:
        print(
            f"note: boxes that no position is to find, being too small or narrow to hold one, or hidden behind smaller "
            f"ones: {lost:,} of {boxes:,}; a larger --size helps the former",
            file=sys.stderr,
        )


def evaluate(given):
    """--evaluate: average precision of a saved detector on the test images, its run's or others."""
    refuse_idle(given, OF_EVALUATION, "--evaluate tests")
    saved = detecting.load_detector(given["evaluate"])
    settings = settings_to_test(saved, script(), given)
    refuse_contradictions(settings, given)
    divided = settings["annotations"] is not None and settings["test_annotations"] is None
    if divided and settings["seed"] != saved.config["settings"]["seed"]:
        raise ValueError("--seed: another draws other pictures to test on, which were trained on: leave it out")
    device = prepare_device(settings, given)
    parts, label = load_parts(settings)
    if tuple(parts[2].classes) != saved.classes:
        raise ValueError(
            f"--evaluate {given['evaluate']}: its classes are not the data's: give it its own --annotations"
        )
    loader = BoxLoader(parts[2], 100, saved.mean, saved.std, device=device)
    evaluation = DetectionTask().evaluate(saved.model.to(device), loader, len(saved.classes))
    print("\n".join(detecting.table(evaluation, loader, saved.classes, label)), flush=True)
    return 0


def predict(given):
    """--predict: the boxes that a saved detector finds in pictures, drawn and printed; 1 if one could not be read."""
    if "weights" not in given:
        raise ValueError("--predict IMAGE goes with --weights, a run of detect.py: give both")
    refuse_idle(given, OF_LOOKING, "--predict looks at pictures")
    out, least_score = given.get("out", "detected.png"), given.get("least_score", detecting.CONFIDENT)
    if not 0 < least_score <= 1:
        raise ValueError(f"--least-score {least_score}: give a probability, above 0 and at most 1")
    refuse_to_replace(out, MARK, "--out")
    saved = detecting.load_detector(given["weights"])
    device = backend.resolve_device(given.get("device", "auto"))
    saved.model.to(device)
    code, images, found = 0, [], []
    for name in given["predict"]:
        try:
            images.append(np.asarray(open_and_say(name, None)))
        except DatasetError as error:
            code = fail(error)
            continue
        found.append(look(saved, images[-1], device).above(least_score))
        show(name, found[-1], saved.classes)
    if images:
        figure = draw_detections(images, found, saved.classes, columns=2, inches=5)
        pictures.write_png(figure, out, text={"Software": MARK})
        print(f"wrote {out}", file=sys.stderr)
    return code


def look(saved, picture, device):
    """The Detections in a picture, uint8 (H, W, 3), in its own pixels."""
    from PIL import Image

    (height, width), size = picture.shape[:2], saved.size
    pixels = np.asarray(Image.fromarray(picture).resize((size, size), 2))
    x = backend.to_device(normalize(pixels[None], saved.mean, saved.std), device)
    with no_grad():
        y, _ = saved.model(x)
    found = decode(backend.to_numpy(y)[0], positions(size), size)
    return found._replace(boxes=found.boxes * [width / size, height / size, width / size, height / size])


def show(name, found, classes):
    """A picture's boxes, the surest first."""
    print(f"{readable(str(name), 4096)}: {len(found.scores) or 'no'} {'box' if len(found.scores) == 1 else 'boxes'}")
    for box, score, label in zip(*found, strict=True):
        corners = ", ".join(f"{value:.0f}" for value in box)
        print(f"  {score:7.2%}  {readable(classes[label], 100)}: {corners}", flush=True)


def command_line():
    """The parser. Flags that are not given are absent, so that a resumed run can tell them."""
    parser = Parser(description=__doc__, argument_default=argparse.SUPPRESS)
    add = parser.add_argument
    add("--model", metavar="NAME", help="the backbone, a ResNet for CIFAR; default: resnet8")
    add("--weights", metavar="FILE", help="of a ResNet for CIFAR, which is the backbone; with --predict a run's")
    add("--freeze", choices=["none", "backbone"], help="default: none")
    add("--annotations", metavar="FILE.json", help="boxes as COCO has them; default: drawn scenes")
    add("--images", metavar="DIR", help="the folder that the annotated pictures are in")
    add("--test-annotations", metavar="FILE.json", help="default: a fifth of the pictures is for the test")
    add("--test-images", metavar="DIR", help="default: --images")
    add("--skip-broken", action="store_true", help="leave out annotations and pictures that cannot be used")
    add("--scenes", type=int, metavar="N", help="how many to draw and train on; default: 2500")
    add("--test-scenes", type=int, metavar="N", help="how many to draw and test on; default: 500")
    add("--size", type=int, metavar="N", help="side of what the detector sees, a multiple of 16; default: 64")
    add("--epochs", type=int, metavar="N", help="default: 12")
    add("-b", "--batch-size", type=int, metavar="N", help="default: 32")
    add("--lr", type=float, metavar="X", help="learning rate of AdamW, the highest of the schedule; default: 0.003")
    add("--schedule", choices=legs.KINDS, help="default: one-cycle")
    add("--weight-decay", type=float, metavar="X", help="default: 0.01, of weights, not of biases and norms")
    add("--augment", action=argparse.BooleanOptionalAction, help="mirror training images (default)")
    add_arguments(parser, "--seed", "--val-split", "--device", "--threads", "--best", "--patience", "--clip-norm")
    add_arguments(parser, "--ema", "--save-every", "--no-progress")
    add("--out", metavar="DIR", help="folder of the run, default: runs/<time>-NAME; or the picture of --predict")
    add("--resume", metavar="DIR", help="go on with the run in this folder; longer with more --epochs and --lr")
    add("--evaluate", metavar="FILE", help="test the detector of this run and do nothing else")
    add("--predict", nargs="+", metavar="IMAGE", help="pictures to look at")
    add("--least-score", type=float, metavar="P", help="of the boxes that are shown; default: 0.5")
    return parser


if __name__ == "__main__":
    sys.exit(main())
