"""Which pictures of a folder look like this one? By what a trained network sees in them, not by their names.

    python examples/retrieve.py cat.jpg --folder PHOTOS --weights resnet50.pth          writes retrieved.png
    python examples/retrieve.py a.png b.webp --folder PHOTOS --weights FILE -k 20       a row for each picture
    python examples/retrieve.py cat.jpg --folder PHOTOS --weights FILE --skip-broken    leave damaged pictures out

Each picture becomes the vector before the network's last layer; near are those whose vectors point the same way (cosine
1). The folder's vectors are kept in an index file in it, .minires-index.safetensors, or where --index says: made once;
later only pictures that are new or have changed are looked at. docs/retrieval.md explains it.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that a fresh clone runs without being installed

import numpy as np

from minires import backend, no_grad, pretrained, retrieval
from minires.checkpoint import digest
from minires.cli import runs
from minires.cli.console import Parser, fail
from minires.cli.output import note
from minires.cli.pictures import chosen_range, open_and_say, refuse_to_replace
from minires.cli.settings import add_arguments
from minires.cli.weights import add_weights_arguments, known_of_weights, note_assumed, weights_line
from minires.data import normalize
from minires.data.dataset import DatasetError
from minires.data.images import Preprocessing, open_image
from minires.data.scan import Skipped, pictures_in
from minires.inspection.pictures.figures import write_png
from minires.inspection.pictures.nearest import draw_nearest
from minires.wording import readable

MARK = "minires, examples/retrieve.py"  # in its pictures, which alone it replaces
INDEX = ".minires-index.safetensors"
BATCH = 64  # pictures that the network sees at once
SAID = 1000  # pictures after which it is said how far it has come
THUMBNAIL = 128  # pixels of the longer side, in the picture of what was found


class Eye:
    """A network without its last layer, and how pictures are prepared for it."""

    def __init__(self, options):
        model, self.metadata = pretrained.build(options["weights"], **known_of_weights(options))
        self.made_with = {
            "model": self.metadata["model"],
            "weights": digest(model.state_dict()),
            "preprocessing": {**self.metadata["preprocessing"], "range": options["range"]},
        }
        for name in ("mean", "std"):
            self.made_with["preprocessing"][name] = list(self.made_with["preprocessing"][name])
        self.device = backend.resolve_device(options["device"])
        self.network = retrieval.without_head(model).to(self.device).eval()
        self.preprocessing = Preprocessing(**self.metadata["preprocessing"])
        self.value_range = chosen_range(options["range"], self.metadata)

    def vectors(self, pixels):
        """The vectors of pictures, (N, C), from their pixels as `Preprocessing.pixels` gives them."""
        x = normalize(np.stack(pixels), self.preprocessing.mean, self.preprocessing.std)
        with no_grad():
            features, _ = self.network(backend.to_device(x, self.device))
        return retrieval.unit(backend.to_numpy(features))


def main():
    """Run the command line; returns the exit code."""
    return runs.call(run, lambda: vars(command_line().parse_args()))


def run(options):
    """Find, print and draw; the exit code is 1 if a query could not be read."""
    if options["k"] < 1:
        raise ValueError(f"-k {options['k']}: give 1 or more")
    refuse_to_replace(options["out"], MARK, "--out")
    eye = Eye(options)
    print(weights_line(options["weights"], eye.metadata), flush=True)
    note_assumed(eye.metadata)
    folder = Path(options["folder"])
    index = index_of(folder, Path(options["index"] or folder / INDEX), eye, options["skip_broken"])
    k = min(options["k"], len(index.names))
    if k < options["k"]:
        note(f"-k {options['k']}: there are {k} pictures in the folder: all of them are shown")
    code, rows = 0, []
    for name in options["images"]:
        try:
            image = open_and_say(name, eye.value_range)
        except DatasetError as error:
            code = fail(error)
            continue
        query = eye.vectors([eye.preprocessing.pixels(image)])
        numbers, cosines = retrieval.search(index.vectors, query, k)
        found = [(index.names[number], float(cosine)) for number, cosine in zip(numbers[0], cosines[0], strict=True)]
        show(name, own_first(name, folder, found))
        rows.append((name, image, found))
    if rows:
        draw(rows, folder, eye.value_range, options["out"])
    return code


# The index ----------------------------------------------------------------------------------------------------------


def index_of(folder, path, eye, skip_broken):
    """The index of a folder as it is now: read, brought up to date, written again where anything has changed."""
    names = listed(folder)
    before = retrieval.load(path) if os.path.lexists(path) else None
    if before is not None:
        retrieval.refuse_other_weights(path, before, eye.made_with)
    stamps = np.array([stamp_of(folder / name) for name in names], np.int64).reshape(-1, 2)
    same, unreadable, what = retrieval.changes(before, names, stamps)
    known = {*same, *(unreadable if skip_broken else [])}
    missing = [name for name in names if name not in known]
    if before is None:
        print(f"index: {len(names):,} pictures to look at", flush=True)
    elif missing or what["gone"]:
        print(f"index: {len(same):,} pictures as they were{counted(what)}", flush=True)
    fresh, broken = look_at(folder, missing, eye, skip_broken)
    say_left_out([*broken.values(), *(f"{folder / name}, as before" for name in unreadable if name in known)])
    vectors = {**{name: before.vectors[row] for name, row in same.items()}, **fresh}
    kept = [row for row, name in enumerate(names) if name in vectors]
    if not kept:
        raise ValueError(f"--folder {folder}: none of its {len(names)} pictures can be read: name another folder")
    left_out = {name: tuple(stamps[row].tolist()) for row, name in enumerate(names) if name not in vectors}
    names = tuple(names[row] for row in kept)
    rows = np.stack([vectors[name] for name in names])
    index = retrieval.Index(rows, names, stamps[kept], eye.made_with, left_out)
    if before is None or missing or what["gone"]:
        retrieval.save(path, index)
        print(f"wrote {path}", file=sys.stderr)
    return index


def listed(folder):
    """The paths of the pictures in a folder, within it; what else lies there is said."""
    if not folder.is_dir():
        raise ValueError(f"--folder {folder}: is no folder: name one with pictures")
    skipped = Skipped()
    names = pictures_in(folder, skipped)
    for line in skipped.lines():
        if "hidden or left by a system" not in line:  # the index is among them
            note(line)
    if not names:
        raise ValueError(f"--folder {folder}: there is no picture in it: name one with pictures")
    retrieval.check_size(len(names), 1)
    return names


def stamp_of(path):
    """(bytes, nanoseconds of the last change) of a file."""
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns


def counted(what):
    """{"new": 2, ...} in words, each after a comma; what is 0 is left out."""
    return "".join(f", {number:,} {name}" for name, number in what.items() if number)


def look_at(folder, names, eye, skip_broken):
    """({name: vector} of pictures, {name: what is wrong with it}).

    Raises DatasetError for one that cannot be read, unless those shall be skipped.
    """
    found, waiting, broken = {}, {}, {}
    for number, name in enumerate(names, 1):
        try:
            waiting[name] = eye.preprocessing.pixels(open_image(folder / name, eye.value_range))
        except DatasetError as error:
            if not skip_broken:
                raise DatasetError(f"{error}: mend or remove it, or leave such out with --skip-broken") from error
            broken[name] = error
        if len(waiting) == BATCH or (waiting and number == len(names)):
            found |= dict(zip(waiting, eye.vectors(list(waiting.values())), strict=True))
            waiting = {}
        if number % SAID == 0:
            print(f"looked at {number:,} of {len(names):,}", file=sys.stderr, flush=True)
    if found:
        retrieval.check_size(len(found), len(next(iter(found.values()))))
    return found, broken


def say_left_out(broken):
    """Which pictures cannot be read, the first three of them."""
    for error in broken[:3]:
        note(f"left out: {error}")
    if len(broken) > 3:
        note(f"left out: {len(broken) - 3:,} more pictures that cannot be read")


# What was found -----------------------------------------------------------------------------------------------------


def own_first(name, folder, found):
    """The list with the query itself at its head, where it lies in the folder and others are no less like it."""
    itself = [one for one in found if one[1] == 1 and os.path.samefile(folder / one[0], name)]
    found[:] = itself + [one for one in found if one not in itself]
    return found


def show(name, found):
    """The names of what was found, with their cosines; which of them cannot be told from the query."""
    print(readable(str(name), 4096))
    for other, cosine in found:
        print(f"  {cosine:9.6f}  {readable(other, 300)}")
    alike = [readable(other) for other, cosine in found if cosine == 1]
    if len(alike) > 1:
        print(f"  to the network the same picture: {', '.join(alike)}")
    sys.stdout.flush()


def draw(rows, folder, value_range, path):
    """The queries and what was found, as a PNG."""
    drawn = [
        (
            str(name),
            thumbnail(image),
            [(other, cosine, of_file(folder / other, value_range)) for other, cosine in found],
        )
        for name, image, found in rows
    ]
    figure = draw_nearest(drawn)
    write_png(figure, path, text={"Software": MARK})
    print(f"wrote {path}", file=sys.stderr)


def thumbnail(image):
    """Pixels of a picture of at most 128 pixels a side."""
    image = image.copy()
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    return np.asarray(image)


def of_file(path, value_range):
    """The same of a file; a grey square where it has gone or been damaged since it was looked at."""
    try:
        return thumbnail(open_image(path, value_range))
    except (DatasetError, OSError):
        return np.full((THUMBNAIL, THUMBNAIL, 3), 127, np.uint8)


def command_line():
    """The parser."""
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add_arguments(parser, "images")
    add("--folder", required=True, metavar="DIR", help="of pictures, in sub-folders, too")
    add_arguments(parser, "--weights")
    add("-k", type=int, default=10, metavar="N", help="how many are shown; default: 10")
    add("--index", metavar="FILE", help=f"default: {INDEX} in the folder")
    add("--skip-broken", action="store_true", help="leave damaged pictures out")
    add("--out", default="retrieved.png", metavar="PNG", help="default: retrieved.png")
    add_arguments(parser, "--range")
    add_arguments(parser, "--device", default="auto")
    add_weights_arguments(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
