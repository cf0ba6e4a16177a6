"""Calibration text: what a model is shown so that quantization learns which of its weights matter."""

import os
from pathlib import Path

from engine.errors import InputError
from engine.paths import ASSETS

OURS = "ours"
MAX_BYTES = 64 << 20
LEAST_TOKENS = 256
"""With less text activations would be met far outside the ranges that were measured."""


def settle_calibration(path: str) -> str:
    """What stands in a plan: "ours", or the path made good in any folder."""
    return path if path == OURS else os.path.abspath(os.path.expanduser(path))


def read_calibration(path: str) -> list[str]:
    """The lines of a calibration text that are not empty; "ours" is the text that comes with Edgewise.

    Raises InputError for a file that is missing, not text, or too short to calibrate with.
    """
    file = ASSETS / "calibration.txt" if path == OURS else Path(settle_calibration(path))
    remedy = "Name a UTF-8 text of at least two lines that is like what the model will read, or take “ours”."
    if not os.path.isfile(file):  # unlike Path's own, False also for a name that is too long
        raise InputError(f"There is no calibration text {file}.", "", remedy)
    if file.stat().st_size > MAX_BYTES:
        raise InputError(f"{file.name} is too large to calibrate with.", f"More than {MAX_BYTES >> 20} MB.", remedy)
    try:
        data = file.read_bytes()
        if b"\0" in data:
            raise ValueError("it holds zero bytes")
        text = data.decode("utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"{file.name} is not text that can be read.", str(error)[:200], remedy) from error
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) < 2:
        raise InputError(f"{file.name} is too short to calibrate with.", f"It has {len(lines)} lines of text.", remedy)
    return lines


def require_tokens(count: int) -> None:
    """Raise InputError where a text has too few tokens to measure activations on."""
    if count < LEAST_TOKENS:
        raise InputError(
            "The calibration text is too short for this model.",
            f"It has {count} tokens; at least {LEAST_TOKENS} are needed.",
            "Name a longer text of the kind that the model will read, or take “ours”.",
        )
