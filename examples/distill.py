"""Train a small network by what a larger one says of the images, beside their labels (Hinton et al. 2015):

    python examples/distill.py --teacher resnet56.th                        resnet8, about ten minutes and the teacher's
    python examples/distill.py --teacher A.safetensors B.safetensors        the mean of several teachers' probabilities
    python examples/distill.py --teacher FILE --temperature 4 --alpha 0.9   how even they are made, how much they count
    python examples/distill.py --resume runs/NAME                           go on where a run was stopped

A teacher is any file of weights that predict.py takes, for 32x32 pixels and the data's classes. It sees the very images
that the student sees, shifted and mirrored alike, and prepared as it was trained; what its file does not say is told.
The other flags are those of train_cifar.py, and so are the files that a run writes: train_cifar.py --evaluate,
predict.py, compare.py and the others take them.
"""

import argparse
import signal
import sys
from pathlib import Path

if __name__ == "__main__":  # Ctrl-C while the imports below go on
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that a fresh clone runs without being installed
sys.path.insert(0, str(Path(__file__).resolve().parent))

import train_cifar

from minires import backend, checkpoint, pretrained
from minires.cli import legs, runs
from minires.cli.console import Parser
from minires.cli.saved import Script
from minires.cli.together import prepare_device, settle_shards
from minires.cli.weights import add_weights_arguments, known_of_weights, note_assumed, weights_line
from minires.data.images import Preprocessing
from minires.losses.distillation import check_distillation
from minires.teacher import Teacher

DEFAULTS = {**train_cifar.DEFAULTS, "temperature": 4.0, "alpha": 0.9}  # a teacher has none


def main():
    """Run the command line; returns the exit code."""
    return runs.call_together(run, lambda: vars(command_line().parse_args()))


def run(given, ranks):
    """Do what the command line asks for; returns the exit code."""
    resumes = "resume" in given
    settings = ranks.on_first(lambda: resumed_settings(given)) if resumes else settings_of(given)
    check_distillation(settings["temperature"], settings["alpha"])
    train_cifar.refuse_network_for_larger_images(settings)
    settle_shards(settings, ranks)
    device = prepare_device(settings, given, ranks=ranks)
    teachers = ranks.on_first(lambda: [read_teacher(path, settings) for path in settings["teacher"]])
    if resumes:
        refuse_other_teachers(given["resume"], settings["found"].checkpoint.info["config"], teachers)
    dataset = runs.load_dataset(settings, ranks=ranks)
    for path, (_, metadata) in zip(settings["teacher"], teachers, strict=True):
        refuse_unfit(path, metadata, dataset)
    networks = [(model, Preprocessing(**metadata["preprocessing"])) for model, metadata in teachers]

    def criterion_of(loader):
        teacher = Teacher(networks, loader.mean, loader.std, settings["temperature"], device)
        return teacher.criterion(settings["alpha"])

    name = f"{settings['model']}-distilled"
    try:
        return train_cifar.train(settings, dataset, device, ranks, criterion_of, name, teachers=known_by(teachers))
    except backend.out_of_memory() as error:
        raise runs.out_of_memory(settings, given, error) from error


def settings_of(given):
    """Every setting of a new run: the flags given, over the recipe's, over the defaults."""
    if "teacher" not in given:
        raise ValueError("--teacher is missing: name a file of weights, such as resnet56.th, or a run to --resume")
    of_teaching = {name: given.get(name, DEFAULTS[name]) for name in ("temperature", "alpha")}
    return {**train_cifar.settings_of(given), **of_teaching, "teacher": whole_paths(given["teacher"])}


def resumed_settings(given):
    """Those of the run to go on with. Its teachers may have moved: they are known by their numbers."""
    others = {name: value for name, value in given.items() if name != "teacher"}
    settings = legs.resumed_settings(others, Script(command_line(), DEFAULTS, "distill.py"))
    for path in [] if "teacher" in given else settings["teacher"]:
        if not Path(path).exists():
            raise ValueError(
                f"--resume {given['resume']}: its teacher {path} is gone: say with --teacher where it is now"
            )
    return {**settings, "teacher": whole_paths(given.get("teacher", settings["teacher"]))}


def whole_paths(files):
    """The files by their whole paths: --resume may be asked for elsewhere."""
    return [str(Path(file).resolve()) for file in files]


def read_teacher(path, settings):
    """(model, metadata) of a file of weights, and what is to be said of it."""
    model, metadata = pretrained.build(path, **known_of_weights(settings))
    print(f"teacher {weights_line(path, metadata)}", flush=True)
    note_assumed(metadata)
    return model, metadata


def refuse_unfit(path, metadata, dataset):
    """Raise ValueError for a teacher of other classes than the data's, or of other images."""
    cure = f"python examples/finetune.py --weights {path}, with this run's --dataset and --data-dir"
    classes, size = metadata["num_classes"], metadata["preprocessing"]["size"]
    if classes != len(dataset.classes):
        raise ValueError(
            f"--teacher {path}: {metadata['model']} for {classes:,} classes, and {dataset.label} has "
            f"{len(dataset.classes)}: fine-tune it on this data first, {cure}"
        )
    for theirs, ours in zip(metadata["classes"] or [], dataset.classes, strict=False):
        if theirs != ours:
            raise ValueError(
                f"--teacher {path}: its classes are not those of {dataset.label}, in order ({theirs!r:.80} where that "
                f"has {ours!r}): fine-tune it on this data first, {cure}"
            )
    if size != 32:
        raise ValueError(
            f"--teacher {path}: {metadata['model']} for {size}x{size} pixels, and the images have 32x32: give one for "
            "CIFAR, or --size 32 --resize 32 if it can do with them"
        )


def known_by(teachers):
    """What config.json holds of the teachers."""
    return [
        {"model": metadata["model"], "digest": checkpoint.digest(model.state_dict())} for model, metadata in teachers
    ]


def refuse_other_teachers(resume, config, teachers):
    """Raise ValueError if the teachers are not those that the run began with."""
    if config.get("teachers") != known_by(teachers):
        raise ValueError(f"--resume {resume}: the run began with other teachers: name their files with --teacher")


def command_line():
    """The parser. Flags that are not given are absent, so that recipes can supply them."""
    parser = Parser(description=__doc__, argument_default=argparse.SUPPRESS)
    add = parser.add_argument
    add("--teacher", nargs="+", metavar="FILE", help="of weights; of several the mean of their probabilities")
    add("--temperature", type=float, metavar="T", help="divides the logits of teacher and student; default: 4")
    add("--alpha", type=float, metavar="A", help="share of the teacher in the loss, of the labels 1 - A; default: 0.9")
    train_cifar.add_training_arguments(parser)
    add("--resume", metavar="DIR", help="go on with the run in this folder; longer with more --epochs and --lr")
    add_weights_arguments(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
