"""One network, measured rightly once and wrongly in the ways that tutorials do: docs/corrections.md.

    python examples/experiments/measuring.py --weights resnet20.th --data-dir DIR              minutes on two cores
    python examples/experiments/measuring.py --weights resnet20.th --data-dir DIR --quick      200 images: does it run?

Nothing is trained. The weights' own preprocessing is taken as the training set's. Prints a table and writes it to
results.csv in --out.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that a fresh clone runs without being installed

import numpy as np

from minires import data, pretrained
from minires.cli import runs
from minires.cli.console import Parser
from minires.cli.recording import write_csv
from minires.modes import no_grad


def main():
    """Run the command line; returns the exit code."""
    return runs.call(run, lambda: command_line().parse_args())


def run(args):
    """Measure in every way, print and write; returns the exit code."""
    dataset, _ = data.load(args.dataset, args.data_dir)
    count = 200 if args.quick else None
    train = data.limit(dataset.train_images, dataset.train_labels, count or len(dataset.test_images))
    test = data.limit(dataset.test_images, dataset.test_labels, count)
    rows = [(name, accuracy(args.weights, *arguments)) for name, *arguments in ways(train, test)]
    args.out.mkdir(parents=True, exist_ok=True)
    write_csv(args.out / "results.csv", ("way", "accuracy"), rows)
    for name, value in rows:
        print(f"{name:58}{100 * value:7.2f} %")
    print(f"{len(test[0]):,} test images of {dataset.label}, as many training images; wrote {args.out}/results.csv")
    return 0


def ways(train, test):
    """(name, images and labels, options of `accuracy`) of every way."""
    images, labels = test
    order = np.argsort(labels, kind="stable")
    by_class = images[order], labels[order]
    return [
        ("test images, model.eval()", test, {}),
        ("training images, model.eval()", train, {}),
        ("test images, model.train(), 128 at a time", test, {"training": True}),
        ("test images, model.train(), 16 at a time", test, {"training": True, "batch_size": 16}),
        ("test images, model.train(), 2 at a time", test, {"training": True, "batch_size": 2}),
        ("test images by class, model.eval()", by_class, {}),
        ("test images by class, model.train(), 128 at a time", by_class, {"training": True}),
        ("test images by class, each batch's own mean and std", by_class, {"constants": "batch"}),
        ("the test set's own mean and std", test, {"constants": "set"}),
        ("not normalised, pixels 0 to 1", test, {"constants": "none"}),
        ("test images augmented: shifted and mirrored at random", test, {"augment": data.Augment()}),
        ("blue, green, red instead of red, green, blue", (images[..., ::-1], labels), {}),
    ]


def accuracy(weights, pair, options):
    """Share of right answers of the network in `weights`, read anew: training mode changes its running statistics."""
    model, metadata = pretrained.build(weights)
    preprocessing = metadata["preprocessing"]
    mean, std = preprocessing["mean"], preprocessing["std"]
    images, labels = pair
    constants, batch_size = options.get("constants", "training"), options.get("batch_size", 128)
    if constants == "set":
        mean, std = data.channel_mean_std(images)
    elif constants == "none":
        mean, std = (0.0,) * 3, (1.0,) * 3
    augment, rng, right = options.get("augment"), np.random.default_rng(0), 0
    model.train(options.get("training", False))
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        if constants == "batch":
            mean, std = data.channel_mean_std(batch)
        x = data.normalize(batch, mean, std)
        with no_grad():
            logits, _ = model(x if augment is None else augment(x, rng))
        right += int((logits.argmax(axis=1) == labels[start : start + batch_size]).sum())
    return right / len(images)


def command_line():
    """The parser."""
    parser = Parser(description=__doc__)
    parser.add_argument("--weights", type=Path, required=True, help="a network of ten classes for images of 32x32")
    parser.add_argument("--dataset", choices=data.DATASETS, default="cifar10", help="(default: %(default)s)")
    parser.add_argument("--data-dir", type=Path, help="folder with CIFAR-10")
    parser.add_argument("--quick", action="store_true", help="200 images of each set: to see that everything runs")
    parser.add_argument("--out", type=Path, default=Path("runs/measuring"), help="folder (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
