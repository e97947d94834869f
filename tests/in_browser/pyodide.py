"""Where Pyodide is: its files are those that docs/_ext/pyodide.json pins for the site, and no others.

python -m in_browser.pyodide FOLDER     fetch them into a folder, 18 MB from Pyodide's public CDN
"""

import hashlib
import json
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
PINNED = TOP / "docs" / "_ext" / "pyodide.json"
HOME = TOP / ".venv-browser"
PACKAGES, COMPILED, OWN = HOME / "packages", HOME / "compiled", HOME / "pyodide"
PLACES = (TOP.parent / "shared" / "pyodide", OWN)


def pinned() -> dict:
    """{"address": ..., "files": [{"name", "bytes", "sha256"}], "lock": ...}"""
    return json.loads(PINNED.read_text(encoding="utf-8"))


def find(folder: str | None = None) -> Path:
    """The folder named, or the first of PLACES that is there. Raises LookupError with one sentence."""
    version = pinned()["lock"]["info"]["version"]
    places = [Path(folder).resolve()] if folder else PLACES
    place = next((place for place in places if place.is_dir()), None)
    cure = f"`make pyodide` fetches it into {OWN.relative_to(TOP)} (18 MB), PYODIDE=DIR names a folder that has it"
    if place is None:
        raise LookupError(f"Pyodide {version} is not in {' nor in '.join(map(str, places))}: {cure}")
    for file in pinned()["files"]:
        path = place / file["name"]
        if not path.is_file():
            raise LookupError(f"{path} is not there, which Pyodide {version} has: {cure}")
        if hashlib.sha256(path.read_bytes()).hexdigest() != file["sha256"]:
            raise LookupError(f"{path} is another than Pyodide {version}'s: {cure}")
    return place


def fetch(folder: str | Path = OWN) -> None:
    """All files, each checked by its SHA-256. What is there already stays."""
    import pooch

    for file in pinned()["files"]:
        pooch.retrieve(
            pinned()["address"] + file["name"], f"sha256:{file['sha256']}", fname=file["name"], path=Path(folder)
        )


def main() -> int:
    """Fetch them; 1 and one sentence where that fails."""
    try:
        fetch(*sys.argv[1:2])
    except (OSError, ValueError) as error:
        print(f"error: {pinned()['address']} gave no Pyodide ({error}): try again, or name a folder that has it: "
              "make test-browser PYODIDE=DIR", file=sys.stderr)  # fmt: skip
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
