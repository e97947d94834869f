"""What a run is worth: nothing fails once the work is done, nothing is overwritten, and it can go on for longer."""

import errno
import io
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import scripts
from PIL import Image
from safetensors.numpy import save_file
from scripts import one_sentence, table

from minires import checkpoint, models
from minires.cli import legs, progress
from minires.cli.output import SteadyStream, steady_output
from minires.cli.recording import FILES

FAST = ("--batch-size", 16, "--model", "simple_cnn", "--seed", 3, "--lr", 0.05, "--device", "cpu")


@pytest.fixture(scope="module")
def script():
    return scripts.load("train_cifar")


@pytest.fixture
def main(script, cifar, monkeypatch, capsys):
    """main("--flag", ...) -> (exit code, stdout, stderr), on the tiny copy."""
    return lambda *flags: scripts.call(script, monkeypatch, capsys, *flags, "--data-dir", cifar)


@pytest.fixture(autouse=True)
def no_pictures(script, request, monkeypatch):
    """Drawing takes longer than these runs do: only the tests marked "curves" draw."""
    if "curves" not in request.keywords:
        monkeypatch.setattr(script.runs.Recorder, "picture", lambda self, name, draw: None)


def result(folder):
    return json.loads((folder / "result.json").read_text())


def config(folder):
    return json.loads((folder / "config.json").read_text())


def full_disk(*arguments, **options):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Refusing(io.RawIOBase):
    """A file that takes so many bytes and then refuses."""

    def __init__(self, takes, number):
        self.takes, self.number = takes, number

    def writable(self):
        return True

    def write(self, content):
        self.takes -= len(content)
        if self.takes < 0:
            raise OSError(self.number, os.strerror(self.number))
        return len(content)


def refusing(takes, number):
    return io.TextIOWrapper(io.BufferedWriter(Refusing(takes, number)), "utf-8")


# Nothing fails once the work is done --------------------------------------------------------------------------------


@pytest.mark.parametrize("takes", [0, 40, 700])
@pytest.mark.parametrize("number", [errno.EPIPE, errno.ENOSPC, errno.EIO])
def test_output_that_nobody_takes_ends_no_run(main, tmp_path, monkeypatch, takes, number):
    monkeypatch.setattr(sys, "stdout", refusing(takes, number))
    code, _, err = main(*FAST, "--epochs", 1, "--out", tmp_path / "run")
    assert code == 0 and result(tmp_path / "run")["test_total"] == 13
    assert err.count("note: the output can no longer be written") == 1 and "Traceback" not in err
    assert "test accuracy" in (tmp_path / "run" / "train.log").read_text()


def test_a_pipe_that_closes_in_a_process_of_its_own(cifar, tmp_path):
    command = [sys.executable, scripts.EXAMPLES / "train_cifar.py", *FAST, "--epochs", 1, "--data-dir", cifar]
    command = [str(word) for word in [*command, "--out", tmp_path / "run"]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        err = process.stderr.read().decode()
    assert process.returncode == 0 and result(tmp_path / "run")["test_total"] == 13
    assert "Traceback" not in err and "Exception ignored" not in err


@pytest.mark.parametrize(("number", "expected"), [(errno.EPIPE, 0), (errno.ENOSPC, 1)])
def test_output_that_is_the_only_result(main, tmp_path, monkeypatch, number, expected):
    """A reader who has had enough is no failure; a result that could not be written is one."""
    save_file(models.resnet8(rng=1).state_dict(), tmp_path / "weights.safetensors")
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", refusing(10, number))
        code, _, err = main("--evaluate", tmp_path / "weights.safetensors", "--device", "cpu", "--json")
    assert code == expected
    assert ("error: the output could not be written" in err) == bool(expected)


@pytest.mark.parametrize("number", range(2))
def test_a_process_without_output_or_errors(main, tmp_path, monkeypatch, number):
    """As `>&-` and `2>&-` start one."""
    monkeypatch.setattr(sys, ("stdout", "stderr")[number], None)
    assert main(*FAST, "--epochs", 1, "--out", tmp_path / "run")[0] == 0
    assert result(tmp_path / "run")["test_total"] == 13


@pytest.fixture
def cats(tmp_path):
    """Pictures of two classes whose names no code page of the west has, one of them in no script at all."""
    for name, color in (("猫", (200, 30, 40)), (os.fsdecode(b"d\xe9j\xe0"), (30, 200, 60))):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(8):
            noise = np.random.default_rng(number).integers(0, 40, (32, 32, 3), np.uint8)
            Image.fromarray(noise + np.uint8(color)).save(tmp_path / "pictures" / name / f"{number}.png")
    return tmp_path / "pictures"


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_a_code_page_that_lacks_a_letter(cats, tmp_path, monkeypatch, capsys, encoding):
    finetune = scripts.load("finetune")
    monkeypatch.setattr(finetune.runs.Recorder, "picture", lambda self, name, draw: None)
    save_file(models.resnet8(rng=1).state_dict(), tmp_path / "weights.safetensors")
    taken = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(taken, encoding))
    flags = ("--weights", tmp_path / "weights.safetensors", "--image-folder", cats, "--epochs", 1, "--lr", 0.01)
    code, _, err = scripts.call(finetune, monkeypatch, capsys, *flags, "--device", "cpu", "--out", tmp_path / "run")
    assert code == 0, err
    assert "猫" in result(tmp_path / "run")["class_acc"]
    assert ("猫" if encoding == "utf-8" else "\\u732b").encode(encoding) in taken.getvalue()
    assert "猫" in (tmp_path / "run" / "train.log").read_text(encoding="utf-8")


@pytest.mark.curves
def test_files_beside_the_models_that_cannot_be_written(script, main, tmp_path, monkeypatch):
    """Folders stand in their places."""
    names = ("curves.png", "confusion.png", "mistakes.png", "log.csv", "train.log", "result.json")

    class Recorder(script.runs.Recorder):
        def __init__(self, folder, writes):
            super().__init__(folder, writes)
            for name in names:
                (folder / name).mkdir()

    monkeypatch.setattr(script.runs, "Recorder", Recorder)
    code, printed, err = main(*FAST, "--epochs", 2, "--out", tmp_path / "run")
    assert code == 0 and "test accuracy" in printed
    assert sorted(line.split()[1] for line in err.splitlines()) == sorted(names)  # once each
    kept = next(line for line in printed.splitlines() if line.startswith("the result, to keep: "))
    assert json.loads(kept.partition(": ")[2])["test_total"] == 13


@pytest.mark.curves
def test_drawing_that_fails_in_any_way(main, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    code, _, err = main(*FAST, "--epochs", 1, "--out", tmp_path / "run")
    assert code == 0 and result(tmp_path / "run")["test_total"] == 13
    assert [line.split()[1] for line in err.splitlines()] == ["curves.png", "confusion.png", "mistakes.png"]


def test_neither_result_nor_output_is_a_failure(script, main, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["minires.cli.recording"], "write_csv", full_disk)
    monkeypatch.setattr(script.runs.Recorder, "result", lambda self, result: False)
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", refusing(100, errno.ENOSPC))
        assert main(*FAST, "--epochs", 1, "--out", tmp_path / "run")[0] == 1


@pytest.mark.parametrize("names", [("last",), ("best",)])
def test_a_full_disk_at_the_end(main, tmp_path, monkeypatch, names):
    """The checkpoints of the last epoch cannot be written: its model is in memory, and is tested."""
    main(*FAST, "--epochs", 2, "--val-split", 0, "--out", tmp_path / "whole")
    write = checkpoint.write_atomically

    def write_until_the_end(path, content):
        if (tmp_path / "run" / "log.csv").exists() and path.stem in names:
            full_disk()
        write(path, content)

    monkeypatch.setattr(checkpoint, "write_atomically", write_until_the_end)
    code, printed, err = main(*FAST, "--epochs", 2, "--val-split", 0, "--out", tmp_path / "run")
    assert code == 0 and "test accuracy" in printed
    assert result(tmp_path / "run")["test_loss"] == result(tmp_path / "whole")["test_loss"]
    assert err.count("note: ") == len(names) and "No space left" in err
    monkeypatch.setattr(checkpoint, "write_atomically", write)
    assert main("--resume", tmp_path / "run")[0] == 0
    last = [checkpoint.load(tmp_path / run / "last.safetensors").model for run in ("whole", "run")]
    assert all(np.array_equal(last[0][key], last[1][key]) for key in last[0])


def test_a_full_disk_before_the_end_stops_with_the_cure(main, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "write_atomically", full_disk)
    code, _, err = main(*FAST, "--epochs", 2, "--out", tmp_path / "run")
    assert code == 1 and "No space left" in one_sentence(err)


def test_a_test_loss_beyond_all_numbers(script, main, tmp_path, monkeypatch):
    evaluate = sys.modules["minires.trainer"].evaluate

    def infinite(*arguments, **options):
        found = evaluate(*arguments, **options)
        loss = float("inf") if "look" in options else found.loss  # the test, of which pictures are kept
        return type(found)(loss, found.accuracy, found.class_correct, found.class_total)

    monkeypatch.setattr(sys.modules["minires.trainer"], "evaluate", infinite)
    assert main(*FAST, "--epochs", 1, "--out", tmp_path / "run")[0] == 0
    assert result(tmp_path / "run")["test_loss"] is None


def test_what_a_signal_handler_prints_in_the_middle_of_a_write():
    class Busy(io.StringIO):
        def write(self, text):
            raise RuntimeError("reentrant call inside <_io.BufferedWriter>")

    stream = SteadyStream(Busy(), "output")
    stream.write("a")
    assert stream.lost is None


def test_the_streams_are_put_back(capsys):
    before = sys.stdout, sys.stderr
    with pytest.raises(KeyError), steady_output() as output:
        assert sys.stdout is output and output.encoding == before[0].encoding and not output.isatty()
        print("said")
        raise KeyError
    assert (sys.stdout, sys.stderr) == before and capsys.readouterr().out == "said\n"


# Nothing is overwritten ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(script, cifar, tmp_path_factory):
    """The folder of a finished run, with all its files."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    with pytest.MonkeyPatch.context() as patched:
        flags = (*FAST, "--epochs", 2, "--data-dir", cifar, "--out", folder)
        patched.setattr(sys, "argv", ["train_cifar.py", *map(str, flags)])
        assert script.main() == 0
    return folder


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("left", [*([name] for name in FILES), ["result.json", "best.safetensors"]])
def test_whichever_files_are_missing_a_run_is_not_begun_over_it(finished, main, tmp_path, left):
    (tmp_path / "run").mkdir()
    for name in left:
        (tmp_path / "run" / name).write_bytes(contents(finished).get(name, b"a picture"))
    before = contents(tmp_path / "run")
    code, _, err = main(*FAST, "--epochs", 1, "--out", tmp_path / "run")
    assert code == 1 and "name another folder" in one_sentence(err)
    assert contents(tmp_path / "run") == before


def test_a_lost_last_checkpoint_is_named(finished, main, tmp_path):
    (tmp_path / "run").mkdir()
    for name in ("best.safetensors", "result.json"):
        (tmp_path / "run" / name).write_bytes(contents(finished)[name])
    code, _, err = main("--resume", tmp_path / "run")
    assert code == 1 and "its last.safetensors is missing" in one_sentence(err)
    assert main("--evaluate", tmp_path / "run" / "best.safetensors", "--device", "cpu")[0] == 0  # as advised


def test_a_finished_run_whose_best_model_is_lost_keeps_its_result(scripted, main, tmp_path):
    main(*FAST, "--epochs", 5, "--out", tmp_path / "run")  # the best is that of epoch 3
    (tmp_path / "run" / "best.safetensors").unlink()
    before = contents(tmp_path / "run")
    code, _, err = main("--resume", tmp_path / "run")
    assert code == 1 and "best.safetensors is missing" in one_sentence(err)
    assert contents(tmp_path / "run") == before
    assert main("--evaluate", tmp_path / "run" / "last.safetensors", "--device", "cpu")[0] == 0  # as advised
    code, _, err = main("--resume", tmp_path / "run", "--epochs", 6, "--lr", 0.01)
    assert code == 0 and "best.safetensors is missing: the best is looked for anew from epoch 6 on" in err
    assert result(tmp_path / "run")["model_of_epoch"] == 6


def test_files_that_are_not_the_runs_stay(finished, main, tmp_path):
    """Of a folder that a run goes on in: only what its own killed process left half written is removed."""
    (tmp_path / "run").mkdir()
    mine = {"notes.txt": b"mine", ".thesis.part": b"mine, too", ".log.csv.4712.part": b"of somebody else"}
    for name, content in {**contents(finished), **mine}.items():
        (tmp_path / "run" / name).write_bytes(content)
    (tmp_path / "run" / ".log.csv.4711.part").write_bytes(b"of a process that was killed")
    (tmp_path / "run" / ".lock").write_text('{"pid": 4711, "host": "here"}')
    assert main("--resume", tmp_path / "run")[0] == 0
    after = contents(tmp_path / "run")
    assert {name: after[name] for name in mine} == mine
    assert not {".log.csv.4711.part", ".lock"} & set(after)


@pytest.mark.parametrize("flag", ["--out", "--resume"])
def test_advice_for_a_disk_that_cannot_be_written(finished, main, tmp_path, monkeypatch, flag):
    def read_only(**options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(sys.modules["minires.cli.claim"].tempfile, "TemporaryFile", read_only)
    flags = (*FAST, "--epochs", 1, "--out", tmp_path / "run") if flag == "--out" else ("--resume", finished)
    code, _, err = main(*flags)
    assert code == 1 and flag in one_sentence(err) and "Read-only" in err
    assert ("copy the folder" in err) == (flag == "--resume") and ("--out" in err) == (flag == "--out")


def test_a_copy_of_a_run_can_be_resumed_as_advised(finished, main, tmp_path):
    (tmp_path / "copy").mkdir()
    for name, content in contents(finished).items():
        (tmp_path / "copy" / name).write_bytes(content)
    before = contents(finished)
    assert main("--resume", tmp_path / "copy")[0] == 0
    assert contents(finished) == before


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no SIGHUP")
@pytest.mark.parametrize("ignored", [False, True])
def test_a_terminal_that_goes_saves_unless_nohup_ignores_it(script, main, tmp_path, monkeypatch, ignored):
    main(*FAST, "--epochs", 2, "--out", tmp_path / "whole")
    batch = progress.Watcher.batch

    def hang_up(self, trainer):
        batch(self, trainer)
        if trainer.position.iteration == 3:
            os.kill(os.getpid(), signal.SIGHUP)

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
    try:
        monkeypatch.setattr(progress.Watcher, "batch", hang_up)
        code, printed, _ = main(*FAST, "--epochs", 2, "--out", tmp_path / "run")
        assert signal.getsignal(signal.SIGHUP) == (signal.SIG_IGN if ignored else signal.SIG_DFL)
    finally:
        signal.signal(signal.SIGHUP, before)
    if ignored:
        assert code == 0
        return
    assert code == 128 + signal.SIGHUP and "--resume" in printed.splitlines()[-1]
    monkeypatch.setattr(progress.Watcher, "batch", batch)
    assert main("--resume", tmp_path / "run")[0] == 0
    assert result(tmp_path / "run")["test_loss"] == result(tmp_path / "whole")["test_loss"]


# Going on for longer ------------------------------------------------------------------------------------------------


def state(folder):
    return checkpoint.load(folder / "last.safetensors").model


def test_a_constant_rate_for_longer_is_the_run_that_was_longer_from_the_start(main, tmp_path):
    flags = (*FAST, "--schedule", "constant")
    main(*flags, "--epochs", 4, "--out", tmp_path / "whole")
    main(*flags, "--epochs", 2, "--out", tmp_path / "run")
    first = result(tmp_path / "run")
    code, printed, _ = main("--resume", tmp_path / "run", "--epochs", 4)
    assert code == 0 and "new leg: epochs 3 to 4, learning rate as it was" in printed
    for key, value in state(tmp_path / "whole").items():
        np.testing.assert_array_equal(state(tmp_path / "run")[key], value, err_msg=key)
    assert result(tmp_path / "run")["test_loss"] == result(tmp_path / "whole")["test_loss"]
    assert json.loads((tmp_path / "run" / "result-2-epochs.json").read_text()) == first  # kept
    assert config(tmp_path / "run")["settings"]["epochs"] == 2
    assert config(tmp_path / "run")["legs"] == [
        {"from_epoch": 2, "from_iteration": 8, "to_epoch": 4, "to_iteration": 16, "schedule": None, "lr": None}
    ]


def rates(folder):
    return [float(row["lr"]) for row in table(folder / "log.csv")]


def test_steps_hold_their_last_rate(main, tmp_path):
    main(*FAST, "--schedule", "step", "--epochs", 4, "--out", tmp_path / "run")
    assert main("--resume", tmp_path / "run", "--epochs", 6)[0] == 0
    assert rates(tmp_path / "run") == pytest.approx([0.05, 0.05, 0.005, 0.0005, 0.0005, 0.0005])


@pytest.mark.parametrize("schedule", ["cosine", "one-cycle"])
def test_a_schedule_that_has_come_to_its_end_asks_how_to_go_on(main, tmp_path, schedule):
    main(*FAST, "--schedule", schedule, "--epochs", 2, "--out", tmp_path / "run")
    before = contents(tmp_path / "run")
    code, _, err = main("--resume", tmp_path / "run", "--epochs", 4)
    assert code == 1 and "--schedule constant --lr X" in one_sentence(err) and schedule in err
    assert contents(tmp_path / "run") == before
    code, _, _ = main("--resume", tmp_path / "run", "--epochs", 3, "--lr", 0.01)  # another of its kind
    assert code == 0 and config(tmp_path / "run")["legs"][0]["schedule"] == schedule
    code, _, _ = main("--resume", tmp_path / "run", "--epochs", 4, "--schedule", "constant", "--lr", 0.003)
    assert code == 0 and rates(tmp_path / "run")[3] == 0.003
    assert [leg["to_epoch"] for leg in config(tmp_path / "run")["legs"]] == [3, 4]
    assert main("--resume", tmp_path / "run", "--epochs", 5)[0] == 0  # the constant holds on
    assert rates(tmp_path / "run")[4] == 0.003


def test_a_new_leg_that_is_stopped_goes_on_with_the_same_bits(main, tmp_path, monkeypatch):
    for name in ("whole", "run"):
        main(*FAST, "--epochs", 2, "--out", tmp_path / name)
    longer = ("--epochs", 4, "--lr", 0.02, "--schedule", "cosine")
    main("--resume", tmp_path / "whole", *longer)
    batch = progress.Watcher.batch
    for stop, flags in ((9, longer), (13, longer), (14, ())):  # the same command again, and without the flags

        def stop_there(self, trainer, stop=stop):
            batch(self, trainer)
            trainer.stop_requested = trainer.position.iteration == stop

        monkeypatch.setattr(progress.Watcher, "batch", stop_there)
        with pytest.raises(IndexError):  # no signal came
            main("--resume", tmp_path / "run", *flags)
    monkeypatch.setattr(progress.Watcher, "batch", batch)
    assert main("--resume", tmp_path / "run")[0] == 0
    for key, value in state(tmp_path / "whole").items():
        np.testing.assert_array_equal(state(tmp_path / "run")[key], value, err_msg=key)
    assert len(config(tmp_path / "run")["legs"]) == 1


def test_a_run_of_so_many_iterations_goes_on_for_more(main, tmp_path):
    main(*FAST, "--schedule", "constant", "--epochs", 3, "--iterations", 6, "--out", tmp_path / "run")  # 1.5 epochs
    assert main("--resume", tmp_path / "run", "--iterations", 9)[0] == 0
    assert [int(row["iteration"]) for row in table(tmp_path / "run" / "log.csv")] == [4, 6, 9]
    assert main("--resume", tmp_path / "run", "--epochs", 4)[0] == 0
    assert [int(row["iteration"]) for row in table(tmp_path / "run" / "log.csv")] == [4, 6, 9, 13]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--epochs", 1), ("--epochs 1 (was 2)", "above 2")),
        (("--lr", 0.7), ("--lr 0.7 (was 0.05)",)),
        (("--epochs", 3, "--lr", 0.01, "--momentum", 0.5), ("--momentum 0.5 (was 0.9)",)),
        (("--epochs", 3, "--lr", "nan"), ("--lr", "nan")),
        (("--save-every", 0), ("--save-every", "at least 1")),
        (("--best", "loss"), ("--best loss (was accuracy)",)),
    ],
)
def test_what_a_resumed_run_refuses(finished, main, flags, words):
    before = contents(finished)
    code, _, err = main("--resume", finished, *flags)
    assert code == 1 and all(word in one_sentence(err) for word in words), err
    assert contents(finished) == before


def test_finetuning_goes_on_for_longer(cats, tmp_path, monkeypatch, capsys):
    finetune = scripts.load("finetune")
    monkeypatch.setattr(finetune.runs.Recorder, "picture", lambda self, name, draw: None)
    save_file(models.resnet8(rng=1).state_dict(), tmp_path / "weights.safetensors")
    call = lambda *flags: scripts.call(finetune, monkeypatch, capsys, *flags, "--device", "cpu")  # noqa: E731
    flags = ("--weights", tmp_path / "weights.safetensors", "--image-folder", cats, "--epochs", 1, "--batch-size", 4)
    assert call(*flags, "--out", tmp_path / "run")[0] == 0
    code, _, err = call("--resume", tmp_path / "run", "--epochs", 2)
    assert code == 1 and "a cosine schedule ends" in err
    assert call("--resume", tmp_path / "run", "--epochs", 2, "--lr", 0.01)[0] == 0
    assert len(table(tmp_path / "run" / "log.csv")) == 2


# Patience, and what is best -----------------------------------------------------------------------------------------

LOSSES = (2.0, 1.5, 1.9, 1.2, 1.3)
ACCURACIES = (0.1, 0.3, 0.4, 0.2, 0.3)


@pytest.fixture
def scripted(monkeypatch):
    """The validation results of the epochs are these."""
    trainer = sys.modules["minires.trainer"]
    evaluate, told = trainer.evaluate, []

    def told_beforehand(*arguments, **options):
        found = evaluate(*arguments, **options)
        if "look" in options:  # the test, of which pictures are kept
            return found
        told.append(len(told) % len(LOSSES))
        return type(found)(LOSSES[told[-1]], ACCURACIES[told[-1]], found.class_correct, found.class_total)

    monkeypatch.setattr(trainer, "evaluate", told_beforehand)


@pytest.mark.parametrize(("best", "epoch"), [("accuracy", 3), ("loss", 4)])
def test_the_best_by_accuracy_or_by_loss(scripted, main, tmp_path, best, epoch):
    assert main(*FAST, "--epochs", 5, "--best", best, "--out", tmp_path / "run")[0] == 0
    assert result(tmp_path / "run")["model_of_epoch"] == epoch
    assert checkpoint.load(tmp_path / "run" / "best.safetensors").info["epoch"] == epoch


@pytest.mark.parametrize(("best", "patience", "epochs"), [("accuracy", 2, 5), ("loss", 1, 3), ("accuracy", 3, 6)])
def test_patience(scripted, main, tmp_path, best, patience, epochs):
    flags = (*FAST, "--schedule", "constant", "--best", best, "--patience", patience)
    code, printed, _ = main(*flags, "--epochs", 20, "--out", tmp_path / "run")
    assert code == 0 and result(tmp_path / "run")["epochs"] == epochs
    assert f"stopped: {patience} epochs without a new best validation {best}" in printed


def test_more_patience_goes_on_and_so_does_a_new_leg(scripted, main, tmp_path):
    flags = (*FAST, "--schedule", "constant", "--best", "loss", "--patience", 1)
    main(*flags, "--epochs", 4, "--out", tmp_path / "run")
    assert result(tmp_path / "run")["epochs"] == 3
    code, printed, _ = main("--resume", tmp_path / "run")
    assert code == 0 and "--patience" in printed and result(tmp_path / "run")["epochs"] == 3
    assert main("--resume", tmp_path / "run", "--epochs", 6, "--lr", 0.01)[0] == 0
    assert config(tmp_path / "run")["legs"][0]["from_epoch"] == 3  # where it had stopped
    assert result(tmp_path / "run")["epochs"] == 5  # epoch 4 was a new best, epoch 5 was none
    assert main("--resume", tmp_path / "run", "--patience", 9)[0] == 0
    assert result(tmp_path / "run")["epochs"] == 6


def test_patience_needs_validation_images(main, tmp_path):
    code, _, err = main(*FAST, "--epochs", 2, "--patience", 1, "--val-split", 0, "--out", tmp_path / "run")
    assert code == 1 and "--patience" in one_sentence(err)
    assert main(*FAST, "--epochs", 1, "--out", tmp_path / "run")[0] == 0  # the folder is still free


def test_a_plan_by_hand():
    settings = {"epochs": 2, "iterations": None, "schedule": "constant", "lr": 0.5}
    leg = {"from_epoch": 2, "from_iteration": 8, "to_epoch": 4, "to_iteration": 16, "schedule": "step", "lr": 0.2}
    plan = legs.plan({**settings, "legs": [leg]}, 4)
    assert (plan["epochs"], plan["iterations"], plan["since"]) == (4, 16, 2)
    expected = [0.5] * 8 + [0.2] * 4 + [0.02] * 2 + [0.002] * 2
    assert [plan["schedule"](iteration) for iteration in range(16)] == pytest.approx(expected)


# Shards -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--shards", 0), "--shards must be at least 1, got 0"),
        (
            ("--shards", 17),
            "--shards 17: more than the 16 images of a batch: give 16 or less, or a larger --batch-size",
        ),
        (("--shards", 5, "--limit-train", 4, "--val-split", 0), "--shards 5: more than the 4 training images: give 4"),
        (("--timeout", 0), "--timeout must be a number above 0, of seconds, got 0.0"),
        (("--shards", 2, "--find-lr"), "--find-lr takes whole batches: leave --shards 2 out"),
        (("--shards", 2, "--overfit-one-batch"), "--overfit-one-batch takes whole batches: leave --shards 2 out"),
    ],
)
def test_shards_that_cannot_be(main, tmp_path, flags, sentence):
    code, _, err = main(*FAST, *flags, *(() if len(flags) == 3 else ("--out", tmp_path / "run")))
    assert code == 1 and err.startswith(f"error: {sentence}") and err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_the_number_of_shards_stays_and_a_run_that_is_stopped_goes_on_with_them(main, tmp_path):
    assert main(*FAST, "--epochs", 2, "--shards", 3, "--out", tmp_path / "whole")[0] == 0
    assert main(*FAST, "--epochs", 1, "--schedule", "constant", "--shards", 3, "--out", tmp_path / "run")[0] == 0
    code, _, err = main("--resume", tmp_path / "run", "--epochs", 2, "--shards", 2)
    assert code == 1 and "these differ: --shards 2 (was 3)" in err
    assert main("--resume", tmp_path / "run", "--epochs", 2, "--shards", 3)[0] == 0
    rows = (tmp_path / "run" / "log.csv").read_text().splitlines()
    assert [row.split(",")[-2:] for row in rows] == [["shards", "ranks"], ["3", "1"], ["3", "1"]]
    assert config(tmp_path / "run")["settings"]["shards"] == 3
