"""What config.json says of the code that ran: its commit, and nobody else's."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import minires
from minires.cli.recording import write_csv

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def git(folder, *words):
    """What git says in this folder, whatever repository the tests run in."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    named = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.org"]
    done = subprocess.run(["git", *named, *words], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def repository(folder):
    """A repository with one commit of all that the folder holds; the commit."""
    (folder / "README").write_text("of somebody\n")
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "first")
    return git(folder, "rev-parse", "HEAD")


def installed(folder):
    """A copy of the package in this folder."""
    source = Path(minires.__file__).parent
    shutil.copytree(source, folder / "minires", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def recorded(folder, **variables):
    """The commit that a process names which imports minires from this folder."""
    code = "from minires.cli.recording import environment; print(environment('cpu')['commit'])"
    variables = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", **variables}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_checkout_names_its_commit_and_whether_it_was_changed(tmp_path):
    commit = repository(installed(tmp_path))
    assert recorded(tmp_path) == commit
    (tmp_path / "README").write_text("changed\n")
    assert recorded(tmp_path) == commit + "+"


@pytest.mark.parametrize("place", ["", "venv/lib", "vendored"])
def test_a_repository_that_the_environment_lies_in_is_not_the_codes(tmp_path, place):
    folder = tmp_path / place
    folder.mkdir(exist_ok=True, parents=True)
    if place == "vendored":  # tracked, but beside other people's code
        installed(folder)
        repository(tmp_path)
    else:
        repository(tmp_path)
        installed(folder)
    assert recorded(folder) == "None"


def test_no_repository(tmp_path):
    assert recorded(installed(tmp_path), GIT_CEILING_DIRECTORIES=str(tmp_path.parent)) == "None"


def test_gits_own_variables_do_not_mislead(tmp_path):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for folder in (ours, theirs):
        folder.mkdir()
    commit = repository(installed(ours))
    (theirs / "work").write_text("another\n")
    assert repository(theirs) != commit
    hook = {"GIT_DIR": str(theirs / ".git"), "GIT_WORK_TREE": str(theirs), "GIT_INDEX_FILE": str(theirs / ".git/index")}
    assert recorded(ours, **hook) == commit
    assert recorded(installed(theirs), **hook) == "None"


def test_a_full_disk_leaves_the_table_that_stood_there(tmp_path):
    resource = pytest.importorskip("resource")
    path = tmp_path / "results.csv"
    write_csv(path, ("way", "accuracy"), [("kept", None), {"accuracy": 0.5, "way": "drifting", "seed": 1}])
    before = path.read_text()
    assert before == "way,accuracy\nkept,\ndrifting,0.5\n"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, limits[1]))  # bytes
    try:
        with pytest.raises(OSError, match=r"results\.csv could not be written .*its previous version is whole"):
            write_csv(path, ("way", "accuracy"), [("another", 1.0)] * 5)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_text() == before and list(tmp_path.iterdir()) == [path]
