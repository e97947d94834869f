"""Go on training from weights that somebody else trained, whatever framework they come from:

    python examples/finetune.py --weights resnet20.th                       on CIFAR-10
    python examples/finetune.py --weights resnet50.pth --image-folder DIR   a sub-folder of pictures for each class
    python examples/finetune.py --weights FILE --image-folder DIR --labels FILE.csv     classes from a table
    python examples/finetune.py --weights FILE --freeze backbone            the last layer alone ("linear probing")
    python examples/finetune.py --weights FILE --freeze backbone --unfreeze-at 1
    python examples/finetune.py --weights FILE --keep-zeros                 after compress.py --sparsity: zeros stay
    python examples/finetune.py --weights FILE --sparsity 0.8               weights become zero while it trains
    python examples/finetune.py --resume runs/NAME                          go on where a run was stopped

Images are prepared as those were that the weights were trained on; what the file does not say is told. The last layer
is the file's own where the classes are the same in number and, if the file names them, in name; else it starts anew.

A run writes the files that train_cifar.py writes; `best.safetensors` can be evaluated, predicted with, converted, and
fine-tuned again.
"""

import argparse
import signal
import sys
from dataclasses import replace
from pathlib import Path

if __name__ == "__main__":  # Ctrl-C while the imports below go on
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that a fresh clone runs without being installed

import numpy as np

from minires import backend, data, models, optim, pretrained
from minires.cli import legs, runs
from minires.cli.console import Parser, in_flags
from minires.cli.pictures import check_range
from minires.cli.saved import Script
from minires.cli.segments import recompute_as_asked
from minires.cli.settings import FIRST, LAST, add_arguments, make_loaders
from minires.cli.snapshots import refuse_idle_cycles
from minires.cli.together import prepare_device, settle_shards
from minires.cli.weights import add_weights_arguments, known_of_weights, note_assumed, weights_line
from minires.compression import PruningSGD, gradual_sparsity, prunable, sparsity_of
from minires.compression.magnitude import check_sparsity
from minires.data.folders import read_image_folder
from minires.data.images import Preprocessing
from minires.models.last_layer import body_of, body_up_to, head_of, stage_names

RECIPE = "fine-tuning"
DEFAULTS = {
    **FIRST,
    "dataset": "cifar10",
    "image_folder": None,
    "test_folder": None,
    "splits": "auto",
    "labels": None,
    "label_columns": None,
    "range": None,
    "skip_broken": False,
    "balance": "none",
    "freeze": "none",
    "unfreeze_at": None,
    "head": "auto",
    "from_scratch": False,
    "head_lr_multiplier": 1.0,
    "keep_zeros": False,
    "sparsity": None,
    "epochs": 3,
    "iterations": None,
    "batch_size": 128,
    "lr": 0.02,
    "schedule": "cosine",
    "weight_decay": 5e-4,
    "label_smoothing": 0.0,
    "augment": True,
    **LAST,
}
OF_FOLDERS = ("test_folder", "skip_broken", "splits", "labels", "label_columns", "range")


def main():
    """Run the command line; returns the exit code."""
    return runs.call_together(run, lambda: vars(command_line().parse_args()))


def run(given, ranks):
    """Do what the command line asks for; returns the exit code."""
    script = Script(command_line(), DEFAULTS, "finetune.py")
    resumes = "resume" in given
    settings = ranks.on_first(lambda: legs.resumed_settings(given, script)) if resumes else settings_of(given)
    settle_shards(settings, ranks)
    device = prepare_device(settings, given, ranks=ranks)
    weights, began, config = where_it_stands(settings["found"]) if resumes else (settings["weights"], None, None)
    known = {} if resumes else known_of_weights(settings)
    state, metadata = ranks.on_first(lambda: pretrained.read(weights, **known))
    print(weights_line(weights, metadata), flush=True)
    note_assumed(metadata)
    preprocessing = Preprocessing(**metadata["preprocessing"])
    dataset = load_dataset(settings, metadata["model"], preprocessing, ranks)
    if resumes:
        refuse_changed_folder(given["resume"], settings, dataset, config)
    try:
        return finetune(settings, dataset, device, state, metadata, preprocessing, ranks, began)
    except backend.out_of_memory() as error:
        raise runs.out_of_memory(settings, given, error) from error


def where_it_stands(found):
    """(checkpoint, epochs finished, config) of the run to go on with."""
    return found.folder / found.name, found.position.epoch, found.checkpoint.info["config"]


def settings_of(given):
    """Every setting: the flags given, over the defaults."""
    if "weights" not in given:
        raise ValueError("--weights is missing: name a file of weights, such as resnet20.th, or a run to --resume")
    settings = {**DEFAULTS, **given}
    refuse_contradictions(settings, given)
    refuse_idle_cycles(given, settings["schedule"])
    runs.check_settings(settings)
    if settings["unfreeze_at"] is not None and settings["freeze"] == "none":
        raise ValueError("--unfreeze-at: nothing is frozen: give --freeze backbone, or leave it out")
    if settings["unfreeze_at"] is not None and settings["epochs"] == 1:
        epochs = max(1, settings["unfreeze_at"]) + 1
        raise ValueError(f"--unfreeze-at needs two epochs or more, got --epochs 1: give --epochs {epochs}")
    if settings["unfreeze_at"] is not None and not 1 <= settings["unfreeze_at"] < settings["epochs"]:
        last = settings["epochs"] - 1
        raise ValueError(
            f"--unfreeze-at {settings['unfreeze_at']}: of {settings['epochs']} epochs give one from 1 to {last}"
        )
    for name in ("test_folder", "labels"):  # --resume may be asked for elsewhere
        settings[name] = settings[name] and str(Path(settings[name]).resolve())
    if settings["image_folder"] is not None:
        settings["image_folder"] = [str(Path(folder).resolve()) for folder in settings["image_folder"]]
    settings["weights"] = str(Path(settings["weights"]).resolve())
    if settings["sparsity"] is not None:
        settings["val_split"] = 0  # early epochs have fewer zeros and do better: the last one counts
    return settings


def refuse_contradictions(settings, given):
    """Raise ValueError for flags that cannot both be meant."""
    for name in ("dataset", "data_dir", "data_url"):
        if settings["image_folder"] is not None and name in given:
            flag = f"--{name.replace('_', '-')}"
            raise ValueError(f"--image-folder and {flag} {given[name]} name two data sets: leave one of them out")
    for name in OF_FOLDERS:
        if name in given and settings["image_folder"] is None:
            raise ValueError(f"--{name.replace('_', '-')} goes with --image-folder: give both, or neither")
    if settings["label_columns"] is not None and settings["labels"] is None:
        raise ValueError("--label-columns goes with --labels: give both, or neither")
    if settings["range"] is not None:
        check_range(settings["range"])
    refuse_what_unmakes_zeros(settings, given)
    if settings["from_scratch"] and settings["freeze"] != "none":
        raise ValueError("--from-scratch: random layers that are frozen learn nothing: leave --freeze out")
    if settings["from_scratch"] and settings["head"] == "keep":
        raise ValueError(
            "--from-scratch takes nothing from the file, --head keep its last layer: leave one of them out"
        )


def refuse_what_unmakes_zeros(settings, given):
    """Raise ValueError for flags beside --sparsity or --keep-zeros with which zeros would not stay zero."""
    flag = "--keep-zeros" if settings["keep_zeros"] else "--sparsity"
    if settings["sparsity"] is None and not settings["keep_zeros"]:
        return
    if settings["sparsity"] is not None:
        check_sparsity(settings["sparsity"])
        if "val_split" in given:
            raise ValueError("--sparsity: the last epoch counts, which has the most zeros: leave --val-split out")
        if settings["freeze"] != "none":
            raise ValueError("--sparsity prunes what is trained: leave --freeze out")
    if settings["ema"] is not None and settings["sparsity"] is not None:
        raise ValueError(
            "--sparsity: an average over steps is not zero where a weight has just become so: leave --ema out"
        )
    if settings["from_scratch"]:
        raise ValueError(f"{flag} is of the file's weights, and --from-scratch takes none: leave one of them out")


def load_dataset(settings, network, preprocessing, ranks):
    """CIFAR-10 (or the synthetic shapes), or the pictures of a folder."""
    if settings["image_folder"] is None:
        dataset = runs.load_dataset(settings, ranks=ranks)
        if preprocessing.size != 32:
            as_they_are = "" if models.LEAST_SIZES.get(network, 32) > 32 else "--size 32 --resize 32, "
            raise ValueError(
                f"--dataset {settings['dataset']}: its images are 32x32, these weights are for {preprocessing.size}x"
                f"{preprocessing.size}: give {as_they_are}an --image-folder, or weights of a network for CIFAR"
            )
        return dataset if preprocessing.order == "RGB" else turned(dataset)
    settings["notice"] = None
    dataset = read_image_folder(
        settings["image_folder"],
        preprocessing,
        settings["test_folder"],
        seed=settings["seed"],
        skip_broken=settings["skip_broken"],
        tell=lambda line: print(in_flags(line), file=sys.stderr, flush=True),
        splits=settings.get("splits", "auto"),  # older runs had no such flags
        labels=settings.get("labels"),
        label_columns=settings.get("label_columns"),
        value_range=settings.get("range"),
        limit_train=settings["limit_train"],
        limit_test=settings["limit_test"],
        stream=True,
        bar=not settings["no_progress"] and sys.stderr.isatty(),
    )
    dataset.train_images.kept.room //= ranks.local_size  # what one process would keep, all of a host keep together
    use = "train and validate" if dataset.val_images is None else "train"
    validates = "" if dataset.val_images is None else f"{len(dataset.val_images):,} to validate, "
    sizes = f"{len(dataset.train_images):,} to {use}, {validates}{len(dataset.test_images):,} to test"
    print(f"data: {dataset.label}, {len(dataset.classes)} classes, {sizes}", flush=True)
    return dataset


def turned(dataset):
    """The data set with its channels in the order blue, green, red."""
    train, test = (np.ascontiguousarray(images[..., ::-1]) for images in (dataset.train_images, dataset.test_images))
    return replace(dataset, train_images=train, test_images=test)


def refuse_changed_folder(resume, settings, dataset, config):
    """Raise ValueError if the pictures are not those that the run began with: they would be divided anew."""
    if settings["image_folder"] is None:
        return
    sizes, parts = config["sizes"], (dataset.train_labels, dataset.val_labels, dataset.test_labels)
    pictures = sum(len(labels) for labels in parts if labels is not None)
    same = (config["classes"], sum(sizes.values())) == (list(dataset.classes), pictures)
    if same and config.get("fingerprint") in (None, dataset.fingerprint):  # older runs have none
        return
    was = f"{len(config['classes'])} classes, {sum(sizes.values()):,} pictures"
    now = "as many, but others" if same else f"{len(dataset.classes)} classes, {pictures:,}"
    folders = settings["image_folder"]
    folders = [folders] if isinstance(folders, str) else folders  # of older runs
    where = " or ".join([*folders, *filter(None, [settings["test_folder"]])])
    raise ValueError(
        f"--resume {resume}: {where} has changed since the run began ({was}; now {now}): put it back as it was, or "
        "start a new run"
    )


def build(settings, dataset, state, metadata):
    """The network with the file's weights, and whether its head is the file's."""
    classes, known = len(dataset.classes), metadata["classes"]
    same = metadata["num_classes"] == classes and known in (None, list(dataset.classes))
    if settings["head"] == "keep" and not same:
        raise ValueError(
            f"--head keep: the file's last layer is for other classes ({metadata['num_classes']}) than the data's "
            f"({classes}): leave the flag out"
        )
    keeps = settings["head"] == "keep" or (settings["head"] == "auto" and same)
    model = models.build(metadata["model"], classes, rng=settings["seed"], **metadata["options"])
    if not settings["from_scratch"]:
        pretrained.fill(model, settings["weights"], state, None if keeps else "new", left_out=metadata["left_out"])
    size, least = metadata["preprocessing"]["size"], getattr(model, "least_size", 1)
    if size < least:
        name = metadata["model"]
        raise ValueError(f"--size {size}: {name} needs {least}x{least} pixels or more: give --size {least}")
    return model, keeps and not settings["from_scratch"]


def frozen_parts(model, freeze):
    """The parts that --freeze names: all but the head, or all up to a stage, in order."""
    if freeze == "none":
        return []
    if freeze == "backbone":
        return body_of(model)
    try:
        return body_up_to(model, freeze)
    except KeyError:
        known = ", ".join(["none", "backbone", *stage_names(model)])
        name = type(model).__name__
        raise ValueError(f"--freeze {freeze}: {name} has no such stage: choose one of {known}") from None


def make_optimizer(settings, model, steps):
    """SGD with Nesterov's momentum; the head has a learning rate of its own. With --keep-zeros and --sparsity one that
    leaves zeros as they are; with the latter they become more over two thirds of the run's steps.
    """
    head = head_of(model).parameters()
    body = [parameter for parameter in model.parameters() if parameter not in head]
    groups = [{"params": body}, {"params": head, "lr_multiplier": settings["head_lr_multiplier"]}]
    options = {"momentum": 0.9, "nesterov": True, "weight_decay": settings["weight_decay"]}
    final = settings.get("sparsity")  # older runs had no such flags
    if final is None and not settings.get("keep_zeros"):
        return optim.SGD(groups, settings["lr"], **options)
    length, zeros = max(1, 2 * steps // 3), sparsity_of(prunable(model))
    if final is None and zeros == 0:
        raise ValueError(
            "--keep-zeros: none of the file's weights is zero: make some so by compress.py --sparsity, or leave it out"
        )
    print(f"zeros: {zeros:.1%} of the weights" + ("" if final is None else f", {final:.1%} from step {length} on"))
    rises = None if final is None else gradual_sparsity(final, length)
    settings["cuda_graph"] = False  # the zeros change from step to step
    return PruningSGD(
        groups, settings["lr"], pruned=prunable(model), sparsity=rises, every=max(1, length // 20), **options
    )


def finetune(settings, dataset, device, state, metadata, preprocessing, ranks, began=None):
    """Train, or go on training, and test the best model; returns the exit code.

    began: how many epochs the run to go on with has finished; None for a new run.
    """
    model, keeps = build(settings, dataset, state, metadata)
    recompute_as_asked(settings, model).to(device)
    settings |= {"model": metadata["model"], "recipe": RECIPE, "optimizer": "sgd"}
    normalisation, test_size = (preprocessing.mean, preprocessing.std), max(1, min(settings["batch_size"], 500))
    loaders = make_loaders(settings, dataset, device, *normalisation, preprocessing.size // 8, test_size, ranks)
    parts = frozen_parts(model, settings["freeze"])

    def freeze_or_not(epoch):
        thawed = settings["unfreeze_at"] is not None and epoch >= settings["unfreeze_at"]
        for part in parts:
            part.unfreeze() if thawed else part.freeze()

    freeze_or_not(began or 0)
    trained = sum(parameter.size for parameter in model.parameters() if parameter.requires_grad)
    head = "the run's" if began is not None else "the file's" if keeps else "new"
    thaws = settings["unfreeze_at"] is not None and (began or 0) < settings["unfreeze_at"]
    until = f" until epoch {settings['unfreeze_at']} ends" if thaws else ""
    print(f"head: {head}; trained: {trained:,} parameters{until}", flush=True)
    facts = {
        "preprocessing": metadata["preprocessing"],
        "options": metadata["options"],
        "fingerprint": dataset.fingerprint,
    }
    optimizer = make_optimizer(settings, model, settings["epochs"] * len(loaders[0]))
    return runs.train(settings, dataset, device, model, optimizer, loaders, facts, freeze_or_not, "finetune", ranks)


def command_line():
    """The parser. Flags that are not given are absent, so that a resumed run can tell them."""
    parser = Parser(description=__doc__, argument_default=argparse.SUPPRESS)
    add = parser.add_argument
    add("--weights", metavar="FILE", help="PyTorch's .pth, .pt, .th, safetensors, .npz, Keras's .h5, or a run's own")
    add(
        "--image-folder",
        nargs="+",
        metavar="DIR",
        help="pictures, one sub-folder for each class, or train, val, test with one each; default: CIFAR-10",
    )
    add("--test-folder", metavar="DIR", help="pictures to test on; default: a fifth of each class")
    add("--splits", choices=["auto", "none"], help="none: folders called train, val, test are classes")
    add("--labels", metavar="FILE.csv", help="a table of pictures and their classes, in place of sub-folders")
    add("--label-columns", nargs=2, metavar=("FILE", "CLASS"), help="its columns; default: guessed, and said")
    add_arguments(parser, "--range")
    add("--skip-broken", action="store_true", help="leave damaged pictures out")
    add_arguments(parser, "--balance")
    add(
        "--dataset",
        choices=[name for name in data.DATASETS if name != "auto"],
        help="without --image-folder; default: cifar10",
    )
    add_arguments(parser, "--data-dir", "--data-url")
    add(
        "--freeze",
        metavar="PART",
        help="none (default); backbone: all but the last layer; layer2, features.denseblock1, ...: up to this part",
    )
    add("--unfreeze-at", type=int, metavar="EPOCH", help="train everything after this many epochs")
    add("--head", choices=["auto", "keep", "new"], help="the file's last layer, or a new one; default: auto")
    add("--head-lr-multiplier", type=float, metavar="X", help="the head's learning rate over --lr; default: 1")
    add("--from-scratch", action="store_true", help="the same network and settings without the weights, to compare")
    add("--keep-zeros", action="store_true", help="weights that are zero stay zero")
    add(
        "--sparsity", type=float, metavar="S", help="set weights to zero while training, the smallest, up to this share"
    )
    add("--epochs", type=int, metavar="N", help="default: 3")
    add_arguments(parser, "--batch-size")
    add("--lr", type=float, metavar="X", help="learning rate, the highest of the schedule; default: 0.02")
    add("--schedule", choices=legs.KINDS, help="default: cosine, from --lr down to 0")
    add_arguments(parser, "--cycles")
    add("--weight-decay", type=float, metavar="X", help="default: 5e-4")
    add_arguments(parser, "--label-smoothing", "--mixup", "--cutmix")
    add("--augment", action=argparse.BooleanOptionalAction, help="pad, crop and flip training images (default)")
    add_arguments(parser, "--randaugment", "--random-erasing")
    add_arguments(parser, "--seed", "--val-split", "--limit-train", "--limit-test", "--device", "--threads")
    add_arguments(parser, "--shards", "--timeout")
    add("--out", metavar="DIR", help="folder of the run; default: runs/<time>-finetune")
    add_arguments(
        parser,
        "--best",
        "--patience",
        "--clip-norm",
        "--ema",
        "--save-every",
        "--precision",
        "--cuda-graph",
        "--recompute",
        "--tensorboard",
        "--no-progress",
    )
    add("--resume", metavar="DIR", help="go on with the run in this folder; longer with more --epochs and --lr")
    add_weights_arguments(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
