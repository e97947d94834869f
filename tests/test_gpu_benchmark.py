"""benchmarks/gpu.py: every part runs, here on the double; one that fails or hangs takes no other with it."""

import concurrent.futures
import json
import signal
import sys
import time
from pathlib import Path

import cupy_double
import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import gpu  # noqa: E402
import gpu_compare  # noqa: E402
import gpu_report  # noqa: E402
import gpu_speed  # noqa: E402
import parts  # noqa: E402
from cases import make_batch  # noqa: E402


@pytest.fixture(autouse=True)
def signals():
    """gpu.py takes SIGTERM for Ctrl-C."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def program(text):
    return [sys.executable, "-u", "-c", text]


def test_every_part_on_the_double(tmp_path, capsys):
    files = ["--json", str(tmp_path / "a.json"), "--markdown", str(tmp_path / "a.md")]
    code = gpu.main(["--double", "--who", "minires", "minires-plain", *files])
    output, found = capsys.readouterr().out, json.loads((tmp_path / "a.json").read_text())
    ends = {part: entry["outcome"] for part, entry in found["parts"].items()}
    assert ends == dict.fromkeys(gpu.LIMITS, "done") and not code, output
    results = {part: entry.get("results") for part, entry in found["parts"].items()}
    assert results["tests"] == {"passed": 1, "failed": 0, "skipped": 0}
    assert {row["with"] for row in results["compare"]["steps"]} >= {"minires CPU", "minires GPU, recorded"}
    assert not results["compare"]["wrong"] and len(results["compare"]["drawn"]) == 5
    assert [row["who"] for row in results["speed"]["results"]] == ["minires", "minires-plain"]
    assert results["train"]["data"].startswith("synthetic") and 0 <= results["train"]["test_acc"] <= 1
    recorded, plain = results["profile"]["profiles"].values()
    assert 0 < recorded["host_launches"] < plain["host_launches"]
    page = (tmp_path / "a.md").read_text()
    assert page in output and "no figure means anything" in page
    for section in ("A step.", "Kernels.", "Speed.", "Training.", "Kernels of resnet8-train-2 minires."):
        assert f"**{section}**" in page


def test_a_part_that_hangs_ends_with_all_that_it_started(tmp_path):
    child = f"import time, pathlib; time.sleep(2); pathlib.Path({str(tmp_path / 'lives')!r}).touch()"
    parent = f"import subprocess, sys; print('begun'); subprocess.run([sys.executable, '-c', {child!r}])"
    began, looks = time.monotonic(), []
    found = parts.run(program(parent), 1, lambda: looks.append(1), say=lambda line: None)
    assert found["outcome"] == "timed out" and found["said"] == ["begun"] and looks
    time.sleep(max(0, 3.5 - (time.monotonic() - began)))
    assert not (tmp_path / "lives").exists()


@pytest.mark.parametrize(("text", "outcome"), [("print(1)", "done"), ("raise SystemExit('no luck')", "failed")])
def test_how_a_part_ends(text, outcome):
    found = parts.run(program(text), 60, say=lambda line: None)
    assert found["outcome"] == outcome and (outcome == "done" or found["said"] == ["no luck"])


@pytest.fixture
def commands(monkeypatch):
    """{part: command, or why there is none} in the place of the real ones; `FOLDER` is the part's."""
    given = {}

    def command_of(part, args, folder, seconds):
        return [word.replace("FOLDER", str(folder)) for word in given[part]] if part in given else "not asked for"

    monkeypatch.setattr(gpu, "command_of", command_of)
    return given


def test_parts_that_fail_or_hang_take_no_other_with_them(commands, tmp_path, capsys):
    writes = "import json, os, time; json.dump({0}, open(r'FOLDER/new', 'w')); "  # at once, as the parts do it
    writes += "os.rename(r'FOLDER/new', r'FOLDER/results.json'); "
    commands["compare"] = program("raise SystemExit('no luck')")
    commands["speed"] = program(writes.format({"results": [], "left_out": {"a": "b"}}) + "time.sleep(60)")
    commands["profile"] = program(writes.format({"profiles": {}, "results": []}))
    flags = ["--part", "compare", "speed", "train", "profile", "--limit", "compare=1", "speed=1", "train=1"]
    files = ["--json", str(tmp_path / "a.json"), "--markdown", str(tmp_path / "a.md")]
    assert gpu.main(["--double", *flags, *files]) == 1
    found = json.loads((tmp_path / "a.json").read_text())["parts"]
    ends = {part: entry["outcome"] for part, entry in found.items()}
    assert ends == {"compare": "failed", "speed": "timed out", "train": "skipped", "profile": "done"}
    assert found["speed"]["results"]["left_out"] == {"a": "b"}
    page = (tmp_path / "a.md").read_text()
    assert "| train | skipped |  | not asked for |" in page and "no luck" in page and "- a: b" in page
    capsys.readouterr()


def test_what_an_interrupted_run_has_measured_is_written(commands, tmp_path, monkeypatch, capsys):
    commands["speed"] = program("import pathlib; pathlib.Path(r'FOLDER/results.json').write_text('{\"results\": []}')")
    run = parts.run

    def interrupted(command, seconds, look, **options):
        run(command, seconds, look, **options)
        look()
        raise KeyboardInterrupt

    monkeypatch.setattr(parts, "run", interrupted)
    assert gpu.main(["--double", "--part", "speed", "train", "--json", str(tmp_path / "a.json")]) == 130
    found = json.loads((tmp_path / "a.json").read_text())["parts"]
    assert found == {"speed": {"outcome": "interrupted", "results": {"results": []}}}
    assert "stopped in speed" in capsys.readouterr().err


@pytest.mark.parametrize("limit", ["speed", "speed=0", "speed=-1", "speed=many", "other=3"])
def test_limits_that_make_no_sense_are_refused(limit):
    with pytest.raises(SystemExit, match="give PART=SECONDS, a part being one of tests, compare"):
        gpu.main(["--double", "--limit", limit])


def test_the_whole_takes_no_more_than_eight_minutes():
    assert sum(gpu.LIMITS.values()) <= 480


def test_commands_of_a_gpu(tmp_path, monkeypatch):
    args = gpu.parse(["--double"])
    args.double, args.data_dir = False, "photographs"
    monkeypatch.setattr(gpu.shutil, "which", lambda name: None)
    assert gpu.command_of("memcheck", args, tmp_path, 20).startswith("there is no compute-sanitizer")
    monkeypatch.setattr(gpu.shutil, "which", lambda name: "/there/compute-sanitizer")
    assert gpu.command_of("racecheck", args, tmp_path, 20)[:3] == ["/there/compute-sanitizer", "--tool", "racecheck"]
    command = gpu.command_of("train", args, tmp_path, 50)
    assert command[command.index("--data-dir") + 1] == "photographs" and "--limit-train" not in command


def test_who_computes_something_else_or_cannot_run_is_left_out():
    case = gpu_speed.CASES["resnet20-infer-128"]
    right = [np.ones((2, 3), np.float32)]
    found, wrong = gpu_speed.check(case, {"minires": right, "minires-tf32": [right[0] + 1e-2], "pytorch": [-right[0]]})
    assert list(found) == ["minires", "minires-tf32"]
    assert wrong == {"pytorch": "computes something else: it differs by 2"}
    assert gpu_speed.check(case, {}) == ({}, {})


def test_pytorchs_step_is_that_of_minires():
    pytest.importorskip("torch")
    batch = make_batch(4, 8)
    theirs = gpu_compare.step_of_pytorch("resnet8", batch, "float64", "cpu")
    ours = gpu_compare.step_of_minires("resnet8", batch, "float64", "cpu")
    assert theirs.keys() == ours.keys()
    assert max(gpu_compare.relative(ours[what], theirs[what]) for what in ours) < 1e-12


@pytest.mark.parametrize("who", ["pytorch-tf32", "pytorch-bfloat16", "minires-float16"])
def test_what_a_process_of_the_speed_benchmark_does(monkeypatch, who):
    pytest.importorskip("torch" if who.startswith("pytorch") else "ml_dtypes")
    monkeypatch.setitem(sys.modules, "cupy", cupy_double)
    case = gpu_speed.Tiny("resnet8", True, 2)
    (first, second), seconds = (steps := gpu_speed.Steps(who, double=True)).begin(case)
    expected, _ = gpu_speed.Steps("minires", double=True).begin(case)
    found, wrong = gpu_speed.check(case, {"minires": expected, who: [first, second]})
    assert who in found and not wrong and seconds > 0
    assert all(0 <= value < 60 for value in steps.time(2)) and steps.memory() >= 0
    steps.free()


class Dies:
    """In the place of a process: computes in the first steps, and not in its turn."""

    def begin(self, case):
        return [np.ones(1)], 1.0

    def time(self, steps):
        raise ChildProcessError("gone")

    def free(self):
        pass

    def submit(self, what, *args):
        future = concurrent.futures.Future()
        future.set_result(getattr(self, what)(*args))
        return future


def test_a_process_that_dies_ends_its_case_and_no_other(tmp_path, capsys):
    args = gpu_speed.parse(["--double", "--json", str(tmp_path / "a.json")])
    args.cases = [gpu_speed.CASES[name] for name in ("resnet20-train-128", "resnet20-infer-128")]
    content = {"results": [], "left_out": {}}
    gpu_speed.measure_all(args, {"minires": Dies()}, content)
    assert not content["results"]
    assert content["left_out"] == {f"{case.name} all": "ChildProcessError: gone" for case in args.cases}
    args.until = 0
    gpu_speed.measure_all(args, {"minires": Dies()}, content)
    assert content["left_out"]["resnet20-train-128"] == "no time was left"
    capsys.readouterr()


def test_a_kernel_that_is_wrong_is_reported():
    content = {"kernels": {"float32": {"relu": 0.1, "add": 0.0}}, "drawn": {"sums": np.inf}, "steps": []}
    assert gpu_compare.too_far(content) == {"relu, float32": "differs by 1.0e-01", "drawn sums": "differs by inf"}
    step = {"kind": "float64", "with": "PyTorch GPU", "loss": 1e-3, "gradients": 1.0, "parameters": np.nan}
    found = gpu_compare.too_far({"kernels": {}, "drawn": {}, "steps": [step]})
    assert list(found) == ["loss, float64, PyTorch GPU", "parameters, float64, PyTorch GPU"]
    half = {"kind": "float16", "loss": 1e-3, "gradients": 1.0, "parameters": 0.1}
    steps = [{**half, "with": "minires CPU"}, {**half, "with": "minires GPU, recorded"}]
    found = gpu_compare.too_far({"kernels": {}, "drawn": {}, "steps": steps})
    assert list(found) == ["parameters, float16, minires GPU, recorded"]


def test_a_report_of_nothing_yet():
    content = {"date": "today", "double": False, "parts": {}, "versions": {}, "commit": None}
    page = gpu_report.markdown(content | {"machine": {"cores": 2, "processor": "x"}})
    assert page.startswith("## today") and "outcome" in page
