"""What the benchmarks' command lines have in common: flags, the machine, figures as JSON."""

import argparse
import json
import os
import sys
from pathlib import Path

from minires import backend
from minires.cli.recording import environment
from minires.files import write_atomically


def in_a_sentence(error):
    """What a benchmark of a GPU ends with; where there is none, also what it does without one."""
    if isinstance(error, backend.DeviceError):
        return f"error: {error.for_scripts.removesuffix(', or use --device cpu')}; to see it run without one: --double"
    return f"error: {error}"


def at_least_one(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


at_least_one.__name__ = "whole number"  # argparse says: invalid whole number value


def make_parser(doc, quick, rounds, quick_rounds, listing=None):
    """A parser with --quick, --rounds, --threads and --json.   quick: what --quick does, in words."""
    parser = argparse.ArgumentParser(
        description=doc, epilog=listing, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument(
        "--rounds", type=at_least_one, metavar="N", help=f"default: {rounds}, with --quick {quick_rounds}"
    )
    parser.add_argument(
        "--threads", type=at_least_one, metavar="N", default=backend.get_threads(), help="default: %(default)s"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    parser.set_defaults(default_rounds=(rounds, quick_rounds))
    return parser


def parse(parser, argv):
    """The arguments, with the rounds decided and minires's threads set. Exits where --json names no folder."""
    args = parser.parse_args(argv)
    args.rounds = args.rounds or args.default_rounds[args.quick]
    check_folder("--json", args.json)
    backend.set_threads(args.threads)
    return args


def check_folder(option, file):
    """Exits with a sentence where a file to be written has no folder."""
    if file and not file.resolve().parent.is_dir():
        sys.exit(f"error: {option} {file}: there is no folder {file.resolve().parent}: make it first")


def about(threads, versions=(), device="cpu"):
    """The JSON's "machine". versions: {package: version} of others that take part."""
    machine = environment(device)
    machine["versions"] |= dict(versions)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return machine | {"threads": threads, "load_before": load}


def save(file, content):
    """The figures so far, if --json asked for them."""
    if file:
        write_atomically(file, (json.dumps(content, indent=2) + "\n").encode())
