"""Errors at the edges: what the system refuses is a sentence with a cure, and no file of the user's is replaced."""

import errno
import os
import stat

import numpy as np
import pytest
import scripts
from PIL import Image
from safetensors.numpy import save_file
from scripts import one_sentence

from minires import files, models, pretrained
from minires.cli.pictures import refuse_to_replace
from minires.files import write_atomically


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("edges")
    save_file(models.simple_cnn(rng=1).state_dict(), folder / "weights.safetensors")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)).save(folder / "cat.png")
    return folder


@pytest.fixture
def script(monkeypatch, capsys):
    """script(name, "--flag", ...) -> (exit code, stdout, stderr)."""
    return lambda name, *flags: scripts.call(scripts.load(name), monkeypatch, capsys, *flags)


def flags_of(name, folder, out):
    """A command line of each script that takes weights; `out` is a folder."""
    weights, picture = folder / "weights.safetensors", folder / "cat.png"
    return {
        "predict": (picture, "--weights", weights),
        "explain": (picture, "--weights", weights, "--out", out / "explained.png"),
        "convert_weights": (weights, out / "converted.safetensors"),
        "train_cifar": ("--evaluate", weights, "--dataset", "synthetic", "--device", "cpu"),
        "finetune": ("--weights", weights, "--dataset", "synthetic", "--device", "cpu", "--out", out / "run"),
    }[name]


SCRIPTS = ("predict", "explain", "convert_weights", "train_cifar", "finetune")


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_memory_outside_the_training_step(script, folder, tmp_path, monkeypatch, name):
    def full(*arguments, **options):
        raise MemoryError

    for reader in ("read", "build"):
        monkeypatch.setattr(pretrained, reader, full)
    code, _, err = script(name, *flags_of(name, folder, tmp_path))
    assert code == 1 and "out of memory: close other programs" in one_sentence(err)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("number", "cure"),
    [
        (errno.EIO, "the disk or the network failed"),
        (errno.EMFILE, "ulimit -n"),
        (errno.EACCES, "check the permissions"),
    ],
)
@pytest.mark.parametrize("name", SCRIPTS)
def test_what_the_system_refuses_to_read(script, folder, tmp_path, monkeypatch, name, number, cure):
    def refuse(path, *arguments, **options):
        raise OSError(number, os.strerror(number), str(path))

    for reader in ("read", "build"):
        monkeypatch.setattr(pretrained, reader, refuse)
    code, _, err = script(name, *flags_of(name, folder, tmp_path))
    assert code == 1
    assert one_sentence(err).startswith(f"error: {folder / 'weights.safetensors'}: {os.strerror(number)}: ")
    assert cure in err


@pytest.mark.parametrize(
    ("number", "cure"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "your share of the disk is used up"),
        (errno.EFBIG, "ulimit -f"),
        (errno.EROFS, "name another folder"),
        (errno.EACCES, "check the permissions"),
    ],
)
def test_what_the_system_refuses_to_write(tmp_path, monkeypatch, number, cure):
    (tmp_path / "file").write_bytes(b"before")

    def refuse(*arguments):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", refuse)
        with pytest.raises(OSError, match=f"its previous version is whole: .*{cure}"):
            write_atomically(tmp_path / "file", b"after")
    assert (tmp_path / "file").read_bytes() == b"before" and os.listdir(tmp_path) == ["file"]


@pytest.mark.skipif(not hasattr(os, "O_DIRECTORY"), reason="no folder is synced on this system")
@pytest.mark.parametrize(("number", "raises"), [(errno.EINVAL, False), (errno.ENOTSUP, False), (errno.EIO, True)])
def test_a_folder_that_cannot_be_synced(tmp_path, monkeypatch, number, raises):
    """Network folders know no fsync of a folder: that is no failure. Of the disk's it is, and the new file stands."""
    sync = os.fsync

    def refuse(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        sync(descriptor)

    monkeypatch.setattr(files.os, "fsync", refuse)
    if raises:
        with pytest.raises(OSError, match=rf"could not be written .{os.strerror(number)}.: the disk"):
            write_atomically(tmp_path / "file", b"after")
    else:
        write_atomically(tmp_path / "file", b"after")
    assert (tmp_path / "file").read_bytes() == b"after"


@pytest.mark.parametrize(
    ("name", "flag"), [("predict", "--plot"), ("explain", "--out")], ids=lambda value: value.strip("-")
)
def test_a_picture_of_the_users_is_not_replaced(script, folder, tmp_path, name, flag):
    mine = tmp_path / "mine.png"
    mine.write_bytes((folder / "cat.png").read_bytes())
    code, _, err = script(name, mine, "--weights", folder / "weights.safetensors", flag, mine)
    assert code == 1 and f"is there, and not a picture of this script: name another file with {flag}" in one_sentence(
        err
    )
    assert mine.read_bytes() == (folder / "cat.png").read_bytes()


@pytest.mark.parametrize(
    ("name", "flag", "kind"), [("predict", "--plot", "png"), ("predict", "--plot", "svg"), ("explain", "--out", "png")]
)
def test_a_picture_of_the_scripts_own_is(script, folder, tmp_path, name, flag, kind):
    for _ in range(2):
        flags = (folder / "cat.png", "--weights", folder / "weights.safetensors", flag, tmp_path / f"made.{kind}")
        code, _, err = script(name, *flags)
        assert code == 0, err


@pytest.mark.parametrize(("name", "flag"), [("predict", "--plot"), ("explain", "--out"), ("compare", "--out")])
def test_a_text_that_names_the_script_is_no_picture_of_it(tmp_path, name, flag):
    """The script itself does, and notes on it may."""
    mark = scripts.load(name).MARK
    (tmp_path / "notes.md").write_text(f"made by {mark}")
    for path in (tmp_path / "notes.md", scripts.EXAMPLES / f"{name}.py"):
        with pytest.raises(ValueError, match=f"is there, and not a picture of this script: .* {flag}"):
            refuse_to_replace(path, mark, flag)


@pytest.mark.parametrize("name", ["predict", "explain"])
def test_what_a_terminal_would_obey_is_escaped_once(script, folder, tmp_path, name):
    """In the names of classes and pictures; a backslash, of which paths of Windows are full, stays one."""
    (tmp_path / "names.txt").write_text("\n".join(f"\x1b[3{label}mcolour" for label in range(10)))
    picture = tmp_path / "c\\\x1bat.png"
    picture.write_bytes((folder / "cat.png").read_bytes())
    flags = ("--weights", folder / "weights.safetensors", "--classes", tmp_path / "names.txt")
    out = () if name == "predict" else ("--out", tmp_path / "out.png")
    code, printed, err = script(name, picture, *flags, *out)
    assert code == 0, err
    assert r"%  \x1b[3" in printed and r"c\\x1bat.png" in printed and "\x1b" not in printed


@pytest.mark.parametrize("name", ["train_cifar", "finetune", "predict", "explain", "convert_weights", "compare"])
def test_ctrl_c_while_the_flags_are_read(name, monkeypatch, capsys):
    script = scripts.load(name)

    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(script, "command_line", interrupted)
    assert script.main() == 130 and capsys.readouterr().err == "error: interrupted\n"
