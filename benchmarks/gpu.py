"""All that is to be measured and proven on a machine with a GPU, by one command, in at most eight minutes.

    python benchmarks/gpu.py --data-dir DIR --json gpu.json --markdown gpu.md
    python benchmarks/gpu.py --part speed train             these parts only
    python benchmarks/gpu.py --limit speed=400 tests=120    other limits, in seconds
    python benchmarks/gpu.py --double                       its logic without a GPU, on the tests' double of CuPy, with
                                                            tiny sizes: no figure of this means anything

    tests      the tests that need a GPU: test_gpu.py, test_recorded_step.py and test_halves.py
    compare    every kernel, and a step of resnet20, with the CPU and with PyTorch         (gpu_compare.py)
    memcheck   small steps under compute-sanitizer, which looks for accesses outside of arrays
    racecheck  the same, which looks for threads that hamper each other
    speed      steps of training and inference, beside PyTorch's                           (gpu_speed.py)
    train      the quick recipe of train_cifar.py to its accuracy: on the photographs in --data-dir, else on the
               synthetic shapes
    profile    which kernels take the time, and how often a step calls the driver          (gpu_speed.py --profile)

Each part is a process with a limit of its own, to which comes the time that those before it left: one that fails or
hangs takes no other with it. What was measured is in the files after each step of a part, so that it is there even if
this program is stopped. The exit code is 0 where all parts are done or skipped.
"""

import argparse
import datetime
import functools
import importlib.metadata
import importlib.util
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import xml.etree.ElementTree
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOP = HERE.parent
sys.path[:0] = [str(HERE), str(TOP), str(TOP / "tests")]

import command_line  # noqa: E402
import gpu_report  # noqa: E402
import parts  # noqa: E402
from cases import select  # noqa: E402

from minires import backend  # noqa: E402
from minires.files import write_atomically  # noqa: E402

LIMITS = {"tests": 60, "compare": 60, "memcheck": 20, "racecheck": 20, "speed": 220, "train": 50, "profile": 50}
LAST = {"compare": 10, "speed": 45, "profile": 8}  # seconds before its limit in which a part begins nothing more
PACKAGES = ("torch", "triton", "pytest", "pytest-xdist", "hypothesis")


def command_of(part, args, folder, seconds):
    """The command of a part, which writes into `folder`; a sentence where it is to be skipped."""
    python, double = [sys.executable], ["--double"] if args.double else []
    under_double = [*python, str(HERE / "on_double.py")] if args.double else python
    results = ["--json", str(folder / "results.json"), "--seconds", str(max(1, seconds - LAST.get(part, 0)))]
    if part == "tests":
        files = [str(TOP / "tests" / name) for name in ("test_gpu.py", "test_recorded_step.py", "test_halves.py")]
        fewer = ["-k", "test_the_bits_of_train_step"] if args.double else several_processes()
        command = [*under_double, "-m", "pytest", *files, "-m", "gpu", "-q", "-p", "no:benchmark", *fewer]
        return [*command, "-p", "no:cacheprovider", f"--junitxml={folder / 'tests.xml'}"]
    if part == "compare":
        return [*python, str(HERE / "gpu_compare.py"), *results, *double]
    if part in ("memcheck", "racecheck"):
        step = [*python, str(HERE / "gpu_compare.py"), "--step", *double]
        if args.double:
            return step
        found = shutil.which("compute-sanitizer")
        watched = [str(found), "--tool", part, "--error-exitcode", "9", *step]
        return watched if found else "there is no compute-sanitizer on the PATH; it comes with the CUDA Toolkit"
    if part == "train":
        data = ["--dataset", "cifar10", "--data-dir", args.data_dir] if args.data_dir else ["--dataset", "synthetic"]
        tiny = (
            ["--limit-train", "12", "--val-split", "4", "--limit-test", "4", "--epochs", "1", "-b", "4"]
            if args.double
            else []
        )
        script = [str(TOP / "examples" / "train_cifar.py"), "--device", "gpu", "--recipe", "quick", *data, *tiny]
        return [*under_double, *script, "--no-progress", "--out", str(folder / "run")]
    who = ["--who", *args.who] if args.who else []
    few = ["--rounds", "1"] if args.double else []
    profile = ["--profile"] if part == "profile" else []
    return [*python, str(HERE / "gpu_speed.py"), *results, *double, *who, *few, *profile]


def several_processes():
    """pytest's flag for a few processes at once, where pytest-xdist is installed."""
    return ["-n", str(min(8, os.cpu_count() or 1))] if importlib.util.find_spec("xdist") else []


def results_of(part, folder):
    """What a part has written so far, as a dictionary."""
    if part == "tests":
        return counts_of(folder / "tests.xml")
    if part == "train":
        names = ("test_acc", "test_loss", "epochs", "seconds", "peak_memory_mb")
        result, config = (read(folder / "run" / name) for name in ("result.json", "config.json"))
        found = {name: result[name] for name in names if name in result}
        return found | ({"data": config["dataset"]["label"]} if found else {})
    return read(folder / "results.json")


def read(path):
    """A JSON file, empty where there is none."""
    return json.loads(path.read_text()) if path.exists() else {}


def counts_of(path):
    """{"passed", "failed", "skipped"} of pytest's file."""
    try:
        suite = xml.etree.ElementTree.parse(path).getroot().find("testsuite")
    except (FileNotFoundError, xml.etree.ElementTree.ParseError):  # not there, or not yet all of it
        return {}
    total, failures, errors, skipped = (int(suite.get(name)) for name in ("tests", "failures", "errors", "skipped"))
    return {"passed": total - failures - errors - skipped, "failed": failures + errors, "skipped": skipped}


def run_part(part, args, folder, seconds, entry, save):
    """Run a part; `entry` is told how it ended and, whenever there is more, what it found."""
    command = command_of(part, args, folder, seconds)
    if isinstance(command, str):
        entry |= {"outcome": "skipped", "reason": command}
        return

    def look():
        found = results_of(part, folder)
        if found and found != entry.get("results"):
            entry["results"] = found
            save()

    entry["outcome"] = "interrupted"  # unless it goes on to the end
    entry |= parts.run(command, seconds, look, cwd=TOP)
    look()


def about(double):
    """The machine and the versions of what takes part."""
    machine = command_line.about(backend.get_threads(), device="cpu" if double else "gpu")
    for name in PACKAGES:
        try:
            machine["versions"][name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return machine


def limits(texts):
    """{part: seconds} from PART=SECONDS."""
    found = dict(LIMITS)
    for text in texts or ():
        part, _, seconds = text.partition("=")
        if part not in LIMITS or not seconds.isdecimal() or not int(seconds):
            raise ValueError(f"--limit {text}: give PART=SECONDS, a part being one of {', '.join(LIMITS)}")
        found[part] = int(seconds)
    return found


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", nargs="+", metavar="NAME", help=f"of {', '.join(LIMITS)}; default: all")
    parser.add_argument("--limit", nargs="+", metavar="PART=SECONDS", help="the most that a part may take")
    parser.add_argument("--data-dir", metavar="DIR", help="folder with CIFAR-10 for train; default: synthetic shapes")
    parser.add_argument("--who", nargs="+", metavar="NAME", help="of speed and profile, as gpu_speed.py has them")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write them there as tables")
    parser.add_argument("--double", action="store_true", help="on the tests' double of CuPy, with tiny sizes")
    args = parser.parse_args(argv)
    command_line.check_folder("--json", args.json)
    command_line.check_folder("--markdown", args.markdown)
    try:
        args.parts = select(args.part or ["*"], LIMITS, "part")
        args.limits = limits(args.limit)
        if not args.double:
            backend.resolve_device("gpu")
    except (ValueError, backend.DeviceError) as error:
        sys.exit(command_line.in_a_sentence(error))
    return args


def save(args, content):
    """Both files, as far as they were asked for."""
    command_line.save(args.json, content)
    if args.markdown:
        write_atomically(args.markdown, gpu_report.markdown(content).encode())


def main(argv=None):
    args = parse(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    date = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    content = {"date": date, "double": args.double, **about(args.double), "parts": {}}
    write, until = functools.partial(save, args, content), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="minires-gpu-") as place:
        for part in args.parts:
            print(f"\n== {part}", flush=True)
            folder, entry = Path(place, part), content["parts"].setdefault(part, {})
            folder.mkdir()
            until += args.limits[part]
            try:
                run_part(part, args, folder, until - time.monotonic(), entry, write)
            except KeyboardInterrupt:
                write()
                print(f"stopped in {part}; what was measured is kept", file=sys.stderr)
                return 130
            write()
            print(f"== {part}: {entry['outcome']} {entry.get('reason', '')}", flush=True)
    print(f"\n{gpu_report.markdown(content)}")
    return 0 if all(entry["outcome"] in ("done", "skipped") for entry in content["parts"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
