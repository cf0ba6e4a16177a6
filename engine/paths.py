"""Where Edgewise keeps things: one data folder, `EDGEWISE_DATA` or the platform's own, and what lies in it."""

import os
from pathlib import Path

from engine.errors import ResourceError

ASSETS = Path(__file__).resolve().parent.parent / "assets"


def data_dir() -> Path:
    """The data folder, not necessarily existing yet."""
    if given := os.environ.get("EDGEWISE_DATA"):
        return Path(given).expanduser().absolute()
    import platformdirs

    return platformdirs.user_data_path("edgewise", appauthor=False)


def room(name: str) -> Path:
    """A folder inside the data folder (`environments`, `jobs`, `library`, `models`, `cache`, `logs`), made if missing.

    Raises ResourceError when it cannot be made or written.
    """
    path = data_dir() / name
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResourceError(
            f"Edgewise cannot write to its data folder {data_dir()}.",
            f"{error.strerror or error}: {error.filename}",
            "Make the folder writable, or point EDGEWISE_DATA at a folder that is.",
        ) from error
    if not os.access(path, os.W_OK):
        raise ResourceError(
            f"Edgewise cannot write to its data folder {data_dir()}.",
            f"{path} is read-only.",
            "Make the folder writable, or point EDGEWISE_DATA at a folder that is.",
        )
    return path
