"""Train a residual network on CIFAR-10, from one command:

    python examples/train_cifar.py                                    a first result in about ten minutes
    python examples/train_cifar.py --model resnet20 --epochs 10       a better one
    python examples/train_cifar.py --recipe paper --model resnet56    He et al. 2015, section 4.2
    python examples/train_cifar.py --find-lr                          which learning rate?
    python examples/train_cifar.py --resume runs/NAME                 go on where a run was stopped
    python examples/train_cifar.py --evaluate runs/NAME/best.safetensors
    python examples/train_cifar.py --evaluate A B C --tta mirror      the mean of several networks, of several views

What a run writes into its folder: config.json, log.csv, train.log, curves.png, result.json, confusion.png and
mistakes.png (what the network takes for what), last.safetensors (to go on from), previous.safetensors (the same, an
epoch earlier) and best.safetensors (the model that did best on the validation images). compare.py puts several runs
side by side.
"""

import argparse
import json
import math
import signal
import sys
from functools import partial
from pathlib import Path

if __name__ == "__main__":  # Ctrl-C while the imports below go on
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that a fresh clone runs without being installed

from minires import backend, data, models, optim
from minires.cli import finding, legs, runs
from minires.cli.console import Parser, evaluation_table, fail, one_of
from minires.cli.ensembles import (
    add_tta_argument,
    combined,
    dataset_of,
    known_classes,
    model_names,
    read_members,
    refuse_other_images,
    say_members,
)
from minires.cli.ingredients import flag_text
from minires.cli.saved import Script
from minires.cli.segments import recompute_as_asked
from minires.cli.settings import FIRST, LAST, add_arguments, make_loaders
from minires.cli.snapshots import refuse_idle_cycles
from minires.cli.temperature import add_temperature_argument, temperature_of
from minires.cli.testing import test_figures
from minires.cli.together import prepare_device, settle_shards
from minires.cli.weights import KNOWN, add_weights_arguments
from minires.precision import options_for
from minires.training import DivergenceError, evaluate, train_step
from minires.wording import shown

DEFAULTS = {
    **FIRST,
    "recipe": "quick",
    "shortcut": "A",
    "aux_logits": False,
    "batch_size": 128,
    "optimizer": "sgd",
    "momentum": 0.9,
    "label_smoothing": 0.0,
    "l1": 0.0,
    "decay_bias_and_norm": True,
    "augment": True,
    "cutout": 0,
    "warmup": 0,
    "iterations": None,
    **LAST,
}
ONE_CYCLE = {"schedule": "one-cycle", "lr": 0.4, "nesterov": True, "weight_decay": 5e-4}
RECIPES = {  # only defaults: every flag overrides them
    "quick": {"model": "resnet8", "epochs": 5, **ONE_CYCLE},
    "standard": {"model": "resnet20", "epochs": 30, **ONE_CYCLE},
    "strong": {  # by examples/experiments/strong.py, in small
        "model": "resnet20",
        "epochs": 30,
        **ONE_CYCLE,
        "clip_norm": 1.0,
        "ema": 0.995,
    },
    "paper": {
        "model": "resnet20",
        "epochs": None,  # as many as 64,000 iterations take
        "iterations": 64_000,
        "schedule": "step",
        "lr": 0.1,
        "nesterov": False,
        "weight_decay": 1e-4,
    },
}
DEFAULT_LR = {"adam": 1e-3, "adamw": 1e-3, "rmsprop": 1e-3, "lars": 2.0, "lamb": 1e-2}  # the recipes' are SGD's
OF_OPTIMIZERS = {"momentum": ("sgd", "lars"), "nesterov": ("sgd",)}
CHANGES = ("mixup", "cutmix", "randaugment", "random_erasing")  # what else is done to images, all of it off by default
OF_EVALUATION = ("device", "dataset", "data_dir", "data_url", "model", "shortcut", "aux_logits", "batch_size")
OF_EVALUATION += ("precision", "limit_test", "threads", "timeout", "no_progress", "json", "part", *KNOWN)
OF_ANSWERS = ("tta", "temperature")
OF_WHOLE_RUNS = ("ema", "tensorboard", "save_every", "patience", "best", "schedule", "warmup", "cycles")
OF_RUNS = ("out", "clip_norm", "label_smoothing", "weight_decay", "augment", "cutout", "decay_bias_and_norm")
NOTHING = (None, False, 0)  # what switches an ingredient off
SIMPLE_CNN_LR = 0.05  # of SGD: it has no batch norm, and at the recipes' 0.4 it learns nothing

VGG_BN_LR = 0.02  # of SGD: its last layer has no norm before it, and at more the first steps' losses are 4 to 9


def main():
    """Run the command line; returns the exit code."""
    return runs.call_together(run, lambda: vars(command_line().parse_args()))


def run(given, ranks):
    """Do what the command line asks for; returns the exit code."""
    if "json" in given and "evaluate" not in given:
        raise ValueError("--json goes with --evaluate: a run writes result.json into its folder")
    for name in OF_ANSWERS:
        if name in given and "evaluate" not in given:
            raise ValueError(f"--{name} goes with --evaluate: a run trains and tests on single views")
    refuse_idle_flags(given)
    for name in ("part", *KNOWN):
        if name in given and "evaluate" not in given:
            flag = {"order": "channel-order"}.get(name, name)
            raise ValueError(f"--{flag} is of a file of weights: give it with --evaluate, or leave it out")
    if "evaluate" in given and given.get("precision", "float32") != "float32":
        raise ValueError(f"--precision {given['precision']} is of a training, results are in float32: leave it out")
    if "evaluate" in given:
        work, settings = evaluate_weights, ranks.on_first(lambda: evaluation_settings(given))
    elif "resume" in given:
        script = Script(command_line(), DEFAULTS, "train_cifar.py")
        work, settings = train, ranks.on_first(lambda: legs.resumed_settings(given, script))
    else:
        work = overfit_one_batch if given.get("overfit_one_batch") else find_lr if given.get("find_lr") else train
        settings = settings_of(given)
    refuse_network_for_larger_images(settings)
    if work in (overfit_one_batch, find_lr):
        refuse_shards(given, ranks)
    if work is overfit_one_batch:
        refuse_changed_images(given)
    tell = (lambda line: None) if "json" in given else lambda line: print(line, flush=True)
    if work is train:
        settle_shards(settings, ranks, tell)
    device = prepare_device(settings, given, tell, ranks)
    dataset = runs.load_dataset(settings, tell, ranks)
    try:
        return work(settings, dataset, device, ranks)
    except backend.out_of_memory() as error:
        raise runs.out_of_memory(settings, given, error) from error


def refuse_network_for_larger_images(settings):
    """Raise ValueError, before there is a folder and any data, where a network cannot take 32x32 pixels."""
    if "evaluate" in settings:
        member = max(settings["weights"], key=lambda member: models.LEAST_SIZES.get(member.metadata["model"], 0))
        name, what = member.metadata["model"], f"--evaluate {member.path}: holds "
        cure = "give it to predict.py, with larger pictures"
    else:
        name, what = settings["model"], "--model "
        cure = "take another, such as googlenet, or give finetune.py weights of it and an --image-folder"
    if (least := models.LEAST_SIZES.get(name, 0)) > 32:
        raise ValueError(f"{what}{name}, which needs {least}x{least} pixels or more, and these have 32x32: {cure}")


def refuse_shards(given, ranks):
    """Raise ValueError where what is asked for is the work of one process, on whole batches."""
    flag = "--find-lr" if given.get("find_lr") else "--overfit-one-batch"
    if ranks.size > 1:
        raise ValueError(f"{flag} is the work of one process, and {ranks.size} were started: start one")
    if given.get("shards", 1) > 1:
        raise ValueError(f"{flag} takes whole batches: leave --shards {given['shards']} out")


def refuse_idle_flags(given):
    """Raise ValueError for flags that play no part in what is asked for in place of a training.

    How long and at which rate the run itself shall train may be said where it is only tried out.
    """
    if "evaluate" in given:
        does, idle = "--evaluate tests, and trains nothing", set(given) - {*OF_EVALUATION, *OF_ANSWERS, "evaluate"}
    elif given.get("overfit_one_batch"):
        does, idle = "--overfit-one-batch learns a batch by heart and keeps nothing", set(OF_RUNS + OF_WHOLE_RUNS)
    elif given.get("find_lr"):
        does, idle = "--find-lr tries rates and keeps no weights", set(OF_WHOLE_RUNS)
    else:
        return
    if flags := [flag_text(name, given[name]) for name in given if name in idle and given[name] not in NOTHING]:
        raise ValueError(f"{does}: leave {', '.join(flags)} out")


def refuse_changed_images(given):
    """Raise ValueError where the batch that is to be learned by heart would be mixed or hidden in part."""
    for name in CHANGES:
        if given.get(name):
            flag = f"--{name.replace('_', '-')}"
            raise ValueError(f"--overfit-one-batch learns a batch by heart as it is: leave {flag} out")


def settings_of(given):
    """Every setting: the flags given, over the recipe's, over the defaults."""
    recipe = given.get("recipe", DEFAULTS["recipe"])
    settings = {**DEFAULTS, **RECIPES[recipe], **given}
    if "lr" not in given and settings["optimizer"] in DEFAULT_LR:
        settings["lr"] = DEFAULT_LR[settings["optimizer"]]
    elif "lr" not in given and settings["model"] == "simple_cnn":
        settings["lr"] = min(settings["lr"], SIMPLE_CNN_LR)
    elif "lr" not in given and settings["model"].startswith("vgg") and settings["model"].endswith("_bn"):
        settings["lr"] = min(settings["lr"], VGG_BN_LR)
    if recipe == "paper" and "epochs" in given and "iterations" not in given:
        settings["iterations"] = None
    refuse_idle_cycles(given, settings["schedule"])
    runs.check_settings(settings)
    for option, flag in (("shortcut", "--shortcut B"), ("aux_logits", "--aux-logits")):
        if settings[option] != DEFAULTS[option] and option not in models.options_of(settings["model"]):
            those = ", ".join(name for name in models.MODELS if option in models.options_of(name))
            raise ValueError(f"{flag}: {settings['model']} has none: choose one of {those}, or leave the flag out")
    for name, optimizers in OF_OPTIMIZERS.items():
        if name in given and settings["optimizer"] not in optimizers:
            flag = flag_text(name, given[name]).split()[0]
            who = " and ".join(optimizers)
            raise ValueError(f"{flag} is of --optimizer {who}, {settings['optimizer']} has none: leave it out")
    if given.get("nesterov") and settings["momentum"] <= 0:
        raise ValueError(f"--nesterov needs --momentum above 0, got {settings['momentum']}")
    return settings


def make_optimizer(settings, model):
    """The optimizer that --optimizer names, of a model's parameters."""
    return optimizer_of(settings, model.parameters())


def optimizer_of(settings, parameters):
    """The same of parameters."""
    common = {
        "lr": settings["lr"],
        "weight_decay": settings["weight_decay"],
        "l1": settings["l1"],
        "decay_bias_and_norm": settings["decay_bias_and_norm"],
    }
    if settings["optimizer"] == "sgd":
        nesterov = settings["nesterov"] and settings["momentum"] > 0
        return optim.SGD(parameters, momentum=settings["momentum"], nesterov=nesterov, **common)
    if settings["optimizer"] == "lars":
        return optim.LARS(parameters, momentum=settings["momentum"], **common)
    kinds = {"adam": optim.Adam, "adamw": optim.AdamW, "rmsprop": optim.RMSprop, "lamb": optim.LAMB}
    return kinds[settings["optimizer"]](parameters, **common)


def options_of(settings):
    """The options of the network that --model names, of those that it has."""
    options = {"shortcut": settings["shortcut"], "small_input": True}
    if settings.get("aux_logits"):  # runs from before this flag have no such setting
        options["aux_logits"] = True
    return {key: value for key, value in options.items() if key in models.options_of(settings["model"])}


def build(settings, dataset, device):
    """The network that --model names, for images of 32x32."""
    model = models.build(settings["model"], len(dataset.classes), rng=settings["seed"], **options_of(settings))
    return recompute_as_asked(settings, model).to(device)


def train(settings, dataset, device, ranks, criterion_of=lambda loader: None, name=None, **more):
    """Train, or go on training, and test the best model; returns the exit code.

    criterion_of(training loader), name, more: the criterion, the name and facts of `minires.cli.runs.train`.
    """
    loaders = make_loaders(settings, dataset, device, ranks=ranks)
    batches = len(loaders[0])
    if settings["epochs"] is None:
        settings["epochs"] = math.ceil(settings["iterations"] / batches)
    model = build(settings, dataset, device)
    optimizer = make_optimizer(settings, model)
    normalisation = {"mean": loaders[0].mean, "std": loaders[0].std}
    facts = {"normalisation": normalisation, "options": options_of(settings), **more}
    criterion = criterion_of(loaders[0])
    return runs.train(
        settings, dataset, device, model, optimizer, loaders, facts, name=name, ranks=ranks, criterion=criterion
    )


def evaluation_settings(given):
    """The settings of --evaluate: the data set that a run's checkpoint was trained on, under the flags given."""
    members = read_members(given["evaluate"], given, "--evaluate")
    for member in members:
        refuse_other_network(given, member)
    if given.get("aux_logits"):
        raise ValueError("--aux-logits: the extra heads take no part in an evaluation: leave the flag out")
    settings = {**DEFAULTS, "json": False, "tta": "none", "temperature": None, **given}
    settings["temperature"] = temperature_of(settings["temperature"], members, settings["tta"])
    return {**settings, "dataset": dataset_of(members, given, "--evaluate"), "weights": members}


def refuse_other_network(given, member):
    """Raise ValueError where the flags name another network than a file holds."""
    has = {"model": member.metadata["model"], "shortcut": member.metadata["options"].get("shortcut")}
    for name in has:
        if given.get(name, has[name]) != has[name]:
            raise ValueError(f"--{name} {given[name]}: {member.path} holds {has[name]}: leave the flag out")


def evaluate_weights(settings, dataset, device, ranks):
    """--evaluate: test loss, accuracy and the table of classes for a file of weights, or for several together."""
    members = settings["weights"]
    for member in members:
        refuse_other_images(member, dataset, "--evaluate")
    say_members(members, (lambda line: None) if settings["json"] else partial(print, flush=True))
    if (classes := known_classes(members)) is None:
        print(f"note: the file does not name its classes: taken in the order of {dataset.label}", file=sys.stderr)
        classes = dataset.classes
    images, labels = data.limit(dataset.test_images, dataset.test_labels, settings["limit_test"])
    for text in dict.fromkeys(text for member in members for text in other_data(member, dataset, images)):
        print(f"note: {text}", file=sys.stderr)
    network, images, normalisation = combined(members, images, settings["tta"], settings["temperature"])
    loader = data.Loader(images, labels, min(500, settings["batch_size"]), **normalisation, device=device)
    evaluation = evaluate(network.to(device), loader, len(classes), ranks=ranks)
    if settings["json"]:
        print(json.dumps({"model": model_names(members), **test_figures(evaluation, classes, dataset.label)}))
        return 0
    for line in evaluation_table(evaluation, classes, dataset.label):
        print(line)
    return 0


def other_data(member, dataset, images):
    """What is to be said where weights were trained on another data set, or tested on more images or fewer."""
    trained = member.metadata.get("run", {"label": dataset.label, "test_images": len(images)})
    if dataset.label != trained["label"]:
        yield f"the model was trained on {shown(trained['label'])}"
    if len(images) != trained["test_images"]:
        yield f"{len(images):,} test images; the run itself tested on {trained['test_images']:,}"


def find_lr(settings, dataset, device, ranks):
    """--find-lr: how the training loss behaves while the learning rate grows; a table, a picture, and what to try."""
    loader = make_loaders(settings, dataset, device)[0]
    model = build(settings, dataset, device)
    asked = settings["iterations"] != RECIPES[settings["recipe"]].get("iterations")
    steps = settings["iterations"] if asked else None
    optimizer, options = make_optimizer(settings, model), options_of(settings)
    return finding.find_lr(settings, dataset, model, optimizer, loader, steps, options)


def overfit_one_batch(settings, dataset, device, ranks, most=200, goal=0.02):
    """--overfit-one-batch: a network that works can learn one batch by heart. A check of the code, not of the model."""
    settings = {**settings, "augment": False, **dict.fromkeys(CHANGES), "cutout": 0, "weight_decay": 0.0}
    loader = make_loaders(settings, dataset, device)[0]
    model = build(settings, dataset, device)
    optimizer = make_optimizer({**settings, "lr": min(settings["lr"], 0.05)}, model)
    x, labels = next(iter(loader.epoch(0)))
    options = options_for(model, settings["precision"])
    for step in range(1, most + 1):
        loss, correct = train_step(model, optimizer, x, labels, **options)
        loss = float(loss)
        if not math.isfinite(loss):
            raise DivergenceError(f"iteration {step}: the loss is {loss}: lower --lr")
        if step % 10 == 1 or loss < goal:
            print(f"step {step:3d}   loss {loss:8.4f}   {int(correct):3d} of {len(x)} right", flush=True)
        if loss < goal:
            print(f"learned one batch of {len(x)} images by heart in {step} steps")
            return 0
    return fail(f"one batch was not learned in {most} steps (loss {loss:.4f}, goal {goal}): try another --lr")


def command_line():
    """The parser. Flags that are not given are absent, so that recipes can supply them."""
    parser = Parser(description=__doc__, argument_default=argparse.SUPPRESS)
    add_training_arguments(parser)
    does = parser.add_mutually_exclusive_group()
    does.add_argument(
        "--resume", metavar="DIR", help="go on with the run in this folder; longer with more --epochs and --lr"
    )
    does.add_argument(
        "--evaluate",
        nargs="+",
        metavar="FILE",
        help="test a run's checkpoint, or weights from elsewhere, instead; of several the mean of their probabilities",
    )
    add_tta_argument(parser)
    add_temperature_argument(parser)
    parser.add_argument(
        "--json", action="store_true", help="with --evaluate: the result as a line of JSON, and nothing else"
    )
    does.add_argument(
        "--find-lr", action="store_true", help="look for a learning rate: raise it until the loss explodes"
    )
    does.add_argument("--overfit-one-batch", action="store_true", help="check that one batch can be learned by heart")
    add_weights_arguments(parser)
    return parser


def add_training_arguments(parser):
    """What a training takes."""
    add = parser.add_argument
    add_arguments(parser, "--device")
    add(
        "--dataset",
        type=one_of("data set", data.DATASETS),
        metavar="NAME",
        help=f"{data.DATASETS[0]} (default), {', '.join(data.DATASETS[1:])}",
    )
    add_arguments(parser, "--data-dir", "--data-url")
    add("--model", type=one_of("model", tuple(models.MODELS)), metavar="NAME", help=", ".join(models.MODELS))
    add("--shortcut", choices=["A", "B"], help="A: zero channels (default), B: 1x1 convolutions")
    add("--aux-logits", action="store_true", help="with the extra heads of googlenet, for training alone")
    add(
        "--recipe",
        choices=list(RECIPES),
        help="quick (default), standard, strong, paper: defaults for the flags below, before those named there; "
        "none or 0 takes an ingredient out",
    )
    add("--epochs", type=int, metavar="N")
    add("--iterations", type=int, metavar="N", help="stop after N iterations, if the epochs have not ended before")
    add_arguments(parser, "--batch-size")
    add("--lr", type=float, metavar="X", help="learning rate, the highest of the schedule")
    add("--optimizer", choices=["sgd", "adam", "adamw", "rmsprop", "lars", "lamb"])
    add("--schedule", choices=legs.KINDS)
    add_arguments(parser, "--cycles")
    add("--warmup", type=int, metavar="N", help="raise the learning rate from a tenth over the first N iterations")
    add("--momentum", type=float, metavar="X", help="of SGD and LARS; default: 0.9")
    add("--nesterov", action=argparse.BooleanOptionalAction, help="Nesterov's momentum")
    add("--weight-decay", type=float, metavar="X")
    add("--l1", type=float, metavar="X", help="penalty on absolute values; default: 0")
    add("--decay-bias-and-norm", action=argparse.BooleanOptionalAction, help="penalise biases and batch norm too")
    add_arguments(parser, "--label-smoothing", "--mixup", "--cutmix")
    add("--augment", action=argparse.BooleanOptionalAction, help="pad, crop and flip training images (default)")
    add("--cutout", type=int, metavar="N", help="side of the square cut out of training images; default: 0")
    add_arguments(parser, "--randaugment", "--random-erasing")
    add_arguments(
        parser, "--seed", "--val-split", "--limit-train", "--limit-test", "--threads", "--shards", "--timeout"
    )
    add("--out", metavar="DIR", help="folder of the run; default: runs/<time>-<model>")
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


if __name__ == "__main__":
    sys.exit(main())
