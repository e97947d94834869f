"""The pictures of docs/pictures.md, from trained weights and the photographs of CIFAR-10's test set.

    python examples/experiments/pictures.py --weights resnet20.th --data-dir DIR            minutes
    python examples/experiments/pictures.py --weights resnet20.th --data-dir DIR --quick    few images: does it run?

Writes PNGs and a GIF into --out, and with them confusion.csv, mistakes.csv and randomisation.csv, the numbers behind
them. The photographs are the first test image of each class; nothing is chosen by eye.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that a fresh clone runs without being installed

import numpy as np

from minires import data, models, pretrained
from minires.backend import to_numpy
from minires.cli import runs
from minires.cli.console import Parser
from minires.cli.recording import write_csv
from minires.data.images import Preprocessing
from minires.files import write_atomically
from minires.inspection import explain, pictures
from minires.inspection.pictures import write_png
from minires.modes import no_grad
from minires.textbook import softmax

IMAGE = [[1, 2, 0], [0, 1, 3], [2, 1, 1]]  # of docs/layers/conv.md
LARGER_IMAGE = [[1, 2, 0, 1], [0, 1, 3, 2], [2, 1, 1, 0], [1, 0, 2, 3]]
WEIGHT = [[1, -1], [2, 0]]
CHECKED, SEEDS = 100, (0, 1, 2)  # test images and random networks of the randomisation check
MISTAKES = 12


def main():
    """Run the command line; returns the exit code."""
    return runs.call(run, lambda: command_line().parse_args())


def run(args):
    """Draw everything; returns the exit code."""
    model, metadata = pretrained.build(args.weights)
    model.eval()
    preprocessing = Preprocessing(**metadata["preprocessing"])
    dataset = data.read_cifar10(data.find_cifar10(args.data_dir))
    if metadata["num_classes"] != len(dataset.classes) or preprocessing.size != 32:
        raise ValueError(f"{args.weights}: no network for CIFAR-10's ten classes of 32x32 pixels: give another file")
    images, labels = data.limit(dataset.test_images, dataset.test_labels, 400 if args.quick else None)
    args.out.mkdir(parents=True, exist_ok=True)
    print(f"{metadata['model']} on {dataset.label}, {len(images):,} test images; writing to {args.out}")

    def prepared(images):
        return data.normalize(images, preprocessing.mean, preprocessing.std)

    draw_structure(model, args.out)
    first = [int(np.flatnonzero(labels == label)[0]) for label in range(len(dataset.classes)) if label in labels]
    draw_views(model, images[first], prepared(images[first]), labels[first], dataset.classes, args.out)
    draw_mistakes(probabilities_of(model, images, prepared), images, labels, dataset.classes, args.out)
    number, seeds = (4, SEEDS[:1]) if args.quick else (CHECKED, SEEDS)
    check(model, metadata, images[:number], prepared(images[:number]), seeds, args.out)
    return 0


def draw_structure(model, out):
    """network.png, im2col.png, im2col.gif and filters.png: these need no photograph."""
    write_png(pictures.draw_network(model, (32, 32, 3)), out / "network.png", colours=128)
    write_png(pictures.draw_im2col(IMAGE, WEIGHT), out / "im2col.png", colours=64)
    pictures.write_gif(pictures.im2col_frames(LARGER_IMAGE, WEIGHT), out / "im2col.gif")
    write_png(pictures.draw_filters(model.conv1.weight.data), out / "filters.png", colours=256)


def draw_views(model, images, x, labels, classes, out):
    """maps-layer1.png and so on of the first image; saliency.png and grad_cam.png of all, for their likeliest class."""
    for layer in ("layer1", "layer2", "layer3"):
        maps = explain.feature_maps(model, x[:1], layer)[0, :, :, :16]
        write_png(pictures.draw_feature_maps(maps), out / f"maps-{layer}.png", colours=256)
    _, logits, predicted = explain.input_gradient(model, x)
    titles = [titled(classes, guess, label) for guess, label in zip(predicted, labels, strict=True)]
    write_png(pictures.draw_saliency(images, explain.saliency(model, x), titles), out / "saliency.png", colours=256)
    write_png(pictures.draw_grad_cam(images, explain.grad_cam(model, x), titles), out / "grad_cam.png", colours=256)


def titled(classes, guess, label):
    """What the network says and, where that is wrong, what it is."""
    return classes[guess] if guess == label else f"{classes[guess]}\n({classes[label]})"


def probabilities_of(model, images, prepared):
    """softmax of the logits of all images, (N, classes)."""
    logits = []
    with no_grad():
        for start in range(0, len(images), 256):
            logits.append(to_numpy(model(prepared(images[start : start + 256]))[0]).astype(np.float64))
    return softmax(np.concatenate(logits))[0]


def draw_mistakes(probabilities, images, labels, classes, out):
    """confusion.png and mistakes.png, their CSVs, and two photographs to try examples/explain.py on."""
    from PIL import Image

    predicted = probabilities.argmax(axis=1)
    counts = explain.confusion_matrix(labels, predicted, len(classes))
    write_png(pictures.draw_confusion_matrix(counts, classes), out / "confusion.png", colours=128)
    write_csv(out / "confusion.csv", ("it is", *classes), [(n, *row) for n, row in zip(classes, counts, strict=True)])
    right = int(counts.trace())
    print(f"right: {right:,} of {len(labels):,}, {right / len(labels):.2%}")

    wrong = explain.confident_mistakes(probabilities, labels, len(labels))
    rows = [(n, classes[labels[n]], classes[predicted[n]], round(probabilities[n, predicted[n]], 6)) for n in wrong]
    write_csv(out / "mistakes.csv", ("test image", "it is", "the network says", "probability"), rows)
    sure = sum(row[-1] > 0.99 for row in rows)
    print(f"wrong with a probability above 0.99: {sure:,} of {len(rows):,} mistakes")
    titles = [f"{guess} {probability:.2%}\n(is: {label})" for _, label, guess, probability in rows[:MISTAKES]]
    write_png(pictures.draw_images(images[wrong[:MISTAKES]], titles), out / "mistakes.png", colours=256)
    for name, number in (("first", 0), ("surest-mistake", wrong[0])):
        Image.fromarray(images[number]).save(out / f"{name}.png")
    write_atomically(out / "classes.txt", ("\n".join(classes) + "\n").encode())


def check(model, metadata, images, x, seeds, out):
    """The randomisation check of both methods: a picture of each, with the first image, and randomisation.csv."""
    rows = []
    for method in (explain.saliency, explain.grad_cam):
        for seed in seeds:
            random_model = models.build(metadata["model"], metadata["num_classes"], rng=seed, **metadata["options"])
            stages = explain.randomisation_check(method, model, random_model, x)
            rows += [(method.__name__, seed, name or "none", float(found.mean())) for name, _, found in stages]
            if seed == seeds[0]:
                figure = pictures.draw_randomisation(images[0], stages, method.__name__.replace("_", "-"))
                write_png(figure, out / f"randomised-{method.__name__}.png", colours=256)
    write_csv(out / "randomisation.csv", ("method", "seed", "layers made random, down to", "mean correlation"), rows)
    names = list(dict.fromkeys(name for _, _, name, _ in rows))
    print(f"rank correlation with the trained network's maps, means over {len(x)} images, least to largest of "
          f"{len(seeds)} seeds\n{'made random, down to':22}" + "".join(f"{name:>16}" for name in names))  # fmt: skip
    for method in ("saliency", "grad_cam"):
        found = [[value for m, _, n, value in rows if (m, n) == (method, name)] for name in names]
        print(f"{method:22}" + "".join(f"{f'{min(values):.2f} to {max(values):.2f}':>16}" for values in found))


def command_line():
    """The parser."""
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("--weights", required=True, metavar="FILE", help="of a network for CIFAR-10's ten classes")
    add("--data-dir", metavar="DIR", help="folder with CIFAR-10; default: found or downloaded")
    add("--out", type=Path, default=Path("runs/pictures"), metavar="DIR", help="default: runs/pictures")
    add("--quick", action="store_true", help="few images, to see that it runs")
    return parser


if __name__ == "__main__":
    sys.exit(main())
