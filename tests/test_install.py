"""A clone, named minires as git names it, installed as the README says: `import minires` from the folder above it."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("setuptools", minversion="70.1", reason="older ones build no wheel by themselves")
ROOT = Path(__file__).resolve().parent.parent
FIND = """
import importlib.util, site, sys
site.addsitedir(sys.argv[1])
found = importlib.util.find_spec("minires")
print(found.origin)
"""


def built(clone, folder):
    """What pip puts into site-packages for `pip install --editable clone`."""
    folder.mkdir()
    build = f"from setuptools import build_meta; print(build_meta.build_editable({str(folder)!r}))"
    done = subprocess.run([sys.executable, "-c", build], cwd=clone, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(folder / done.stdout.splitlines()[-1]) as wheel:
        wheel.extractall(folder)
    return folder


def test_from_the_folder_above_a_clone_named_minires(tmp_path):
    clone = tmp_path / "minires"
    shutil.copytree(ROOT / "minires", clone / "minires", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, clone)
    site = built(clone, tmp_path / "site")
    for folder in (tmp_path, clone, Path("/")):
        command = [sys.executable, "-E", "-S", "-c", FIND, str(site)]  # without what this environment adds
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.stdout.strip() == str(clone / "minires" / "__init__.py"), (folder, done.stderr)
