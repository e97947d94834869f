"""From the textbook to minires, one idea at a time: what each is worth in a training step.

    python benchmarks/ideas.py                                about four minutes on two cores
    python benchmarks/ideas.py --quick                        smaller network, few rounds: under a minute
    python benchmarks/ideas.py --plot FILE --json FILE        the same as a chart and for a program
    python benchmarks/ideas.py --winograd --pairs             other tables: other algorithms for convolution,
    python benchmarks/ideas.py --blocks --chunks --columns    sizes of blocks, a batch in chunks, narrow matrix products

The ladder starts with textbook.py, goes on with minires in which every idea is replaced by its older form, and puts the
ideas back one after another; the last rung is minires as it is. All rungs, and PyTorch where it is installed, each a
process of its own, take turns on the same weights and batch. The images/s of a rung are the median over rounds, its
factor the median of the ratios of each round to the rung before. Before that, the first two losses of every rung must
be those of the last.

What the ideas are, and what came of them: docs/performance.md.
"""

import argparse
import contextlib
import functools
import inspect
import multiprocessing
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import threadpoolctl

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import peers  # noqa: E402
from cases import Conv, Network  # noqa: E402
from command_line import about, at_least_one, check_folder, save  # noqa: E402
from cpu import versions_of  # noqa: E402
from turns import PAUSE, SLOW_ROUNDS, significant  # noqa: E402

from minires import backend, layers, models, no_grad  # noqa: E402
from minires.backend import blocks, channels, patches  # noqa: E402
from minires.backend.cpu import memory, winograd  # noqa: E402
from minires.backend.cpu import workers as cpu  # noqa: E402
from minires.layers import conv  # noqa: E402
from minires.models import resnet  # noqa: E402
from minires.module import lean_backward  # noqa: E402
from minires.names import unknown  # noqa: E402

PYTORCH = {"pytorch-nchw": "PyTorch, default layout", "pytorch-channels-last": "PyTorch, channels_last"}

# The older forms: each does what the function of minires beside it in IDEAS does, without the idea -------------------


def scatter(dy, x, weight, padding):
    """dx by adding up patches, as for any stride; dweight from another patch matrix, of x."""
    (O, C, KH, KW), (_, H, W, _) = weight.shape, x.shape
    matrix, dx = weight.transpose(2, 3, 1, 0).reshape(-1, O), np.empty_like(x)

    def backward_block(images):
        dy_rows = dy[images].reshape(-1, O)
        dpatches = (dy_rows @ matrix.T).reshape(*dy[images].shape[:3], KH, KW, C)
        dx[images] = backend.col2im(dpatches, (H, W), (1, 1), padding)
        return conv.im2col(x[images], (KH, KW), (1, 1), padding).reshape(-1, len(matrix)).T @ dy_rows

    partials = blocks.for_each_block(backward_block, x, 2 * dy[0, ..., 0].size * matrix[:, 0].nbytes)
    return dx, backend.sum_blocks(partials).reshape(KH, KW, C, O).transpose(3, 2, 0, 1)


def whole_batch(function, n, *sizes):
    return [function(slice(0, n))]


def whole_images(function, n, rows, *sizes):
    return [function(slice(0, n), slice(0, rows))]


def new_memory(name, shape, dtype):
    """Where a batch is not cut into blocks, nothing is small enough to be kept for the next."""
    return np.empty(shape, dtype)


def one_after_another(function, pieces):
    return [function(piece) for piece in pieces]


def broadcast_channels(function, arrays, vectors=(), out=None):
    """Vectors (C,) broadcast over arrays (..., C): NumPy's inner loop has C numbers."""
    y = backend.empty(arrays[0].shape, arrays[0]) if out is None else out
    blocks.for_each_block(lambda block: function(*(array[block] for array in arrays), *vectors, out=y[block]), y)
    return y


def sum_axes(function, arrays, vectors=()):
    """np.sum over all axes but the last."""

    def sums_of_block(block):
        parts = [array[block] for array in arrays]
        values = function(*parts, *vectors, out=np.empty_like(parts[0]))
        products = [np.multiply(*value) if isinstance(value, tuple) else value for value in values]
        return [product.sum(axis=tuple(range(product.ndim - 1))) for product in products]

    partials = blocks.for_each_block(sums_of_block, arrays[0])
    return [backend.sum_blocks(of_blocks) for of_blocks in zip(*partials, strict=True)]


def im2col_by_pixels(x, kernel, stride=(1, 1), padding=((0, 0), (0, 0)), value=0, rows=None):
    """A copy for each of the kernel's KH * KW pixels, which goes through all images."""
    (KH, KW), (SH, SW) = kernel, stride
    x, (N, OH, OW, C) = _padded(x, kernel, stride, padding, value, rows)
    col = memory.scratch("patches", (N, OH, OW, KH, KW, C), x.dtype)
    for i in range(KH):
        for j in range(KW):
            col[:, :, :, i, j] = x[:, i : i + SH * OH : SH, j : j + SW * OW : SW]
    return col


def im2col_by_rows(x, kernel, stride=(1, 1), padding=((0, 0), (0, 0)), value=0, rows=None):
    """A copy for each of the kernel's KH rows, whose KW * C numbers are one item."""
    (KH, KW), (SH, SW) = kernel, stride
    x, (N, OH, OW, C) = _padded(x, kernel, stride, padding, value, rows)
    col = memory.scratch("patches", (N, OH, OW, KH, KW, C), x.dtype)
    item, number = f"V{KW * C * x.itemsize}", x.itemsize
    row, pixel = x.shape[2] * C * number, C * number
    items = col.reshape(N, OH, OW, KH, KW * C).view(item)[..., 0]
    for i in range(KH):
        items[..., i] = np.ndarray((N, OH, OW), item, x, i * row, (x.shape[1] * row, SH * row, SW * pixel))
    return col


def _padded(x, kernel, stride, padding, value, rows):
    """The rows of x that `rows` of the output depend on, padded anew, and the output's N, OH, OW with C."""
    (KH, KW), (SH, SW), ((top, _), (left, right)) = kernel, stride, padding
    rows = rows or slice(0, patches.output_size(x.shape[1:3], kernel, stride, padding)[0])
    (N, H, W, C), first, last = x.shape, rows.start * SH - top, (rows.stop - 1) * SH + KH - top  # beyond x, perhaps
    inside = slice(min(max(first, 0), H), min(max(last, 0), H))
    above, below = inside.start - first, inside.stop - first
    padded = memory.scratch("padded", (N, last - first, left + W + right, C), x.dtype)
    padded[:, :above] = value
    padded[:, below:] = value
    padded[:, above:below, :left] = value
    padded[:, above:below, left + W :] = value
    padded[:, above:below, left : left + W] = x[:, inside]
    return padded, (N, rows.stop - rows.start, (left + W + right - KW) // SW + 1, C)


def moments_in_two_passes(x):
    """The mean; then, with it, the mean of (x - mean)^2."""
    count = x.size // x.shape[-1]
    mean = channels.sum_channels(lambda x, out: (x,), (x,))[0] / count

    def centered(x, mean, out):
        np.subtract(x, mean, out=out)
        return ((out, out),)

    return mean, channels.sum_channels(centered, (x,), (mean,))[0] / count


def separate_norm_add_relu(self, x, shortcut=None):
    """BatchNormReLU2d.forward by three operations, each of which reads and writes whole arrays."""
    running, affine = (self.running_mean, self.running_var), (self.weight.data, self.bias.data)
    y, norm_backward = layers.batch_norm(x, *running, *affine, self.training, self.momentum, self.eps)
    if shortcut is not None:
        y, _ = layers.add(y, shortcut)
    y, relu_backward = layers.relu(y)

    def backward(dy):
        dz = relu_backward(dy)
        dx, dweight, dbias = norm_backward(dz)
        self.weight.add_grad(dweight)
        self.bias.add_grad(dbias)
        return dx if shortcut is None else (dx, dz)

    return y, backward


def full_blocks(n, item_bytes, block_bytes=None):
    """As large as allowed, and the last one what is left."""
    size = max(1, (block_bytes or cpu.BLOCK_BYTES) // max(1, item_bytes))
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def block_with_a_new_sum(self, x, forward=resnet.BasicBlock.forward):
    """BasicBlock.forward whose backward pass adds its two gradients into a third array."""
    if self.kind == "none":
        return forward(self, x)
    y, layer1_backward = resnet.conv_norm_relu(self.conv1, self.bn1, x)
    shortcut, shortcut_backward = self.shortcut(x)
    y, layer2_backward = resnet.conv_norm_relu(self.conv2, self.bn2, y, shortcut)

    def backward(dy):
        dy, dshortcut = layer2_backward(dy)
        return layers.add(layer1_backward(dy), shortcut_backward(dshortcut))[0]

    return y, backward


# The ladder ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Idea:
    """functions {function of minires: its older form}, settings {(object, attribute): its older value}."""

    name: str
    title: str
    functions: dict = field(default_factory=dict)
    settings: dict = field(default_factory=dict)


IDEAS = (
    Idea("gather", "dx gathered, not scattered", {conv._backward_stride_1: scatter}),
    Idea(
        "blocks",
        "blocks of 2 MB that stay in cache",
        {cpu.for_each_block: whole_batch, cpu.for_each_band: whole_images, memory.scratch: new_memory},
    ),
    Idea("threads", "blocks on all threads, BLAS on one", {cpu._for_each: one_after_another}),
    Idea(
        "rows",
        "channels tiled to rows, sums by BLAS",
        {channels.map_channels: broadcast_channels, channels.sum_channels: sum_axes},
    ),
    Idea("items", "a window's row copied as one item", {patches.im2col: im2col_by_pixels}),
    Idea("frame", "frame of zeros kept, one copy a block", {patches.im2col: im2col_by_rows}),
    Idea("pool", "memory from a pool", {memory.empty: np.empty}),
    Idea(
        "fused",
        "batch norm, sum and ReLU in one",
        {channels.channel_moments: moments_in_two_passes, channels.far_from_zero: lambda mean, var: True},
        {(layers.BatchNormReLU2d, "forward"): separate_norm_add_relu},
    ),
    Idea("even", "blocks of equal size, even number", {cpu.block_slices: full_blocks}),
    Idea(
        "lean",
        "no dx of images, arrays let go of",
        {lean_backward: contextlib.nullcontext},
        {(resnet.BasicBlock, "forward"): block_with_a_new_sum},
    ),
)
FIRST = {"textbook": "textbook: NCHW, whole arrays", "nhwc": "channels last (NHWC), col not kept"}
RUNGS = {**FIRST, **{idea.name: idea.title for idea in IDEAS}}  # name: title, in order


@contextlib.contextmanager
def standing_on(rung):
    """Within this block minires has the ideas up to this rung, and older forms in place of the later ones.

    A function is replaced wherever a module of minires holds it. Where two ideas changed one, the older form counts.
    """
    reverted = IDEAS[max(0, list(RUNGS).index(rung) + 1 - len(FIRST)) :]
    functions, replaced = {}, []
    for idea in reversed(reverted):
        functions |= idea.functions

    def replace(owner, name, value):
        replaced.append((owner, name, getattr(owner, name)))
        setattr(owner, name, value)

    try:
        for module in [module for name, module in sys.modules.items() if name.partition(".")[0] == "minires"]:
            for name, value in list(vars(module).items()):
                if inspect.isfunction(value) and value in functions:
                    replace(module, name, functions[value])
        for idea in reversed(reverted):
            for (owner, name), value in idea.settings.items():
                replace(owner, name, value)
        yield
    finally:
        for owner, name, value in reversed(replaced):
            setattr(owner, name, value)


def page_faults():
    """How often this process touched a page that the system had yet to find; 0 where it does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


@dataclass
class Turn:
    """What some steps gave and took."""

    losses: list
    images_per_second: float
    page_faults: float  # of a step


class Runner:
    """A rung, or one of PyTorch's layouts, in this process."""

    def __init__(self, who, network, threads):
        backend.set_threads(threads)
        self.rung = who if who in RUNGS and who != "textbook" else None
        self.step = peers.load("minires" if self.rung else who, threads).make_step(network, who)
        self.batch_size = network.batch_size

    def turn(self, steps):
        time.sleep(PAUSE)
        with standing_on(self.rung) if self.rung else contextlib.nullcontext():
            faults, began = page_faults(), time.perf_counter()
            losses = [float(self.step()[0]) for _ in range(steps)]
            seconds = time.perf_counter() - began
        return Turn(losses, steps * self.batch_size / seconds, (page_faults() - faults) / steps)

    def stop(self):
        pass


class Process:
    """A Runner in a process of its own: what one rung does with memory is not to help or harm another."""

    def __init__(self, who, network, threads):
        spawn = multiprocessing.get_context("spawn")
        self.connection, theirs = spawn.Pipe()
        self.process = spawn.Process(target=_serve, args=(theirs, who, network, threads), daemon=True)
        self.process.start()
        theirs.close()

    def turn(self, steps):
        self.connection.send(steps)
        return self.connection.recv()

    def stop(self):
        self.connection.close()
        self.process.join()


def _serve(connection, who, network, threads):
    runner = Runner(who, network, threads)
    with contextlib.suppress(EOFError):  # nobody is left to ask
        while True:
            connection.send(runner.turn(connection.recv()))


def climb(network, who, rounds, threads, start):
    """({name: [Turn of each round]}, {name: the first two losses}).

    A turn is as many steps as fit in the network's seconds. Those of which none fits have fewer turns.
    """
    runners = {}
    try:
        first, steps = {}, {}
        for name in who:
            runners[name] = start(name, network, threads)
            first[name] = runners[name].turn(2).losses
            steps[name] = int(network.seconds * runners[name].turn(1).images_per_second / network.batch_size)
        for name, losses in first.items():  # the second loss tells whether the first step's gradients were the same
            np.testing.assert_allclose(losses, first["lean"], rtol=1e-3, err_msg=f"{name} computes something else")
        turns = {name: [] for name in who}
        for number in range(rounds):
            for name in who[:: -1 if number % 2 else 1]:
                if steps[name] or number < SLOW_ROUNDS:
                    turns[name].append(runners[name].turn(steps[name] or 1))
    finally:
        for runner in runners.values():
            runner.stop()
    return turns, first


def speed_of(turns):
    return significant(statistics.median(turn.images_per_second for turn in turns))


def ladder(turns, losses):
    """The JSON's "rungs"."""
    found, before = [], None
    for name, title in RUNGS.items():
        speeds = [turn.images_per_second for turn in turns[name]]
        ratios = [now / then for now, then in zip(speeds, before or speeds, strict=False)]
        found.append(
            {
                "rung": name,
                "title": title,
                "images_per_second": speed_of(turns[name]),
                "ratio": round(statistics.median(ratios), 3) if before else None,
                "spread": [round(min(ratios), 3), round(max(ratios), 3)] if before else None,
                "page_faults": round(statistics.median(turn.page_faults for turn in turns[name])),
                "loss": losses[name][0],
            }
        )
        before = speeds
    return found


def table(rungs, pytorch):
    """The ladder as text."""
    width = max(len(row["title"]) for row in rungs)
    head = f"{'idea':{width}} {'images/s':>8} {'factor':>6} {'spread':>12} {'page faults':>11}"
    lines = [head, "-" * len(head)]
    for row in rungs:
        line = f"{row['title']:{width}} {row['images_per_second']:8.4g}"
        if row["ratio"]:
            line += f" {row['ratio']:6.2f} " + "{:.2f} to {:.2f}".format(*row["spread"])
        else:
            line += " " * 20
        lines.append(f"{line} {row['page_faults']:11,}")
    lines += [f"{name:{width}} {speed:8.4g}" for name, speed in pytorch.items()]
    return "\n".join(lines)


def plot(rungs, pytorch, title, file):
    """A bar for each rung, readable without colours."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.2), layout="constrained")
    axes = figure.subplots()
    speeds = [row["images_per_second"] for row in rungs]
    bars = axes.barh(range(len(rungs)), speeds, color="0.6", edgecolor="0.2", height=0.72, zorder=2)
    for bar, row in zip(bars, rungs, strict=True):
        text = f"{row['images_per_second']:.0f}" + (f"   x {row['ratio']:.2f}" if row["ratio"] else "")
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
        axes.annotate(text, (bar.get_width(), bar.get_y() + bar.get_height() / 2), (5, 0), textcoords="offset points",
                      va="center", fontsize=9, bbox=box, zorder=4)  # fmt: skip
    for (name, speed), style in zip(pytorch.items(), ("--", ":"), strict=False):
        label = f"{PYTORCH[name]}: {speed:.0f}"
        axes.axvline(speed, color="black", linestyle=style, linewidth=1.6, label=label, zorder=3)
    axes.set_yticks(range(len(rungs)), [row["title"] for row in rungs])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.16 * max([*speeds, *pytorch.values()]))
    axes.set_xlabel("images/s   (x factor to the rung above; each rung keeps the ideas above it)")
    axes.set_title(title, fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    if pytorch:
        axes.legend(loc="upper right", framealpha=1)
    figure.savefig(file, dpi=110)


# Other tables ----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def changed(owner, name, value):
    """Within this block owner.name is value."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def take_turns(steps, items, rounds):
    """{name: items per second, median over rounds} of functions that each take a step of `items` items."""
    for step in steps.values():
        step()
    speeds = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            began, count = time.perf_counter(), 0
            while count == 0 or time.perf_counter() - began < 0.3:
                step()
                count += 1
            speeds[name].append(count * items / (time.perf_counter() - began))
    return {name: statistics.median(found) for name, found in speeds.items()}


def within(make, *args):
    """make() is a context; a decorator that runs a function in it."""

    def decorate(function):
        @functools.wraps(function)
        def run():
            with make(*args):
                return function()

        return run

    return decorate


def compare_blocks(args):
    """A training step with blocks of other sizes."""
    step = peers.load("minires", args.threads).make_step(args.network)
    sizes = (0.125, 0.25, 0.5, 1, 2, 4, 8)
    steps = {mb: within(changed, cpu, "BLOCK_BYTES", int(mb * 2**20))(step) for mb in sizes}
    speeds = take_turns(steps, args.network.batch_size, args.rounds)
    print(f"\nblocks, MB   {args.network.name}, images/s")
    for mb, speed in speeds.items():
        print(f"{mb:10g}   {speed:8.1f}")
    return {str(mb): significant(speed) for mb, speed in speeds.items()}


def compare_chunks(args):
    """Inference of a batch, the whole network for one chunk of it after the other."""
    model, (x, _) = models.build(args.network.model, rng=0).eval(), args.network.arrays()

    def infer(size):
        with no_grad():
            return [model(x[start : start + size])[0] for start in range(0, len(x), size)]

    sizes = [size for size in (4, 8, 16, 32, 64) if size < len(x)]
    speeds = take_turns({size: functools.partial(infer, size) for size in [*sizes, len(x)]}, len(x), args.rounds)
    print(f"\nchunk   {args.network.model} inference of {len(x)} images, images/s")
    for size, speed in speeds.items():
        print(f"{size:5}   {speed:8.1f}")
    return {str(size): significant(speed) for size, speed in speeds.items()}


def compare_columns(args):
    """One thread's products of a patch matrix (1024, 192) with matrices of few and of many columns."""
    rng, steps = np.random.default_rng(0), {}
    a = rng.standard_normal((1024, 192), np.float32)
    for columns in (16, 32, 48, 64, 96, 128, 256):
        b = rng.standard_normal((192, columns), np.float32)
        steps[columns] = functools.partial(np.matmul, a, b, out=np.empty((1024, columns), np.float32))
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        speeds = take_turns(steps, 1, args.rounds)
    gflops = {columns: 2e-9 * 1024 * 192 * columns * speed for columns, speed in speeds.items()}
    print("\ncolumns   (1024, 192) @ (192, columns) on one thread, GFLOP/s")
    for columns, value in gflops.items():
        print(f"{columns:7}   {value:8.1f}")
    return {str(columns): significant(value) for columns, value in gflops.items()}


def convolve(x, weight, pixels):
    """A 3x3 convolution at stride 1 and padding 1, with `pixels` neighbouring output pixels to a row of patches."""
    (N, H, W, C), O = x.shape, len(weight)
    wide = np.zeros((3, 2 + pixels, C, pixels, O), x.dtype)
    for pixel in range(pixels):
        wide[:, pixel : pixel + 3, :, pixel] = weight.transpose(2, 3, 1, 0)
    matrix, y = wide.reshape(-1, pixels * O), backend.empty((N, H, W, O), like=x)

    def forward_block(images):
        rows = patches.im2col(x[images], (3, 2 + pixels), (1, pixels), ((1, 1), (1, 1))).reshape(-1, len(matrix))
        np.matmul(rows, matrix, out=y[images].reshape(-1, pixels * O))

    blocks.for_each_block(forward_block, x, H * W // pixels * matrix[:, 0].nbytes)
    return y


def compare_pairs(args):
    """3x3 convolutions forward, with one, two and four output pixels to a row of the patch matrix."""
    print("\npixels to a row: forward, images/s         1          2          4")
    batch, found = args.network.batch_size, {}
    for C, size in ((16, 32), (32, 16), (64, 8)):
        case = Conv(C, C, size, batch)
        x, weight, _ = case.arrays()
        steps = {pixels: functools.partial(convolve, x, weight, pixels) for pixels in (1, 2, 4)}
        speeds = take_turns(steps, batch, args.rounds)
        found[case.name] = [significant(speed) for speed in speeds.values()]
        print(f"{case.name:32}" + "".join(f"{speed:11.0f}" for speed in speeds.values()))
    return found


def compare_winograd(args):
    """3x3 convolutions forward and backward by both algorithms; and a training step by where winograd begins."""
    print("\nforward and backward at batch 16, images/s   im2col  winograd   factor")
    shapes = [(16, 32), (32, 32), (64, 28), (128, 28), (256, 14), (512, 7)]
    found, batch = {}, 2 if args.quick else 16
    for C, size in shapes:
        case = Conv(C, C, size, batch)
        x, weight, dy = case.arrays()

        def step(algorithm, x=x, weight=weight, dy=dy):
            _, backward = layers.conv2d(x, weight, None, 1, 1, algorithm=algorithm)
            backward(dy)

        steps = {algorithm: functools.partial(step, algorithm) for algorithm in ("im2col", "winograd")}
        speeds = take_turns(steps, batch, args.rounds)
        im2col, other = speeds.values()
        found[case.name] = [significant(im2col), significant(other)]
        print(f"{case.name:41} {im2col:9.1f} {other:9.1f} {other / im2col:8.2f}")
    step = peers.load("minires", args.threads).make_step(args.network)
    steps = {least: within(changed, winograd, "LEAST_CHANNELS", least)(step) for least in (16, 32, 64, 128)}
    speeds = take_turns(steps, args.network.batch_size, args.rounds)
    print(f"\nwinograd from   {args.network.name}, images/s")
    for least, speed in speeds.items():
        print(f"{least:3} channels    {speed:8.1f}")
        found[f"from {least} channels"] = significant(speed)
    return found


TABLES = {
    "blocks": compare_blocks,
    "chunks": compare_chunks,
    "columns": compare_columns,
    "pairs": compare_pairs,
    "winograd": compare_winograd,
}


# The command line ------------------------------------------------------------------------------------------------


def parse(argv):
    """The arguments, with `network` and `tables`. Exits with a sentence for what cannot be."""
    listing = "rungs:\n  {}".format("\n  ".join(f"{name:9} {title}" for name, title in RUNGS.items()))
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=listing, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="resnet8, a small batch and two rounds: under a minute")
    parser.add_argument("--model", help="default: resnet20, with --quick resnet8")
    parser.add_argument("--batch", type=at_least_one, metavar="N", help="default: 128, with --quick 32")
    parser.add_argument("--rounds", type=at_least_one, metavar="N", help="default: 8, with --quick 2")
    parser.add_argument(
        "--threads", type=at_least_one, metavar="N", default=backend.get_threads(), help="default: %(default)s"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the ladder (.png, .svg)")
    for name, compare in TABLES.items():
        parser.add_argument(
            f"--{name}", action="store_true", help=f"only this table: {compare.__doc__.splitlines()[0]}"
        )
    args = parser.parse_args(argv)
    args.model = args.model or ("resnet8" if args.quick else "resnet20")
    networks = [function.__name__ for function in models.RESNETS]
    if args.model not in networks:
        sys.exit(f"error: {unknown('model', args.model, networks)}")
    for option, file in {"--json": args.json, "--plot": args.plot}.items():
        check_folder(option, file)
    args.rounds = args.rounds or (2 if args.quick else 8)
    args.tables = [name for name in TABLES if getattr(args, name)]
    if args.tables and args.plot:
        sys.exit("error: --plot draws the ladder, which is left out where another table is asked for: run it alone")
    args.network = Network(args.model, True, args.batch or (32 if args.quick else 128), 0.1 if args.quick else 1.2)
    return args


def main(argv=None):
    args = parse(argv)
    backend.set_threads(args.threads)
    found, missing = ({}, []) if args.tables else peers.load_installed(PYTORCH, args.threads)
    for sentence in missing:
        print(sentence)
    machine, network = about(args.threads, versions_of(found)), args.network
    print(f"{machine['machine']['processor']}, {args.threads} threads, {args.rounds} rounds")
    content = {"machine": machine, "network": network.name, "rounds": args.rounds}
    if args.tables:
        content |= {name: TABLES[name](args) for name in args.tables}
    else:
        turns, losses = climb(network, [*RUNGS, *found], args.rounds, args.threads, Process)
        content["rungs"] = ladder(turns, losses)
        content["pytorch"] = {name: speed_of(turns[name]) for name in found}
        print(f"{network.name}; page faults: of a step\n\n{table(content['rungs'], content['pytorch'])}")
        if args.plot:
            title = f"Training {args.model} at batch {network.batch_size}, {args.threads} threads"
            plot(content["rungs"], content["pytorch"], title, args.plot)
            print(f"wrote {args.plot}")
    save(args.json, content)


if __name__ == "__main__":
    main()
