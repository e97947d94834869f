"""All of the project as a ZIP file in the site: who has the site alone has the code, the tests and the exercises, too.

What git knows of, as it stands in the folder; without git, the project's own files and folders, and nothing else that
lies beside them. The foot of every page leads to it (docs/_templates/page.html). A site of a few pages has none.
"""

import subprocess
import zipfile
from pathlib import Path

import minires

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = (".ci", "benchmarks", "docs", "examples", "minires", "tests")
FILES = (
    *(".gitignore", ".pre-commit-config.yaml", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md"),
    *("pyproject.toml", "setup.cfg"),
)
NAME = f"minires-{minires.__version__}.zip"
DATE = (1980, 1, 1, 0, 0, 0)  # of every file: the same content makes the same archive


def tracked(root):
    """The files that git knows of, or None where there is no git or no repository."""
    try:
        found = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return [root / name for name in found.decode().split("\0") if name]


def in_folders(root):
    """The files of an unpacked archive: no caches, nothing that was built."""
    made = {"__pycache__", "_build"}
    inside = [path for folder in FOLDERS for path in (root / folder).rglob("*")]
    return [
        *(root / name for name in FILES),
        *(path for path in inside if not made & set(path.relative_to(root).parts)),
    ]


def write(root, path):
    """-> the archive at path, in which everything lies in one folder."""
    files = sorted({file for file in tracked(root) or in_folders(root) if file.is_file()})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            entry = zipfile.ZipInfo(f"{path.stem}/{file.relative_to(root).as_posix()}", DATE)
            entry.external_attr = (file.stat().st_mode & 0o777) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, file.read_bytes())


def whole(app):
    return app.builder.format == "html" and Path(app.srcdir) == ROOT / "docs"


def link(app, page, template, context, doctree):
    if whole(app):
        context["archive"] = context["pathto"](NAME, True)


def finish(app, error):
    if error is None and whole(app):
        write(ROOT, Path(app.outdir) / NAME)


def setup(app):
    app.connect("html-page-context", link)
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
