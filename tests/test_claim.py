"""A run's folder: held by one process at a time, begun only where nothing else lies, never named by a checkpoint."""

import json
import os
import platform
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import scripts
from scripts import one_sentence

from minires.cli import claim
from minires.cli.claim import claimed, new_folder, refuse_held

HOLDER = """
import sys, time
from minires.cli.claim import claimed
with claimed(sys.argv[1], sys.argv[2]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """holder(flag) -> a process that holds tmp_path/run."""
    started = []

    def start(flag="--out"):
        command = [sys.executable, "-c", HOLDER, tmp_path / "run", flag]
        process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def take(folder, flag="--out"):
    with claimed(folder, flag):
        return json.loads((folder / ".lock").read_text())


@pytest.mark.parametrize("flag", ["--out", "--resume"])
def test_a_second_process_is_told_who_is_at_work(holder, tmp_path, flag):
    process = holder()
    who = rf"another process is at work there \(process {process.pid} on {platform.node()}\)"
    with pytest.raises(ValueError, match=who):
        take(tmp_path / "run", flag)
    with pytest.raises(ValueError, match=who):
        refuse_held(tmp_path / "run", flag)
    assert os.listdir(tmp_path / "run") == [".lock"]


def test_the_lock_goes_with_its_process(holder, tmp_path):
    process = holder()
    (tmp_path / "run" / f".last.safetensors.{process.pid}.part").write_bytes(b"half")
    (tmp_path / "run" / f".last.safetensors.{process.pid + 1}.part").write_bytes(b"of another")
    process.kill()
    process.wait()
    refuse_held(tmp_path / "run", "--resume")
    assert take(tmp_path / "run", "--resume")["pid"] == os.getpid()
    assert os.listdir(tmp_path / "run") == [f".last.safetensors.{process.pid + 1}.part"]


def test_a_folder_is_free_again_whatever_ends_the_block(tmp_path):
    with pytest.raises(KeyboardInterrupt), claimed(tmp_path):
        raise KeyboardInterrupt
    take(tmp_path)
    assert os.listdir(tmp_path) == []


def test_of_many_at_once_one_gets_the_folder(tmp_path):
    def attempt(_):
        try:
            with claimed(tmp_path / "run"):
                (tmp_path / "run" / "train.log").open("x").close()
                return "held"
        except ValueError:
            return "refused"

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(attempt, range(40)))
    assert outcomes.count("held") == 1


def test_runs_of_the_same_second_have_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(claim.time, "strftime", lambda layout: "20260101-120000")
    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(lambda _: new_folder("resnet8").name, range(24)))
    first = "20260101-120000-resnet8"
    assert sorted(names) == sorted([first, *(f"{first}-{number}" for number in range(2, 25))])


def test_where_no_folder_can_be_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(OSError, match="runs is no folder: name another one with --out"):
        new_folder("resnet8")


@pytest.mark.parametrize("name", ["thesis.docx", "runs", "result-5-epochs.json", "curves.svg"])
def test_a_folder_that_holds_anything_else_is_refused(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(ValueError, match=f"holds other files .{name}.: name another folder, a run has one of its own"):
        take(tmp_path)
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("name", [".DS_Store", ".git", "Thumbs.db", "desktop.ini", ".lock"])
def test_what_systems_put_into_folders_is_no_hindrance(tmp_path, name):
    (tmp_path / name).write_text("no json")
    take(tmp_path)
    assert name == ".lock" or (tmp_path / name).read_text() == "no json"


@pytest.mark.skipif(not hasattr(os, "O_NOFOLLOW"), reason="this system follows every link")
@pytest.mark.parametrize("name", [".lock", "train.log"])
def test_a_link_in_a_folder_that_came_from_elsewhere_is_not_written_through(tmp_path, name):
    from minires.cli.recording import Recorder

    (tmp_path / "run").mkdir()
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "run" / name).symlink_to(tmp_path / "mine.txt")
    if name == ".lock":
        with pytest.raises(OSError, match="cannot be written"):
            take(tmp_path / "run", "--resume")
    else:
        recorder = Recorder(tmp_path / "run")
        recorder.say("a line")
        assert list(recorder.troubles) == ["train.log"]
    assert (tmp_path / "mine.txt").read_text() == "mine"


@pytest.mark.skipif(not hasattr(os, "O_NOFOLLOW"), reason="this system makes links for few users")
def test_what_is_written_beside_goes_through_no_link(tmp_path):
    from minires.files import write_atomically

    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / f".log.csv.{os.getpid()}.part").symlink_to(tmp_path / "mine.txt")  # whoever made it tried many numbers
    write_atomically(tmp_path / "log.csv", b"the run's")
    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert (tmp_path / "log.csv").read_text() == "the run's" and not (tmp_path / "log.csv").is_symlink()
    assert sorted(os.listdir(tmp_path)) == ["log.csv", "mine.txt"]


@pytest.mark.parametrize(
    "told", ["", "{}", '{"pid": "*", "host": "here"}', '{"pid": 1, "host": "\\u001b[2J"}', "[" * 999]
)
def test_a_lock_that_says_nothing_of_use(tmp_path, told):
    (tmp_path / ".lock").write_text(told)
    (tmp_path / ".last.safetensors.1.part").write_text("somebody's")
    take(tmp_path)
    assert os.listdir(tmp_path) == [".last.safetensors.1.part"]


@pytest.mark.skipif(sys.platform == "win32", reason="locks of POSIX")
def test_a_file_system_without_locks_is_said(tmp_path, monkeypatch, capsys):
    import errno
    import fcntl

    def none(*arguments):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", none)
    take(tmp_path)
    assert capsys.readouterr().err.count("note: this file system has no locks") == 1


# The scripts --------------------------------------------------------------------------------------------------------

FAST = ("--batch-size", 16, "--model", "simple_cnn", "--seed", 3, "--lr", 0.05, "--device", "cpu", "--epochs", 1)


@pytest.fixture(scope="module")
def script():
    return scripts.load("train_cifar")


@pytest.fixture
def main(script, cifar, monkeypatch, capsys):
    """main("--flag", ...) -> (exit code, stdout, stderr), on the tiny copy, without pictures."""
    monkeypatch.setattr(script.runs.Recorder, "picture", lambda self, name, draw: None)
    return lambda *flags: scripts.call(script, monkeypatch, capsys, *flags, "--data-dir", cifar)


def test_who_only_reads_is_not_hindered(main, holder, tmp_path):
    assert main(*FAST, "--out", tmp_path / "run")[0] == 0
    holder("--resume")
    code, _, err = main("--resume", tmp_path / "run")
    assert code == 1 and "another process is at work there" in one_sentence(err)
    assert main("--evaluate", tmp_path / "run", "--device", "cpu")[0] == 0


def test_looking_for_a_learning_rate_takes_no_folder_of_others(main, tmp_path):
    (tmp_path / "thesis.docx").write_text("mine")
    code, _, err = main(*FAST, "--find-lr", "--iterations", 3, "--out", tmp_path)
    assert code == 1 and "holds other files (thesis.docx)" in one_sentence(err)


def test_a_run_that_cannot_begin_leaves_no_folder(main, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = main(*FAST, "--patience", 1, "--val-split", 0)
    assert code == 1 and "--patience" in one_sentence(err) and os.listdir(tmp_path) == []
    assert main(*FAST)[0] == 0
    assert len(os.listdir(tmp_path / "runs")) == 1


def _stopped(main, script, monkeypatch, out, *numbers):
    """The exit code of a run that gets these signals after its third step."""
    batch = script.runs.Watcher.batch

    def signals(self, trainer):
        batch(self, trainer)
        if trainer.position.iteration == 3:
            for number in numbers:
                signal.raise_signal(number)  # of this thread, where it is handled at once

    monkeypatch.setattr(script.runs.Watcher, "batch", signals)
    before = {number: signal.signal(number, signal.SIG_DFL) for number in set(numbers)}  # in the background ignored
    try:
        return main(*FAST, "--out", out)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.mark.skipif(not hasattr(signal, "SIGQUIT"), reason="this system has no SIGQUIT")
def test_sigquit_saves(script, main, tmp_path, monkeypatch):
    code, printed, _ = _stopped(main, script, monkeypatch, tmp_path / "run", signal.SIGQUIT)
    assert code == 128 + signal.SIGQUIT and printed.splitlines()[-1].startswith("stopped and saved")


@pytest.mark.parametrize("numbers", [("SIGTERM", "SIGTERM"), ("SIGHUP", "SIGTERM"), ("SIGINT", "SIGQUIT")])
def test_a_second_signal_of_any_kind_stops_at_once(script, main, tmp_path, monkeypatch, numbers):
    numbers = [getattr(signal, name) for name in numbers]
    code, _, err = _stopped(main, script, monkeypatch, tmp_path / "run", *numbers)
    assert code == 128 + numbers[-1] and "error: stopped at once" in err.splitlines()[-1]
    assert "Traceback" not in err and not (tmp_path / "run" / ".lock").exists()
