"""Calibration text: what a model is shown so that quantization learns which of its weights matter."""

from pathlib import Path

from engine.errors import InputError
from engine.paths import ASSETS

OURS = "ours"
MAX_BYTES = 64 << 20


def read_calibration(path: str) -> list[str]:
    """The lines of a calibration text that are not empty; "ours" is the text that comes with Edgewise.

    Raises InputError for a file that is missing, not text, or too short to calibrate with.
    """
    file = ASSETS / "calibration.txt" if path == OURS else Path(path).expanduser()
    remedy = "Name a UTF-8 text of at least two lines that is like what the model will read, or take “ours”."
    if not file.is_file():
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
