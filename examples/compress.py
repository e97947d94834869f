"""Make a trained network smaller: fewer filters, weights that are zero, weights of 8 bits.

    python examples/compress.py resnet56.th half.safetensors --keep-macs 0.5       filters: half the multiply-adds
    python examples/compress.py resnet56.th half.safetensors --keep-macs 0.5 --stages 2 1 1
    python examples/compress.py resnet20.th sparse.safetensors --sparsity 0.8      four weights of five are zero
    python examples/compress.py resnet20.th small.safetensors --int8               a quarter of the bytes

Several at once are done in this order. OUT is read by all scripts as any file of weights is. After --keep-macs and
--sparsity the network must be trained again for an epoch or more:

    python examples/finetune.py --weights half.safetensors
    python examples/finetune.py --weights sparse.safetensors --keep-zeros
    python examples/finetune.py --weights resnet20.th --sparsity 0.8               zeros become more as it trains

docs/compression.md says what each of them is, and what it brought.
"""

import copy
import sys
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that a fresh clone runs without being installed

from minires import pretrained
from minires.cli import runs
from minires.cli.console import Parser
from minires.cli.weights import add_weights_arguments, known_of_weights, note_assumed, weights_line
from minires.compression import magnitude_prune, prunable, prune_filters, quantized_state, sparsity_of
from minires.compression.filters import CRITERIA
from minires.compression.magnitude import SCOPES, check_sparsity
from minires.inspection.summary import costs
from minires.models.narrow import widths_of
from minires.pretrained.architectures import recognise
from minires.pretrained.weights import serialised

COLUMNS = ("", "parameters", "of them zero", "multiply-adds", "bytes", "zipped")
OF_FILTERS = ("stages", "criterion", "multiple")


def main():
    """Run the command line; returns the exit code."""
    return runs.call(run, lambda: vars(command_line().parse_args()))


def run(options):
    """Compress one file; returns the exit code."""
    source, target = options["source"], Path(options["target"])
    check_flags(options, target)
    model, metadata = pretrained.build(source, **known_of_weights(options))
    print(weights_line(source, metadata), flush=True)
    note_assumed(metadata)
    if metadata.get("bits") and options["int8"]:
        raise ValueError(f"{source}: its weights are of 8 bits already: give the file that it was made of")
    size = metadata["preprocessing"]["size"]
    compressed, state = compress(model, options, (size, size, 3))
    if options["keep_macs"] is not None:
        metadata["options"] = {**metadata["options"], "widths": widths_of(compressed)}
        refuse_unknown(source, metadata, compressed)
    rows = (
        ("before", model, serialised(model.state_dict(), metadata)),
        ("after", compressed, serialised(state, metadata)),
    )
    print_table(rows, (size, size, 3))
    pretrained.write(target, state, metadata)
    print(f"wrote {target}{how_to_train(target, options)}")
    return 0


def check_flags(options, target):
    """Raise ValueError for flags that are out of range or do not go together, and for a file that would be lost."""
    if options["keep_macs"] is None and options["sparsity"] is None and not options["int8"]:
        raise ValueError("nothing to do: give --keep-macs X, --sparsity S or --int8")
    for name in OF_FILTERS:
        if options[name] is not None and options["keep_macs"] is None:
            raise ValueError(f"--{name} goes with --keep-macs: give both, or neither")
    if options["scope"] is not None and options["sparsity"] is None:
        raise ValueError("--scope goes with --sparsity: give both, or neither")
    if options["sparsity"] is not None:
        check_sparsity(options["sparsity"])
    if target.suffix != ".safetensors":
        raise ValueError(f"{target}: only safetensors are written: name a file that ends with .safetensors")
    if target.exists() and Path(options["source"]).exists() and target.samefile(options["source"]):
        raise ValueError(f"{target} is the file that is read: name another to write")
    if target.exists() and not options["overwrite"]:
        raise ValueError(f"{target}: exists already: name another file, or give --overwrite")


def compress(model, options, input_shape):
    """(network, state as it is to be written) of what was asked for; `model` stays as it is."""
    if options["keep_macs"] is None:
        model = copy.deepcopy(model)
    else:
        given = {name: options[name] for name in OF_FILTERS if options[name] is not None}
        model, _ = prune_filters(model, options["keep_macs"], input_shape, **given)
    if options["sparsity"] is not None:
        magnitude_prune(prunable(model), options["sparsity"], options["scope"] or "global")
    state = model.state_dict()
    return model, quantized_state(state) if options["int8"] else state


def refuse_unknown(source, metadata, model):
    """Raise ValueError for a network that would not be known again by the shapes of its arrays."""
    try:
        known = recognise(model.state_dict())
    except pretrained.WeightsError as error:
        known, why = None, f" ({error})"
    else:
        why = f" (taken for a {known.model})"
    if known is None or known.model != metadata["model"].replace("plain", "resnet"):
        raise ValueError(
            f"{source}: a {metadata['model']} of pruned blocks would not be known again{why}: give a ResNet for CIFAR, "
            "or resnet18 to resnet152"
        )


def print_table(rows, input_shape):
    """What was and what is."""
    lines = [COLUMNS]
    for name, model, file in rows:
        parameters, work = costs(model, input_shape)
        zero = f"{sparsity_of(prunable(model)):.1%}"
        lines.append((name, f"{parameters:,}", zero, f"{work:,}", f"{len(file):,}", f"{len(zlib.compress(file, 9)):,}"))
    widths = [max(len(line[column]) for line in lines) for column in range(len(COLUMNS))]
    for first, *others in lines:
        print(
            f"{first:<{widths[0]}}",
            *(f"{text:>{width}}" for text, width in zip(others, widths[1:], strict=True)),
            sep="  ",
        )


def how_to_train(target, options):
    """What to do next, where something was taken out."""
    if options["int8"] or (options["keep_macs"] is None and options["sparsity"] is None):
        return ""
    keep = "" if options["sparsity"] is None else " --keep-zeros"
    return f"; to mend it: python examples/finetune.py --weights {target}{keep}"


def command_line():
    """The parser."""
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("source", metavar="IN", help="a file of weights, or the folder of a run")
    add("target", metavar="OUT", help="a .safetensors file")
    add("--keep-macs", type=float, metavar="X", help="prune filters until this share of the multiply-adds is left")
    add("--stages", type=float, nargs="+", metavar="X", help="how much of each stage, relative; default: alike")
    add("--criterion", choices=CRITERIA, help="whose filters go: least L1 norm (default), or least gamma of batch norm")
    add("--multiple", type=int, metavar="N", help="blocks keep multiples of N channels; default: 4")
    add("--sparsity", type=float, metavar="S", help="set this share of the weights to zero, the smallest")
    add("--scope", choices=SCOPES, help="the smallest of all (global, default), or of each layer")
    add("--int8", action="store_true", help="write weights as 8 bits with a scale for each output channel")
    add("--overwrite", action="store_true", help="write over a file that exists")
    add_weights_arguments(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
