"""Where Edgewise keeps things: one data folder, `EDGEWISE_DATA` or the platform's own, and what lies in it.

A data folder that was moved leaves the file `moved-to` in its place, with the new place in it. The new one has the file
`moved-from`, so that the mount point of a disk that is not there is never taken for an empty data folder.
"""

import os
from pathlib import Path

from engine.errors import ResourceError

ASSETS = Path(__file__).resolve().parent.parent / "assets"
MOVED_TO, MOVED_FROM = "moved-to", "moved-from"


def expanded(path: str) -> Path:
    """The absolute path that a person means, with ~ and variables in it."""
    return Path(os.path.abspath(os.path.expanduser(os.path.expandvars(path))))


def named_dir() -> Path:
    """The data folder as it is named, wherever it was moved to since."""
    if given := os.environ.get("EDGEWISE_DATA"):
        return Path(given).expanduser().absolute()
    import platformdirs

    return platformdirs.user_data_path("edgewise", appauthor=False)


def data_dir() -> Path:
    """The data folder, not necessarily existing yet.

    Raises ResourceError where it was moved and its new place is not there.
    """
    named = named_dir()
    try:
        moved = Path(os.fsdecode((named / MOVED_TO).read_bytes()))
    except OSError:
        return named
    if not (moved / MOVED_FROM).exists():
        raise ResourceError(
            "The data folder is not there.",
            f"It was moved to {moved}, as {named / MOVED_TO} says, and nothing of it is found there.",
            f"Connect or mount the disk it lies on. To begin with an empty data folder, delete {named / MOVED_TO}.",
        )
    return moved


def room(name: str) -> Path:
    """A folder inside the data folder (`environments`, `jobs`, `library`, `models`, `cache`, `logs`), made if missing.

    Raises ResourceError when it cannot be made or written.
    """
    folder = data_dir()
    path = folder / name
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResourceError(
            f"Edgewise cannot write to its data folder {folder}.",
            f"{error.strerror or error}: {error.filename}",
            "Make the folder writable, or point EDGEWISE_DATA at a folder that is.",
        ) from error
    if not os.access(path, os.W_OK):
        raise ResourceError(
            f"Edgewise cannot write to its data folder {folder}.",
            f"{path} is read-only.",
            "Make the folder writable, or point EDGEWISE_DATA at a folder that is.",
        )
    return path
