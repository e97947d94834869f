"""Several processes train as one: the same bits, by real mpiexec; whatever happens to one of them, all end."""

import hashlib
import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nccl_double
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from minires.ranks import ALONE
from minires.ranks.launch import LaunchError, find_ranks, launched

TESTS = Path(__file__).resolve().parent
EXAMPLES = TESTS.parent / "examples"
MPIEXEC = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
TINY = [
    "--model",
    "simple_cnn",
    "--batch-size",
    "16",
    "--epochs",
    "2",
    "--threads",
    "1",
    "--no-progress",
    "--seed",
    "7",
]


def has_mpi():
    try:
        import mpi4py  # noqa: F401
    except ImportError:
        return False
    return MPIEXEC is not None


needs_mpi = pytest.mark.skipif(not has_mpi(), reason="needs mpiexec and mpi4py: pip install 'minires[mpi]'")


def environment(**more):
    here = {name: value for name, value in os.environ.items() if not name.startswith(("PMI", "MPI", "OMPI"))}
    return {**here, "PYTHONPATH": str(TESTS.parent), **more}


def start(ranks, script, *words):
    """The command under mpiexec, or alone, begun."""
    command = [sys.executable, *(["-m", "mpi4py"] if ranks > 1 else []), str(script), *map(str, words)]
    together = [MPIEXEC, "-n", str(ranks)] if ranks > 1 else []
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    return subprocess.Popen([*together, *command], env=environment(), cwd="/", **pipes)


def run(ranks, script, *words, timeout=60):
    process = start(ranks, script, *words)
    try:
        output, errors = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, errors = process.communicate()
        pytest.fail(f"has not ended within {timeout} s: {output}\n{errors}")
    return process.returncode, output, errors


@pytest.fixture(scope="module")
def train(cifar):
    """train(ranks, flags ...) -> (exit code, stdout, stderr), without pictures; rank `which` fails in the way `how`."""

    def train(ranks, *words, how="never", which=0, script="train_cifar"):
        data = [] if "--resume" in words else ["--data-dir", cifar]
        return run(ranks, TESTS / "rank_that_fails.py", script, how, which, *words, *data)

    return train


def bits(folder, name="last.safetensors"):
    """SHA-256 of all arrays."""
    total = hashlib.sha256()
    for key, array in sorted(load_file(Path(folder) / name).items()):
        total.update(key.encode() + array.tobytes())
    return total.hexdigest()


@pytest.fixture(scope="module")
def alone(train, tmp_path_factory):
    """The folder of a run of one process on four shards."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    code, output, errors = train(1, *TINY, "--shards", "4", "--out", folder)
    assert code == 0, errors
    return folder


# The same bits ------------------------------------------------------------------------------------------------------


@needs_mpi
@pytest.mark.parametrize("ranks", [2, 4])
def test_any_number_of_ranks_ends_with_the_bits_of_one(ranks, train, alone, tmp_path):
    code, output, errors = train(ranks, *TINY, "--shards", "4", "--out", tmp_path / "run")
    assert (code, errors) == (0, "")
    for name in ("last.safetensors", "best.safetensors", "previous.safetensors"):
        assert bits(tmp_path / "run", name) == bits(alone, name)
    result, expected = (json.loads((folder / "result.json").read_text()) for folder in (tmp_path / "run", alone))
    same = set(result) - {"run", "seconds", "peak_memory_mb"}
    assert {name: result[name] for name in same} == {name: expected[name] for name in same}
    assert output.splitlines()[0] == (
        f"{ranks} ranks on 1 host; each batch is cut into 4 shards, {4 // ranks} for each rank"
    )
    rows, theirs = ((folder / "log.csv").read_text().splitlines() for folder in (tmp_path / "run", alone))
    assert rows[0].endswith(",shards,ranks") and all(row.endswith(f",4,{ranks}") for row in rows[1:])
    assert [row.split(",")[:7] for row in rows] == [row.split(",")[:7] for row in theirs]
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["settings"]["shards"], config["ranks"]["size"]) == (4, ranks)


EVERYTHING = ["--ema", "0.7", "--mixup", "0.4", "--cutmix", "1", "--random-erasing", "0.5", "--randaugment", "2", "9"]
EVERYTHING += ["--clip-norm", "0.5", "--label-smoothing", "0.1", "--optimizer", "lars"]


@needs_mpi
def test_with_all_that_came_later_the_bits_are_those_of_one(train, tmp_path):
    """Partners of a mixed image lie in the other process's shards; the average is kept by each."""
    for ranks, name in ((1, "alone"), (2, "run")):
        code, _, errors = train(ranks, *TINY, *EVERYTHING, "--shards", "4", "--out", tmp_path / name)
        assert (code, errors) == (0, "")
    for name in ("last.safetensors", "best.safetensors", "previous.safetensors"):
        assert bits(tmp_path / "run", name) == bits(tmp_path / "alone", name)
    assert any(key.startswith("ema/") for key in load_file(tmp_path / "run" / "last.safetensors"))


@needs_mpi
def test_without_shards_there_are_as_many_as_ranks_which_is_said(train, tmp_path):
    code, output, _ = train(2, *TINY, "--epochs", "1", "--out", tmp_path / "run")
    assert code == 0
    assert "cut into 2 shards, as many as there are ranks" in output.splitlines()[0]
    assert re.match(r"\S+: 2 ranks, each on cpu, 1 thread ", output.splitlines()[1])
    assert json.loads((tmp_path / "run" / "config.json").read_text())["settings"]["shards"] == 2


@needs_mpi
def test_a_run_goes_on_with_other_numbers_of_ranks(train, alone, tmp_path):
    """Stopped by one rank, by the launcher, and finished by a third number: nothing is lost or seen twice."""
    folder = tmp_path / "run"
    code, output, errors = train(4, *TINY, "--shards", 4, "--out", folder, how="signal", which=3)
    assert (code, errors) == (143, "rank 3: stopping after this step ...\n")
    assert re.search(r"stopped and saved; to go on: \S*mpiexec -n 4 ", output)
    assert bits(folder) != bits(alone)
    code, output, _ = train(2, "--resume", folder)
    assert code == 0 and "going on after epoch 0, iteration 4" in output
    assert bits(folder) == bits(alone)
    assert bits(folder, "best.safetensors") == bits(alone, "best.safetensors")


@needs_mpi
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_launcher_saves_once_and_prints_the_command(number, cifar, tmp_path):
    words = (*TINY, "--epochs", 2000, "--data-dir", cifar, "--out", tmp_path / "run")
    process = start(2, TESTS / "rank_that_fails.py", "train_cifar", "never", 0, *words)
    while "train acc" not in (line := process.stdout.readline()):
        assert line, process.communicate()
    process.send_signal(number)
    output, errors = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert len(re.findall(r"stopped and saved; to go on: \S*mpiexec -n 2 ", output)) == 1
    assert "error" not in errors


@needs_mpi
def test_ranks_share_an_evaluation_and_give_the_same_counts(train, alone):
    words = ("--evaluate", alone / "best.safetensors", "--batch-size", 4, "--json")
    answers = [train(ranks, *words) for ranks in (1, 3)]
    assert [code for code, *_ in answers] == [0, 0]
    assert answers[0][1] == answers[1][1] and json.loads(answers[0][1])["test_total"] == 13
    assert answers[0][2] == answers[1][2] == ""


@needs_mpi
def test_fine_tuning_by_two_ranks_has_the_bits_of_one(train, alone, tmp_path):
    words = ["--weights", alone / "best.safetensors", "--batch-size", 20]
    words += ["--epochs", 1, "--threads", 1, "--no-progress", "--shards", 2]
    for ranks in (1, 2):
        code, _, errors = train(ranks, *words, "--out", tmp_path / str(ranks), script="finetune")
        assert code == 0, errors
    assert bits(tmp_path / "1") == bits(tmp_path / "2")


@needs_mpi
@pytest.mark.parametrize(("nccl", "how"), [("with", "float16 recorded"), ("without", "float32 plain")])
def test_gpus_end_with_the_bits_of_one_with_nccl_and_without(nccl, how):
    """GPUs of the double, each another rank's: numbers go by NCCL's calls or through the hosts' memory."""
    found = []
    for ranks in (1, 2):
        code, output, errors = run(ranks, TESTS / "rank_on_double.py", nccl, *how.split())
        assert code == 0, errors
        found.append((output, errors))
    assert found[0][0] == found[1][0] and "Evaluation" in found[0][0]
    used = "['allGather', 'recv', 'send']\n" if nccl == "with" else "[]\n"
    assert found[1][1].endswith(used)
    told = "NCCL is missing on a rank, and gradients go through the hosts' memory" in found[1][1]
    assert told == (nccl == "without")


def test_the_double_of_nccl_has_nothing_that_cupy_lacks():
    """Names and parameters, against CuPy itself where it and NCCL are installed; no GPU is needed for that."""
    pytest.importorskip("cupy")
    nccl = importlib.import_module("cupy.cuda.nccl")
    if not nccl.available:
        pytest.skip("CuPy does not find NCCL")
    for name, parameters in nccl_double.SIGNATURES.items():
        signature = getattr(nccl.NcclCommunicator, name).__doc__.splitlines()[0]
        assert re.findall(r"\w+ (\w+)(?=[,)])", signature) == parameters.split()
    assert (nccl.NCCL_FLOAT32, nccl.NCCL_FLOAT64) == (nccl_double.NCCL_FLOAT32, nccl_double.NCCL_FLOAT64)
    for name in ("get_unique_id", "groupStart", "groupEnd"):
        assert callable(getattr(nccl, name)) and callable(getattr(nccl_double, name))


# A rank that fails --------------------------------------------------------------------------------------------------


FAILURES = {
    "kill": (0, r"rank 0 on \S+ \(process \d+\) has died: it was killed, crashed, or out of memory; to go on: "),
    "raise": (1, r"rank 1 on \S+: KeyError: 'a mistake of the program'; to go on: "),
    "memory": (1, r"rank 1 on \S+: out of memory with batch size 16: try --batch-size 8 or --shards 4; to go on: "),
    "disk": (0, r"rank 0 on \S+: .*last.safetensors: No space left on device: .*; to go on: "),
    "stop": (1, r"rank 1 on \S+ has not answered, after 3 seconds \(--timeout\); to go on: "),
    "nan": (
        1,
        r"epoch 1, .*: the loss \(nan\) of shard 1, which rank 1 on \S+ computes, is no longer .*to go on: ",
    ),
}


@needs_mpi
@pytest.mark.parametrize("how", FAILURES)
def test_a_rank_that_fails_ends_all_with_one_sentence_and_the_run_goes_on(how, train, tmp_path):
    which, sentence = FAILURES[how]
    words = [*TINY, "--epochs", 200, "--shards", 2, "--save-every", 2, "--timeout", 3, "--out", tmp_path / "run"]
    began = time.monotonic()
    code, output, errors = train(2, *words, how=how, which=which)
    assert time.monotonic() - began < 40 and code not in (0, None)
    told = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert len(told) == 1 and re.match("error: " + sentence, told[0]), errors
    if how not in ("raise", "memory"):
        assert errors.splitlines() == told
    assert not processes_of(tmp_path)
    assert (tmp_path / "run" / "train.log").read_text().splitlines()[-1] == told[0]
    command = told[0].rpartition("to go on: ")[2].split()
    assert (
        command[0] in ("mpiexec", MPIEXEC)
        and command[1:3] == ["-n", "2"]
        and command[-2:] == ["--resume", str(tmp_path / "run")]
    )
    assert bits(tmp_path / "run")  # the last checkpoint is whole


def processes_of(folder):
    """Processes that have the folder in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(folder).encode() in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            pass
    return found


@needs_mpi
@pytest.mark.parametrize(
    "how, words",
    [
        ("version", "has other versions than rank 0 on"),
        ("data", "has other data than rank 0 on"),
        ("model", "has other numbers in its model than rank 0 on"),
    ],
)
def test_ranks_that_are_not_alike_say_so_before_they_train(how, words, train, tmp_path):
    code, output, errors = train(2, *TINY, "--out", tmp_path / "run", how=how, which=1)
    assert code == 1 and "train acc" not in output.partition("epoch iteration")[0]
    assert re.fullmatch(rf"error: .*rank 1 on \S+ {words} .*\n", errors), errors


@needs_mpi
@pytest.mark.parametrize(
    "words, sentence",
    [
        (
            ["--shards", 3],
            "error: 3 shards cannot be shared out evenly to 2 ranks: start 1 or 3 of them, or give 4 shards",
        ),
        (["--shards", 80], "error: --shards 80: more than the 16 images of a batch: give 16 or less"),
        (["--find-lr"], "error: --find-lr is the work of one process, and 2 were started: start one"),
        (["--no-such-flag"], "error: unrecognized argument: --no-such-flag"),
    ],
)
def test_what_cannot_be_done_is_said_once(words, sentence, train, tmp_path):
    code, output, errors = train(2, *TINY, *words, "--out", tmp_path / "run")
    assert code in (1, 2) and errors.startswith(sentence) and errors.count("\n") == 1, errors
    assert not (tmp_path / "run").exists()


@needs_mpi
def test_a_rank_that_is_killed_leaves_no_shared_memory_behind(cifar, tmp_path):
    words = (*TINY, "--epochs", 2000, "--data-dir", cifar, "--out", tmp_path / "run")
    process = start(2, TESTS / "rank_that_fails.py", "train_cifar", "never", 0, *words)
    while "train acc" not in (line := process.stdout.readline()):
        assert line, process.communicate()
    maps = {number: (Path("/proc") / number / "maps").read_text() for number in processes_of(tmp_path)}
    files = set(re.findall(r"/dev/shm/mpi\S+", " ".join(maps.values())))
    os.kill(int(next(number for number in maps if "/dev/shm/mpi" in maps[number])), signal.SIGKILL)
    process.communicate(timeout=20)
    until = time.monotonic() + 10  # the guard takes them away once all have ended
    while left := [path for path in files if Path(path).exists()]:
        assert time.monotonic() < until, left
        time.sleep(0.1)


@needs_mpi
def test_a_guard_that_is_killed_is_told_with_the_command_to_go_on(cifar, tmp_path):
    words = (*TINY, "--epochs", 2000, "--data-dir", cifar, "--out", tmp_path / "run")
    before = guards()
    process = start(2, TESTS / "rank_that_fails.py", "train_cifar", "never", 0, *words)
    while "train acc" not in (line := process.stdout.readline()):
        assert line, process.communicate()
    for guard in guards() - before:
        os.kill(guard, signal.SIGKILL)
    _, errors = process.communicate(timeout=20)
    told = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert process.returncode != 0 and len(told) == 1
    assert re.match(
        r"error: the process that watches over the ranks, on \S+, was killed; to go on: \S*mpiexec", told[0]
    )


def guards():
    """The guards that run on this machine."""
    return {int(path) for path in processes_of("ranks/guard.py")}


@needs_mpi
def test_fine_tuning_on_a_folder_of_pictures_has_the_bits_of_one(train, alone, tmp_path):
    for kind, color in (("red", 0), ("green", 1)):
        (tmp_path / "pictures" / kind).mkdir(parents=True)
        for number in range(12):
            pixels = np.random.default_rng(number).integers(0, 90, (32, 32, 3), np.uint8)
            pixels[..., color] += 120
            Image.fromarray(pixels).save(tmp_path / "pictures" / kind / f"{number}.png")
    words = ["--weights", alone / "best.safetensors", "--image-folder", tmp_path / "pictures", "--batch-size", 6]
    words += ["--epochs", 1, "--threads", 1, "--no-progress", "--shards", 2]
    for ranks in (1, 2):
        out = ("--out", tmp_path / str(ranks))
        code, _, errors = run(ranks, TESTS / "rank_that_fails.py", "finetune", "never", 0, *words, *out)
        assert code == 0, errors
    assert bits(tmp_path / "1") == bits(tmp_path / "2")


@needs_mpi
def test_programs_of_one_process_refuse_several():
    code, _, errors = run(2, EXAMPLES / "predict.py", "x.png", "--weights", "x")
    assert code == 1 and errors == "error: predict.py is the work of one process, and 2 were started: start one\n"


# The launcher -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "variables, expected",
    [
        ({}, (1, 0, "")),
        ({"PMI_SIZE": "1", "PMI_RANK": "0"}, (1, 0, "")),
        ({"PMI_SIZE": "4", "PMI_RANK": "2"}, (4, 2, "PMI_SIZE")),
        ({"OMPI_COMM_WORLD_SIZE": "8", "OMPI_COMM_WORLD_RANK": "7"}, (8, 7, "OMPI_COMM_WORLD_SIZE")),
        ({"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1"}, (2, 1, "SLURM_STEP_NUM_TASKS")),
        ({"SLURM_NTASKS": "2", "SLURM_PROCID": "0"}, (1, 0, "")),  # a batch script itself, of which there is one
        ({"PMI_SIZE": "many"}, (1, 0, "")),
    ],
)
def test_the_launchers_variables(variables, expected):
    assert launched(variables) == expected


def test_who_was_started_alone_is_alone():
    assert find_ranks({}) is ALONE


def test_ranks_without_mpi4py_say_so_rather_than_train_alone(monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(LaunchError, match=r"3 processes were started together \(PMI_SIZE.*pip install") as caught:
        find_ranks({"PMI_SIZE": "3", "PMI_RANK": "1"})
    assert caught.value.rank == 1


@needs_mpi
def test_ranks_of_another_mpi_say_so(tmp_path):
    """Each of them finds itself alone."""
    script = "from minires.ranks.launch import find_ranks; find_ranks({'OMPI_COMM_WORLD_SIZE': '2'})"
    done = subprocess.run([sys.executable, "-c", script], env=environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "2 processes were started together" in done.stderr
    assert "but mpi4py finds 1: it belongs to another MPI" in done.stderr
