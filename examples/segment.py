"""What each pixel shows: train a fully convolutional network (Long, Shelhamer, Darrell 2015), test it, let it look.

    python examples/segment.py                                          drawn scenes, eight minutes on two cores
    python examples/segment.py --weights resnet20.th                    on a backbone that was trained on CIFAR
    python examples/segment.py --weights resnet20.th --freeze backbone  of which nothing is changed
    python examples/segment.py --images DIR --masks DIR                 your own pictures, and masks of their names
    python examples/segment.py --images DIR --masks DIR --colors FILE   of colours: a line "R G B name" for each
    python examples/segment.py --resume runs/NAME                       go on where a run was stopped
    python examples/segment.py --evaluate runs/NAME                     mean IoU on the test images once more
    python examples/segment.py --predict cat.jpg --weights runs/NAME    segmented/cat-mask.png and cat-overlay.png

A mask is a PNG of its picture's size whose pixels are numbers of classes, 255 where none counts; its colours, if it has
a palette, mean nothing. Of such pictures a fifth, drawn by --seed, is for the test, and a tenth of the others, or
--val-split, to validate. They are made squares of --size pixels. What a run writes into its folder: config.json,
log.csv, train.log, curves.png, result.json, overlays.png (the first test images), last.safetensors,
previous.safetensors and best.safetensors. docs/segmentation.md says how it works.
"""

import argparse
import io
import signal
import sys
from pathlib import Path

if __name__ == "__main__":  # Ctrl-C while the imports below go on
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that a fresh clone runs without being installed

import numpy as np

from minires import backend, no_grad, optim
from minires.cli import backbones, legs, runs, segmenting
from minires.cli.backbones import data_of_loaders, normalisation_of, read_backbone, refuse_idle, settings_to_test
from minires.cli.console import Parser, fail
from minires.cli.pictures import open_and_say, refuse_to_replace
from minires.cli.saved import Script
from minires.cli.settings import FIRST, LAST, add_arguments
from minires.cli.together import prepare_device
from minires.columns import cut
from minires.data import Augment, normalize
from minires.data.class_names import read_class_names
from minires.data.dataset import DatasetError
from minires.data.scenes import SCENE_CLASSES, draw_scenes
from minires.files import write_atomically
from minires.inspection.pictures import write_png
from minires.inspection.pictures.masks import class_colours, draw_masks
from minires.segmentation import MaskLoader, Segmentation, build
from minires.segmentation.colours import read_colours
from minires.segmentation.folders import Masked, read_masked
from minires.wording import readable

MARK = "minires, examples/segment.py"  # in its pictures, which alone it replaces
DEFAULTS = {
    **FIRST,
    "dataset": "shapes",
    "recipe": "segmentation",
    "model": "resnet20",
    "weights": None,
    "freeze": "none",
    "skips": True,
    "images": None,
    "masks": None,
    "colors": None,
    "classes": None,
    "size": 64,
    "balance": "none",
    "epochs": 12,
    "iterations": None,
    "batch_size": 32,
    "optimizer": "sgd",
    "lr": 0.1,
    "schedule": "one-cycle",
    "weight_decay": 5e-4,
    "label_smoothing": 0.0,
    "augment": True,
    **LAST,
    "shards": 1,
    "cuda_graph": False,
}
SCENES = {"train": 2000, "val": 200, "test": 500}  # drawn, where --limit-train and --limit-test do not say
OF_FOLDERS = ("masks", "colors", "classes")
OF_LOOKING = {"predict", "weights", "out", "device"}
OF_EVALUATION = {"evaluate", "device", "threads", "dataset", "images", *OF_FOLDERS, "seed", "limit_test"}
LONGEST = 16  # sides of a picture to look at, the longer one in shorter ones


def main():
    """Run the command line; returns the exit code."""
    return runs.call(run, lambda: vars(command_line().parse_args()))


def run(given):
    """Do what the command line asks for; returns the exit code."""
    if "predict" in given:
        return predict(given)
    if "evaluate" in given:
        return evaluate(given)
    settings = legs.resumed_settings(given, script()) if "resume" in given else settings_of(given)
    device = prepare_device(settings, given)
    backbone, facts = read_backbone(settings)
    parts, label = load_parts(settings)
    model = build_network(settings, parts["train"], backbone, facts)
    try:
        return train(settings, parts, label, model.to(device), facts, device)
    except backend.out_of_memory() as error:
        raise runs.out_of_memory(settings, given, error) from error


def script():
    """This script, as a run of it knows it."""
    return Script(command_line(), DEFAULTS, "segment.py")


def settings_of(given):
    """Every setting of a new run: the flags given, over the defaults."""
    settings = {**DEFAULTS, **given}
    refuse_contradictions(settings, given)
    runs.check_settings(settings)
    for name in ("weights", "images", *OF_FOLDERS):
        settings[name] = settings[name] and str(Path(settings[name]).resolve())  # --resume may be asked for elsewhere
    return settings


def refuse_contradictions(settings, given):
    """Raise ValueError for flags that cannot both be meant, and for sizes that nothing can be made of."""
    if settings["images"] is not None and settings["masks"] is None:
        raise ValueError("--images goes with --masks: give both, or neither")
    for name in OF_FOLDERS if settings["images"] is None else ():
        if name in given:
            raise ValueError(f"--{name} goes with --images: give both, or neither")
    if settings["images"] is not None and "dataset" in given:
        raise ValueError(f"--images and --dataset {given['dataset']} name two data sets: leave one of them out")
    if settings["colors"] is not None and settings["classes"] is not None:
        raise ValueError("--colors and --classes both name the classes: leave --classes out")
    backbones.refuse_contradictions(settings, given)
    if settings["size"] < 32:
        raise ValueError(f"--size must be at least 32, got {settings['size']}")


def load_parts(settings):
    """({"train", "val", "test": Masked}, label): the images with their masks, and what they are called."""
    if settings["images"] is None:
        parts, label = drawn(settings), "scenes drawn by code, not photographs"
    else:
        parts, label = divided(read_folders(settings), settings), f"pictures in {Path(settings['images']).name}"
    sizes = ", ".join(f"{len(part.images):,} to {use}" for use, part in zip(USES, parts.values(), strict=True))
    print(f"data: {label}, {len(parts['train'].classes)} classes, {sizes}", flush=True)
    return parts, label


USES = ("train", "validate", "test")


def drawn(settings):
    """Scenes, those of each part from a stream of their own."""
    sizes = {**SCENES, "train": settings["limit_train"] or SCENES["train"]}
    sizes["test"] = settings["limit_test"] or SCENES["test"]
    sizes["val"] = max(1, sizes["train"] // 10) if settings["val_split"] is None else settings["val_split"]
    parts = {}
    for stream, (part, n) in enumerate(sizes.items()):
        rng = np.random.default_rng([settings["seed"], stream])
        scenes = draw_scenes(max(1, n), settings["size"], rng)
        parts[part] = Masked(scenes.images[:n], scenes.masks[:n], SCENE_CLASSES)
    return {part: parts[part] for part in ("train", "val", "test")}


def read_folders(settings):
    """The pictures of --images with their masks."""
    colours = None if settings["colors"] is None else read_colours(settings["colors"])
    names = None if settings["classes"] is None else read_class_names(settings["classes"])
    try:
        return read_masked(settings["images"], settings["masks"], settings["size"], colours, names)
    except DatasetError as error:
        text = str(error).replace("names=FILE", "--classes FILE").replace("colors=FILE", "--colors FILE")
        raise DatasetError(text) from error


def divided(masked, settings):
    """The pictures, drawn by --seed: a fifth to test, of the others --val-split or a tenth to validate."""
    order = np.random.default_rng(settings["seed"]).permutation(len(masked.images))
    tested = -(-len(order) // 5)
    val = (len(order) - tested) // 10 if settings["val_split"] is None else settings["val_split"]
    if len(order) - tested - val < 2:
        raise ValueError(
            f"--images: of {len(order)} pictures {tested} are to test and {val} to validate, and two at least must be "
            "left to train on: give more, or a smaller --val-split"
        )
    limits = settings["limit_train"], None, settings["limit_test"]
    starts = order[tested + val :], order[tested : tested + val], order[:tested]
    return {
        part: masked.part(np.sort(numbers[:limit]))
        for part, numbers, limit in zip(("train", "val", "test"), starts, limits, strict=True)
    }


def build_network(settings, train, backbone, facts):
    """The network for the classes of the training images; facts get the normalisation where they have none."""
    if "normalisation" not in facts:
        facts["normalisation"] = normalisation_of(train.images)
    return build(
        settings["model"], len(train.classes), settings["seed"], backbone, settings["skips"], **facts["options"]
    )


def train(settings, parts, label, model, facts, device):
    """Train, or go on training, and test the best network; returns the exit code."""
    if settings["freeze"] == "backbone":
        model.backbone.freeze()
    loaders = make_loaders(parts, settings, facts["normalisation"], device)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = optim.SGD(trained, settings["lr"], momentum=0.9, nesterov=True, weight_decay=settings["weight_decay"])
    settings |= {"notice": None}
    number = sum(parameter.size for parameter in trained)
    facts |= {"measure": Segmentation.measure, "trained_parameters": number}
    name = "shapes" if settings["images"] is None else "masks"
    dataset = data_of_loaders(name, label, parts["train"].classes)
    options = {"criterion": Segmentation(), "test": segmenting.test, "name": f"{settings['model']}-segmentation"}
    return runs.train(settings, dataset, device, model, optimizer, loaders, facts, **options)


def make_loaders(parts, settings, normalisation, device):
    """Loaders of the training, validation (or None) and test images."""
    plain = {**normalisation, "device": device}
    shifted = Augment(settings["size"] // 8) if settings["augment"] else None
    drawn_anew = {"augment": shifted, "shuffle": True, "seed": settings["seed"], "least_last": 2}
    train, val, test = parts.values()
    return (
        MaskLoader(train.images, train.masks, settings["batch_size"], **drawn_anew, **plain),
        MaskLoader(val.images, val.masks, 50, **plain) if len(val.images) else None,
        MaskLoader(test.images, test.masks, 50, **plain),
    )


def evaluate(given):
    """--evaluate: mean IoU of a saved network on the test images, its run's or others; returns the exit code."""
    refuse_idle(given, OF_EVALUATION, "--evaluate tests")
    saved = segmenting.load_network(given["evaluate"])
    settings = settings_to_test(saved, script(), given)
    refuse_contradictions(settings, given)
    if settings["seed"] != saved.config["settings"]["seed"] and settings["images"] is not None:
        raise ValueError("--seed: another draws other pictures to test on, which were trained on: leave it out")
    device = prepare_device(settings, given)
    parts, label = load_parts(settings)
    if tuple(parts["test"].classes) != saved.classes:
        raise ValueError(
            f"--evaluate {given['evaluate']}: its classes are not the data's: give it its own --images and --masks"
        )
    loader = MaskLoader(parts["test"].images, parts["test"].masks, 50, saved.mean, saved.std, device=device)
    found = Segmentation().evaluate(saved.model.to(device), loader, len(saved.classes))
    print("\n".join(segmenting.table(found, saved.classes, label, len(loader.images))), flush=True)
    return 0


def predict(given):
    """--predict: masks and overlays of pictures; the exit code is 1 if one could not be read."""
    if "weights" not in given:
        raise ValueError("--predict IMAGE goes with --weights, a run of segment.py: give both")
    refuse_idle(given, OF_LOOKING, "--predict looks at pictures")
    out = Path(given.get("out", "segmented"))
    files = {name: [out / f"{Path(name).stem}-{kind}.png" for kind in ("mask", "overlay")] for name in given["predict"]}
    if len({mask for mask, _ in files.values()}) < len(given["predict"]):
        raise ValueError("--predict: two of the pictures have one name, and their masks would too: give one at a time")
    for path in (path for pair in files.values() for path in pair):
        refuse_to_replace(path, MARK, "--out")
    saved = segmenting.load_network(given["weights"])
    device = backend.resolve_device(given.get("device", "auto"))
    saved.model.to(device)
    code = 0
    for name, pair in files.items():
        try:
            picture = open_and_say(name, None)
            mask = look(saved, picture, name, device)
        except DatasetError as error:
            code = fail(error)
            continue
        show(name, mask, saved.classes)
        out.mkdir(parents=True, exist_ok=True)
        write(np.asarray(picture), mask, saved.classes, *pair)
    return code


def look(saved, picture, name, device):
    """uint8 (H, W), the class of each pixel of a Pillow image, which is scaled for the network as its run's were."""
    from PIL import Image

    if max(picture.size) > LONGEST * min(picture.size):
        raise DatasetError(f"{name}: is more than {LONGEST} times as long as wide: cut it into pieces")
    width, height = (max(saved.size, round(side * saved.size / min(picture.size))) for side in picture.size)
    x = normalize(np.asarray(picture.resize((width, height), 2))[None], saved.mean, saved.std)
    with no_grad():
        logits, _ = saved.model(backend.to_device(x, device))
    answer = backend.to_numpy(logits[0].argmax(axis=2)).astype(np.uint8)
    return np.asarray(Image.fromarray(answer).resize(picture.size, 0))


def show(name, mask, classes):
    """How much of a picture each class has."""
    print(readable(str(name), 4096))
    shares = np.bincount(mask.reshape(-1), minlength=len(classes)) / mask.size
    for k in np.argsort(-shares, kind="stable"):
        if shares[k]:
            print(f"  {shares[k]:7.2%}  {cut(classes[k], 100)}", flush=True)


def write(picture, mask, classes, mask_path, overlay_path):
    """The mask, whose pixels are the numbers of the classes, with a palette to look at it, and the overlay."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    image, info, file = Image.fromarray(mask), PngInfo(), io.BytesIO()
    image.putpalette(class_colours(len(classes)).tobytes())
    info.add_text("Software", MARK)
    image.save(file, "PNG", pnginfo=info)
    write_atomically(mask_path, file.getvalue())
    write_png(
        draw_masks([picture], {"what the network says": [mask]}, classes, 4), overlay_path, text={"Software": MARK}
    )
    print(f"wrote {mask_path} and {overlay_path}", file=sys.stderr)


def command_line():
    """The parser. Flags that are not given are absent, so that a resumed run can tell them."""
    parser = Parser(description=__doc__, argument_default=argparse.SUPPRESS)
    add = parser.add_argument
    add("--dataset", choices=["shapes"], help="shapes (default): scenes that are drawn, without --images")
    add("--images", metavar="DIR", help="your own pictures")
    add("--masks", metavar="DIR", help="their masks, files of the same names but for the endings")
    add("--colors", metavar="FILE", help='what the colours of the masks mean: a line "R G B name" for each')
    add("--classes", metavar="FILE", help="names of the classes 0, 1, ..., one a line")
    add("--size", type=int, metavar="N", help="side of the squares that the network sees; default: 64")
    add("--model", metavar="NAME", help="the backbone, a network with stages; default: resnet20")
    add("--weights", metavar="FILE", help="of a classifier, whose body is the backbone; with --predict a run's")
    add("--freeze", choices=["none", "backbone"], help="default: none")
    skips = "scores of all stages, or of the last one alone; default: all"
    add("--skips", action=argparse.BooleanOptionalAction, help=skips)
    add("--balance", choices=["none", "loss"], help="weigh all classes alike in the loss; default: none")
    add("--epochs", type=int, metavar="N", help="default: 12")
    add("-b", "--batch-size", type=int, metavar="N", help="default: 32")
    add("--lr", type=float, metavar="X", help="learning rate of SGD, the highest of the schedule; default: 0.1")
    add("--schedule", choices=legs.KINDS, help="default: one-cycle")
    add("--weight-decay", type=float, metavar="X", help="default: 5e-4")
    add_arguments(parser, "--label-smoothing")
    add("--augment", action=argparse.BooleanOptionalAction, help="shift and mirror training images (default)")
    add_arguments(parser, "--seed", "--val-split", "--limit-train", "--limit-test", "--device", "--threads", "--best")
    add_arguments(parser, "--patience", "--clip-norm", "--ema", "--save-every", "--no-progress")
    add("--out", metavar="DIR", help="folder of the run, default: runs/<time>-NAME; or of what --predict writes")
    add("--resume", metavar="DIR", help="go on with the run in this folder; longer with more --epochs and --lr")
    add("--evaluate", metavar="FILE", help="test the network of this run and do nothing else")
    add("--predict", nargs="+", metavar="IMAGE", help="pictures to look at")
    return parser


if __name__ == "__main__":
    sys.exit(main())
