"""Names of files and folders that nobody has put there: hidden ones, and what systems and programs leave behind."""

LEAVINGS = frozenset((  # in lower case
    "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "$recycle.bin",
    "system volume information", "lost+found", "__pycache__", "#recycle", "@recycle",
))  # fmt: skip


def is_leaving(name: str) -> bool:
    """Whether a file or folder of this name is hidden, its name beginning with a dot, or left by a system."""
    return name.startswith(".") or name.casefold() in LEAVINGS
