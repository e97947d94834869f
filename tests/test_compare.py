"""examples/compare.py: runs that were made by hand, whose figures are known, and folders that hold none."""

import json
import os

import pytest
import scripts
from scripts import one_sentence, picture

from minires.cli.recording import write_csv
from minires.columns import cut, display_width, listed, padded
from minires.position import HistoryRow
from minires.wording import readable

TESTED = {None: "test_acc", "IoU": "mean_iou", "AP": "test_ap50"}  # in result.json
COLUMNS = tuple(HistoryRow.__annotations__)


@pytest.fixture
def compare(monkeypatch, capsys):
    return lambda *arguments: scripts.call(scripts.load("compare"), monkeypatch, capsys, *arguments)


def make(folder, accuracies, test=None, label="shapes", measure=None, **settings):
    """A run's folder as train_cifar.py would leave it, with these validation accuracies (None: no such images).

    measure: of a run of another task's script.
    """
    folder.mkdir(parents=True)
    settings = {"model": "resnet8", "epochs": 3, "lr": 0.1, **settings}
    config = {"settings": settings, "dataset": {"label": label}, **({"measure": measure} if measure else {})}
    (folder / "config.json").write_text(json.dumps(config))
    rows = []
    for epoch, accuracy in enumerate(accuracies, 1):
        loss = None if accuracy is None else 1 - accuracy
        rows.append((epoch, 10 * epoch, 0.1, 0.5, 0.5, loss, accuracy, 65.0 * epoch, 100.0))
    write_csv(folder / "log.csv", COLUMNS, rows)
    if test is not None:
        best = max(range(len(accuracies)), key=lambda n: accuracies[n] or n) + 1
        (folder / "result.json").write_text(json.dumps({TESTED[measure]: test, "model_of_epoch": best}))


def test_a_table_of_the_best_first_by_validation_images(compare, tmp_path):
    make(tmp_path / "a", (0.2, 0.5, 0.4), test=0.9)
    make(tmp_path / "b", (0.3, 0.6), lr=0.2)
    make(tmp_path / "c", (None, None, None), test=0.7)
    code, out, err = compare(*(tmp_path / name for name in "abc"))
    assert (code, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    assert lines[:4] == [
        ["run", "model", "epochs", "val", "loss", "val", "acc", "test", "acc", "time"],
        ["b", "resnet8", "2/3", "0.4000", "60.00%", "-", "2:10"],
        ["a", "resnet8", "3", "0.5000", "50.00%", "90.00%", "3:15"],
        ["c", "resnet8", "3", "-", "-", "70.00%", "3:15"],
    ]
    assert "lr: 0.2, 0.1, 0.1" in out and f"wrote {tmp_path / 'comparison.png'}" in out
    drawn = picture(tmp_path / "comparison.png")
    assert drawn.format == "PNG" and len(drawn.convert("RGB").getcolors(10**6)) > 50


@pytest.mark.parametrize("measure", ["IoU", "AP"])
def test_runs_of_other_tasks_by_their_own_measure(compare, tmp_path, measure):
    make(tmp_path / "a", (0.2, 0.5, 0.4), test=0.9, measure=measure)
    make(tmp_path / "b", (0.3, 0.6), measure=measure)
    code, out, err = compare(tmp_path / "a", tmp_path / "b")
    assert (code, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["run", "model", "epochs", "val", "loss", "val", measure, "test", measure, "time"]
    assert lines[1][:5] == ["b", "resnet8", "2/3", "0.4000", "60.00%"]
    assert lines[2][3:6] == ["0.5000", "50.00%", "90.00%"]


def test_runs_of_several_tasks_are_not_compared(compare, tmp_path):
    make(tmp_path / "a", (0.2,), test=0.9, measure="IoU")
    make(tmp_path / "b", (0.3,), test=0.9)
    make(tmp_path / "c", (0.3,), test=0.9, measure="AP")
    make(tmp_path / "d", (0.3,), test=0.9)
    code, out, err = compare(*(tmp_path / name for name in "abcd"))
    assert code == 1 and not out and not (tmp_path / "comparison.png").exists()
    assert "(mean IoU: a; accuracy: b, d; AP50: c): name those of one kind" in one_sentence(err)


def test_where_weights_were_averaged_the_average_counts(compare, tmp_path):
    make(tmp_path / "plain", (0.5, 0.6))
    make(tmp_path / "averaged", (0.5, 0.4))
    log = tmp_path / "averaged" / "log.csv"
    rows = [line.split(",") for line in log.read_text().splitlines()]
    for row, accuracy in zip(rows[1:], ("0.7", "0.65"), strict=True):
        row += [""] * (len(COLUMNS) - len(row))
        row[COLUMNS.index("ema_val_loss")], row[COLUMNS.index("ema_val_acc")] = "0.25", accuracy
    log.write_text("\n".join(map(",".join, rows)) + "\n")
    code, out, err = compare(tmp_path / "plain", tmp_path / "averaged")
    assert (code, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    assert lines[1][:5] == ["averaged", "resnet8", "2/3", "0.2500", "70.00%"] and lines[2][0] == "plain"


def test_logs_of_earlier_versions_lack_columns(compare, tmp_path):
    make(tmp_path / "old", (0.5, 0.6))
    log = tmp_path / "old" / "log.csv"
    rows = [line.split(",")[:9] for line in log.read_text().splitlines()]
    log.write_text("\n".join(map(",".join, rows)) + "\n")
    code, out, err = compare(tmp_path / "old")
    assert (code, err) == (0, "") and "60.00%" in out


def test_only_its_own_picture_is_replaced(compare, tmp_path):
    make(tmp_path / "a", (0.2,))
    assert compare(*tmp_path.iterdir())[0] == 0
    code, out, err = compare(*sorted(tmp_path.iterdir()))  # runs/* now finds the picture, too
    assert (code, err) == (0, "")
    (tmp_path / "comparison.png").write_bytes(b"\x89PNG of somebody")
    code, out, err = compare(tmp_path / "a")
    assert code == 1 and "--out" in one_sentence(err) and "resnet8" in out
    assert (tmp_path / "comparison.png").read_bytes() == b"\x89PNG of somebody"
    assert compare(tmp_path / "a", "--out", tmp_path / "other.png")[0] == 0


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", "{"),
        ("config.json", "[" * 100_000),
        ("config.json", "[1]"),
        ("config.json", '{"settings": {}, "dataset": {"label": "x"}}'),
        ("log.csv", "epoch,val_acc\n1,0.5\n"),
        ("log.csv", f"{','.join(COLUMNS)}\n1,2,cat,4,5,6,7,8,9\n"),
        ("log.csv", f"{','.join(COLUMNS)}\n1,2,3,4,5,inf,nan,8,9\n"),
        ("log.csv", "a" * (9 * 2**20)),
        ("log.csv", "a" * 200_000),
        ("log.csv", f"{','.join(COLUMNS)}\n" + "1,2,3,4,5,6,7,8,9\n" * 100_001),
        ("log.csv", f"{','.join(COLUMNS)}\n1,2,3,4,5,6,7,1e300,9\n"),
        ("result.json", "null"),
        ("config.json", '{"settings": {"epochs": 1}, "dataset": {"label": "x"}, "measure": "beauty"}'),
        ("config.json", '{"settings": {"epochs": Infinity}, "dataset": {"label": "x"}}'),
        ("config.json", '{"settings": {"epochs": 1e300}, "dataset": {"label": "x"}}'),
        ("config.json", f'{{"settings": {{"epochs": {"9" * 5000}}}, "dataset": {{"label": "x"}}}}'),
    ],
)
def test_a_damaged_run_is_named_and_left_out(compare, tmp_path, name, content):
    make(tmp_path / "whole", (0.5,), test=0.5)
    make(tmp_path / "damaged", (0.5,), test=0.5)
    (tmp_path / "damaged" / name).write_text(content)
    code, out, err = compare(tmp_path / "damaged", tmp_path / "whole")
    assert code == 0 and "whole" in out and "damaged" not in out.replace(str(tmp_path), "")
    assert err.startswith(f"note: {tmp_path / 'damaged'} is damaged (") and len(err.splitlines()) == 1


def test_what_is_no_run(compare, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "empty").mkdir()
    code, _, err = compare(tmp_path / "notes.txt", tmp_path / "empty", tmp_path / "nowhere")
    assert code == 1 and err.count("holds no run: left out") == 3
    assert "no run in" in one_sentence(err)
    assert not (tmp_path / "comparison.png").exists()


def test_80_columns_whatever_the_names(compare, tmp_path):
    for name in ("猫" * 60, "a" * 200, "cat\x1b[31m", "b"):
        make(tmp_path / name, (0.5, 0.6), test=0.123456, model="x" * 50, lr=1e-9, label="y" * 300 + name[0])
    code, out, _ = compare(*(path for path in tmp_path.iterdir()), "--out", tmp_path / "picture.png")
    assert code == 0 and "\x1b" not in out and "not the same data" in out
    lines = [line for line in out.splitlines() if not line.startswith("wrote ")]
    assert max(map(display_width, lines)) <= 80
    assert len({display_width(line) for line in lines[:5]}) == 1  # the columns stand below each other


def test_many_runs_are_drawn_as_far_as_colours_go(compare, tmp_path):
    for number in range(12):
        make(tmp_path / f"{number:02d}", (number / 20,))
    code, out, _ = compare(*tmp_path.iterdir())
    assert code == 0 and "the first 10 of 12 runs" in out and len(out[: out.index("\n\n")].splitlines()) == 13


# Columns ------------------------------------------------------------------------------------------------------------


def test_columns_of_a_terminal():
    assert [display_width(text) for text in ("cat", "猫", "ネコ", "ﾈｺ", "고양이", "e\u0301", "\uff21", "")] == [
        3,
        2,
        4,
        2,
        6,
        1,
        2,
        0,
    ]
    assert cut("a cat", 5) == "a cat" and cut("a cats", 5) == "a ..." and cut("猫猫猫猫", 7) == "猫猫..."
    for text in ("cat", "猫猫猫猫猫", "a" * 30, ""):
        assert display_width(padded(text, 8)) == 8
    assert readable("a\x1b[0m\n") == "a\\x1b[0m\\n"
    assert listed(["cat", "dog"]) == "cat, dog"
    assert listed(["cat"] * 1000, 20) == "cat, cat, cat, cat and 996 more"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
@pytest.mark.parametrize("name", ["log.csv", "result.json"])
def test_a_pipe_is_no_file_of_a_run(compare, tmp_path, name):
    make(tmp_path / "whole", (0.5,), test=0.5)
    make(tmp_path / "damaged", (0.5,), test=0.5)
    (tmp_path / "damaged" / name).unlink()
    os.mkfifo(tmp_path / "damaged" / name)
    code, _, err = compare(tmp_path / "damaged", tmp_path / "whole")
    assert code == 0 and "is a pipe, a device" in err


def test_what_a_run_says_is_shown_escaped(compare, tmp_path):
    for name in ("a", "b"):
        make(tmp_path / name, (0.5,), test=0.5, model=f"\x1b[31m{name}\u202e", label=f"\x9b{name}\n\u2066\ud800")
    code, out, _ = compare(tmp_path / "a", tmp_path / "b")
    assert code == 0 and all(line.isprintable() for line in out.splitlines())


@pytest.mark.parametrize("value", ["NaN", "Infinity", "9" * 400, '"0.5"', "true", "[]", "null"])
def test_a_result_of_any_kind(compare, tmp_path, value):
    make(tmp_path / "a", (0.5,), test=0.5)
    (tmp_path / "a" / "result.json").write_text(f'{{"test_acc": {value}, "model_of_epoch": 1}}')
    assert compare(tmp_path / "a")[0] == 0
