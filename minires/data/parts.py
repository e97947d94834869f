"""What the folders in a folder mean: classes, or the parts of a data set that is split already."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from minires.data.dataset import DatasetError
from minires.data.scan import EXAMPLES, Skipped, identity, pictures_in, sub_folders
from minires.data.tables import read_labels
from minires.wording import readable

PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
LONGEST = 2000  # letters of a class: all that a folder's name may have, bytes that are no UTF-8 as \xNN
Tell = Callable[[str], None]


@dataclass
class Files:
    """Pictures of one part, in order: the folder each was found below, its name from there, its class.

    empty: classes whose folder holds no picture.
    """

    roots: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)

    def add(self, root: str, name: str, class_name: str) -> None:
        """Add one."""
        self.roots.append(root)
        self.names.append(name)
        self.classes.append(class_name)


def class_folders(folder: str | Path) -> list[str]:
    """The names of the sub-folders that hold a class each, in order. Raises DatasetError unless there are two."""
    root = _existing(folder)
    classes = sub_folders(root)
    if len(classes) < 2:
        inside = [name for name in classes if len(sub_folders(root / name)) > 1]
        hint = f"; {readable(str(root / inside[0]), 200)} holds more" if inside else ""
        raise DatasetError(
            f"{readable(str(folder), 200)}: {len(classes)} sub-folders, at least 2 are needed: one for each class{hint}"
        )
    return classes


def parts_in(folder: str | Path, splits: str = "auto", table: bool = False) -> dict[str, str] | None:
    """{"train": "Train", "val": "valid", ...} of a folder that holds the parts of a data set; None: it holds classes.

    splits "none": never parts.   table: classes come from a table, so a part needs no folders of classes.
    Raises DatasetError where both could be meant.
    """
    root = _existing(folder)
    names = sub_folders(root)
    parts = {name: PARTS[name.casefold()] for name in names if name.casefold() in PARTS}
    if splits == "none" or not parts:
        return None
    others = [name for name in names if name not in parts]
    whole = "train" in parts.values() and len(set(parts.values())) == len(parts) and not others
    train = next((name for name, part in parts.items() if part == "train"), None)
    if whole and (table or sub_folders(root / str(train))):
        return {part: name for name, part in parts.items()}
    if table or (len(parts) == 1 and others and pictures_in(root / next(iter(parts)), Skipped(), deep=False)):
        return None  # a class that happens to be called so
    beside = f" beside {', '.join(map(readable, others[:EXAMPLES]))}" if others else ""
    raise DatasetError(
        f"{readable(str(folder), 200)}: are {', '.join(map(readable, parts))}{beside} classes, or the parts of a data "
        "set? Give splits='none' if they are classes; else the part's own folder, with one folder for each class, and "
        "another as test_folder"
    )


def find_pictures(
    folders: Sequence[str | Path],
    test_folder: str | Path | None = None,
    splits: str = "auto",
    labels: str | Path | None = None,
    label_columns: Sequence[str] | None = None,
    tell: Tell = print,
) -> dict[str, Files]:
    """{"train": Files, and "val" and "test" where the folders hold them}; what was left out is told."""
    found: dict[str, Files] = {"train": Files()}
    skipped = Skipped()
    for folder in folders:
        parts = parts_in(folder, splits, labels is not None)
        if parts is not None:
            uses = {"train": "to learn from", "val": "to validate", "test": "to test"}
            words = ", ".join(f"{readable(parts[part])} {uses[part]}" for part in uses if part in parts)
            drawn = "" if "test" in parts or test_folder is not None else "; to test, a share of the first is drawn"
            where = readable(str(folder), 200)
            tell(f"parts: {where} is split already: {words}{drawn} (splits='none' takes them for classes)")
        for part, sub in (parts or {"train": ""}).items():
            if part == "test" and test_folder is not None:
                tell(f"left out: {readable(sub)}, since there is a test_folder")
                continue
            _collect(found.setdefault(part, Files()), folder, sub, labels, skipped, tell)
    if test_folder is not None:
        _collect(found.setdefault("test", Files()), test_folder, "", labels, skipped, tell)
    for line in skipped.lines():
        tell(line)
    if labels is not None:
        _label(found, labels, label_columns, tell)
    for part in ("val", "test"):
        if part in found and not found[part].names:
            if test_folder is not None and part == "test":
                raise DatasetError(f"{readable(str(test_folder), 200)}: holds no pictures of a class: name another")
            del found[part]
    return found


def _collect(files, folder, sub, labels, skipped, tell):
    """Add the pictures of a part's folder to `files`."""
    root, folder = str(_existing(folder)), _existing(Path(folder) / sub)
    prefix = f"{sub}/" if sub else ""
    if labels is not None:
        for name in pictures_in(folder, skipped, within=sub):
            files.add(root, prefix + name, "")
        return
    classes = class_folders(folder) if not sub else sub_folders(folder)
    known = {identity(place) for place in (folder, *folder.resolve().parents)}
    known |= {identity(folder / name) for name in classes}
    astray = pictures_in(folder, skipped, deep=False, within=sub)
    if astray:
        some = ", ".join(readable(prefix + name) for name in astray[:EXAMPLES])
        tell(f"left out: {len(astray):,} pictures that lie in no class's folder: {some}")
    for name in classes:
        pictures = pictures_in(folder / name, skipped, known, within=prefix + name)
        class_name = readable(name, LONGEST)
        for picture in pictures:
            files.add(root, f"{prefix}{name}/{picture}", class_name)
        if not pictures:
            files.empty.append(class_name)


def _label(found, labels, label_columns, tell):
    """Give every picture its class from the table; those that are not in it are left out."""
    names = list(dict.fromkeys(name for files in found.values() for name in files.names))
    classes = read_labels(labels, names, label_columns, tell)
    for part, files in found.items():
        kept = Files()
        for root, name in zip(files.roots, files.names, strict=True):
            if name in classes:
                kept.add(root, name, classes[name])
        if len(kept.names) < len(files.names):
            missing = [name for name in files.names if name not in classes]
            some = ", ".join(map(readable, missing[:EXAMPLES]))
            tell(f"left out: {len(missing):,} pictures that are not in the table: {some}")
        found[part] = kept


def _existing(given: str | Path) -> Path:
    folder = Path(given)
    if not folder.is_dir():
        raise DatasetError(
            f"{readable(str(folder), 200)}: no such folder: name one that holds a sub-folder of pictures for each class"
        )
    return folder
