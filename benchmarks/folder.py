"""A folder of 100,000 small pictures: how soon training begins, what memory it takes, how long it waits for pictures.

    python benchmarks/folder.py                       draws the folder, 64x64 JPEGs of ten classes, and removes it again
    python benchmarks/folder.py --folder DIR          keeps it in DIR, and takes it from there the next time
    python benchmarks/folder.py --quick               2,000 pictures: does it run?

A process of its own starts Python, reads the folder as finetune.py does, and takes some steps of a resnet18. "waited"
is the time a step had to wait for its batch, over the step's; "decoding" is what reading and decoding a batch takes
while nothing else runs, over a step: what loading would cost if no core had been free for it.
"""

import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from command_line import about, make_parser, parse, save

SIZE, CLASSES = 64, 10


def main(argv=None):
    """Draw the folder, measure in a process of its own, print."""
    parser = make_parser(__doc__, "2,000 pictures, 3 steps", 12, 3)
    parser.add_argument("--pictures", type=int, metavar="N", help="default: 100,000, with --quick 2,000")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where they are, or shall be")
    parser.add_argument("--batch-size", type=int, default=128, metavar="N", help="default: 128")
    parser.add_argument("--measure", action="store_true", help="only measure the folder, in this process")
    args = parse(parser, argv)
    if args.measure:
        print(json.dumps(measure(args.folder, args.batch_size, args.rounds)))
        return
    pictures = args.pictures or (2_000 if args.quick else 100_000)
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary) / "pictures"
        draw(folder, pictures, args.threads)
        machine = about(args.threads)
        flags = ["--measure", "--folder", folder, "--batch-size", args.batch_size, "--rounds", args.rounds]
        flags += ["--threads", args.threads]
        began = time.time()
        command = [sys.executable, __file__, *map(str, flags)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
    found["first_batch_seconds"] = found.pop("first_batch_at") - began
    report(machine, pictures, args, found)
    save(args.json, {"machine": machine, "pictures": pictures, **found})


def draw(folder, count, threads):
    """DIR/class-0/000000.jpg, ...: a coloured ramp and noise, no two alike, unless they are there."""
    if folder.exists():
        return
    ramp = np.linspace(0, 120, SIZE)

    def write(number):
        from PIL import Image

        rng, label = np.random.default_rng(number), number % CLASSES
        color = np.array([label * 20, 180 - label * 15, label * 7])
        pixels = color + (ramp[:, None] + ramp * (label / CLASSES))[..., None] / 2 + rng.normal(0, 12, (SIZE, SIZE, 3))
        file = io.BytesIO()
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
        (folder / f"class-{label}" / f"{number:06d}.jpg").write_bytes(file.getvalue())

    for label in range(CLASSES):
        (folder / f"class-{label}").mkdir(parents=True)
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(write, range(count)):
            pass


def measure(folder, batch_size, rounds):
    """What a process of its own finds, as a dictionary."""
    from minires import backend, models, optim
    from minires.cli.settings import make_loaders
    from minires.data.folders import read_image_folder
    from minires.data.images import Preprocessing
    from minires.training import train_step

    preprocessing = Preprocessing((0.5,) * 3, (0.25,) * 3, size=SIZE, resize=SIZE)
    dataset = read_image_folder(folder, preprocessing, stream=True, tell=lambda line: print(line, file=sys.stderr))
    settings = {"limit_train": None, "limit_test": None, "val_split": None, "seed": 0, "augment": True}
    settings["batch_size"] = batch_size
    loader = make_loaders(settings, dataset, "cpu", preprocessing.mean, preprocessing.std)[0]
    batches = loader.epoch(0)
    x, labels = next(batches)
    first = time.time()
    model = models.build("resnet18", CLASSES, rng=0)
    optimizer = optim.SGD(model.parameters(), 0.01, momentum=0.9)
    train_step(model, optimizer, x, labels)  # the first one makes what the others use again
    steps, waited, decoding = [], [], []
    for _ in range(rounds):
        began = time.perf_counter()
        x, labels = next(batches)
        loaded = time.perf_counter()
        train_step(model, optimizer, x, labels)
        waited.append(loaded - began)
        steps.append(time.perf_counter() - began)
    batches.close()
    for number in range(rounds):
        began = time.perf_counter()
        loader.images[number * batch_size : (number + 1) * batch_size]
        decoding.append(time.perf_counter() - began)
    shares = [wait / step for wait, step in zip(waited, steps, strict=True)]
    return {
        "first_batch_at": first,
        "step": statistics.median(steps),
        "waited": statistics.median(shares),
        "waited_largest": max(shares),
        "decoding": statistics.median(decoding) / statistics.median(steps),
        "peak_memory_mb": backend.memory_peak("cpu") / 1e6,
    }


def report(machine, pictures, args, found):
    """The figures, in words."""
    print(f"{machine['machine']['processor']}, {args.threads} threads, load {machine['load_before']:.1f}; {pictures:,} "
          f"pictures of {SIZE}x{SIZE}; resnet18, batch size {args.batch_size}, {args.rounds} steps")  # fmt: skip
    print(f"first batch, from the start of Python   {found['first_batch_seconds']:8.1f} s")
    print(f"peak memory                             {found['peak_memory_mb']:8,.0f} MB")
    print(f"waited for a batch, over its step       {found['waited']:8.1%}   largest {found['waited_largest']:.1%}")
    print(f"decoding a batch by itself, the same    {found['decoding']:8.1%}   of {found['step']:.2f} s")


if __name__ == "__main__":
    main()
