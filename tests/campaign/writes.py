"""Attacks on what a script writes: every write fails in turn, and real limits of the system are met."""

import errno
import json
import os
import re
import resource
import shutil
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scripts
from safetensors.numpy import load_file, save_file
from test_data_cifar import make_batches, write_binary

from campaign.attack import Attack
from campaign.failing import FailingDisk
from minires import checkpoint, models
from minires.cli import recording
from minires.files import write_atomically

ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EACCES)
FAST = ("--batch-size", 16, "--seed", 3, "--lr", 0.05, "--device", "cpu", "--threads", 1, "--limit-test", 4)
FAST += ("--limit-train", 40, "--epochs", 2, "--save-every", 2)
STOPPED_AT = 3  # the iteration after which the run was stopped that is gone on with


@dataclass(frozen=True)
class Program:
    """A command that writes into `run` of a folder: `flags` before --out or --resume; how often it changes that."""

    script: str
    flags: tuple
    resumes: bool
    changes: int = 0


@dataclass(frozen=True)
class Prepared:
    """Scripts, programs, the results they have when nothing fails, a stopped run, and all cases in a random order."""

    scripts: dict[str, Any]
    programs: dict[str, Program]
    whole: dict[str, Any]
    stopped: Path
    cases: list[tuple[str, int, int]]


# Processes ----------------------------------------------------------------------------------------------------------


def in_a_process(work: Callable[[], int]) -> tuple[int, str, str]:
    """work() in a forked process -> (exit code, stdout, stderr)."""
    pipes = [os.pipe() for _ in range(2)]
    child = os.fork()
    if child == 0:
        code = 99
        try:
            for number, (_, writes) in enumerate(pipes, 1):
                os.dup2(writes, number)
            sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
            code = work()
        except SystemExit as exit:
            code = exit.code if isinstance(exit.code, int) else 98
        except BaseException:
            traceback.print_exc()
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(code)
    texts = []
    for _, writes in pipes:
        os.close(writes)
    for reads, _ in pipes:  # what the scripts say is less than a pipe holds
        with os.fdopen(reads, encoding="utf-8", errors="replace") as stream:
            texts.append(stream.read())
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), texts[0], texts[1]


def call(prepared_scripts: dict[str, Any], program: Program, run: Path, before: Callable[[], Any] = bool) -> tuple:
    """The program on the folder, after before() -> (exit code, stdout, stderr)."""
    script = prepared_scripts[program.script]

    def work():
        sys.argv = [f"{program.script}.py", *map(str, command(program, run))]
        recording.Recorder.picture = small_picture
        recording._commit = lambda: None  # git takes longer than the run
        before()
        return script.main()

    return in_a_process(work)


def command(program: Program, run: Path) -> list:
    """The words of the command line."""
    if program.script == "convert_weights":
        return [*program.flags, run / "converted.safetensors"]
    return ["--resume", run, *program.flags] if program.resumes else [*program.flags, "--out", run]


def small_picture(self, name, draw):
    """In the place of a drawing, which takes longer than these runs do."""
    self.beside_the_result(name, lambda: write_atomically(self.folder / name, b"a picture"))


# Before -------------------------------------------------------------------------------------------------------------


def prepare(folder: Path) -> Prepared:
    """Data, weights, a stopped run, and what each program does when nothing fails."""
    write_binary(folder / "data", make_batches(20))
    save_file(models.simple_cnn(rng=1).state_dict(), folder / "weights.safetensors")
    data = ("--data-dir", folder / "data")
    loaded = {name: scripts.load(name) for name in ("train_cifar", "finetune", "convert_weights")}
    programs = {
        "train": Program("train_cifar", (*FAST, *data, "--model", "simple_cnn"), False),
        "finetune": Program("finetune", (*FAST, *data, "--weights", folder / "weights.safetensors"), False),
        "resume": Program("train_cifar", data, True),
        "convert": Program("convert_weights", (folder / "weights.safetensors",), False),
    }
    stopped, whole, counted = folder / "stopped", {}, {}
    code, _, err = call(loaded, programs["train"], stopped, lambda: stop_at(loaded["train_cifar"]))
    assert code == 143, err
    for name, program in programs.items():
        run = place(folder / name, program, stopped)
        told = folder / f"{name}.count"
        code, _, err = call(loaded, program, run, lambda run=run, told=told: count_into(told, run))
        assert code == 0, err
        whole[name], counted[name] = result_of(run), int(told.read_text())
    cases = [(name, i, error) for name in programs for i in range(counted[name]) for error in ERRORS]
    order = np.random.default_rng(0).permutation(len(cases))
    return Prepared(loaded, programs, whole, stopped, [cases[number] for number in order])


def stop_at(script):
    """Have the run get SIGTERM after a few steps."""
    batch = script.runs.Watcher.batch

    def then_stop(self, trainer):
        batch(self, trainer)
        if trainer.position.iteration == STOPPED_AT:
            os.kill(os.getpid(), 15)

    script.runs.Watcher.batch = then_stop


def count_into(file, run):
    """Count the changes of the run's folder, and have its end written into a file."""
    disk = FailingDisk(run)
    disk.install()
    leave = os._exit

    def told(code):
        os.write(os.open(file, os.O_WRONLY | os.O_CREAT), str(disk.count).encode())
        leave(code)

    os._exit = told  # type: ignore[assignment]


def place(folder: Path, program: Program, stopped: Path) -> Path:
    """The folder that the program works in: a copy of the stopped run, nothing yet, or one of the user's."""
    run = folder / "run"
    folder.mkdir(exist_ok=True)
    if program.resumes:
        shutil.copytree(stopped, run)
        (run / "notes.txt").write_text("mine")
    elif program.script == "convert_weights":
        run.mkdir()
    (folder / "thesis.txt").write_text("mine")
    return run


def result_of(run: Path) -> dict[str, Any]:
    """The arrays of the checkpoints, and the result."""
    files = {path.stem: checkpoint_arrays(path) for path in run.glob("*.safetensors")}
    result = run / "result.json"
    if result.exists():
        told = json.loads(result.read_text())
        files["result"] = {key: told[key] for key in ("test_loss", "test_correct", "model_of_epoch", "iterations")}
    return files


def checkpoint_arrays(path):
    """{key: bytes} of a file of weights, which must be whole."""
    arrays = load_file(path) if path.stem == "converted" else checkpoint.load(path).model
    return {key: array.tobytes() for key, array in arrays.items()}


# The promise --------------------------------------------------------------------------------------------------------


def check(prepared: Prepared, name: str, run: Path, done: tuple) -> str:
    """That the program ended as promised and that, when nothing fails any more, the run comes to the same result."""
    program, whole, (code, out, err) = prepared.programs[name], prepared.whole[name], done
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert code in (0, 1), f"exit code {code}: {err[-400:]}"
    assert "Traceback" not in err and "Exception" not in err, f"a traceback: {err[-400:]}"
    assert len(errors) == code, f"exit code {code} with {len(errors)} errors: {err[-400:]}"
    others = [line for line in err.splitlines() if line and not line.startswith(("error: ", "note: "))]
    assert not others, f"said beside it: {others}"
    assert (run.parent / "thesis.txt").read_text() == "mine", "a file of the user's was changed"
    assert sorted(os.listdir(run.parent)) in (["run", "thesis.txt"], ["thesis.txt"]), os.listdir(run.parent)
    if program.resumes:
        assert (run / "notes.txt").read_text() == "mine", "a note in the run's folder was changed"
    known = {*recording.FILES, "previous.safetensors", "notes.txt", "converted.safetensors", ".lock"}
    strange = [path.name for path in run.glob("*") if path.name not in known and not path.name.endswith(".part")]
    assert not strange, f"in the run's folder: {strange}"
    found = result_of(run)  # every file is whole
    if name == "convert":
        assert found in ({}, whole), "half a file"
        again = call(prepared.scripts, program, run) if not found else (0, "", "")
        assert again[0] == 0 and result_of(run) == whole, f"converting again: {again[2][-300:]}"
        return "finished" if code == 0 else "refused"
    if code == 0:
        told = re.search(r"^the result, to keep: (.*)$", out, re.M)
        result = found.get("result") or json.loads(told[1])
        assert result["test_loss"] == whole["result"]["test_loss"], "another result"
    if "last" not in found:
        assert not program.resumes and code == 1, "the last checkpoint is gone"
        return "not begun"
    data = program.flags[program.flags.index("--data-dir") :][:2]
    again = call(prepared.scripts, Program(program.script, data, True), run)
    assert again[0] == 0, f"does not go on: {again[2][-400:]}"
    now = result_of(run)
    for part in ("last", "best", "result"):
        assert now[part] == whole[part], f"gone on with, {part} is another"
    return "finished" if code == 0 else "refused"


def failing_write(prepared: Prepared, rng: np.random.Generator, number: int, folder: Path) -> str:
    """One program, of whose changes of its folder one fails."""
    name, change, error = prepared.cases[number]
    run = place(folder / "place", prepared.programs[name], prepared.stopped)
    disk = FailingDisk(run, change, error)
    done = call(prepared.scripts, prepared.programs[name], run, disk.install)
    return f"{name}: {check(prepared, name, run, done)}"


def real_limit(prepared: Prepared, rng: np.random.Generator, number: int, folder: Path) -> str:
    """A program that may write files of so many bytes only, or have so many of them open."""
    name = str(rng.choice(list(prepared.programs)))
    run = place(folder / "place", prepared.programs[name], prepared.stopped)
    kind, most = [(resource.RLIMIT_FSIZE, 400_000), (resource.RLIMIT_NOFILE, 30)][number % 2]
    limit = int(rng.integers(6 if kind == resource.RLIMIT_NOFILE else 0, most))
    done = call(prepared.scripts, prepared.programs[name], run, lambda: resource.setrlimit(kind, (limit, limit)))
    return f"{('size', 'number')[number % 2]}: {check(prepared, name, run, done)}"


ATTACKS = [
    Attack(
        "failing writes",
        "whichever write fails, the script ends in one sentence, the last checkpoint is whole, and the run goes on to "
        "the result of one that nothing disturbed",
        prepare,
        failing_write,
        full=4000,
        quick=3,
        count=lambda prepared: len(prepared.cases),
    ),
    Attack(
        "limits of the system",
        "with too few or too small files allowed, the script ends as where a write fails",
        prepare,
        real_limit,
        full=400,
        quick=2,
    ),
]
