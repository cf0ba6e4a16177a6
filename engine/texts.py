"""Texts that a user names, or the one that comes with Edgewise: read with care, because they may be anything."""

import os
from pathlib import Path

from engine.errors import InputError
from engine.paths import ASSETS

OURS = "ours"
"""Stands for the text that comes with Edgewise."""
MAX_BYTES = 64 << 20


def settle_text(path: str) -> str:
    """What stands in a plan: "ours", or the path made good in any folder."""
    return path if path == OURS else os.path.abspath(os.path.expanduser(path))


def read_text(path: str, kind: str, remedy: str) -> str:
    """A UTF-8 text for a purpose (`kind`: calibration, evaluation); "ours" is the one in assets/.

    Raises InputError, with the remedy, for a file that is missing, too large or no text.
    """
    file = ASSETS / f"{kind}.txt" if path == OURS else Path(settle_text(path))
    if not os.path.isfile(file):  # unlike Path's own, False also for a name that is too long
        raise InputError(f"There is no {kind} text {file}.", "", remedy)
    if file.stat().st_size > MAX_BYTES:
        raise InputError(f"{file.name} is too large for {kind}.", f"More than {MAX_BYTES >> 20} MB.", remedy)
    try:
        data = file.read_bytes()
        if b"\0" in data:
            raise ValueError("it holds zero bytes")
        return data.decode("utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"{file.name} is not text that can be read.", str(error)[:200], remedy) from error
